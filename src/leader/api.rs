//! The calls about the lease: each with a deadline, none repeated by itself, each with a line in the metrics.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use tokio::time::timeout;

use crate::metrics::{Metrics, Outcome};

/// Why a call about the lease failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// No answer in time.
    #[error("the API server did not answer in time")]
    Timeout,
    /// 403, and the verb that is missing.
    #[error("the API server forbids it: the operator's role lacks {0} on leases (see deploy/rbac.yaml)")]
    Forbidden(&'static str),
    /// 404 to a POST.
    #[error("the namespace does not exist")]
    NoNamespace,
    /// 409, or 404 to a PUT.
    #[error("it was changed meanwhile")]
    Conflict,
    /// Another HTTP status.
    #[error("the API server answered {0}")]
    Status(u16),
    /// The API server could not be reached, or its answer not be read.
    #[error("the API server cannot be reached, or its answer cannot be read")]
    Unreachable,
}

impl LeaseError {
    /// Whether it lasts until a person mends it.
    pub fn needs_a_person(self) -> bool {
        matches!(self, Self::Forbidden(_) | Self::NoNamespace)
    }
}

/// One lease of the Kubernetes API.
pub struct LeaseApi {
    api: Api<Lease>,
    name: String,
    deadline: Duration,
    metrics: Arc<Metrics>,
}

impl LeaseApi {
    /// `client` must not repeat calls by itself: kube's repeats go on for minutes.
    pub fn new(
        client: Client,
        namespace: &str,
        name: String,
        deadline: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { api: Api::namespaced(client, namespace), name, deadline, metrics }
    }

    /// Reads it. None if there is none.
    pub async fn get(&self) -> Result<Option<Lease>, LeaseError> {
        self.call("get_lease", "get", self.api.get_opt(&self.name)).await
    }

    /// Makes it, held by nobody. So there is one way only to hold it, and who may not take that way learns it before
    /// having held anything.
    pub async fn create(&self) -> Result<Lease, LeaseError> {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: None };
        let parameters = PostParams::default();
        let created = self.call("create_lease", "create", self.api.create(&parameters, &lease)).await;
        created.map_err(|error| match error {
            LeaseError::Status(404) => LeaseError::NoNamespace,
            error => error,
        })
    }

    /// Writes it over exactly the version that it has in its metadata.
    pub async fn replace(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        let parameters = PostParams::default();
        let replaced =
            self.call("update_lease", "update", self.api.replace(&self.name, &parameters, lease)).await;
        replaced.map_err(|error| match error {
            LeaseError::Status(404) => LeaseError::Conflict,
            error => error,
        })
    }

    /// Its versions after this one, as they come; None when it is deleted.
    pub async fn changes(
        &self,
        since: &Lease,
    ) -> Result<impl Stream<Item = Result<Option<Lease>, LeaseError>> + use<>, LeaseError> {
        let parameters = WatchParams::default().fields(&format!("metadata.name={}", self.name)).timeout(290);
        let since = since.resource_version().unwrap_or_default();
        let events = self.call("watch_lease", "watch", self.api.watch(&parameters, &since)).await?;
        Ok(events.filter_map(|event| async {
            match event {
                Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease)) => Some(Ok(Some(lease))),
                Ok(WatchEvent::Deleted(_)) => Some(Ok(None)),
                Ok(WatchEvent::Bookmark(_)) => None,
                Ok(WatchEvent::Error(status)) => Some(Err(LeaseError::Status(status.code))),
                Err(error) => Some(Err(classify(&error, "watch"))),
            }
        }))
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        verb: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, LeaseError> {
        let result = match timeout(self.deadline, call).await {
            Ok(result) => result.map_err(|error| classify(&error, verb)),
            Err(_) => Err(LeaseError::Timeout),
        };
        self.metrics.kubernetes_request(operation, outcome(&result));
        result
    }
}

fn classify(error: &kube::Error, verb: &'static str) -> LeaseError {
    match error {
        kube::Error::Api(status) => match status.code {
            403 => LeaseError::Forbidden(verb),
            409 => LeaseError::Conflict,
            code => LeaseError::Status(code),
        },
        _ => LeaseError::Unreachable,
    }
}

fn outcome<T>(result: &Result<T, LeaseError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Status(200),
        Err(LeaseError::Forbidden(_)) => Outcome::Status(403),
        Err(LeaseError::NoNamespace) => Outcome::Status(404),
        Err(LeaseError::Conflict) => Outcome::Status(409),
        Err(LeaseError::Status(code)) => Outcome::Status(*code),
        Err(LeaseError::Timeout) => Outcome::Failure("timeout"),
        Err(LeaseError::Unreachable) => Outcome::Failure("unreachable"),
    }
}
