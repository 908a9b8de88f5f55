//! The cluster as a check uses it: it reads, and has the API server try a manifest without keeping it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::{Api, Client};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::schema::Fault;
use crate::api::{MANAGER, MigrationLink};
use crate::controller::{self, Kubernetes, KubernetesError};
use crate::decision::{Fetched, InputReference, Link};
use crate::leader::Claim;
use crate::metrics::Metrics;

/// The longest that one call may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many links are listed with one call.
const PAGE: u32 = 500;

/// The way to the API server.
pub struct Cluster {
    client: Client,
    kubernetes: Kubernetes,
}

/// What the API server says of a manifest that it was only to try.
pub enum DryRun {
    /// It would take it, and this is what it would keep.
    Accepted(Box<MigrationLink>),
    /// It would not.
    Refused(Vec<Fault>),
    /// It was not asked, or said nothing about the manifest: why.
    NotDone(String),
}

impl Cluster {
    /// From the kubeconfig or, inside a pod, from its service account. Nothing is called yet.
    ///
    /// # Errors
    /// Why there is no way to a cluster.
    pub async fn find() -> Result<Self, String> {
        let client = controller::cluster()
            .await
            .and_then(|cluster| cluster.client())
            .map_err(|error| error.to_string())?;
        // The calls are counted there; nobody reads the counts.
        let metrics = Arc::new(Metrics::new((), ()));
        Ok(Self { kubernetes: Kubernetes::new(client.clone(), metrics, Claim::always()), client })
    }

    /// The namespace of what names none.
    pub fn namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// A link as it is in the cluster; None if there is none of this name.
    ///
    /// # Errors
    /// The API server did not say.
    pub async fn link(&self, namespace: &str, name: &str) -> Result<Option<Link>, KubernetesError> {
        match self.kubernetes.link(namespace, name).await {
            Ok(link) => Ok(Some(link)),
            Err(KubernetesError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An object that a link refers to.
    ///
    /// # Errors
    /// The API server did not say.
    pub async fn input(
        &self,
        namespace: &str,
        reference: &InputReference,
    ) -> Result<Fetched, KubernetesError> {
        controller::fetched(&self.kubernetes, namespace, reference).await
    }

    /// The links of the cluster or, who may not list these, of the namespace.
    ///
    /// # Errors
    /// The API server gives neither list.
    pub async fn links(&self, namespace: &str) -> Result<Vec<Link>, String> {
        match self.list(&Api::all(self.client.clone())).await {
            Ok(links) => Ok(links),
            Err(_) => self.list(&Api::namespaced(self.client.clone(), namespace)).await,
        }
    }

    async fn list(&self, api: &Api<MigrationLink>) -> Result<Vec<Link>, String> {
        let mut links = Vec::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let listed = within_deadline(api.list(&page)).await.map_err(|error| error.to_string())?;
            links.extend(listed.items.into_iter().filter_map(Link::observe));
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(links),
            }
        }
    }

    /// Has the API server try the manifest, and keep nothing. `existing` is the link that it would change.
    pub async fn dry_run(
        &self,
        namespace: &str,
        name: &str,
        manifest: &Map<String, Value>,
        existing: Option<&Link>,
    ) -> DryRun {
        let resource = ApiResource::erase::<MigrationLink>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let field_manager = Some(format!("{MANAGER}-check"));
        let tried = match existing {
            None => {
                let parameters = PostParams { dry_run: true, field_manager };
                let Ok(manifest) = serde_json::from_value(Value::Object(manifest.clone())) else {
                    return DryRun::NotDone("the manifest cannot be sent".to_owned());
                };
                within_deadline(api.create(&parameters, &manifest)).await
            }
            Some(existing) => {
                let parameters = PatchParams { dry_run: true, field_manager, ..PatchParams::default() };
                let old = serde_json::to_value(&existing.spec).unwrap_or_default();
                let patch = Patch::Merge(replacing(manifest, &old));
                within_deadline(api.patch(name, &parameters, &patch)).await
            }
        };
        match tried.map(DynamicObject::try_parse::<MigrationLink>) {
            Ok(Ok(link)) => DryRun::Accepted(Box::new(link)),
            Ok(Err(_)) => DryRun::NotDone("the API server's answer cannot be read".to_owned()),
            Err(Failed::Said(status)) => said(&status),
            Err(error) => DryRun::NotDone(error.to_string()),
        }
    }
}

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// Its text is shown only where it is about the manifest.
    #[error("the API server answered {}", .0.code)]
    Said(Box<Status>),
    #[error("the API server did not answer within 10 s")]
    Timeout,
    #[error("the API server cannot be reached, or its answer cannot be read")]
    Unreachable,
}

async fn within_deadline<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failed> {
    match timeout(DEADLINE, call).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(kube::Error::Api(status))) => Err(Failed::Said(status)),
        Ok(Err(_)) => Err(Failed::Unreachable),
        Err(_) => Err(Failed::Timeout),
    }
}

/// A merge patch after which the link has exactly the manifest's spec, and its labels and annotations beside others.
fn replacing(manifest: &Map<String, Value>, old: &Value) -> Value {
    let meta = |field: &str| manifest.get("metadata").and_then(|metadata| metadata.get(field)).cloned();
    let mut spec = manifest.get("spec").cloned().unwrap_or_default();
    nulls_for_what_is_gone(&mut spec, old);
    serde_json::json!({"metadata": {"labels": meta("labels"), "annotations": meta("annotations")}, "spec": spec})
}

fn nulls_for_what_is_gone(new: &mut Value, old: &Value) {
    if let (Value::Object(new), Value::Object(old)) = (new, old) {
        for (field, old) in old {
            nulls_for_what_is_gone(new.entry(field).or_insert(Value::Null), old);
        }
    }
}

/// What an answer that is no success means for the manifest.
fn said(status: &Status) -> DryRun {
    let about_namespace = status.details.as_ref().is_some_and(|details| details.kind == "namespaces");
    let forbidden = |verb| status.message.contains(&format!(" cannot {verb} resource "));
    match status.code {
        404 if about_namespace => DryRun::NotDone("the cluster does not have this namespace yet".to_owned()),
        404 => DryRun::NotDone(
            "the cluster does not know MigrationLinks: kubectl apply -f crds/migrationlinks.yaml".to_owned(),
        ),
        401 => DryRun::NotDone("the API server does not accept the kubeconfig's credentials".to_owned()),
        403 if forbidden("create") || forbidden("patch") => {
            DryRun::NotDone("this user may neither create nor change MigrationLinks there".to_owned())
        }
        422 => {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            let faults = causes.map(|cause| {
                // In front of it stands the value.
                let sentence = cause.message.rsplit_once("\": ").map(|(_, sentence)| sentence);
                let sentence = sentence.unwrap_or(&cause.message).to_owned();
                Fault { field: cause.field.clone(), sentence }
            });
            DryRun::Refused(faults.collect())
        }
        400..=499 if status.code != 429 => {
            DryRun::Refused(vec![Fault { field: "metadata".to_owned(), sentence: status.message.clone() }])
        }
        code => DryRun::NotDone(format!("the API server answered {code}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_patch_takes_out_what_the_manifest_no_longer_has() {
        let manifest = json!({
            "metadata": {"name": "link", "annotations": {"a": "b"}},
            "spec": {"orgId": "1", "caRef": {"kind": "Secret", "name": "a"}},
        });
        let old =
            json!({"orgId": "1", "suspend": true, "caRef": {"kind": "Secret", "name": "a", "key": "k"}});
        let expected = json!({
            "metadata": {"annotations": {"a": "b"}, "labels": null},
            "spec": {"orgId": "1", "suspend": null, "caRef": {"kind": "Secret", "name": "a", "key": null}},
        });
        assert_eq!(replacing(manifest.as_object().unwrap(), &old), expected);
    }

    #[test]
    fn only_what_is_about_the_manifest_is_a_refusal_and_the_value_is_left_out() {
        let status = |code, message: &str| Status { code, message: message.to_owned(), ..Status::default() };
        for (code, message, words) in [
            (404, "the server could not find the requested resource", "does not know MigrationLinks"),
            (401, "Unauthorized", "credentials"),
            (403, "links is forbidden: User \"x\" cannot create resource \"migrationlinks\"", "may neither"),
            (429, "busy", "answered 429"),
            (500, "hunter2", "answered 500"),
        ] {
            let DryRun::NotDone(why) = said(&status(code, message)) else { panic!("{code} is no refusal") };
            assert!(why.contains(words), "{why}");
        }
        let DryRun::Refused(faults) = said(&status(403, "admission webhook denied the request")) else {
            panic!("a webhook's refusal is one")
        };
        assert_eq!(faults[0].sentence, "admission webhook denied the request");
        let invalid = json!({
            "status": "Failure", "code": 422, "message": "hunter2", "reason": "Invalid",
            "details": {"causes": [{"field": "spec.baseUrl", "reason": "FieldValueInvalid",
                "message": "Invalid value: \"https://u:hunter2@om\": baseUrl must be right"}]},
        });
        let DryRun::Refused(faults) = said(&serde_json::from_value(invalid).unwrap()) else {
            panic!("a refusal")
        };
        let fault = Fault { field: "spec.baseUrl".to_owned(), sentence: "baseUrl must be right".to_owned() };
        assert_eq!(faults, [fault]);
    }
}
