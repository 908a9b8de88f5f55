//! The way out, with the commands of docs/install.md: in its order, and once the operator is gone already.

use std::sync::mpsc;
use std::{future, thread};

use kube::api::ListParams;
use migrationlink_operator::api::{DeletionPolicy, FINALIZER, MigrationLinkSpec};
use serde_json::{Value, json};
use tokio::runtime;

use crate::documents::{commands, types};
use crate::install::{CRD, bare, helm_installs, served};
use crate::installed::installed;
use crate::support::{Cloud, ORG_ID, Operator, Tenant, link_spec};
use crate::tools::{NAMESPACE, RELEASE, helm_does};

const SECOND: &str = "5f0d1e2a3b4c5d6e7f805678";

/// A Cloud Manager that answers while the test's own thread waits for a command. It ends with the process.
pub fn cloud_apart() -> Cloud {
    let (give, take) = mpsc::channel();
    thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            assert!(give.send(Cloud::start().await).is_ok(), "the test waits for it");
            future::pending::<()>().await;
        });
    });
    take.recv().expect("Cloud Manager listens")
}

/// A release with two links that are SYNCED, one of each policy.
async fn with_links(tenant: &Tenant<'_>, cloud: &Cloud) {
    cloud.add_organization(SECOND);
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    for (name, org_id, policy) in
        [("stays", ORG_ID, DeletionPolicy::Retain), ("goes", SECOND, DeletionPolicy::Delete)]
    {
        let spec = MigrationLinkSpec {
            org_id: org_id.to_owned(),
            deletion_policy: policy,
            ..link_spec(&cloud.base_url())
        };
        tenant.create_link(name, spec).await;
        tenant.wait_for_ready(name, "True", "Synced").await;
    }
}

async fn release<'a>(tenant: &'a Tenant<'a>) -> Operator<'a> {
    installed(tenant, NAMESPACE, RELEASE).await.start().await
}

fn linked(cloud: &Cloud, org_id: &str) -> bool {
    cloud.simulator.link_token(org_id).is_some()
}

#[tokio::test]
async fn in_the_documented_order_the_remote_is_left_as_the_policies_say() {
    let control_plane = bare();
    let cloud = cloud_apart();
    helm_installs(&control_plane, &json!({"allowedOrigins": [cloud.origin()]}));
    served(&control_plane).await;
    let tenant = Tenant::on(&control_plane).await;
    let mut operator = release(&tenant).await;
    with_links(&tenant, &cloud).await;
    let steps = commands("docs/install.md", "### Remove it");
    let [links, helm, crd] = &steps[..] else { panic!("{steps:?}") };
    types(&control_plane, links);
    assert_eq!(tenant.links().list(&ListParams::default()).await.unwrap().items.len(), 0);
    assert!(linked(&cloud, ORG_ID), "Retain leaves the link");
    assert!(!linked(&cloud, SECOND), "Delete removes the link");
    types(&control_plane, helm);
    assert_eq!(operator.stop().await, Some(0));
    types(&control_plane, crd);
    assert!(!control_plane.kubectl(&["get", "crd", CRD], "").success);
    let left = control_plane.kubectl(
        &[
            "get",
            "deployments,clusterroles,clusterrolebindings,roles,rolebindings,serviceaccounts",
            "-A",
            "-o",
            "name",
        ],
        "",
    );
    assert!(left.success && !left.stdout.contains("migrationlink-operator"), "{}", left.stdout);
}

/// Only the links that are to be removed remotely are held, only by us, and one command frees them; what others hold they hold on.
#[tokio::test]
async fn once_the_operator_is_gone_one_command_frees_what_it_held() {
    let control_plane = bare();
    let cloud = cloud_apart();
    helm_installs(&control_plane, &json!({"allowedOrigins": [cloud.origin()]}));
    served(&control_plane).await;
    let tenant = Tenant::on(&control_plane).await;
    let mut operator = release(&tenant).await;
    with_links(&tenant, &cloud).await;
    helm_does(&control_plane, &["uninstall", RELEASE, "-n", NAMESPACE], &Value::Null);
    assert_eq!(operator.stop().await, Some(0));
    let others = "example.com/held";
    tenant.edit_link("goes", json!({"metadata": {"finalizers": [others, FINALIZER]}})).await;
    let deleted = control_plane.kubectl(&["delete", "migrationlinks", "--all", "-A", "--wait=false"], "");
    assert!(deleted.success, "{}", deleted.stderr);
    tenant.gone("stays").await;
    let held = tenant.link("goes").await;
    assert!(held.metadata.deletion_timestamp.is_some());

    let [free] = &commands("docs/install.md", "### When the operator is gone already")[..] else {
        panic!("one command")
    };
    cloud.simulator.clear_journal();
    types(&control_plane, free);
    assert_eq!(tenant.link("goes").await.metadata.finalizers, Some(vec![others.to_owned()]));
    tenant.edit_link("goes", json!({"metadata": {"finalizers": null}})).await;
    tenant.gone("goes").await;
    assert!(linked(&cloud, ORG_ID) && linked(&cloud, SECOND), "nobody called");
    assert_eq!(cloud.simulator.journal().len(), 0);
    // A second time there is nothing to do, and that is no failure.
    types(&control_plane, free);
}
