//! Tokens that were sent with an effect that nobody saw, and links that were there before.

use std::time::Duration;

use migrationlink_operator::api::{DeletionPolicy, MigrationLinkStatus};
use migrationlink_simulator::{Answer, Behaviour, ExistingLink, Phase};
use serde_json::json;

use crate::failures::case::{error, raw};
use crate::support::{
    Calls, EVENT, Ledger, Page, READ_SECRET, WRITE_STATUS, World, eventually, is_sound, keys, org_id, spec,
    token, trouble,
};

/// A world whose Cloud Manager does not replace a link, and the scripts of one organization's POSTs.
async fn world() -> World {
    let world = World::new().await;
    world.cloud.simulator.configure(|config| config.existing_link = ExistingLink::Conflict);
    world
}

fn sent(status: &MigrationLinkStatus) -> Option<&String> {
    status.link.as_ref()?.sent.as_ref()
}

fn accepted(status: &MigrationLinkStatus) -> Option<&String> {
    status.link.as_ref()?.token_fingerprint.as_ref()
}

#[tokio::test]
async fn a_post_whose_answer_was_lost_is_sent_again_and_then_asked_for_whatever_the_policy() {
    let rows = [
        ("reset", Answer::Reset, DeletionPolicy::Retain),
        ("http-500", error(500, "UNEXPECTED_ERROR"), DeletionPolicy::Retain),
        ("page", Answer::Html { status: 502 }, DeletionPolicy::Retain),
        ("redirect", Answer::Redirect { status: 302, location: "/login".into() }, DeletionPolicy::Retain),
        ("reset-delete", Answer::Reset, DeletionPolicy::Delete),
        ("http-500-delete", error(500, "UNEXPECTED_ERROR"), DeletionPolicy::Delete),
    ];
    let world = world().await;
    let operator = world.operator().await;
    for (n, (name, answer, policy)) in rows.iter().enumerate() {
        let lost = Behaviour::new(answer.clone()).on_method("POST").in_phase(Phase::Authenticated);
        world.cloud.simulator.script(lost.after_effect().on_organization(&org_id(n)).times(1));
        world.link_with(name, &org_id(n), |spec| spec.deletion_policy = *policy).await;
    }
    for (n, (name, answer, _)) in rows.iter().enumerate() {
        let reason = if matches!(answer, Answer::Redirect { .. }) {
            "UnexpectedResponse"
        } else {
            "EndpointUnavailable"
        };
        let pages = world.diary.has_been(name, &[reason, "Synced"]).await;
        pages.iter().for_each(is_sound);
        let [failed, now] = &pages[..] else { panic!("{name}: {pages:?}") };
        assert!(sent(&failed.status).is_some() && accepted(&failed.status).is_none(), "{name}");
        assert_eq!(accepted(&now.status), sent(&failed.status), "{name}");
        assert_eq!(sent(&now.status), None, "{name}");
        assert_eq!(world.methods(&org_id(n)), ["POST", "POST", "GET"], "{name}");
        assert_eq!(world.cloud.simulator.link_token(&org_id(n)), Some(token(name)));
        world.announced(name, &[reason, "Synced"]).await;
    }
    let names: Vec<_> = rows.iter().map(|(name, ..)| *name).collect();
    world.tells_no_secret(&operator, &names).await;
}

/// What the effect was is not known: the link that is there may be of somebody else.
#[tokio::test]
async fn a_link_that_is_there_and_not_synced_is_not_taken_over() {
    let world = world().await;
    let _operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    let lost = Behaviour::new(Answer::Reset).on_method("POST").in_phase(Phase::Authenticated);
    simulator.script(lost.times(1));
    simulator.add_organization(&org_id(0), [keys("link")]);
    simulator.link_behind_the_back(&org_id(0), "by-hand");
    simulator.set_synced_after(&org_id(0), u32::MAX);
    world.link("link", &org_id(0), &world.cloud.base_url()).await;
    let pages = world.diary.has_been("link", &["EndpointUnavailable", "LinkExists"]).await;
    let (ready, beside) = trouble(&pages[1].status);
    assert_eq!(beside.type_, "Stalled");
    assert!(ready.message.contains("which is not SYNCED, so it is not taken over yet"), "{}", ready.message);
    assert_eq!(accepted(&pages[1].status), None);
    assert_eq!(world.methods(&org_id(0)), ["POST", "POST", "GET"]);
}

#[tokio::test]
async fn a_link_that_was_made_before_is_taken_over_by_the_command_in_the_message() {
    let world = world().await;
    let operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    simulator.add_organization(&org_id(0), [keys("link")]);
    simulator.link_behind_the_back(&org_id(0), &token("link"));
    world.link("link", &org_id(0), &world.cloud.base_url()).await;
    let pages = world.diary.has_been("link", &["LinkExists"]).await;
    let message = trouble(&pages[0].status).0.message.clone();
    let next = pages[0].status.next_attempt_time.as_ref().expect("a next attempt").0.as_second();
    let since = trouble(&pages[0].status).0.last_transition_time.0.as_second();
    assert!((54..=67).contains(&(next - since)), "slow");
    assert_eq!(world.methods(&org_id(0)), ["POST"], "nothing is asked without a word of a person");
    world.announced("link", &["LinkExists"]).await;

    let ledger = Ledger::open(&operator, &world.cloud);
    let (_, command) = message.split_once("take it over: ").expect("a command");
    assert!(command.starts_with("kubectl annotate migrationlink link "), "{message}");
    let ran = world.tenant.control_plane.shell(command);
    assert!(ran.success, "{command}: {ran:?}");
    let pages = world.diary.has_been("link", &["LinkExists", "Synced"]).await;
    pages.iter().for_each(is_sound);
    let status = &pages.last().expect("a page").status;
    assert!(accepted(status).is_some() && status.link.as_ref().is_some_and(|link| link.held_since.is_some()));
    assert!(status.last_handled_reconcile_at.is_some());
    let calls = Calls { posts: 1, polls: 1, ..Calls::default() };
    ledger.expect(&[READ_SECRET, WRITE_STATUS, EVENT], calls).await;

    // It is for a link that nothing was accepted for: what comes later is said.
    simulator.link_behind_the_back(&org_id(0), "by-hand");
    world.tenant.edit_secret("link", &[("linkToken", &token("rotated"))]).await;
    let pages = world.diary.has_been("link", &["LinkExists", "Synced", "LinkExists"]).await;
    let message = &trouble(&pages.last().expect("a page").status).0.message;
    assert!(!message.contains("adopt-existing"), "it would not help: {message}");
    assert_eq!(simulator.link_token(&org_id(0)).as_deref(), Some("by-hand"));
}

#[tokio::test]
async fn without_the_word_true_nothing_is_taken_over() {
    let world = world().await;
    let _operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    simulator.add_organization(&org_id(0), [keys("link")]);
    simulator.link_behind_the_back(&org_id(0), "by-hand");
    world.link("link", &org_id(0), &world.cloud.base_url()).await;
    world.diary.has_been("link", &["LinkExists"]).await;
    let annotations = json!({
        "migrationlink.dev/adopt-existing": "yes", "migrationlink.dev/reconcile-at": "now",
    });
    world.tenant.edit_link("link", json!({"metadata": {"annotations": annotations}})).await;
    let acknowledged = |page: &Page| page.status.last_handled_reconcile_at.is_some();
    let page = world.diary.page("link", "the wish is acknowledged", acknowledged).await;
    assert_eq!(page.reason().as_deref(), Some("LinkExists"));
    assert_eq!(world.methods(&org_id(0)), ["POST", "POST"]);
    assert_eq!(simulator.link_token(&org_id(0)).as_deref(), Some("by-hand"));
}

/// The token that was in force before: what the API was told last may be the other one.
#[tokio::test]
async fn a_token_that_is_rotated_back_after_a_lost_answer_is_sent_again() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    world.link_with("link", &org_id(0), |_| {}).await;
    let before = world.diary.has_been("link", &["Synced"]).await.remove(0);
    let lost = Behaviour::new(raw(503, "")).on_method("POST").in_phase(Phase::Authenticated);
    simulator.script(lost.after_effect().times(1));
    simulator.script(Behaviour::new(Answer::Upgrading).on_method("POST").in_phase(Phase::Authenticated));
    world.tenant.edit_secret("link", &[("linkToken", &token("rotated"))]).await;
    // Not the page that only announces it.
    let lost_answer =
        |page: &Page| sent(&page.status).is_some() && page.reason().as_deref() == Some("EndpointUnavailable");
    let page = world.diary.page("link", "the answer is lost", lost_answer).await;
    assert_eq!(page.status.state.as_deref(), Some("NOT_SYNCED"), "it never flatters");
    assert_eq!(accepted(&page.status), accepted(&before.status));
    assert_eq!(simulator.link_token(&org_id(0)), Some(token("rotated")));
    world.tenant.edit_secret("link", &[("linkToken", &token("link"))]).await;
    simulator.clear_scripts();
    let back = |page: &Page| page.reason().as_deref() == Some("Synced");
    let page = world.diary.page("link", "it is SYNCED again", back).await;
    assert_eq!((sent(&page.status), accepted(&page.status)), (None, accepted(&before.status)));
    assert_eq!(simulator.link_token(&org_id(0)), Some(token("link")));
}

/// Between the POST and its record. With the policy `Delete` it is known what was sent.
#[tokio::test]
async fn after_a_crash_in_a_post_a_link_that_is_to_be_deleted_is_known_for_ours() {
    let world = world().await;
    let mut first = world.operator().await;
    let slow = Behaviour::new(Answer::Normal).on_method("POST").in_phase(Phase::Authenticated);
    world.cloud.simulator.script(slow.after_effect().delayed(Duration::from_secs(20)).times(2));
    let policies = [("deleted", DeletionPolicy::Delete), ("retained", DeletionPolicy::Retain)];
    for (n, (name, policy)) in policies.into_iter().enumerate() {
        world.link_with(name, &org_id(n), |spec| spec.deletion_policy = policy).await;
    }
    eventually("the POSTs are under way", async || match world.cloud.calls().posts {
        2 => Ok(()),
        _ => Err(format!("{:?}", world.cloud.simulator.journal())),
    })
    .await;
    first.kill().await;
    let status = world.tenant.link("deleted").await.status.expect("a status");
    assert!(sent(&status).is_some() && accepted(&status).is_none(), "{status:?}");
    assert_eq!(world.tenant.link("retained").await.status.expect("a status").link, None);

    let _second = world.operator().await;
    world.diary.has_been("deleted", &["Synced"]).await;
    assert_eq!(world.methods(&org_id(0)), ["POST", "POST", "GET"]);
    // Of the other one nothing is known: only a person can say whose it is.
    world.diary.has_been("retained", &["LinkExists"]).await;
    assert_eq!(world.methods(&org_id(1)), ["POST", "POST"]);
}

/// A refusal is no effect: what is sent after it and refused because of a link of others is not taken for ours.
#[tokio::test]
async fn what_was_refused_was_not_sent() {
    let world = world().await;
    let _operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    let refused = Behaviour::new(Answer::Upgrading).on_method("POST").in_phase(Phase::Authenticated);
    simulator.script(refused.times(1));
    simulator.add_organization(&org_id(0), [keys("link")]);
    simulator.link_behind_the_back(&org_id(0), "by-hand");
    world.secret("link").await;
    let mut spec = spec("link", &org_id(0), &world.cloud.base_url());
    spec.deletion_policy = DeletionPolicy::Delete;
    world.tenant.create_link("link", spec).await;
    let pages = world.diary.has_been("link", &["ServiceUpgrading", "LinkExists"]).await;
    // In between it is said again that something is going to be sent.
    for page in [&pages[0], &pages[pages.len() - 1]] {
        assert_eq!(sent(&page.status), None, "{page:?}");
    }
    assert_eq!(world.methods(&org_id(0)), ["POST", "POST"]);
    // And is not removed with the resource.
    world.tenant.delete_link("link").await;
    world.tenant.gone("link").await;
    assert_eq!(simulator.link_token(&org_id(0)).as_deref(), Some("by-hand"));
    assert_eq!(world.methods(&org_id(0)), ["POST", "POST"]);
}
