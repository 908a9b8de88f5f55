//! The calls to the Kubernetes API, each with a deadline and a line in the metrics.

use std::fmt::Debug;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use crate::api::{MANAGER, MigrationLink, MigrationLinkStatus, rules};
use crate::decision::Link;
use crate::leader::Claim;
use crate::metrics::{Metrics, Outcome};

/// The longest that one call may take, kube's own retries included.
const DEADLINE: Duration = Duration::from_secs(10);
/// Secrets and ConfigMaps that are read at the same time, however many links are worked on. With four, a link waits twice as long
/// beside a crowd.
const SECRETS_AT_ONCE: usize = 8;
/// Writes that are under way, as long as they are brisk: what an API server is asked all at once its other users wait for.
const WRITES_AT_ONCE: usize = 16;
/// A write that takes longer waits for something of its own, a webhook for example, and nobody waits for it.
const BRISK: Duration = Duration::from_millis(250);

/// Why a call to the Kubernetes API failed. It holds nothing of an answer's body: that may be a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KubernetesError {
    /// No answer in time.
    #[error("the API server did not answer within 10 s")]
    Timeout,
    /// 404.
    #[error("it is not there")]
    NotFound,
    /// 403, and the right that is missing.
    #[error("the API server forbids it: the operator's role lacks {0} (see deploy/rbac.yaml)")]
    Forbidden(&'static str),
    /// 409.
    #[error("it was changed meanwhile")]
    Conflict,
    /// Another HTTP status.
    #[error("the API server answered {0}")]
    Status(u16),
    /// The API server could not be reached, or its answer not be read.
    #[error("the API server cannot be reached, or its answer cannot be read")]
    Unreachable,
    /// Another copy of the operator may write by now.
    #[error("this copy of the operator may not write any more")]
    NotTheWriter,
    /// The answer lacks what every resource has.
    #[error("the API server's answer has no name, uid or resourceVersion")]
    Incomplete,
}

/// The Kubernetes API as the reconciler needs it.
#[derive(Clone)]
pub struct Kubernetes {
    client: Client,
    metrics: Arc<Metrics>,
    /// Looked at right before each write.
    claim: Claim,
    /// A Secret may have 1 MiB, and takes several times that while it is read.
    reading: Arc<Semaphore>,
    /// So that whoever has thousands of links to be written leaves the API server time for others.
    writing: Arc<Semaphore>,
}

impl Kubernetes {
    /// Calls through this client, and writes only while the claim lasts.
    pub fn new(client: Client, metrics: Arc<Metrics>, claim: Claim) -> Self {
        let [reading, writing] = [SECRETS_AT_ONCE, WRITES_AT_ONCE].map(|most| Arc::new(Semaphore::new(most)));
        Self { client, metrics, claim, reading, writing }
    }

    /// Reads a Secret.
    ///
    /// # Errors
    /// [`KubernetesError`]; `NotFound` when there is none of this name.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Secret, KubernetesError> {
        self.input("get_secret", "get on secrets", namespace, name).await
    }

    /// Reads a ConfigMap.
    ///
    /// # Errors
    /// [`KubernetesError`]; `NotFound` when there is none of this name.
    pub async fn config_map(&self, namespace: &str, name: &str) -> Result<ConfigMap, KubernetesError> {
        self.input("get_configmap", "get on configmaps", namespace, name).await
    }

    /// Gets an object that may be large: few at the same time. What is no name is none of an object, and is not put into a URL,
    /// where it might be a path to somebody else's.
    async fn input<K>(
        &self,
        operation: &'static str,
        right: &'static str,
        namespace: &str,
        name: &str,
    ) -> Result<K, KubernetesError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        if !(rules::OBJECT_NAME.holds)(name) {
            return Err(KubernetesError::NotFound);
        }
        let get = async {
            // Never closed, so that there is always a permit in the end.
            let _permit = self.reading.acquire().await;
            Api::namespaced(self.client.clone(), namespace).get(name).await
        };
        self.read(operation, right, get).await
    }

    /// Reads a link.
    ///
    /// # Errors
    /// [`KubernetesError`]; `NotFound` when there is none of this name.
    pub async fn link(&self, namespace: &str, name: &str) -> Result<Link, KubernetesError> {
        let api: Api<MigrationLink> = Api::namespaced(self.client.clone(), namespace);
        let link = self.read("get_link", "get on migrationlinks", api.get(name)).await?;
        Link::observe(link).ok_or(KubernetesError::Incomplete)
    }

    /// Writes the status of exactly this version of the link, by server-side apply. That leaves what somebody else has written
    /// beside it, which is then taken out.
    ///
    /// # Errors
    /// [`KubernetesError`]; `Conflict` when the link has another version or uid by now.
    pub async fn patch_status(
        &self,
        link: &Link,
        status: &MigrationLinkStatus,
    ) -> Result<Link, KubernetesError> {
        let api: Api<MigrationLink> = Api::namespaced(self.client.clone(), &link.namespace);
        let patch = Patch::Apply(json!({
            "apiVersion": MigrationLink::api_version(&()),
            "kind": MigrationLink::kind(&()),
            "metadata": {"name": link.name, "uid": link.uid, "resourceVersion": link.resource_version},
            "status": status,
        }));
        let parameters = PatchParams::apply(MANAGER).force();
        let patching = api.patch_status(&link.name, &parameters, &patch);
        let written = self.write("patch_status", "patch on migrationlinks/status", patching).await?;
        self.metrics.status_written();
        let written = Link::observe(written).ok_or(KubernetesError::Incomplete)?;
        if written.status == *status {
            return Ok(written);
        }
        match surplus(&json!(written.status), &json!(status)) {
            Some(surplus) => self.take_out(&written, &surplus).await,
            None => Ok(written),
        }
    }

    async fn take_out(&self, link: &Link, surplus: &Value) -> Result<Link, KubernetesError> {
        let api: Api<MigrationLink> = Api::namespaced(self.client.clone(), &link.namespace);
        let patch = Patch::Merge(json!({
            "metadata": {"uid": link.uid, "resourceVersion": link.resource_version}, "status": surplus,
        }));
        let parameters = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let patching = api.patch_status(&link.name, &parameters, &patch);
        let written = self.write("patch_status", "patch on migrationlinks/status", patching).await?;
        Link::observe(written).ok_or(KubernetesError::Incomplete)
    }

    /// Writes the list of finalizers of exactly this version of the link. Not by server-side apply: that takes nothing away
    /// that somebody else owns as well, such as a backup that was restored with our finalizer in it.
    ///
    /// # Errors
    /// [`KubernetesError`]; `Conflict` when the link has another version by now.
    pub async fn patch_finalizers(
        &self,
        link: &Link,
        finalizers: &[String],
    ) -> Result<Link, KubernetesError> {
        let api: Api<MigrationLink> = Api::namespaced(self.client.clone(), &link.namespace);
        let patch = Patch::Merge(json!({
            "metadata": {"uid": link.uid, "resourceVersion": link.resource_version, "finalizers": finalizers},
        }));
        let parameters = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let patching = api.patch(&link.name, &parameters, &patch);
        let written = self.write("patch_finalizers", "patch on migrationlinks", patching).await?;
        Link::observe(written).ok_or(KubernetesError::Incomplete)
    }

    async fn read<T>(
        &self,
        operation: &'static str,
        right: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, KubernetesError> {
        self.call(operation, right, Instant::now() + DEADLINE, call).await
    }

    async fn write<T>(
        &self,
        operation: &'static str,
        right: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, KubernetesError> {
        // Never closed, so that there is always a place in the end, after a few turns of [`BRISK`] at most.
        let place = self.writing.acquire().await;
        let deadline = self.claim.deadline(DEADLINE).ok_or(KubernetesError::NotTheWriter)?;
        let _write = self.claim.begin_write();
        let mut written = pin!(self.call(operation, right, deadline, call));
        if let Ok(result) = timeout(BRISK, &mut written).await {
            return result;
        }
        drop(place);
        written.await
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        right: &'static str,
        deadline: Instant,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, KubernetesError> {
        let result = match timeout_at(deadline, call).await {
            Ok(result) => result.map_err(|error| classify(&error, right)),
            Err(_) => Err(KubernetesError::Timeout),
        };
        self.metrics.kubernetes_request(operation, outcome(&result));
        result
    }
}

/// The merge patch that makes `wanted` of `found`, where that has more; None where it has not.
fn surplus(found: &Value, wanted: &Value) -> Option<Value> {
    let (Value::Object(fields), Value::Object(kept)) = (found, wanted) else {
        return (found != wanted).then(|| wanted.clone());
    };
    let of_field = |(name, found): (&String, &Value)| {
        let surplus = kept.get(name).map_or(Some(Value::Null), |wanted| surplus(found, wanted));
        Some((name.clone(), surplus?))
    };
    let fields: Map<_, _> = fields.iter().filter_map(of_field).collect();
    (!fields.is_empty()).then_some(Value::Object(fields))
}

fn classify(error: &kube::Error, right: &'static str) -> KubernetesError {
    match error {
        kube::Error::Api(status) => match status.code {
            403 => KubernetesError::Forbidden(right),
            404 => KubernetesError::NotFound,
            409 => KubernetesError::Conflict,
            code => KubernetesError::Status(code),
        },
        _ => KubernetesError::Unreachable,
    }
}

fn outcome<T>(result: &Result<T, KubernetesError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Status(200),
        Err(KubernetesError::NotFound) => Outcome::Status(404),
        Err(KubernetesError::Forbidden(_)) => Outcome::Status(403),
        Err(KubernetesError::Conflict) => Outcome::Status(409),
        Err(KubernetesError::Status(code)) => Outcome::Status(*code),
        Err(KubernetesError::Timeout) => Outcome::Failure("timeout"),
        Err(KubernetesError::Unreachable) => Outcome::Failure("unreachable"),
        Err(KubernetesError::NotTheWriter) => Outcome::Failure("not_the_writer"),
        Err(KubernetesError::Incomplete) => Outcome::Failure("incomplete"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use futures::future::join_all;
    use http::{Request, Response};
    use kube::client::Body;
    use tokio::time::sleep;
    use tower::service_fn;

    use super::*;
    use crate::controller::pacing::{Pacer, Pacing};
    use crate::controller::store::Store;
    use crate::rate::Rate;

    /// Sixty-four writes that take so long: how many were under way at the same time, and when all had ended.
    async fn writes(each: Duration) -> (usize, Duration) {
        let pacing =
            Pacing { concurrency: 64, origin_concurrency: 32, api_rate: Rate::OFF, origin_rate: Rate::OFF };
        let metrics = Arc::new(Metrics::new(Arc::new(Store::default()), Pacer::new(pacing)));
        let uncalled = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty())));
        let kubernetes = Kubernetes::new(Client::new(uncalled, "default"), metrics, Claim::always());
        let (now, most) = (Cell::new(0), Cell::new(0));
        let call = || async {
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            sleep(each).await;
            now.set(now.get() - 1);
            Ok(())
        };
        let begin = Instant::now();
        let written = join_all((0..64).map(|_| kubernetes.write("patch_status", "patch", call()))).await;
        assert!(written.iter().all(Result::is_ok));
        (most.get(), begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn brisk_writes_take_turns_and_slow_ones_hold_up_nobody() {
        let brisk = Duration::from_millis(20);
        assert_eq!(writes(brisk).await, (16, 4 * brisk));
        let slow = Duration::from_secs(5);
        assert_eq!(writes(slow).await, (64, 3 * BRISK + slow));
    }

    #[test]
    fn what_is_there_beside_what_was_written_is_taken_out_and_nothing_else() {
        let wanted = json!({"state": "SYNCED", "link": {"relinks": 1}, "conditions": [{"type": "Ready"}]});
        assert_eq!(surplus(&wanted, &wanted), None);
        let found = json!({
            "state": "SYNCED", "attempts": 3, "link": {"relinks": 1, "lostSince": "x"},
            "conditions": [{"type": "Ready"}, {"type": "Stalled"}],
        });
        let expected =
            json!({"attempts": null, "link": {"lostSince": null}, "conditions": [{"type": "Ready"}]});
        assert_eq!(surplus(&found, &wanted), Some(expected));
    }
}
