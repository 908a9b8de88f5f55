//! What keeps a link from being removed: said with the ways out, and tried again.

use std::time::Duration;

use migrationlink_operator::api::MigrationLinkStatus;
use migrationlink_simulator::{Answer, ApiKeys, Behaviour, Phase, RetryAfter};
use tokio::time::sleep;

use super::{blocked, delete, synced};
use crate::failures::case::{error, raw};
use crate::support::{Page, World, is_sound, keys, org_id, trouble};

/// What the Cloud Manager answers once instead of removing the link.
struct Row {
    name: &'static str,
    answer: Answer,
    /// What the condition beside `Ready` says.
    cause: &'static str,
    says: &'static str,
}

const fn row(name: &'static str, answer: Answer, cause: &'static str, says: &'static str) -> Row {
    Row { name, answer, cause, says }
}

#[tokio::test]
async fn what_passes_by_itself_is_tried_again_without_an_end() {
    holds_up(
        "Reconciling",
        vec![
            row("http-405", Answer::Upgrading, "ServiceUpgrading", "no changes while it is upgraded"),
            row("http-500", error(500, "UNEXPECTED_ERROR"), "EndpointUnavailable", "error of its own"),
            row("http-503", Answer::Html { status: 503 }, "EndpointUnavailable", "error of its own"),
            row("reset", Answer::Reset, "EndpointUnavailable", "broke before"),
            row("page-200", Answer::Html { status: 200 }, "UnexpectedResponse", "not JSON"),
            row("page-404", Answer::Html { status: 404 }, "UnexpectedResponse", "not JSON"),
            row("http-429", Answer::RateLimited { retry_after: None }, "RateLimited", "limits the requests"),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_a_person_must_mend_is_tried_at_once_when_asked() {
    let address = Answer::NotOnAccessList { address: "203.0.113.7".into() };
    holds_up(
        "Stalled",
        vec![
            row("no-owner", error(401, "NOT_ORG_ADMIN"), "Unauthorized", "refuses the API key"),
            row("address", address, "AccessListDenied", "The address 203.0.113.7 is not"),
            row("plan", error(403, "FEATURE_UNSUPPORTED"), "Forbidden", "HTTP 403 FEATURE_UNSUPPORTED"),
            row("no-org", error(404, "ORG_NOT_FOUND"), "OrganizationNotFound", "HTTP 404 ORG_NOT_FOUND"),
            row("gateway", raw(404, r#"{"message": "no route"}"#), "RequestRejected", "HTTP 404"),
            row("gone", error(410, "VERSION_GONE"), "RequestRejected", "HTTP 410 VERSION_GONE"),
        ],
    )
    .await;
}

/// Deletes links of which each is held up by one answer, and sees that every one is explained and goes in the end.
async fn holds_up(beside: &str, rows: Vec<Row>) {
    let world = World::new().await;
    let operator = world.operator().await;
    let names: Vec<_> = rows.iter().map(|row| row.name).collect();
    synced(&world, &names).await;
    let simulator = &world.cloud.simulator;
    // A refusal of a nonce that is not new is no verdict.
    simulator.forget_nonces();
    for (n, row) in rows.iter().enumerate() {
        let instead = Behaviour::new(row.answer.clone()).on_method("DELETE").on_organization(&org_id(n));
        simulator.script(instead.in_phase(Phase::Authenticated).times(1));
        world.tenant.delete_link(row.name).await;
    }
    for row in &rows {
        let pages = world.diary.has_been(row.name, &["Synced", "DeletionBlocked"]).await;
        pages.iter().for_each(is_sound);
        let status = &pages.last().expect("a page").status;
        check(&world, row, beside, status);
        if beside == "Stalled" {
            world.ask(row.name).await;
        }
    }
    for (n, row) in rows.iter().enumerate() {
        world.tenant.gone(row.name).await;
        assert_eq!(simulator.link_token(&org_id(n)), None, "{}", row.name);
        let deletes = world.methods(&org_id(n)).iter().filter(|method| *method == "DELETE").count();
        assert_eq!(deletes, 2, "{}", row.name);
        assert_eq!(world.diary.reasons(row.name), ["Synced", "DeletionBlocked"]);
        world.announced(row.name, &["Synced", "DeletionBlocked"]).await;
    }
    world.tells_no_secret(&operator, &names).await;
}

fn check(world: &World, row: &Row, beside: &str, status: &MigrationLinkStatus) {
    let (ready, other) = blocked(status);
    assert_eq!((other.type_.as_str(), other.reason.as_str()), (beside, row.cause), "{}", row.name);
    let way_out = format!("kubectl patch migrationlink {} -n {} --type", row.name, world.tenant.namespace);
    for phrase in [row.says, &way_out] {
        assert!(ready.message.contains(phrase), "{}: {phrase:?} is not in {:?}", row.name, ready.message);
    }
    // Only what needs a person ends by itself.
    assert_eq!(ready.message.ends_with("that happens by itself."), beside == "Stalled", "{}", ready.message);
    assert_eq!(status.attempts, Some(1), "{}", row.name);
    let next = status.next_attempt_time.as_ref().expect("a next attempt").0.as_second();
    let wait = next - ready.last_transition_time.0.as_second();
    let expected = if beside == "Stalled" { 54..=67 } else { 1..=3 };
    assert!(expected.contains(&wait), "{}: {wait} s", row.name);
    assert_eq!(status.state.as_deref(), Some("SYNCED"), "the API has said nothing else");
    assert!(status.link.as_ref().is_some_and(|record| record.held_since.is_some()), "{status:?}");
}

#[tokio::test]
async fn a_running_live_export_is_waited_for_and_names_its_projects() {
    const PROJECTS: [&str; 2] = ["5f0d1e2a3b4c5d6e7f80aaaa", "5f0d1e2a3b4c5d6e7f80bbbb"];
    let world = World::new().await;
    let _operator = world.prepared().arg("--deletion-grace-period=1s").start().await;
    synced(&world, &["link"]).await;
    let simulator = &world.cloud.simulator;
    simulator.set_live_exports(&org_id(0), PROJECTS.map(str::to_owned));
    world.tenant.delete_link("link").await;
    let pages = world.diary.has_been("link", &["Synced", "LiveExportRunning"]).await;
    pages.iter().for_each(is_sound);
    let status = &pages.last().expect("a page").status;
    let (ready, beside) = trouble(status);
    assert_eq!(beside.type_, "Reconciling");
    for phrase in [PROJECTS[0], PROJECTS[1], "is running", "set spec.deletionPolicy to Retain"] {
        assert!(ready.message.contains(phrase), "{phrase:?} is not in {:?}", ready.message);
    }
    let next = status.next_attempt_time.as_ref().expect("a next attempt").0.as_second();
    assert!((54..=67).contains(&(next - ready.last_transition_time.0.as_second())), "{status:?}");
    // No grace period ends a migration, and whoever asks is told that it goes on.
    sleep(Duration::from_secs(2)).await;
    world.ask("link").await;
    world
        .tenant
        .wait_for("link", "the wish is acknowledged", |link| {
            let handled = link.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_deref());
            handled == Some("now")
        })
        .await;
    assert!(simulator.link_token(&org_id(0)).is_some());
    simulator.set_live_exports(&org_id(0), []);
    world.tenant.annotate_link("link", "migrationlink.dev/reconcile-at", "again").await;
    world.tenant.gone("link").await;
    assert_eq!(simulator.link_token(&org_id(0)), None);
    assert_eq!(world.diary.reasons("link"), ["Synced", "LiveExportRunning"]);
    world.announced("link", &["Synced", "LiveExportRunning"]).await;
}

#[tokio::test]
async fn a_rate_limit_holds_a_deletion_until_the_api_keys_change() {
    let world = World::new().await;
    let _operator = world.operator().await;
    synced(&world, &["link"]).await;
    let simulator = &world.cloud.simulator;
    let limit = Answer::RateLimited { retry_after: Some(RetryAfter::Seconds(3600)) };
    simulator.script(Behaviour::new(limit).on_method("DELETE").times(1));
    world.tenant.delete_link("link").await;
    let held = world.diary.has_been("link", &["Synced", "DeletionBlocked"]).await.pop().expect("a page");
    assert_eq!(blocked(&held.status).1.reason, "RateLimited");
    simulator.clear_journal();
    world.ask("link").await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.methods(&org_id(0)), Vec::<String>::new());
    let others = ApiKeys::new("key-others", "canary-others");
    simulator.set_keys(&org_id(0), [others.clone()]);
    let content = [("publicKey", others.public_key.as_str()), ("privateKey", &others.private_key)];
    world.tenant.edit_secret("link", &content).await;
    world.tenant.gone("link").await;
    assert_eq!(world.methods(&org_id(0)), ["DELETE"]);
}

/// A new Secret is tried at once; one in which only a label changed is not.
#[tokio::test]
async fn other_api_keys_are_tried_at_once() {
    let world = World::new().await;
    let operator = world.operator().await;
    synced(&world, &["link"]).await;
    let simulator = &world.cloud.simulator;
    let right = ApiKeys::new("key-right", "canary-right");
    simulator.set_keys(&org_id(0), [right.clone()]);
    world.tenant.delete_link("link").await;
    let held = world.diary.has_been("link", &["Synced", "DeletionBlocked"]).await.pop().expect("a page");
    assert_eq!(blocked(&held.status).1.reason, "Unauthorized");
    let sent = world.requests(&org_id(0));
    let args = ["label", "secret", "link", "note=of-no-interest"];
    assert!(world.tenant.kubectl(&args, "").success);
    let is_noted = |page: &Page| page.status.inputs != held.status.inputs;
    let noted = world.diary.page("link", "the label is noted", is_noted).await;
    assert_eq!(noted.status.next_attempt_time, held.status.next_attempt_time);
    assert_eq!(world.requests(&org_id(0)), sent);
    let content = [("publicKey", right.public_key.as_str()), ("privateKey", &right.private_key)];
    world.tenant.edit_secret("link", &content).await;
    world.tenant.gone("link").await;
    assert_eq!(simulator.link_token(&org_id(0)), None);
    world.tells_no_secret(&operator, &["link"]).await;
}

#[tokio::test]
async fn a_secret_that_cannot_be_used_is_named_and_taken_when_it_is_mended() {
    let world = World::new().await;
    let operator = world.operator().await;
    synced(&world, &["link"]).await;
    let keys = keys("link");
    world.tenant.edit_secret("link", &[("privateKey", " ")]).await;
    world.diary.has_been("link", &["Synced", "InvalidSecret"]).await;
    world.tenant.delete_link("link").await;
    let pages = world.diary.has_been("link", &["Synced", "InvalidSecret", "DeletionBlocked"]).await;
    pages.iter().for_each(is_sound);
    let status = &pages.last().expect("a page").status;
    let (ready, beside) = blocked(status);
    assert_eq!((beside.type_.as_str(), beside.reason.as_str()), ("Stalled", "InvalidSecret"));
    for phrase in ["its key privateKey is empty", "It needs the keys publicKey and privateKey."] {
        assert!(ready.message.contains(phrase), "{phrase:?} is not in {:?}", ready.message);
    }
    assert_eq!((status.attempts, &status.next_attempt_time), (None, &None), "woken by the change");
    world.tenant.edit_secret("link", &[("privateKey", &keys.private_key)]).await;
    world.tenant.gone("link").await;
    assert_eq!(world.cloud.simulator.link_token(&org_id(0)), None);
    world.tells_no_secret(&operator, &["link"]).await;
}

/// The longest one here: a call may take 30 s.
#[tokio::test]
async fn a_server_that_is_silent_is_tried_again() {
    let world = World::new().await;
    let _operator = world.operator().await;
    world.link_with("link", &org_id(0), delete).await;
    world.diary.has_been("link", &["Synced"]).await;
    let silent = Behaviour::new(Answer::Hang).on_method("DELETE").in_phase(Phase::Authenticated).times(1);
    world.cloud.simulator.script(silent);
    world.tenant.delete_link("link").await;
    sleep(Duration::from_secs(25)).await;
    let pages = world.diary.has_been("link", &["Synced", "DeletionBlocked"]).await;
    let (ready, beside) = blocked(&pages.last().expect("a page").status);
    assert_eq!((beside.type_.as_str(), beside.reason.as_str()), ("Reconciling", "EndpointUnavailable"));
    assert!(ready.message.contains("did not answer in time"), "{}", ready.message);
    world.tenant.gone("link").await;
    assert_eq!(world.cloud.simulator.link_token(&org_id(0)), None);
}
