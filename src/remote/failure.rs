//! How a call failed, in classes fine enough for a reason and a message that need no text of a response.
//! By HTTP status first, by `errorCode` second (api page, section 3).

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;

use super::answer::{self, Answer};
use super::retry_after;
use super::transport::{Body, CertificateProblem, ConnectProblem, Operation, Response, TransportError};

/// A call that did not bring what was asked for. Safe to print: it holds nothing secret and no text of a response but
/// an error code of the form `[A-Z0-9_]{1,64}`, an IP address and ids of 24 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub class: FailureClass,
    /// The status of the last response, if there was one.
    pub http_status: Option<u16>,
    /// The API's `errorCode`, if it has the usual form.
    pub error_code: Option<String>,
    /// How long from now on the server asks not to be asked again: `Retry-After`, at most 6 h.
    pub retry_after: Option<Duration>,
    /// The link token was sent and may have taken effect though nobody saw it: a 5xx, a 3xx, a timeout or a broken
    /// connection afterwards. A 4xx, or a failure before the token was sent, is `false`.
    pub maybe_effective: bool,
    /// It happened to another call with the same credentials, whose challenge this one had waited for.
    pub shared: bool,
}

/// What happened to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// No connection to the endpoint, or to the proxy that leads there.
    Connect {
        /// The proxy, `scheme://host:port` without user info.
        proxy: Option<String>,
        /// What went wrong.
        problem: ConnectProblem,
    },
    /// The TLS handshake was broken off, or the port does not speak TLS.
    TlsBrokenOff,
    /// The server's certificate is not trusted.
    CertificateNotTrusted {
        /// Why.
        detail: CertificateProblem,
    },
    /// No answer within the deadline.
    Timeout,
    /// The connection broke before the answer was complete, or what came was not HTTP.
    Broken,
    /// 5xx, 408 or 425.
    ServerError,
    /// 429, or `RATE_LIMITED` in the code of any 4xx.
    RateLimited,
    /// 405 `WRITES_NOT_ALLOWED_DURING_APP_UPGRADES`.
    Upgrading,
    /// 401 to an answer on a fresh nonce.
    Unauthorized,
    /// 402 or 403 because of an API access list.
    AccessListDenied {
        /// The address that was refused.
        address: Option<IpAddr>,
    },
    /// Any other 402 or 403.
    Forbidden,
    /// 404 that is about the organization or the route, or any 404 of the API to a POST or a challenge.
    OrganizationNotFound,
    /// 404 to a GET or DELETE that means: this organization has no link.
    LinkNotFound,
    /// 400 or 422 to the POST with the token.
    TokenRejected,
    /// 409 to the POST with the token.
    LinkExists,
    /// 409 to the DELETE: the link is in use.
    LiveExportRunning {
        /// The ids of the projects that are being exported, 24 hexadecimal digits each; at most 10, perhaps none.
        projects: Vec<String>,
    },
    /// Any other 4xx of the API.
    RequestRejected,
    /// An answer that the API does not give.
    UnexpectedResponse(UnexpectedKind),
}

/// What is odd about a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnexpectedKind {
    /// Its body is larger than [`super::MAX_BODY`].
    TooLarge,
    /// Its body is no JSON object: empty, or the page of a proxy.
    NotJson,
    /// A 3xx; redirects are not followed.
    Redirect,
    /// A 2xx to GET without a state.
    NoStatus,
    /// A 2xx to the request without credentials.
    ChallengeAccepted,
    /// A 401 without a Digest challenge that can be answered.
    NoChallenge,
    /// Every nonce was refused as stale, those just received too: no verdict on the credentials. Several backends
    /// that do not share their nonces look like this.
    StaleNonces,
    /// A Digest challenge with a weaker hash than one that the server asked for not long ago: it is not answered.
    WeakerDigest,
}

impl Failure {
    /// A failure of our own making, before or instead of a response.
    pub(super) fn new(class: FailureClass) -> Self {
        Self {
            class,
            http_status: None,
            error_code: None,
            retry_after: None,
            maybe_effective: false,
            shared: false,
        }
    }

    /// No response.
    pub(super) fn transport(operation: Operation, error: TransportError) -> Self {
        let unseen = matches!(error, TransportError::Timeout | TransportError::Broken);
        let class = match error {
            TransportError::Connect { proxy, problem } => FailureClass::Connect { proxy, problem },
            TransportError::TlsBrokenOff => FailureClass::TlsBrokenOff,
            TransportError::CertificateNotTrusted(detail) => FailureClass::CertificateNotTrusted { detail },
            TransportError::Timeout => FailureClass::Timeout,
            TransportError::Broken => FailureClass::Broken,
        };
        Self { maybe_effective: unseen && operation == Operation::Link, ..Self::new(class) }
    }

    /// A response that is known to be no success.
    pub(super) fn of(class: FailureClass, response: &Response, now: SystemTime) -> Self {
        Self {
            class,
            http_status: Some(response.status.as_u16()),
            error_code: fields(&response.body).ok().and_then(|fields| fields.error_code),
            retry_after: response
                .headers
                .get(RETRY_AFTER)
                .and_then(|value| retry_after::parse(value.as_bytes(), now)),
            maybe_effective: false,
            shared: false,
        }
    }

    /// Whether another call with the same credentials to the same origin would end the same way now. One that ran out
    /// of time may have had less of it than another.
    pub(super) fn concerns_the_endpoint(&self) -> bool {
        match self.class {
            FailureClass::Timeout => false,
            FailureClass::ServerError | FailureClass::RateLimited => true,
            _ => self.http_status.is_none(),
        }
    }
}

/// What a response to `operation` means.
pub(super) fn classify(
    operation: Operation,
    response: &Response,
    now: SystemTime,
) -> Result<Answer, Failure> {
    let http = response.status.as_u16();
    let fields = fields(&response.body);
    let enveloped = fields.as_ref().ok().and_then(|fields| fields.envelope);
    let success = (200..300).contains(&http);
    // An envelope says how it went in its own status, under an HTTP 200.
    let status = if success { enveloped.unwrap_or(http) } else { http };
    let class = match (operation, success && (200..300).contains(&status)) {
        (_, false) => refusal(operation, status, fields),
        (Operation::Challenge, true) => FailureClass::UnexpectedResponse(UnexpectedKind::ChallengeAccepted),
        (Operation::Link | Operation::Unlink, true) if is_of_a_gateway(&response.body) => {
            FailureClass::UnexpectedResponse(UnexpectedKind::NotJson)
        }
        (Operation::Link, true) => return Ok(Answer { state: fields.ok().and_then(|fields| fields.state) }),
        (Operation::Unlink, true) => return Ok(Answer { state: None }),
        (Operation::Status, true) => match fields {
            Ok(answer::Fields { state: Some(state), .. }) => return Ok(Answer { state: Some(state) }),
            Ok(_) => FailureClass::UnexpectedResponse(UnexpectedKind::NoStatus),
            Err(unreadable) => unreadable,
        },
    };
    let maybe_effective = operation == Operation::Link && !(400..500).contains(&status);
    Err(Failure { maybe_effective, ..Failure::of(class, response, now) })
}

/// Whether a body is none of the API's: a page of a proxy or a login, which comes with a 200 often enough.
fn is_of_a_gateway(body: &Body) -> bool {
    match body {
        Body::Complete(bytes) => !bytes.trim_ascii().is_empty() && answer::read(bytes).is_none(),
        Body::TooLarge => true,
        Body::Broken | Body::TimedOut => false,
    }
}

/// The body's fields, or why there are none.
fn fields(body: &Body) -> Result<answer::Fields, FailureClass> {
    match body {
        Body::Complete(bytes) => {
            answer::read(bytes).ok_or(FailureClass::UnexpectedResponse(UnexpectedKind::NotJson))
        }
        Body::TooLarge => Err(FailureClass::UnexpectedResponse(UnexpectedKind::TooLarge)),
        Body::Broken => Err(FailureClass::Broken),
        Body::TimedOut => Err(FailureClass::Timeout),
    }
}

/// The class of a status that is no 2xx. What a proxy answers on its own (an HTML page, nothing) is told from the
/// API's word wherever the two mean different things.
fn refusal(operation: Operation, status: u16, fields: Result<answer::Fields, FailureClass>) -> FailureClass {
    use FailureClass::{
        AccessListDenied, Forbidden, LinkExists, LinkNotFound, LiveExportRunning, OrganizationNotFound,
        RateLimited, RequestRejected, ServerError, TokenRejected, Unauthorized, UnexpectedResponse,
        Upgrading,
    };
    let code = fields.as_ref().ok().and_then(|fields| fields.error_code.as_deref()).unwrap_or_default();
    match status {
        ..=399 => return UnexpectedResponse(UnexpectedKind::Redirect),
        408 | 425 | 500.. => return ServerError,
        429 => return RateLimited,
        _ if code.contains("RATE_LIMITED") => return RateLimited,
        401 => return Unauthorized,
        _ => {}
    }
    let fields = match fields {
        Ok(fields) => fields,
        Err(unreadable) => return unreadable,
    };
    let code = fields.error_code.as_deref().unwrap_or_default();
    match (status, operation) {
        (402 | 403, _) if code.contains("ACCESS_LIST") || code.contains("WHITELIST") => {
            AccessListDenied { address: fields.address }
        }
        (402 | 403, _) => Forbidden,
        // A gateway's JSON has no code of the API; taken for "no link", it would leave a link behind for good.
        (404, Operation::Unlink) if code.is_empty() => RequestRejected,
        (404, Operation::Status | Operation::Unlink) if !is_about_the_organization(code) => LinkNotFound,
        (404, _) => OrganizationNotFound,
        (405, _) if code == "WRITES_NOT_ALLOWED_DURING_APP_UPGRADES" => Upgrading,
        (400 | 422, Operation::Link) => TokenRejected,
        (409, Operation::Link) => LinkExists,
        (409, Operation::Unlink) => LiveExportRunning { projects: fields.ids },
        _ => RequestRejected,
    }
}

/// Codes of a 404 that say nothing about the link: no such organization, an Atlas one, no such route.
fn is_about_the_organization(code: &str) -> bool {
    matches!(
        code,
        "ORG_NOT_FOUND"
            | "INVALID_ORG_ID"
            | "EXPECTED_NON_ATLAS_ORG"
            | "NOT_ATLAS_ORG"
            | "NOT_ATLAS_GROUP"
            | "RESOURCE_NOT_FOUND"
    )
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.class)?;
        match (self.http_status, &self.error_code) {
            (Some(status), Some(code)) => write!(f, " (HTTP {status}, {code})"),
            (Some(status), None) => write!(f, " (HTTP {status})"),
            (None, _) => Ok(()),
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect { proxy: Some(proxy), problem } => {
                return write!(f, "no connection through the proxy {proxy}: {problem}");
            }
            Self::Connect { proxy: None, problem } => return write!(f, "no connection: {problem}"),
            Self::TlsBrokenOff => "the TLS handshake was broken off",
            Self::CertificateNotTrusted { detail } => {
                return write!(f, "the server's certificate is not trusted: {detail}");
            }
            Self::Timeout => "no answer in time",
            Self::Broken => "the connection broke before the answer was complete",
            Self::ServerError => "the server failed",
            Self::RateLimited => "the server limits the rate of calls",
            Self::Upgrading => "the service is being upgraded",
            Self::Unauthorized => "the server does not accept the API keys for this organization",
            Self::AccessListDenied { address: Some(address) } => {
                return write!(f, "the API access list does not have the address {address}");
            }
            Self::AccessListDenied { address: None } => "the API access list does not have our address",
            Self::Forbidden => "the server forbids this call",
            Self::OrganizationNotFound => "the organization is not known there",
            Self::LinkNotFound => "the organization has no link",
            Self::TokenRejected => "the server rejects the link token",
            Self::LinkExists => "the organization has a link already",
            Self::LiveExportRunning { projects } if projects.is_empty() => "a live export is running",
            Self::LiveExportRunning { projects } => {
                return write!(f, "a live export is running in {}", projects.join(", "));
            }
            Self::RequestRejected => "the server rejects the request",
            Self::UnexpectedResponse(kind) => return write!(f, "unexpected response: {kind}"),
        })
    }
}

impl fmt::Display for UnexpectedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "its body is too large",
            Self::NotJson => "its body is not the API's JSON",
            Self::Redirect => "a redirect, which is not followed",
            Self::NoStatus => "it does not say the state of the link",
            Self::ChallengeAccepted => "a request without credentials was accepted",
            Self::NoChallenge => "it asks for credentials, but not with HTTP Digest",
            Self::StaleNonces => "it calls every nonce stale",
            Self::WeakerDigest => "it asks for a weaker digest than before",
        })
    }
}

#[cfg(test)]
mod tests;
