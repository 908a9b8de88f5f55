//! The calls to the HTTP API.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::explain::explain;
use super::inputs::Reading;
use crate::decision::{Attempt, Call, CallFailure, Credentials, Fingerprints, Link, Outcome};
use crate::endpoint::BaseUrl;
use crate::metrics::{self, Metrics};
use crate::remote::{
    Answer, ApiKeys, Client, Failure, FailureClass, Observer, Operation, Organization, Roots,
    TransportErrorKind,
};

/// A call that was answered: what there is to record, and how it failed for the endpoint's and the key's other links.
#[derive(Debug)]
pub struct Called {
    /// What there is to record.
    pub attempt: Attempt,
    /// How it failed.
    pub failure: Option<Failure>,
}

/// Makes a call, until `deadline` at the most, and notes all that it was made from. None if the pass has nothing to make it
/// with, which a decision never asks for.
pub async fn call(
    remote: &Client,
    link: &Link,
    base_url: BaseUrl,
    reading: &Reading,
    call: Call,
    deadline: Instant,
    clock: impl Fn() -> Timestamp,
) -> Option<Called> {
    let credentials = reading.credentials.as_ref()?;
    let fingerprints = match (&reading.inputs.usable, &reading.inputs.keys) {
        (Ok(fingerprints), _) => fingerprints.clone(),
        (Err(_), Ok(keys)) if call == Call::Unlink => {
            Fingerprints { token: String::new(), keys: keys.clone() }
        }
        _ => return None,
    };
    let roots = credentials.ca.as_ref().map(|pem| Roots::from_pem(pem)).transpose().ok()?;
    let organization = Organization { base_url, org_id: link.spec.org_id.clone(), roots };
    let answer = send(remote, &organization, credentials, call, deadline).await?;
    let (outcome, failure) = match answer {
        Ok(outcome) => (outcome, None),
        Err(failure) => (failed(&organization, call, &failure), Some(failure)),
    };
    let attempt = Attempt {
        call,
        at: clock(),
        generation: link.generation,
        reconcile_at: link.reconcile_at.clone(),
        relink_at: link.relink_at.clone(),
        inputs: reading.inputs.records.clone(),
        fingerprints,
        outcome,
    };
    Some(Called { attempt, failure })
}

async fn send(
    remote: &Client,
    organization: &Organization,
    credentials: &Credentials,
    call: Call,
    deadline: Instant,
) -> Option<Result<Outcome, Failure>> {
    let keys = api_keys(credentials);
    Some(match call {
        Call::Link => {
            let token = credentials.link_token.as_ref()?;
            let answer = remote.link(organization, &keys, token, deadline).await;
            answer.map(|answer| Outcome::Accepted(answer.state))
        }
        Call::Poll | Call::Adopt => {
            match remote.status(organization, &keys, credentials.link_token.as_ref(), deadline).await {
                Ok(Answer { state: Some(state) }) => Ok(Outcome::State(state)),
                // The client gives a 2xx without a state out as a failure.
                Ok(Answer { state: None }) => return None,
                Err(failure) => Err(failure),
            }
        }
        Call::Unlink => remote.unlink(organization, &keys, deadline).await.map(|()| Outcome::Unlinked),
    })
}

/// The API key in the form that the HTTP client takes.
pub fn api_keys(credentials: &Credentials) -> ApiKeys {
    ApiKeys { public: credentials.public_key.clone(), private: credentials.private_key.clone() }
}

fn failed(organization: &Organization, call: Call, failure: &Failure) -> Outcome {
    match (call, &failure.class) {
        (Call::Poll | Call::Adopt, FailureClass::LinkNotFound) => Outcome::NoLink,
        (Call::Unlink, FailureClass::LinkNotFound) => Outcome::Unlinked,
        _ => {
            let failure: CallFailure = explain(organization, failure);
            Outcome::Failed(failure)
        }
    }
}

impl Observer for Metrics {
    fn exchange(&self, operation: Operation, outcome: Result<u16, TransportErrorKind>, elapsed: Duration) {
        let outcome =
            outcome.map_or_else(|kind| metrics::Outcome::Failure(kind.as_str()), metrics::Outcome::Status);
        self.api_exchange(operation.as_str(), outcome, elapsed);
    }
}
