//! The actions of Argo CD, applied as Argo CD applies them, under the eyes of the operator.

use kube::api::{Patch, PatchParams};
use migrationlink_operator::api::{ConditionType, Conditions, MigrationLink};
use serde_json::Value;

use super::tool::{Judged, judge};
use crate::support::{Page, World, org_id};

fn judged(world: &World) -> Judged {
    let got =
        world.tenant.kubectl(&["get", "migrationlink", "link", "-o", "json", "--show-managed-fields"], "");
    let live: Value = serde_json::from_str(&got.stdout).expect("JSON");
    judge(&[live]).remove(0)
}

/// Takes an action that Argo CD offers, and gives the resource as it is then.
async fn take(world: &World, action: &str) -> MigrationLink {
    let judged = judged(world);
    assert!(judged.actions[action], "{action} is not offered: {judged:?}");
    let patch = Patch::Merge(&judged.patches[action]);
    world.tenant.links().patch("link", &PatchParams::default(), &patch).await.expect("the patch is taken")
}

fn is_suspended(link: &MigrationLink) -> bool {
    let conditions = link.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| conditions.is_true(ConditionType::Suspended))
}

#[tokio::test]
async fn the_actions_of_argo_cd_do_what_they_are_called() {
    let world = World::new().await;
    let _operator = world.prepared().arg("--sync-interval=24h").start().await;
    world.link_with("link", &org_id(0), |_| {}).await;
    world.diary.has_been("link", &["Synced"]).await;
    let methods = || world.methods(&org_id(0));
    assert_eq!(methods(), ["POST"]);
    let handled = async |handled: fn(&Page) -> Option<&String>, annotation: &str, link: MigrationLink| {
        let value = link.metadata.annotations.expect("annotations")[annotation].clone();
        world.diary.page("link", "it is acknowledged", |page| handled(page) == Some(&value)).await
    };

    let link = take(&world, "reconcile").await;
    handled(|page| page.status.last_handled_reconcile_at.as_ref(), "migrationlink.dev/reconcile-at", link)
        .await;
    assert_eq!(methods(), ["POST", "GET"]);

    let link = take(&world, "relink").await;
    handled(|page| page.status.last_handled_relink_at.as_ref(), "migrationlink.dev/relink-at", link).await;
    assert_eq!(methods(), ["POST", "GET", "POST"]);

    take(&world, "suspend").await;
    world.tenant.wait_for("link", "it is suspended", is_suspended).await;
    let suspended = judged(&world);
    assert_eq!((suspended.argo.status.as_str(), suspended.kstatus.status.as_str()), ("Suspended", "Current"));
    assert!(!suspended.actions["reconcile"] && !suspended.actions["suspend"], "{suspended:?}");

    take(&world, "resume").await;
    world.tenant.wait_for("link", "it is resumed", |link| !is_suspended(link)).await;
    let resumed = judged(&world);
    assert_eq!((resumed.argo.status.as_str(), resumed.kstatus.status.as_str()), ("Healthy", "Current"));
    assert_eq!(
        world.tenant.link("link").await.metadata.generation,
        Some(1),
        "nothing of the spec was touched"
    );
}
