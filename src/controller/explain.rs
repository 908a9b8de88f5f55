//! The failure table: what a failed call of the HTTP API means as a reason, in words that say what to do.

use crate::api::Reason;
use crate::decision::CallFailure;
use crate::remote::{CertificateProblem, Failure, FailureClass, Organization, UnexpectedKind};

/// The reason and the message for a failed call. The message holds what we know of the call, and of the answer only
/// what [`Failure`] lets through: a status, an error code, an address.
pub fn explain(organization: &Organization, failure: &Failure) -> CallFailure {
    let (reason, text) = reason_and_text(organization, failure);
    let code = match (failure.http_status, &failure.error_code) {
        (Some(status), Some(code)) => format!(" (HTTP {status} {code})"),
        (Some(status), None) => format!(" (HTTP {status})"),
        (None, _) => String::new(),
    };
    let (what, advice) = text;
    CallFailure {
        reason,
        message: format!("{what}{code}. {advice}"),
        retry_after: failure.retry_after,
        maybe_effective: failure.maybe_effective,
    }
}

/// The reason, and what happened and what to do as two sentences, the first without its full stop.
fn reason_and_text(organization: &Organization, failure: &Failure) -> (Reason, (String, String)) {
    let origin = organization.base_url.origin();
    let org = &organization.org_id;
    match &failure.class {
        FailureClass::Connect { proxy: Some(proxy), problem } => (
            Reason::EndpointUnavailable,
            (
                format!("{origin} cannot be reached through the proxy {proxy}: {problem}"),
                "The operator tries again. If it lasts, check the proxy, or add the host to NO_PROXY of the operator."
                    .into(),
            ),
        ),
        FailureClass::Connect { proxy: None, problem } => (
            Reason::EndpointUnavailable,
            (
                format!("{origin} cannot be reached: {problem}"),
                "The operator tries again. If it lasts, check spec.baseUrl, DNS, network policies and firewalls.".into(),
            ),
        ),
        FailureClass::TlsBrokenOff => (
            Reason::EndpointUnavailable,
            (
                format!("{origin} broke off the TLS handshake"),
                "The operator tries again. If it lasts, check that this port speaks TLS.".into(),
            ),
        ),
        FailureClass::CertificateNotTrusted { detail } => certificate(origin.as_str(), *detail),
        FailureClass::Timeout => (
            Reason::EndpointUnavailable,
            (format!("{origin} did not answer in time"), "The operator tries again.".into()),
        ),
        FailureClass::Broken => (
            Reason::EndpointUnavailable,
            (format!("The connection to {origin} broke before the answer was complete"), "The operator tries again.".into()),
        ),
        FailureClass::ServerError => (
            Reason::EndpointUnavailable,
            (format!("{origin} has an error of its own"), "The operator tries again.".into()),
        ),
        FailureClass::RateLimited => (
            Reason::RateLimited,
            (
                format!("{origin} limits the requests of this API key"),
                "The operator waits as long as it was told to. If it lasts, use an API key of its own for this link.".into(),
            ),
        ),
        FailureClass::Upgrading => (
            Reason::ServiceUpgrading,
            (format!("{origin} takes no changes while it is upgraded"), "The operator tries again.".into()),
        ),
        FailureClass::Unauthorized => (
            Reason::Unauthorized,
            (
                format!("{origin} refuses the API key for organization {org}"),
                "Check three things: the public and private key in the Secret; that the key has the role Organization \
                 Owner; that it belongs to this organization."
                    .into(),
            ),
        ),
        FailureClass::AccessListDenied { address } => access_list(org, address.map(|address| address.to_string())),
        FailureClass::Forbidden => (
            Reason::Forbidden,
            (
                format!("The API key may not link organization {org}"),
                "Check that it has the role Organization Owner and that the organization's plan has the API.".into(),
            ),
        ),
        FailureClass::OrganizationNotFound | FailureClass::LinkNotFound => (
            Reason::OrganizationNotFound,
            (
                format!("{origin} knows no organization {org} in Cloud Manager or Ops Manager"),
                "Check spec.orgId and spec.baseUrl; the organization must not be one of Atlas. To change them, delete \
                 this MigrationLink and create it again."
                    .into(),
            ),
        ),
        FailureClass::TokenRejected => (
            Reason::TokenRejected,
            (
                "The API rejects the link token".into(),
                "Make a new link token in Atlas (Organization, Live Migration) and put it into the Secret.".into(),
            ),
        ),
        FailureClass::LinkExists => (
            Reason::LinkExists,
            (
                format!("Organization {org} already has a link that this MigrationLink did not make"),
                "Remove that link (mongocli liveMigrations link delete, or in the user interface).".into(),
            ),
        ),
        FailureClass::RequestRejected => (
            Reason::RequestRejected,
            (
                format!("{origin} rejects the request"),
                "Check spec.orgId and spec.baseUrl, and that this version of Ops Manager has the endpoint \
                 liveExport/migrationLink."
                    .into(),
            ),
        ),
        FailureClass::UnexpectedResponse(kind) => (
            Reason::UnexpectedResponse,
            (
                format!("{origin} does not answer as the Cloud Manager API does: {}", oddity(*kind)),
                "The operator tries again. If it lasts, check that spec.baseUrl leads to the API and not to a login page \
                 or another service."
                    .into(),
            ),
        ),
    }
}

fn certificate(origin: &str, problem: CertificateProblem) -> (Reason, (String, String)) {
    let advice = match problem {
        CertificateProblem::UnknownIssuer => {
            "If the server has a private CA, the operator's --ca-file must hold its root certificate."
        }
        CertificateProblem::Expired => "Renew the server's certificate, and check the clocks.",
        CertificateProblem::WrongName => {
            "Check the host in spec.baseUrl, or the names in the server's certificate."
        }
        CertificateProblem::Other => "Check the server's certificate chain.",
    };
    (
        Reason::TlsVerificationFailed,
        (format!("The certificate of {origin} is not trusted: {problem}"), advice.into()),
    )
}

fn access_list(org: &str, address: Option<String>) -> (Reason, (String, String)) {
    let (what, which) = match address {
        Some(address) => (format!("The address {address} is not"), "this address"),
        None => ("The operator's address is not".to_owned(), "the cluster's egress address"),
    };
    (
        Reason::AccessListDenied,
        (
            format!("{what} on the API access list of organization {org}"),
            format!("Add {which} to the access list of the API key in Cloud Manager or Ops Manager."),
        ),
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
    }
}
