//! What ends a wait and what does not, and how wishes are acknowledged.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use migrationlink_simulator::{Answer, ApiKeys, Behaviour, RetryAfter};
use serde_json::json;
use tokio::time::sleep;

use crate::support::{Page, World, eventually, is_sound, keys, org_id, token};

/// How long is looked for what must not happen.
const A_WHILE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_rate_limit_holds_until_the_api_keys_change() {
    let world = World::new().await;
    let operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    simulator.add_organization(&org_id(0), [keys("link")]);
    let limit = Answer::RateLimited { retry_after: Some(RetryAfter::Seconds(3600)) };
    simulator.script(Behaviour::new(limit).on_method("POST").times(1));
    world.link("link", &org_id(0), &world.cloud.base_url()).await;
    let held = world.diary.has_been("link", &["RateLimited"]).await.remove(0);
    simulator.clear_journal();

    let requests = operator.requests();
    label(&world, "link").await;
    let labelled = seen(&world, &held).await;
    let counts = operator.requests().since(&requests).counts();
    assert_eq!((counts["get secrets"], counts["patch migrationlinks/status"]), (1, 1), "{counts:?}");
    assert_eq!(
        labelled.status.inputs.as_ref().unwrap()[0].content,
        held.status.inputs.as_ref().unwrap()[0].content
    );

    world.tenant.edit_secret("link", &[("linkToken", &token("rotated"))]).await;
    let rotated = seen(&world, &labelled).await;
    world.ask("link").await;
    sleep(A_WHILE).await;
    for page in [&labelled, &rotated] {
        assert_eq!(page.status.next_attempt_time, held.status.next_attempt_time);
        assert_eq!((page.reason(), page.status.attempts), (held.reason(), Some(1)));
    }
    assert!(simulator.journal().is_empty(), "{:#?}", simulator.journal());

    let others = ApiKeys::new("key-others", "canary-others");
    simulator.set_keys(&org_id(0), [others.clone()]);
    let content = [("publicKey", others.public_key.as_str()), ("privateKey", &others.private_key)];
    world.tenant.edit_secret("link", &content).await;
    let pages = world.diary.has_been("link", &["RateLimited", "Synced"]).await;
    pages.iter().for_each(is_sound);
    assert_eq!(simulator.link_token(&org_id(0)), Some(token("rotated")));
}

#[tokio::test]
async fn an_edit_that_changes_no_value_ends_no_wait() {
    let world = World::new().await;
    let operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    simulator.add_organization(&org_id(0), [ApiKeys::new("key-link", "canary-right")]);
    world.link("link", &org_id(0), &world.cloud.base_url()).await;
    let held = world.diary.has_been("link", &["Unauthorized"]).await.remove(0);
    simulator.clear_journal();
    let requests = operator.requests();
    label(&world, "link").await;
    let labelled = seen(&world, &held).await;
    world.tenant.edit_secret("link", &[("note", "of no interest")]).await;
    let noted = seen(&world, &labelled).await;
    sleep(A_WHILE).await;
    for page in [&labelled, &noted] {
        assert_eq!(page.status.next_attempt_time, held.status.next_attempt_time);
        assert_eq!(page.status.attempts, Some(1));
    }
    assert_eq!(operator.requests().since(&requests).count("get", "secrets"), 2);
    assert!(simulator.journal().is_empty(), "{:#?}", simulator.journal());
}

#[tokio::test]
async fn a_wish_is_acknowledged_with_the_first_outcome_good_or_bad() {
    let world = World::new().await;
    let operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    simulator.add_organization(&org_id(0), [ApiKeys::new("key-link", "canary-right")]);
    world.link("link", &org_id(0), &world.cloud.base_url()).await;
    world.diary.has_been("link", &["Unauthorized"]).await;
    simulator.clear_journal();
    let wish = async |value: &str, stored: &str| {
        world.tenant.annotate_link("link", "migrationlink.dev/reconcile-at", value).await;
        let what = format!("{stored} is acknowledged");
        let link = world.tenant.wait_for("link", &what, |link| {
            let handled = link.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_deref());
            handled == Some(stored)
        });
        link.await.status.unwrap()
    };
    let status = wish("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z").await;
    assert_eq!(status.attempts, Some(1), "counted anew");
    let longest = "é".repeat(128);
    wish(&longest, &longest).await;
    let longer = "a".repeat(129);
    let hash = "sha256:c12cb024a2e5551cca0e08fce8f1c5e314555cc3fef6329ee994a3db752166ae";
    wish(&longer, hash).await;
    assert_eq!(world.diary.reasons("link"), ["Unauthorized"]);
    let refused = simulator.journal().iter().filter(|entry| entry.authorization).count();
    assert_eq!(refused, 3, "one answer for each wish");

    // The same value is no new wish; none at all is none.
    world
        .tenant
        .edit_link("link", json!({"metadata": {"annotations": {"migrationlink.dev/reconcile-at": longer}}}))
        .await;
    world
        .tenant
        .edit_link("link", json!({"metadata": {"annotations": {"migrationlink.dev/reconcile-at": null}}}))
        .await;
    sleep(A_WHILE).await;
    assert_eq!(simulator.journal().iter().filter(|entry| entry.authorization).count(), 3);

    // Where only the Secret is missing, too.
    let requests = operator.requests();
    world.tenant.delete_secret("link").await;
    world.diary.has_been("link", &["Unauthorized", "SecretNotFound"]).await;
    wish("once more", "once more").await;
    assert_eq!(world.diary.reasons("link"), ["Unauthorized", "SecretNotFound"]);
    assert_eq!(operator.requests().since(&requests).count("get", "secrets"), 2);
}

/// Waits until the status is about a newer version of the Secret than that of `before`.
async fn seen(world: &World, before: &Page) -> Page {
    eventually("the new version of the Secret is in the status", async || {
        let last = world.diary.pages("link").pop().unwrap();
        if last.status.inputs == before.status.inputs { Err(format!("{last:?}")) } else { Ok(last) }
    })
    .await
}

async fn label(world: &World, name: &str) {
    let secrets: Api<Secret> = Api::namespaced(world.tenant.client.clone(), &world.tenant.namespace);
    let patch = json!({"metadata": {"labels": {"team": "payments"}}});
    secrets.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}
