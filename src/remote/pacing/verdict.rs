//! What the end of a call says about the endpoint and the credential.

use std::time::Duration;

use crate::remote::{ConnectProblem, Failure, FailureClass};

/// How a call ended, as far as pacing is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Any answer, good or bad: the endpoint lives, and the credential is not limited.
    Answered,
    /// The endpoint could not be reached, broke off, or failed by itself (5xx other than the API's own 500).
    Unavailable,
    /// The credential is limited; how long the server asks to wait.
    Limited(Option<Duration>),
    /// Nothing: the call was given up, its certificate was not trusted, which depends on the link's own roots, or another
    /// call says it already.
    Nothing,
}

impl Verdict {
    /// What the result of a call says.
    pub fn of<T>(result: &Result<T, Failure>) -> Self {
        let Err(failure) = result else { return Self::Answered };
        // One connection that broke is one failure, however many waited for its challenge. A silence counts for each: it
        // has cost each of them its time.
        let silence = matches!(
            failure.class,
            FailureClass::Timeout | FailureClass::Connect { problem: ConnectProblem::NoAnswer, .. }
        );
        if failure.shared && !silence {
            return Self::Nothing;
        }
        match failure.class {
            // The API itself failed on this request, not the endpoint: who sends it again and again must not speak for others.
            FailureClass::ServerError if failure.http_status == Some(500) && failure.error_code.is_some() => {
                Self::Answered
            }
            FailureClass::Connect { .. }
            | FailureClass::TlsBrokenOff
            | FailureClass::Timeout
            | FailureClass::Broken
            | FailureClass::ServerError => Self::Unavailable,
            FailureClass::CertificateNotTrusted { .. } => Self::Nothing,
            FailureClass::RateLimited => Self::Limited(failure.retry_after),
            FailureClass::Upgrading
            | FailureClass::Unauthorized
            | FailureClass::AccessListDenied { .. }
            | FailureClass::Forbidden
            | FailureClass::OrganizationNotFound
            | FailureClass::LinkNotFound
            | FailureClass::TokenRejected
            | FailureClass::LinkExists
            | FailureClass::LiveExportRunning { .. }
            | FailureClass::RequestRejected
            | FailureClass::UnexpectedResponse(_) => Self::Answered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::{CertificateProblem, UnexpectedKind};

    fn failed(class: FailureClass, retry_after: Option<Duration>) -> Verdict {
        Verdict::of::<()>(&Err(Failure { retry_after, ..Failure::new(class) }))
    }

    #[test]
    fn only_what_every_link_of_the_endpoint_would_meet_counts_against_it() {
        let proxy = None;
        for class in [
            FailureClass::Connect { proxy, problem: ConnectProblem::Refused },
            FailureClass::TlsBrokenOff,
            FailureClass::Timeout,
            FailureClass::Broken,
            FailureClass::ServerError,
        ] {
            assert_eq!(failed(class.clone(), None), Verdict::Unavailable, "{class}");
        }
        for class in [
            FailureClass::Unauthorized,
            FailureClass::LinkNotFound,
            FailureClass::Upgrading,
            FailureClass::UnexpectedResponse(UnexpectedKind::NotJson),
        ] {
            assert_eq!(failed(class.clone(), None), Verdict::Answered, "{class}");
        }
        let own = Failure {
            http_status: Some(500),
            error_code: Some("UNEXPECTED_ERROR".into()),
            ..Failure::new(FailureClass::ServerError)
        };
        assert_eq!(Verdict::of::<()>(&Err(own)), Verdict::Answered, "of one request");
        let expired = FailureClass::CertificateNotTrusted { detail: CertificateProblem::Expired };
        assert_eq!(failed(expired, None), Verdict::Nothing);
        assert_eq!(Verdict::of(&Ok(())), Verdict::Answered);
    }

    #[test]
    fn one_broken_connection_counts_once_and_a_silence_for_all_that_waited() {
        let shared = |class| Verdict::of::<()>(&Err(Failure { shared: true, ..Failure::new(class) }));
        assert_eq!(shared(FailureClass::Broken), Verdict::Nothing);
        assert_eq!(shared(FailureClass::RateLimited), Verdict::Nothing);
        assert_eq!(shared(FailureClass::Timeout), Verdict::Unavailable);
        let connect = |problem| FailureClass::Connect { proxy: None, problem };
        assert_eq!(shared(connect(ConnectProblem::Refused)), Verdict::Nothing);
        assert_eq!(shared(connect(ConnectProblem::NoAnswer)), Verdict::Unavailable);
    }

    #[test]
    fn a_limit_comes_with_the_wish_of_the_server() {
        let wish = Some(Duration::from_secs(7));
        assert_eq!(failed(FailureClass::RateLimited, wish), Verdict::Limited(wish));
        assert_eq!(failed(FailureClass::ServerError, wish), Verdict::Unavailable);
    }
}
