//! The README's quick start, typed as it stands. Only this is different from a laptop with a cluster:
//! - Cloud Manager is the simulator, so its origin is allowed, and the link's `baseUrl` leads there,
//! - no node runs the pod: what the Deployment says is run here, under its ServiceAccount (see `installed`).

use crate::documents::{commands, key_files, types};
use crate::install::{bare, served};
use crate::installed::installed;
use crate::support::{ORG_ID, Tenant};
use crate::tools::{NAMESPACE, RELEASE};
use crate::uninstall::cloud_apart;

#[tokio::test]
async fn the_quick_start_ends_with_a_link_that_is_synced() {
    let control_plane = bare();
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
            types(&control_plane, &format!("{step} --set 'allowedOrigins={{{}}}'", cloud.origin()));
            served(&control_plane).await;
            operator = Some(installed(&watcher, NAMESPACE, RELEASE).await.start().await);
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
