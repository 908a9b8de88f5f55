//! The README's quick start, typed as it stands. Only this is different from a laptop with a cluster:
//! - Cloud Manager is the simulator, so its origin is allowed, and the link's `baseUrl` leads there,
//! - no node runs the pod: what the Deployment says is run here, under its ServiceAccount (see `installed`), and the Deployment's status
//!   says so once that is ready, as its controller would.
//!
//! Nothing waits between the commands that does not stand there: somebody may paste all of them.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::documents::{commands, key_files, types};
use crate::install::bare;
use crate::installed::installed;
use crate::support::{ORG_ID, Operator, Tenant, eventually};
use crate::tools::{NAMESPACE, RELEASE};
use crate::uninstall::cloud_apart;

/// The pod of the Deployment, once that is there.
async fn pod<'a>(watcher: &'a Tenant<'a>) -> Operator<'a> {
    let deployments: Api<Deployment> = Api::namespaced(watcher.client.clone(), NAMESPACE);
    eventually("the Deployment is there", async || match deployments.get(RELEASE).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    })
    .await;
    let operator = installed(watcher, NAMESPACE, RELEASE).await.start().await;
    let status = json!({"status": {
        "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        "conditions": [
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
        ],
    }});
    let written = deployments.patch_status(RELEASE, &PatchParams::default(), &Patch::Merge(status)).await;
    written.expect("its status is written");
    operator
}

#[tokio::test]
async fn the_quick_start_ends_with_a_link_that_is_synced() {
    let control_plane = Arc::new(bare());
    let cloud = cloud_apart();
    let steps = commands("README.md", "## Quick start");
    assert!((2..=5).contains(&steps.len()), "five commands at most: {steps:?}");
    key_files(&control_plane);
    let watcher = Tenant::on(&control_plane).await;
    let mut operator = None;
    let (mut installs, mut links) = (0, 0);
    for step in &steps {
        if step.starts_with("helm install ") {
            installs += 1;
            let step = format!("{step} --set 'allowedOrigins={{{}}}'", cloud.origin());
            let plane = control_plane.clone();
            let typing = spawn_blocking(move || types(&plane, &step));
            operator = Some(pod(&watcher).await);
            typing.await.expect("helm ends");
        } else if step.contains("orgId: ") {
            links += 1;
            let step = step.replace("\nspec:\n", &format!("\nspec:\n  baseUrl: {}\n", cloud.base_url()));
            assert!(step.contains(ORG_ID), "the README's organization is that of the simulator: {step}");
            types(&control_plane, &step);
        } else {
            types(&control_plane, step);
        }
    }
    assert_eq!((installs, links), (1, 1), "{steps:?}");
    assert!(operator.is_some());
    let state = "jsonpath={.items[*].status.state}";
    let listed = control_plane.kubectl(&["get", "migrationlinks", "-n", "payments", "-o", state], "");
    assert_eq!(listed.stdout.trim(), "SYNCED", "{}", listed.stderr);
    assert_eq!(cloud.calls().posts, 1);
}
