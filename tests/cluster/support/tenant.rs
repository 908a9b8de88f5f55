//! A test's own namespace, and what a person does in it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams,
};
use kube::{Api, Client, Resource, ResourceExt};
use migrationlink_operator::api::{
    ConditionType, Conditions, DeletionPolicy, DriftPolicy, MANAGER, MigrationLink, MigrationLinkSpec,
    MigrationLinkStatus, SecretReference,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::controlplane::{ControlPlane, Output};
use super::eventually;
use super::operator::OperatorBuilder;

/// An organization id that the schema accepts.
pub const ORG_ID: &str = "5f0d1e2a3b4c5d6e7f801234";

/// A namespace with a unique name, and the administrator's client for it.
pub struct Tenant<'a> {
    /// Where the namespace is.
    pub control_plane: &'a ControlPlane,
    /// The administrator's client.
    pub client: Client,
    /// Name of the namespace.
    pub namespace: String,
}

impl Tenant<'static> {
    /// A fresh namespace on the shared control plane.
    pub async fn new() -> Self {
        Self::on(ControlPlane::shared()).await
    }
}

impl<'a> Tenant<'a> {
    /// A fresh namespace on this control plane. Its name tells the test.
    pub async fn on(control_plane: &'a ControlPlane) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let client = control_plane.client().await;
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default().rsplit(':').next().unwrap_or_default().replace('_', "-");
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let namespace =
            format!("t{number}-{}", test.get(..50).unwrap_or(&test)).trim_end_matches('-').to_owned();
        let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
        let object = Namespace { metadata, ..Namespace::default() };
        Api::all(client.clone()).create(&PostParams::default(), &object).await.expect("a fresh namespace");
        Self { control_plane, client, namespace }
    }

    /// Prepares the operator for this namespace: its rights, flags and environment can still be changed.
    pub fn operator(&self) -> OperatorBuilder<'_> {
        OperatorBuilder::new(self)
    }

    /// Runs kubectl as the administrator in this namespace, with `stdin` for its `-f -`.
    pub fn kubectl(&self, args: &[&str], stdin: &str) -> Output {
        self.control_plane.kubectl(&[&["-n", self.namespace.as_str()], args].concat(), stdin)
    }

    /// The links of this namespace.
    pub fn links(&self) -> Api<MigrationLink> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The links of this namespace as JSON, for what the types cannot say.
    pub fn raw_links(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::erase::<MigrationLink>(&()))
    }

    /// Creates a Secret with these keys.
    pub async fn create_secret(&self, name: &str, keys: &[(&str, &str)]) {
        let keys = keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let secret =
            Secret { metadata, string_data: Some(keys.collect::<BTreeMap<_, _>>()), ..Secret::default() };
        self.secrets().create(&PostParams::default(), &secret).await.expect("a Secret");
    }

    /// Sets keys of a Secret; the others stay.
    pub async fn edit_secret(&self, name: &str, keys: &[(&str, &str)]) {
        let keys: BTreeMap<_, _> = keys.iter().copied().collect();
        merge(&self.secrets(), name, &json!({"stringData": keys})).await;
    }

    /// Deletes a Secret.
    pub async fn delete_secret(&self, name: &str) {
        self.secrets().delete(name, &DeleteParams::default()).await.expect("the Secret is deleted");
    }

    /// Creates a `ConfigMap` with these keys.
    pub async fn create_config_map(&self, name: &str, keys: &[(&str, &str)]) {
        let data = keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let config_map = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
        self.config_maps().create(&PostParams::default(), &config_map).await.expect("a ConfigMap");
    }

    /// Sets keys of a `ConfigMap`; the others stay.
    pub async fn edit_config_map(&self, name: &str, keys: &[(&str, &str)]) {
        let keys: BTreeMap<_, _> = keys.iter().copied().collect();
        merge(&self.config_maps(), name, &json!({"data": keys})).await;
    }

    /// Creates a link.
    pub async fn create_link(&self, name: &str, spec: MigrationLinkSpec) -> MigrationLink {
        let link = MigrationLink::new(name, spec);
        self.links().create(&PostParams::default(), &link).await.expect("a MigrationLink")
    }

    /// Applies a merge patch to a link, such as `{"spec": {"suspend": true}}`.
    pub async fn edit_link(&self, name: &str, patch: Value) -> MigrationLink {
        merge(&self.links(), name, &patch).await
    }

    /// Deletes a link: it is gone at once, or is being deleted.
    pub async fn delete_link(&self, name: &str) {
        self.links().delete(name, &DeleteParams::default()).await.expect("the MigrationLink is deleted");
    }

    /// Waits until the link is gone.
    pub async fn gone(&self, name: &str) {
        eventually(&format!("{name} is gone"), async || {
            match self.links().get_opt(name).await.expect("an answer") {
                None => Ok(()),
                Some(link) => Err(format!("{:?}, {}", link.metadata.finalizers, describe(&link))),
            }
        })
        .await;
    }

    /// Writes a status as the operator would have written it.
    pub async fn write_status(&self, name: &str, status: &MigrationLinkStatus) {
        let link = json!({
            "apiVersion": MigrationLink::api_version(&()),
            "kind": MigrationLink::kind(&()),
            "metadata": {"name": name},
            "status": status,
        });
        let as_the_operator = PatchParams::apply(MANAGER).force();
        let written = self.links().patch_status(name, &as_the_operator, &Patch::Apply(link)).await;
        written.expect("a status");
    }

    /// Sets an annotation of a link.
    pub async fn annotate_link(&self, name: &str, annotation: &str, value: &str) -> MigrationLink {
        self.edit_link(name, json!({"metadata": {"annotations": {annotation: value}}})).await
    }

    /// The link as it is now.
    pub async fn link(&self, name: &str) -> MigrationLink {
        self.links().get(name).await.expect("the MigrationLink")
    }

    /// Waits until the link is as `holds` wants it; `what` says that in words.
    pub async fn wait_for(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&MigrationLink) -> bool,
    ) -> MigrationLink {
        eventually(&format!("{name}: {what}"), async || {
            let link = self.link(name).await;
            if holds(&link) { Ok(link) } else { Err(describe(&link)) }
        })
        .await
    }

    /// Waits until the operator has said this of the link's current generation: Ready's status and reason.
    pub async fn wait_for_ready(&self, name: &str, status: &str, reason: &str) -> MigrationLink {
        self.wait_for(name, &format!("Ready={status}, {reason}"), |link| {
            let now =
                link.status.as_ref().filter(|status| status.observed_generation == link.metadata.generation);
            let ready = now.and_then(|status| status.conditions.as_ref()?.of(ConditionType::Ready));
            ready.is_some_and(|ready| ready.status == status && ready.reason == reason)
        })
        .await
    }

    /// The events about a link, oldest first.
    pub async fn events(&self, name: &str) -> Vec<Event> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut events = api.list(&ListParams::default()).await.expect("events").items;
        events.retain(|event| {
            let about = event.regarding.as_ref().and_then(|regarding| regarding.name.as_deref());
            about == Some(name)
        });
        events.sort_by_key(|event| event.event_time.clone().map(|time| time.0));
        events
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// A spec that the schema accepts, for this base URL; its Secret is called `keys`.
pub fn link_spec(base_url: &str) -> MigrationLinkSpec {
    MigrationLinkSpec {
        org_id: ORG_ID.to_owned(),
        base_url: base_url.to_owned(),
        secret_ref: SecretReference { name: "keys".to_owned() },
        link_token_secret_ref: None,
        ca_ref: None,
        sync_interval: None,
        deletion_policy: DeletionPolicy::Retain,
        drift_policy: DriftPolicy::Relink,
        suspend: None,
    }
}

async fn merge<K: Clone + DeserializeOwned + Debug>(api: &Api<K>, name: &str, patch: &Value) -> K {
    let as_a_user = PatchParams::default();
    api.patch(name, &as_a_user, &Patch::Merge(patch)).await.expect("the patch is accepted")
}

fn describe(link: &MigrationLink) -> String {
    let status = serde_json::to_string_pretty(&link.status).expect("a status is JSON");
    format!(
        "generation {:?}, annotations {:?}, status {status}",
        link.metadata.generation,
        link.annotations()
    )
}
