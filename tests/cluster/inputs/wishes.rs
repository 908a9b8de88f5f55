//! Annotations of people, and what they do not do.

use std::time::Duration;

use migrationlink_simulator::{Answer, Behaviour, Phase, RetryAfter};
use serde_json::json;
use tokio::time::sleep;

use crate::failures::case::error;
use crate::support::{
    Calls, Ledger, Page, READ_SECRET, WRITE_STATUS, World, eventually, is_sound, org_id, spec, token,
};

/// How long is looked for what must not happen.
const A_WHILE: Duration = Duration::from_secs(2);

fn handled(reconcile: Option<&'static str>, relink: Option<&'static str>) -> impl Fn(&Page) -> bool {
    move |page| {
        page.status.last_handled_reconcile_at.as_deref() == reconcile
            && page.status.last_handled_relink_at.as_deref() == relink
    }
}

#[tokio::test]
async fn a_post_acknowledges_both_wishes_and_no_poll_follows() {
    let world = World::new().await;
    let operator = world.prepared().arg("--sync-interval=24h").start().await;
    world.link_with("link", &org_id(0), |_| {}).await;
    world.diary.has_been("link", &["Synced"]).await;
    world.announced("link", &["Synced"]).await;
    let ledger = Ledger::open(&operator, &world.cloud);
    let wishes = json!({"migrationlink.dev/reconcile-at": "a", "migrationlink.dev/relink-at": "b"});
    world.tenant.edit_link("link", json!({"metadata": {"annotations": wishes}})).await;
    ledger.expect(&[READ_SECRET, WRITE_STATUS], Calls { posts: 1, ..Calls::default() }).await;
    world.diary.page("link", "both are acknowledged", handled(Some("a"), Some("b"))).await;
    // Taken away and put back, they are the same.
    let ledger = Ledger::open(&operator, &world.cloud);
    for value in [None, Some("b")] {
        let wishes = json!({"migrationlink.dev/relink-at": value});
        world.tenant.edit_link("link", json!({"metadata": {"annotations": wishes}})).await;
    }
    ledger.expect_nothing().await;
}

#[tokio::test]
async fn a_wish_to_link_again_ends_no_back_off() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    let limit = Answer::RateLimited { retry_after: Some(RetryAfter::Seconds(3600)) };
    let rows =
        [("limited", limit, "RateLimited"), ("refused", error(403, "FEATURE_UNSUPPORTED"), "Forbidden")];
    for (n, (name, answer, _)) in rows.iter().enumerate() {
        world.link_with(name, &org_id(n), |_| {}).await;
        world.diary.has_been(name, &["Synced"]).await;
        let instead = Behaviour::new(answer.clone()).on_method("POST").in_phase(Phase::Authenticated);
        simulator.script(instead.on_organization(&org_id(n)).times(1));
        world.tenant.annotate_link(name, "migrationlink.dev/relink-at", "first").await;
    }
    for (name, _, reason) in &rows {
        let pages = world.diary.has_been(name, &["Synced", reason]).await;
        pages.iter().for_each(is_sound);
        world.tenant.annotate_link(name, "migrationlink.dev/relink-at", "second").await;
    }
    sleep(A_WHILE).await;
    for (n, (name, ..)) in rows.iter().enumerate() {
        assert_eq!(world.methods(&org_id(n)), ["POST", "POST"], "{name}");
    }
    // With the wish for a check the refused one is tried, and what it is tried with is the newest wish.
    world.tenant.annotate_link("refused", "migrationlink.dev/reconcile-at", "now").await;
    world.diary.page("refused", "both are acknowledged", handled(Some("now"), Some("second"))).await;
    assert_eq!(world.diary.reasons("refused"), ["Synced", "Forbidden", "Synced"]);
}

#[tokio::test]
async fn paused_is_only_what_says_true_and_comes_before_every_wish() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.link_with("link", &org_id(0), |_| {}).await;
    world.diary.has_been("link", &["Synced"]).await;
    for value in ["false", "yes", "True", ""] {
        world.tenant.annotate_link("link", "migrationlink.dev/paused", value).await;
    }
    world.tenant.annotate_link("link", "migrationlink.dev/relink-at", "now").await;
    world.diary.page("link", "the wish is acknowledged", handled(None, Some("now"))).await;
    let paused = json!({"migrationlink.dev/paused": "true", "migrationlink.dev/relink-at": "later"});
    world.tenant.edit_link("link", json!({"metadata": {"annotations": paused}})).await;
    world.announced("link", &["Synced", "Suspended"]).await;
    sleep(A_WHILE).await;
    assert_eq!(world.methods(&org_id(0)), ["POST", "POST"]);
    // It does not even look: the Secret may go.
    let requests = operator.requests();
    world.tenant.delete_secret("link").await;
    world.secret("link").await;
    sleep(A_WHILE).await;
    assert_eq!(operator.requests().since(&requests).count("get", "secrets"), 0);
    world
        .tenant
        .edit_link("link", json!({"metadata": {"annotations": {"migrationlink.dev/paused": null}}}))
        .await;
    world.diary.page("link", "the wish is acknowledged", handled(None, Some("later"))).await;
    assert_eq!(world.methods(&org_id(0)), ["POST", "POST", "POST"]);
}

/// Somebody takes the status away: the operator does not know any more what was accepted.
#[tokio::test]
async fn a_status_that_is_wiped_is_written_anew() {
    let world = World::new().await;
    let _operator = world.operator().await;
    world.link_with("link", &org_id(0), |_| {}).await;
    world.diary.has_been("link", &["Synced"]).await;
    let args = ["patch", "migrationlink", "link", "--subresource=status", "--type=merge", "-p"];
    let wiped = world.tenant.kubectl(&[&args[..], &[r#"{"status": null}"#]].concat(), "");
    assert!(wiped.success, "{wiped:?}");
    world.tenant.wait_for_ready("link", "True", "Synced").await;
    assert_eq!(world.methods(&org_id(0)), ["POST", "POST"]);
    assert_eq!(world.cloud.simulator.link_token(&org_id(0)), Some(token("link")));
}

/// What other people and tools write into the status is theirs as well: to server-side apply it is nothing to take away.
#[tokio::test]
async fn what_somebody_else_writes_into_the_status_is_taken_out_and_costs_no_storm() {
    let world = World::new().await;
    let operator = world.prepared().arg("--sync-interval=24h").start().await;
    world.link_with("link", &org_id(0), |_| {}).await;
    let before = world.diary.has_been("link", &["Synced"]).await.remove(0).status;
    world.announced("link", &["Synced"]).await;
    let requests = operator.requests();
    let condition = json!({
        "type": "Stalled", "status": "True", "reason": "Invented", "message": "Not so.",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
    });
    let ready = serde_json::to_value(&before.conditions).unwrap()[0].clone();
    let patch = json!({"status": {
        "attempts": 7, "nextAttemptTime": "2026-01-01T00:00:00Z", "conditions": [ready, condition],
        "link": {"lostSince": "2026-01-01T00:00:00Z", "relinks": 3},
    }});
    let args = ["patch", "migrationlink", "link", "--subresource=status", "--type=merge", "-p"];
    let patched = world.tenant.kubectl(&[&args[..], &[&patch.to_string()]].concat(), "");
    assert!(patched.success, "{patched:?}");
    world.ask("link").await;
    let expected = {
        let mut status = before;
        status.last_handled_reconcile_at = Some("now".to_owned());
        status
    };
    eventually("the status is as it was", async || {
        let status = world.tenant.link("link").await.status;
        if status.as_ref() == Some(&expected) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    sleep(A_WHILE).await;
    let writes = operator.requests().since(&requests).count("patch", "migrationlinks/status");
    assert!(writes <= 4, "{writes} writes");

    // Where the record of the link itself has to go.
    let duplicate = spec("link", &org_id(0), &world.cloud.base_url());
    world.tenant.create_link("duplicate", duplicate).await;
    world.diary.has_been("duplicate", &["DuplicateOrganization"]).await;
    let requests = operator.requests();
    let args = ["patch", "migrationlink", "duplicate", "--subresource=status", "--type=merge", "-p"];
    let patched =
        world.tenant.kubectl(&[&args[..], &[r#"{"status": {"link": {"relinks": 3}}}"#]].concat(), "");
    assert!(patched.success, "{patched:?}");
    world
        .tenant
        .wait_for("duplicate", "the record is gone", |link| {
            link.status.as_ref().is_some_and(|status| status.link.is_none())
        })
        .await;
    sleep(A_WHILE).await;
    let writes = operator.requests().since(&requests).count("patch", "migrationlinks/status");
    assert!(writes <= 4, "{writes} writes");
    assert!(!operator.log().contains("did not come to an end"), "{}", operator.log());
}
