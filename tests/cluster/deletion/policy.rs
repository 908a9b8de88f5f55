//! The finalizer follows `deletionPolicy`, and `Retain` is the way out of a deletion that is held up.

use migrationlink_operator::api::{FINALIZER, MigrationLink};
use migrationlink_simulator::{Answer, Behaviour, Phase};
use serde_json::json;

use super::{WRITE_FINALIZERS, blocked, delete, run_the_way_out, synced};
use crate::support::{
    Calls, EVENT, Ledger, Page, READ_SECRET, WRITE_STATUS, World, eventually, is_sound, org_id, trouble,
};

const NO_CALL: Calls = Calls { challenges: 0, posts: 0, polls: 0, others: 0, refused: 0 };

#[tokio::test]
async fn a_first_sync_with_the_policy_delete_says_what_it_sends_before_it_sends_it() {
    let world = World::new().await;
    let operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    let slow = Behaviour::new(Answer::Normal).on_method("POST").in_phase(Phase::Authenticated);
    simulator.script(slow.delayed(std::time::Duration::from_secs(2)).times(1));
    let ledger = Ledger::open(&operator, &world.cloud);
    world.link_with("link", &org_id(0), delete).await;
    eventually("the POST is under way", async || match world.cloud.calls().posts {
        0 => Err(format!("{:?}", simulator.journal())),
        _ => Ok(()),
    })
    .await;
    let link = world.tenant.link("link").await;
    assert_eq!(link.metadata.finalizers, Some(vec![FINALIZER.to_owned()]));
    let status = link.status.expect("a status");
    assert_eq!((status.observed_generation, &status.conditions), (Some(-1), &None), "nothing reads as done");
    let record = status.link.expect("a record");
    let sent = record.sent.expect("what is being sent");
    assert_eq!((record.held_since, record.token_fingerprint), (None, None));

    let link = world.tenant.wait_for_ready("link", "True", "Synced").await;
    let calls = Calls { challenges: 1, posts: 1, ..NO_CALL };
    let writes = ("patch migrationlinks/status", 2);
    ledger.expect(&[READ_SECRET, WRITE_FINALIZERS, writes, EVENT], calls).await;
    let record = link.status.expect("a status").link.expect("a record");
    assert_eq!((record.sent, record.token_fingerprint), (None, Some(sent)));
}

#[tokio::test]
async fn the_finalizer_comes_and_goes_with_the_policy_and_no_call_is_made() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.link_with("link", &org_id(0), |_| {}).await;
    world.diary.has_been("link", &["Synced"]).await;
    world.announced("link", &["Synced"]).await;
    assert_eq!(world.tenant.link("link").await.metadata.finalizers, None);
    for (policy, finalizers) in [("Delete", Some(vec![FINALIZER.to_owned()])), ("Retain", None)] {
        let ledger = Ledger::open(&operator, &world.cloud);
        world.tenant.edit_link("link", json!({"spec": {"deletionPolicy": policy}})).await;
        let link = world.tenant.wait_for_ready("link", "True", "Synced").await;
        assert_eq!(link.metadata.finalizers, finalizers);
        ledger.expect(&[WRITE_FINALIZERS, WRITE_STATUS], NO_CALL).await;
    }
    // What is taken away by somebody else comes back.
    world.tenant.edit_link("link", json!({"spec": {"deletionPolicy": "Delete", "suspend": true}})).await;
    let finalized = |link: &MigrationLink| link.metadata.finalizers == Some(vec![FINALIZER.to_owned()]);
    world.tenant.wait_for("link", "the finalizer is there", finalized).await;
    world.tenant.edit_link("link", json!({"metadata": {"finalizers": null}})).await;
    world.tenant.wait_for("link", "the finalizer is there again", finalized).await;
}

#[tokio::test]
async fn a_link_that_is_to_stay_costs_nothing_to_delete() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.link_with("link", &org_id(0), |_| {}).await;
    world.diary.has_been("link", &["Synced"]).await;
    world.announced("link", &["Synced"]).await;
    let ledger = Ledger::open(&operator, &world.cloud);
    world.tenant.delete_link("link").await;
    world.tenant.gone("link").await;
    ledger.expect_nothing().await;
    assert!(world.cloud.simulator.link_token(&org_id(0)).is_some());
}

/// As the message says, for a deletion that is held up by a Secret, by the server, and by a migration.
#[tokio::test]
async fn the_command_in_the_message_lets_the_resource_go_and_the_link_stay() {
    let world = World::new().await;
    let operator = world.operator().await;
    let names = ["no-secret", "upgrade", "export"];
    synced(&world, &names).await;
    let simulator = &world.cloud.simulator;
    world.tenant.delete_secret("no-secret").await;
    world.diary.has_been("no-secret", &["Synced", "SecretNotFound"]).await;
    simulator.script(Behaviour::new(Answer::Upgrading).on_method("DELETE").on_organization(&org_id(1)));
    simulator.set_live_exports(&org_id(2), ["5f0d1e2a3b4c5d6e7f80aaaa".to_owned()]);
    for name in names {
        world.tenant.delete_link(name).await;
    }
    let messages = {
        let mut messages = Vec::new();
        for name in &names[..2] {
            let held = |page: &Page| page.reason().as_deref() == Some("DeletionBlocked");
            let page = world.diary.page(name, "it is held up", held).await;
            is_sound(&page);
            messages.push(blocked(&page.status).0.message.clone());
        }
        messages
    };
    let pages = world.diary.has_been("export", &["Synced", "LiveExportRunning"]).await;
    assert!(trouble(&pages[1].status).0.message.contains("set spec.deletionPolicy to Retain"));
    let reads = operator.requests().count("get", "secrets");
    let calls = world.requests(&org_id(0)) + world.requests(&org_id(2));
    for message in messages {
        run_the_way_out(&world, &message);
    }
    world.tenant.edit_link("export", json!({"spec": {"deletionPolicy": "Retain"}})).await;
    for (n, name) in names.into_iter().enumerate() {
        world.tenant.gone(name).await;
        assert!(simulator.link_token(&org_id(n)).is_some(), "{name}");
    }
    assert_eq!(world.requests(&org_id(0)) + world.requests(&org_id(2)), calls);
    // The one that is tried again and again may have been read for once more.
    assert!(operator.requests().count("get", "secrets") <= reads + 1);
}
