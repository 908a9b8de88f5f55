//! The rights that are shipped: enough for everything that the operator does, and none of them too much.

mod lease;
mod missing;

use std::collections::BTreeSet;

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use migrationlink_operator::api::{CaReference, DeletionPolicy, InputKind, MigrationLinkSpec};
use serde_json::json;

use crate::support::{
    Cloud, ControlPlane, ORG_ID, Operator, Requests, Rights, Tenant, eventually, link_spec, user,
};

const RECONCILE_AT: &str = "migrationlink.dev/reconcile-at";

#[tokio::test]
async fn the_shipped_role_of_one_namespace_is_enough_and_used_to_the_full() {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start().await;
    let copy = || tenant.operator().arg(format!("--allowed-origin={}", cloud.origin()));
    let copies = [copy().start().await, copy().start().await];
    let requests = story(&tenant, &cloud, copies).await;
    for request in &requests.0 {
        assert_eq!(request.namespace, tenant.namespace, "{request:?}");
    }
    assert_eq!(used(&requests), granted(&Rights::namespaced(&tenant.namespace)));
    nothing_else_is_the_operators(&tenant).await;

    let elsewhere = Tenant::new().await;
    for (namespace, verb, group, resource, allowed) in [
        (&tenant.namespace, "get", "", "secrets", true),
        (&tenant.namespace, "update", "", "secrets", false),
        (&tenant.namespace, "delete", "", "secrets", false),
        (&tenant.namespace, "update", "", "configmaps", false),
        (&tenant.namespace, "update", "migrationlink.dev", "migrationlinks", false),
        (&tenant.namespace, "delete", "migrationlink.dev", "migrationlinks", false),
        (&tenant.namespace, "create", "coordination.k8s.io", "leases", true),
        // Of any name.
        (&tenant.namespace, "update", "coordination.k8s.io", "leases", false),
        (&tenant.namespace, "delete", "coordination.k8s.io", "leases", false),
        (&elsewhere.namespace, "create", "coordination.k8s.io", "leases", false),
        (&elsewhere.namespace, "get", "", "configmaps", false),
        (&elsewhere.namespace, "get", "", "secrets", false),
        (&elsewhere.namespace, "list", "", "secrets", false),
        (&elsewhere.namespace, "list", "migrationlink.dev", "migrationlinks", false),
        (&elsewhere.namespace, "create", "events.k8s.io", "events", false),
    ] {
        let may = may(&tenant, Some(namespace), verb, group, resource).await;
        assert_eq!(may, allowed, "{verb} {resource} in {namespace}");
    }
    for (verb, group, resource) in [
        ("list", "", "secrets"),
        ("list", "", "namespaces"),
        ("get", "apiextensions.k8s.io", "customresourcedefinitions"),
    ] {
        assert!(!may(&tenant, None, verb, group, resource).await, "{verb} {resource} everywhere");
    }
}

#[tokio::test]
async fn the_shipped_cluster_role_is_enough_and_used_to_the_full() {
    let control_plane = ControlPlane::start();
    let tenant = Tenant::on(&control_plane).await;
    let cloud = Cloud::start().await;
    let origin = format!("--allowed-origin={}", cloud.origin());
    let copy = || tenant.operator().cluster_wide().arg(&origin);
    let copies = [copy().start().await, copy().start().await];
    let requests = story(&tenant, &cloud, copies).await;
    assert_eq!(used(&requests), granted(&Rights::cluster_wide()));
    nothing_else_is_the_operators(&tenant).await;
}

/// Both files give the same rights, and each of them is taken away in a test below.
#[test]
fn the_shipped_files_differ_only_in_their_scope() {
    let rights = Rights::namespaced("payments").granted();
    assert_eq!(rights, Rights::cluster_wide().granted());
    let resources: BTreeSet<_> = rights.iter().map(|(_, resource, _)| resource.as_str()).collect();
    let wanted = ["configmaps", "events", "leases", "migrationlinks", "migrationlinks/status", "secrets"];
    assert_eq!(resources, BTreeSet::from(wanted));
}

#[tokio::test]
async fn config_maps_are_not_asked_for_before_a_link_uses_one() {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start().await;
    let operator = tenant.operator().arg(format!("--allowed-origin={}", cloud.origin())).start().await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_config_map("ca", &[("ca.crt", &cloud.simulator.ca_pem().unwrap())]).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    let of_config_maps = |requests: Requests| {
        requests.0.into_iter().filter(|request| request.resource == "configmaps").collect::<Vec<_>>()
    };
    assert_eq!(of_config_maps(operator.requests()), []);
    let ca = json!({"kind": "ConfigMap", "name": "ca"});
    tenant.edit_link("link", json!({"spec": {"caRef": ca}})).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    eventually("they are listed", async || {
        let asked = of_config_maps(operator.requests());
        if asked.iter().any(|request| request.verb == "list") { Ok(()) } else { Err(format!("{asked:?}")) }
    })
    .await;
}

/// Everything that takes a right: a link with a CA and a finalizer that comes before its Secret, a bad Secret, the same event twice, a
/// first sync, a rotation, a conflict, another copy that takes over, and the end of the watches. No request of it is refused.
async fn story(tenant: &Tenant<'_>, cloud: &Cloud, copies: [Operator<'_>; 2]) -> Requests {
    let [mut operator, mut second] = copies;
    tenant.create_config_map("ca", &[("ca.crt", &cloud.simulator.ca_pem().unwrap())]).await;
    let spec = with_ca(link_spec(&cloud.base_url()));
    let spec = MigrationLinkSpec { deletion_policy: DeletionPolicy::Delete, ..spec };
    tenant.create_link("link", spec).await;
    same_event_twice(tenant).await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    tenant.edit_secret("keys", &[("linkToken", "the-next-token")]).await;
    eventually("the rotation", async || match cloud.calls() {
        calls if calls.posts == 2 => Ok(()),
        calls => Err(format!("{calls:?}")),
    })
    .await;
    assert_eq!(cloud.simulator.link_token(ORG_ID).as_deref(), Some("the-next-token"));
    conflict(tenant, &operator).await;
    acknowledged(tenant, "after all").await;
    eventually("the repeated event", async || {
        let requests = operator.requests();
        if requests.count("patch", "events") > 0 { Ok(()) } else { Err(format!("{requests:?}")) }
    })
    .await;
    assert_eq!(operator.stop().await, Some(0));
    second.wait_until_it_leads().await;
    assert_eq!(second.stop().await, Some(0));
    eventually("the watches are in the audit log", async || {
        let requests = operator.requests();
        let watched = ["migrationlinks", "secrets", "configmaps", "leases"];
        let ended = watched.iter().all(|of| requests.count("watch", of) > 0);
        if ended { Ok(()) } else { Err(format!("{requests:?}")) }
    })
    .await;
    let requests = operator.requests();
    for request in &requests.0 {
        assert!(!matches!(request.code, 401 | 403), "{request:?}");
    }
    requests
}

/// From no Secret to a bad one and back: `SecretNotFound` two times.
async fn same_event_twice(tenant: &Tenant<'_>) {
    tenant.wait_for_ready("link", "False", "SecretNotFound").await;
    tenant.create_secret("keys", &[("publicKey", "abcdefgh")]).await;
    tenant.wait_for_ready("link", "False", "InvalidSecret").await;
    tenant.delete_secret("keys").await;
    tenant.wait_for_ready("link", "False", "SecretNotFound").await;
}

/// Edits the link without a pause, each time so that the operator has something to write, until an edit falls between the operator's
/// look at the link and its write: it then reads the link again.
async fn conflict(tenant: &Tenant<'_>, operator: &Operator<'_>) {
    let links = tenant.links();
    let edits = join_all((0..2).map(|editor| {
        let links = links.clone();
        async move {
            for number in 0_u32.. {
                let value = format!("{editor}-{number}");
                let patch = json!({"metadata": {"annotations": {RECONCILE_AT: value}}});
                // Two at a time may get in each other's way.
                let _ = links.patch("link", &PatchParams::default(), &Patch::Merge(&patch)).await;
            }
        }
    }));
    let met = eventually("a conflict", async || match operator.requests().count("get", "migrationlinks") {
        0 => Err("none yet".to_owned()),
        _ => Ok(()),
    });
    tokio::select! {
        _ = edits => unreachable!("it edits for ever"),
        () = met => {}
    }
    let requests = operator.requests();
    assert!(requests.0.iter().any(|request| request.code == 409), "a link is read only after a conflict");
}

/// Asks for a check, and waits until it was made.
async fn acknowledged(tenant: &Tenant<'_>, value: &str) {
    tenant.annotate_link("link", RECONCILE_AT, value).await;
    tenant
        .wait_for("link", "the wish is acknowledged", |link| {
            let handled = link.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_deref());
            handled == Some(value)
        })
        .await;
}

/// What the operator owns of a link is its status and its finalizer.
async fn nothing_else_is_the_operators(tenant: &Tenant<'_>) {
    let link = tenant.raw_links().get("link").await.expect("the link");
    let all: Vec<_> = link.metadata.managed_fields.into_iter().flatten().collect();
    let ours = all.iter().filter(|entry| entry.manager.as_deref() == Some("migrationlink-operator"));
    let owned: BTreeSet<_> = ours
        .map(|entry| {
            let fields = entry.fields_v1.as_ref().map(|fields| fields.0.clone()).expect("fields");
            let fields = match fields.pointer("/f:metadata") {
                Some(metadata) => metadata.clone(),
                None => fields,
            };
            let fields: Vec<_> = fields.as_object().expect("fields").keys().cloned().collect();
            let operation = entry.operation.clone().expect("an operation");
            (operation, entry.subresource.clone(), fields)
        })
        .collect();
    let status = ("Apply".to_owned(), Some("status".to_owned()), vec!["f:status".to_owned()]);
    let finalizer = ("Update".to_owned(), None, vec!["f:finalizers".to_owned()]);
    assert_eq!(owned, BTreeSet::from([status, finalizer]), "{all:?}");
}

/// The spec, with a CA in a `ConfigMap`.
fn with_ca(spec: MigrationLinkSpec) -> MigrationLinkSpec {
    let ca_ref = CaReference { kind: InputKind::ConfigMap, name: "ca".to_owned(), key: None };
    MigrationLinkSpec { ca_ref: Some(ca_ref), ..spec }
}

async fn says(operator: &Operator<'_>, sentence: &str) {
    eventually(&format!("the log says: {sentence}"), async || {
        let log = operator.log();
        if log.contains(sentence) { Ok(()) } else { Err(log) }
    })
    .await;
}

/// Resource and verb of each right that is given.
fn granted(rights: &Rights) -> BTreeSet<(String, String)> {
    rights.granted().into_iter().map(|(_, resource, verb)| (resource, verb)).collect()
}

/// Resource and verb of each right that was used.
fn used(requests: &Requests) -> BTreeSet<(String, String)> {
    requests.0.iter().map(|request| (request.resource.clone(), request.verb.clone())).collect()
}

/// What `kubectl auth can-i` asks, about the operator of this tenant.
async fn may(
    tenant: &Tenant<'_>,
    namespace: Option<&String>,
    verb: &str,
    group: &str,
    resource: &str,
) -> bool {
    let text = |text: &str| Some(text.to_owned());
    let attributes = ResourceAttributes {
        group: text(group),
        resource: text(resource),
        verb: text(verb),
        namespace: namespace.cloned(),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(user(&tenant.namespace)),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = Api::all(tenant.client.clone()).create(&PostParams::default(), &review).await;
    answer.expect("an access review").status.expect("an answer").allowed
}
