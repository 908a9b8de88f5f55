//! The steps that reach out: reading the inputs, and the calls to the HTTP API.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::explain::explain;
use super::kubernetes::{Kubernetes, KubernetesError};
use crate::api::InputRecord;
use crate::decision::{
    Attempt, Call, Credentials, InputReference, Inputs, Link, Outcome, Unusable, Version, read_secret,
};
use crate::endpoint::BaseUrl;
use crate::metrics::{self, Metrics};
use crate::remote::{
    Answer, ApiKeys, Client, Failure, FailureClass, Observer, Operation, Organization, TransportErrorKind,
};

/// What was read for one pass. The values live no longer than the pass.
#[derive(Debug)]
pub struct Reading {
    /// What a decision may see.
    pub inputs: Inputs,
    /// What a call is made with.
    pub credentials: Option<Credentials>,
    /// The version of each object, for the index.
    pub versions: Vec<(InputReference, Version)>,
}

/// Reads what the link refers to. `known` is what the index knows of the versions.
///
/// # Errors
/// The API server did not give an answer that says anything about the objects.
pub async fn read_inputs(
    kubernetes: &Kubernetes,
    link: &Link,
    known: &[(InputReference, Version)],
) -> Result<Reading, KubernetesError> {
    let reference =
        InputReference { kind: crate::api::InputKind::Secret, name: link.spec.secret_ref.name.clone() };
    let mut record = InputRecord {
        kind: reference.kind,
        name: reference.name.clone(),
        uid: None,
        resource_version: None,
        content: None,
    };
    let name = record.name.clone();
    let secret = match kubernetes.secret(&link.namespace, &name).await {
        Ok(secret) => secret,
        Err(KubernetesError::NotFound) => {
            let inputs = Inputs { records: vec![record], usable: Err(Unusable::missing(&name)) };
            return Ok(Reading { inputs, credentials: None, versions: vec![(reference, Version::Missing)] });
        }
        Err(KubernetesError::Forbidden(_)) => {
            // The version that the watch knows was tried: only another one is worth another try before its time.
            if let Some((_, Version::Present { uid, resource_version })) =
                known.iter().find(|(known, _)| *known == reference)
            {
                record.uid = Some(uid.clone());
                record.resource_version = Some(resource_version.clone());
            }
            let inputs = Inputs { records: vec![record], usable: Err(Unusable::denied(link, &name)) };
            return Ok(Reading { inputs, credentials: None, versions: Vec::new() });
        }
        Err(error) => return Err(error),
    };
    let Secret { metadata, data, .. } = secret;
    let (Some(uid), Some(resource_version)) = (metadata.uid, metadata.resource_version) else {
        return Err(KubernetesError::Incomplete);
    };
    let data = data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
    let read = read_secret(&link.uid, data);
    record.uid = Some(uid.clone());
    record.resource_version = Some(resource_version.clone());
    record.content = Some(read.content);
    let (usable, credentials) = match read.credentials {
        Ok(credentials) => (Ok(credentials.fingerprints(&link.uid)), Some(credentials)),
        Err(problem) => (Err(Unusable::invalid(&name, &problem)), None),
    };
    Ok(Reading {
        inputs: Inputs { records: vec![record], usable },
        credentials,
        versions: vec![(reference, Version::Present { uid, resource_version })],
    })
}

/// Makes a call and notes all that it was made from. None if the pass has nothing to make it with, which a decision
/// never asks for.
pub async fn call(
    remote: &Client,
    link: &Link,
    base_url: BaseUrl,
    reading: &Reading,
    call: Call,
    clock: impl Fn() -> Timestamp,
) -> Option<Attempt> {
    let credentials = reading.credentials.as_ref()?;
    let fingerprints = reading.inputs.usable.as_ref().ok()?.clone();
    let organization = Organization { base_url, org_id: link.spec.org_id.clone(), roots: None };
    let keys = ApiKeys { public: credentials.public_key.clone(), private: credentials.private_key.clone() };
    // The client has a limit of its own.
    let deadline = Instant::now() + Duration::from_mins(1);
    let outcome = match call {
        Call::Link => match remote.link(&organization, &keys, &credentials.link_token, deadline).await {
            Ok(answer) => Outcome::Accepted(answer.state),
            Err(failure) => Outcome::Failed(explain(&organization, &failure)),
        },
        Call::Poll => match remote.status(&organization, &keys, deadline).await {
            Ok(Answer { state: Some(state) }) => Outcome::State(state),
            // The client gives a 2xx without a state out as a failure.
            Ok(Answer { state: None }) => return None,
            Err(Failure { class: FailureClass::LinkNotFound, .. }) => Outcome::NoLink,
            Err(failure) => Outcome::Failed(explain(&organization, &failure)),
        },
    };
    Some(Attempt {
        call,
        at: clock(),
        generation: link.generation,
        reconcile_at: link.reconcile_at.clone(),
        relink_at: link.relink_at.clone(),
        inputs: reading.inputs.records.clone(),
        fingerprints,
        outcome,
    })
}

impl Observer for Metrics {
    fn exchange(&self, operation: Operation, outcome: Result<u16, TransportErrorKind>, elapsed: Duration) {
        let outcome =
            outcome.map_or_else(|kind| metrics::Outcome::Failure(kind.as_str()), metrics::Outcome::Status);
        self.api_exchange(operation.as_str(), outcome, elapsed);
    }
}
