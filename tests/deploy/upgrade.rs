//! From one release to the next and back: nothing is lost, and nothing is called.

use std::fs;

use migrationlink_operator::api::{DeletionPolicy, FINALIZER, MigrationLink, MigrationLinkSpec};
use serde_json::{Value, json};

use crate::compatible::what_breaks;
use crate::install::{helm_installs, link, served};
use crate::installed::installed;
use crate::support::{
    Calls, Cloud, ControlPlane, Ledger, Operator, OperatorBuilder, Tenant, eventually, link_spec,
};
use crate::tools::{NAMESPACE, RELEASE, ROOT, kubectl_does};

/// The CustomResourceDefinition of each release, oldest first: `tests/deploy/released/VERSION.yaml`.
fn released() -> Vec<(String, Value)> {
    let mut found: Vec<_> = fs::read_dir(format!("{ROOT}/tests/deploy/released"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort_by_key(|path| {
        let version = path.file_stem().unwrap().to_str().unwrap().to_owned();
        version.split('.').map(|part| part.parse::<u32>().expect("VERSION.yaml")).collect::<Vec<_>>()
    });
    let read = |path: std::path::PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.display().to_string(), serde_saphyr::from_str(&text).unwrap())
    };
    found.into_iter().map(read).collect()
}

/// What the code says now.
fn current() -> Value {
    serde_saphyr::from_str(&migrationlink_operator::api::crd_yaml().unwrap()).unwrap()
}

/// Whatever a release has taken, shown or said is taken, shown and said still.
#[test]
fn nothing_of_a_release_is_dropped_changed_or_tightened() {
    let releases = released();
    assert!(!releases.is_empty());
    for (name, crd) in &releases {
        assert_eq!(what_breaks(crd, &current()), [""; 0], "{name}");
    }
    assert_eq!(what_breaks(&current(), &next()), [""; 0]);
    // So that it can fail: here is something to be found.
    let mut worse = current();
    worse["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        .as_object_mut()
        .unwrap()
        .remove("orgId");
    assert_eq!(what_breaks(&current(), &worse), ["v1alpha1.spec.orgId is gone"]);
}

/// A release after this one: a new field in spec and status, and a column.
fn next() -> Value {
    let mut crd = current();
    let version = &mut crd["spec"]["versions"][0];
    for part in ["spec", "status"] {
        let properties = &mut version["schema"]["openAPIV3Schema"]["properties"][part]["properties"];
        properties["ofTheNextRelease"] =
            json!({"type": "string", "description": "A field that this release does not know."});
    }
    let column = json!({"name": "Next", "type": "string", "jsonPath": ".status.ofTheNextRelease"});
    version["additionalPrinterColumns"].as_array_mut().unwrap().push(column);
    crd
}

fn apply(control_plane: &ControlPlane, crd: &Value) {
    kubectl_does(
        control_plane,
        &["apply", "--server-side", "--force-conflicts", "-f", "-"],
        &crd.to_string(),
    );
}

/// Waits until the API server serves this definition: its columns tell.
async fn serves(control_plane: &ControlPlane, next: bool) {
    eventually("the definition is served", async || {
        let listed = kubectl_does(control_plane, &["get", "migrationlinks", "-A"], "");
        if listed.lines().next().is_some_and(|line| line.contains("NEXT")) == next {
            Ok(())
        } else {
            Err(listed)
        }
    })
    .await;
}

/// The links without what the API server counts.
pub fn kept(control_plane: &ControlPlane) -> Value {
    let list = kubectl_does(control_plane, &["get", "migrationlinks", "-A", "-o", "json"], "");
    let mut list: Value = serde_json::from_str(&list).unwrap();
    for link in list["items"].as_array_mut().unwrap() {
        let metadata = link["metadata"].as_object_mut().unwrap();
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
    }
    list["items"].take()
}

/// A new process, as the Deployment of a new version makes it, and it asks for nothing.
pub async fn restarted<'a>(operator: &mut Operator<'a>, next: OperatorBuilder<'a>, cloud: &Cloud) {
    cloud.simulator.clear_journal();
    assert_eq!(operator.stop().await, Some(0));
    *operator = next.start().await;
    operator.wait_until_it_leads().await;
    assert_eq!(cloud.calls(), Calls::default());
    Ledger::open(operator, cloud).expect_nothing().await;
}

#[tokio::test]
async fn a_new_definition_and_the_way_back_lose_nothing_and_call_nobody() {
    for (name, previous) in released() {
        println!("from {name}");
        let control_plane = ControlPlane::start();
        kubectl_does(&control_plane, &["delete", "crd", crate::install::CRD], "");
        apply(&control_plane, &previous);
        served(&control_plane).await;
        let cloud = Cloud::start().await;
        // So that no regular check falls into the test: after a restart they are spread over the interval.
        let values =
            json!({"allowedOrigins": [cloud.origin()], "crds": {"enabled": false}, "syncInterval": "24h"});
        helm_installs(&control_plane, &values);
        let tenant = Tenant::on(&control_plane).await;
        let mut operator = installed(&tenant, NAMESPACE, RELEASE).await.start().await;
        link(&tenant, &cloud).await;
        for (link, org_id, policy, suspend) in [
            ("removed-with-it", "5f0d1e2a3b4c5d6e7f805678", DeletionPolicy::Delete, None),
            ("suspended", "5f0d1e2a3b4c5d6e7f809abc", DeletionPolicy::Retain, Some(true)),
        ] {
            cloud.add_organization(org_id);
            let spec = link_spec(&cloud.base_url());
            tenant
                .create_link(
                    link,
                    MigrationLinkSpec { org_id: org_id.to_owned(), deletion_policy: policy, suspend, ..spec },
                )
                .await;
        }
        tenant.wait_for_ready("removed-with-it", "True", "Synced").await;
        tenant
            .wait_for("suspended", "it is seen", |link| {
                link.status
                    .as_ref()
                    .is_some_and(|status| status.observed_generation == link.metadata.generation)
            })
            .await;
        let before = kept(&control_plane);
        assert_eq!(before[1]["metadata"]["finalizers"], json!([FINALIZER]), "{before}");

        let ledger = Ledger::open(&operator, &cloud);
        apply(&control_plane, &current());
        serves(&control_plane, false).await;
        ledger.expect_nothing().await;
        restarted(&mut operator, installed(&tenant, NAMESPACE, RELEASE).await, &cloud).await;
        assert_eq!(kept(&control_plane), before);

        // A later release, which has written what this one does not know; then this one again, first with the new definition.
        let ledger = Ledger::open(&operator, &cloud);
        apply(&control_plane, &next());
        serves(&control_plane, true).await;
        ledger.expect_nothing().await;
        assert_eq!(kept(&control_plane), before);
        assert_eq!(operator.stop().await, Some(0));
        let written = tenant.kubectl(
            &[
                "patch",
                "migrationlink",
                "link",
                "--subresource=status",
                "--type=merge",
                "-p",
                r#"{"status":{"ofTheNextRelease":"a"}}"#,
            ],
            "",
        );
        assert!(written.success, "{}", written.stderr);
        operator = installed(&tenant, NAMESPACE, RELEASE).await.start().await;
        operator.wait_until_it_leads().await;
        let ledger = Ledger::open(&operator, &cloud);
        ledger.expect_nothing().await;
        apply(&control_plane, &current());
        serves(&control_plane, false).await;
        ledger.expect_nothing().await;
        restarted(&mut operator, installed(&tenant, NAMESPACE, RELEASE).await, &cloud).await;
        assert_eq!(kept(&control_plane), before);
        all_can_be_written(&tenant).await;
    }
}

/// The new definition takes each object of the old one again: by a person's hand, and the status by the operator's.
async fn all_can_be_written(tenant: &Tenant<'_>) {
    let labelled = tenant.kubectl(&["label", "migrationlinks", "--all", "example.com/seen=yes"], "");
    assert!(labelled.success, "{}", labelled.stderr);
    tenant.edit_link("suspended", json!({"spec": {"suspend": false}})).await;
    for name in ["link", "removed-with-it", "suspended"] {
        tenant.annotate_link(name, "migrationlink.dev/reconcile-at", "now").await;
        let written = |link: &MigrationLink| {
            let status = link.status.as_ref();
            status.and_then(|status| status.last_handled_reconcile_at.as_deref()) == Some("now")
        };
        tenant.wait_for(name, "the operator has written its status", written).await;
        let link = tenant.wait_for_ready(name, "True", "Synced").await;
        assert_eq!(link.metadata.labels.unwrap_or_default()["example.com/seen"], "yes");
    }
}
