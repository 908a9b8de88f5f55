//! The failure table: what a failed call of the HTTP API means as a reason, in words that say what to do.

use std::net::IpAddr;

use crate::api::Reason;
use crate::decision::CallFailure;
use crate::remote::{
    CertificateProblem, ConnectProblem, Failure, FailureClass, Organization, UnexpectedKind,
};

/// What is done about a failure that may pass by itself.
const AGAIN: &str = "The operator tries again.";

/// The reason and the message for a failed call. The message holds what we know of the call, and of the answer only
/// what [`Failure`] lets through: a status, an error code, an address.
pub fn explain(organization: &Organization, failure: &Failure) -> CallFailure {
    let Words { reason, what, advice } = words(organization, &failure.class);
    let answer = match (failure.http_status, &failure.error_code) {
        (Some(status), Some(code)) => format!(" (HTTP {status} {code})"),
        (Some(status), None) => format!(" (HTTP {status})"),
        (None, _) => String::new(),
    };
    CallFailure {
        reason,
        message: format!("{what}{answer}. {advice}"),
        retry_after: failure.retry_after,
        maybe_effective: failure.maybe_effective,
    }
}

struct Words {
    reason: Reason,
    /// What happened: a sentence without its full stop.
    what: String,
    /// What to do.
    advice: String,
}

fn say(reason: Reason, what: impl Into<String>, advice: impl Into<String>) -> Words {
    Words { reason, what: what.into(), advice: advice.into() }
}

fn words(organization: &Organization, class: &FailureClass) -> Words {
    let origin = organization.base_url.origin().as_str();
    let org = organization.org_id.as_str();
    match class {
        FailureClass::Connect { proxy, problem } => connect(origin, proxy.as_deref(), *problem),
        FailureClass::TlsBrokenOff => say(
            Reason::EndpointUnavailable,
            format!("{origin} broke off the TLS handshake"),
            format!("{AGAIN} If it lasts, check that this port speaks TLS."),
        ),
        FailureClass::CertificateNotTrusted { detail } => certificate(origin, *detail),
        FailureClass::Timeout => {
            say(Reason::EndpointUnavailable, format!("{origin} did not answer in time"), AGAIN)
        }
        FailureClass::Broken => say(
            Reason::EndpointUnavailable,
            format!("The connection to {origin} broke before the answer was complete"),
            AGAIN,
        ),
        FailureClass::ServerError => {
            say(Reason::EndpointUnavailable, format!("{origin} has an error of its own"), AGAIN)
        }
        FailureClass::RateLimited => say(
            Reason::RateLimited,
            format!("{origin} limits the requests of this API key"),
            "The operator waits as long as it was told to. If it lasts, use an API key of its own for this link.",
        ),
        FailureClass::Upgrading => {
            say(Reason::ServiceUpgrading, format!("{origin} takes no changes while it is upgraded"), AGAIN)
        }
        FailureClass::AccessListDenied { address } => access_list(org, *address),
        FailureClass::UnexpectedResponse(kind) => say(
            Reason::UnexpectedResponse,
            format!("{origin} does not answer as the Cloud Manager API does: {}", oddity(*kind)),
            match kind {
                UnexpectedKind::WeakerDigest => format!(
                    "{AGAIN} If nobody has put an older version of Ops Manager in place, find out what answers there; \
                     after half an hour the operator takes the weaker digest."
                ),
                _ => format!(
                    "{AGAIN} If it lasts, check that spec.baseUrl leads to the API and not to a login page or another \
                     service."
                ),
            },
        ),
        FailureClass::Unauthorized
        | FailureClass::Forbidden
        | FailureClass::OrganizationNotFound
        | FailureClass::LinkNotFound
        | FailureClass::TokenRejected
        | FailureClass::LinkExists
        | FailureClass::LiveExportRunning { .. }
        | FailureClass::RequestRejected => refused(origin, org, class),
    }
}

/// The API's own refusals, which a person mends.
fn refused(origin: &str, org: &str, class: &FailureClass) -> Words {
    match class {
        FailureClass::Unauthorized => say(
            Reason::Unauthorized,
            format!("{origin} refuses the API key for organization {org}"),
            "Check three things: the public and private key in the Secret; that the key has the role Organization Owner; \
             that it belongs to this organization.",
        ),
        FailureClass::Forbidden => say(
            Reason::Forbidden,
            format!("The API key may not link organization {org}"),
            "Check that it has the role Organization Owner and that the organization's plan has the API.",
        ),
        FailureClass::TokenRejected => say(
            Reason::TokenRejected,
            "The API rejects the link token",
            "Make a new link token in Atlas (Organization, Live Migration) and put it into the Secret.",
        ),
        FailureClass::LinkExists => say(
            Reason::LinkExists,
            format!("Organization {org} already has a link that this MigrationLink did not make"),
            "Remove that link (mongocli liveMigrations link delete, or in the user interface).",
        ),
        FailureClass::LiveExportRunning { projects } => {
            let which = match projects.as_slice() {
                [] => "a project".to_owned(),
                [project] => format!("project {project}"),
                projects => format!("projects {}", projects.join(", ")),
            };
            say(
                Reason::LiveExportRunning,
                format!("The link of organization {org} is in use: a live migration of {which} is running"),
                "The operator removes the link when that is over. To keep the link instead, set spec.deletionPolicy to \
                 Retain.",
            )
        }
        FailureClass::OrganizationNotFound | FailureClass::LinkNotFound => say(
            Reason::OrganizationNotFound,
            format!("{origin} knows no organization {org} in Cloud Manager or Ops Manager"),
            "Check spec.orgId and spec.baseUrl; the organization must not be one of Atlas. To change them, delete this \
             MigrationLink and create it again.",
        ),
        _ => say(
            Reason::RequestRejected,
            format!("{origin} rejects the request"),
            "Check spec.orgId and spec.baseUrl, and that this version of Ops Manager has the endpoint \
             liveExport/migrationLink.",
        ),
    }
}

fn connect(origin: &str, proxy: Option<&str>, problem: ConnectProblem) -> Words {
    let (through, check) = match proxy {
        Some(proxy) => (
            format!(" through the proxy {proxy}"),
            "check the proxy, or add the host to NO_PROXY in the operator's environment",
        ),
        None => (String::new(), "check spec.baseUrl, DNS, network policies and firewalls"),
    };
    say(
        Reason::EndpointUnavailable,
        format!("{origin} cannot be reached{through}: {problem}"),
        format!("{AGAIN} If it lasts, {check}."),
    )
}

fn certificate(origin: &str, problem: CertificateProblem) -> Words {
    say(
        Reason::TlsVerificationFailed,
        format!("The certificate of {origin} is not trusted: {problem}"),
        match problem {
            CertificateProblem::UnknownIssuer => {
                "If the server has a private CA, give its root certificate to this link with spec.caRef, or to every link \
                 with the operator's --ca-file."
            }
            CertificateProblem::Expired => "Renew the server's certificate, and check the clocks.",
            CertificateProblem::WrongName => {
                "Check the host in spec.baseUrl, and the names in the server's certificate."
            }
            CertificateProblem::Other => "Check the server's certificate chain.",
        },
    )
}

fn access_list(org: &str, address: Option<IpAddr>) -> Words {
    let (what, which) = match address {
        Some(address) => (format!("The address {address} is"), "this address"),
        None => ("The operator's address is".to_owned(), "the cluster's egress address"),
    };
    say(
        Reason::AccessListDenied,
        format!("{what} not on the API access list of organization {org}"),
        format!("Add {which} to the access list of the API key in Cloud Manager or Ops Manager."),
    )
}

fn oddity(kind: UnexpectedKind) -> &'static str {
    match kind {
        UnexpectedKind::TooLarge => "the answer is larger than 64 KiB",
        UnexpectedKind::NotJson => "the answer is not JSON",
        UnexpectedKind::Redirect => "it redirects, and credentials do not follow",
        UnexpectedKind::NoStatus => "the answer has no status",
        UnexpectedKind::ChallengeAccepted => "it asks for no credentials",
        UnexpectedKind::NoChallenge => "it asks for other credentials than Digest",
        UnexpectedKind::StaleNonces => "it calls each of its nonces stale",
        UnexpectedKind::WeakerDigest => "it asks for a weaker digest than before",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(class: FailureClass) -> CallFailure {
        let base_url = "https://om.example.com:8443/api/public/v1.0".parse().unwrap();
        let organization = Organization { base_url, org_id: "5f0d1e2a3b4c5d6e7f801234".into(), roots: None };
        let failure = Failure {
            class,
            http_status: Some(401),
            error_code: Some("SOME_CODE".into()),
            retry_after: None,
            maybe_effective: false,
            shared: false,
        };
        explain(&organization, &failure)
    }

    #[test]
    fn each_class_has_its_reason_and_says_what_to_do() {
        let unavailable = Reason::EndpointUnavailable;
        let proxy = Some("http://proxy:3128".to_owned());
        for (class, reason, words) in [
            (
                FailureClass::Connect { proxy, problem: ConnectProblem::Refused },
                unavailable,
                "through the proxy http://proxy:3128",
            ),
            (FailureClass::Connect { proxy: None, problem: ConnectProblem::Refused }, unavailable, "DNS"),
            (FailureClass::TlsBrokenOff, unavailable, "speaks TLS"),
            (
                FailureClass::CertificateNotTrusted { detail: CertificateProblem::UnknownIssuer },
                Reason::TlsVerificationFailed,
                "spec.caRef, or to every link with the operator's --ca-file",
            ),
            (FailureClass::Timeout, unavailable, "tries again"),
            (FailureClass::Broken, unavailable, "tries again"),
            (FailureClass::ServerError, unavailable, "tries again"),
            (FailureClass::RateLimited, Reason::RateLimited, "an API key of its own"),
            (FailureClass::Upgrading, Reason::ServiceUpgrading, "upgraded"),
            (FailureClass::Unauthorized, Reason::Unauthorized, "role Organization Owner"),
            (
                FailureClass::AccessListDenied { address: Some(IpAddr::from([192, 0, 2, 7])) },
                Reason::AccessListDenied,
                "192.0.2.7",
            ),
            (FailureClass::AccessListDenied { address: None }, Reason::AccessListDenied, "egress address"),
            (FailureClass::Forbidden, Reason::Forbidden, "Organization Owner"),
            (FailureClass::OrganizationNotFound, Reason::OrganizationNotFound, "spec.orgId"),
            (FailureClass::TokenRejected, Reason::TokenRejected, "new link token"),
            (FailureClass::LinkExists, Reason::LinkExists, "Remove that link"),
            (
                FailureClass::LiveExportRunning { projects: vec!["5f".into(), "6f".into()] },
                Reason::LiveExportRunning,
                "projects 5f, 6f is running",
            ),
            (
                FailureClass::LiveExportRunning { projects: Vec::new() },
                Reason::LiveExportRunning,
                "deletionPolicy",
            ),
            (FailureClass::RequestRejected, Reason::RequestRejected, "version of Ops Manager"),
            (
                FailureClass::UnexpectedResponse(UnexpectedKind::NotJson),
                Reason::UnexpectedResponse,
                "login page",
            ),
            (
                FailureClass::UnexpectedResponse(UnexpectedKind::WeakerDigest),
                Reason::UnexpectedResponse,
                "older version of Ops Manager",
            ),
        ] {
            let CallFailure { reason: given, message, .. } = explained(class.clone());
            assert_eq!(given, reason, "{class:?}");
            assert!(message.contains(words), "{message}");
            assert!(message.contains(" (HTTP 401 SOME_CODE). "), "{message}");
            assert!(message.ends_with('.'), "{message}");
        }
    }
}
