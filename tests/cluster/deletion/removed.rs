//! The link goes, and then the resource.

use migrationlink_operator::api::FINALIZER;
use migrationlink_simulator::{Behaviour, Phase};
use serde_json::json;

use super::{WRITE_FINALIZERS, delete, synced};
use crate::failures::case::{error, raw};
use crate::support::{Calls, Ledger, READ_SECRET, World, eventually, keys, org_id, token};

#[tokio::test]
async fn a_removal_is_one_read_one_call_and_one_write() {
    let world = World::new().await;
    let operator = world.operator().await;
    synced(&world, &["link"]).await;
    world.announced("link", &["Synced"]).await;
    let ledger = Ledger::open(&operator, &world.cloud);
    world.tenant.delete_link("link").await;
    world.tenant.gone("link").await;
    ledger.expect(&[READ_SECRET, WRITE_FINALIZERS], Calls { others: 1, ..Calls::default() }).await;
    assert_eq!(world.methods(&org_id(0)), ["DELETE"]);
    assert_eq!(world.cloud.simulator.link_token(&org_id(0)), None);
    let said = operator.log().lines().filter(|line| line.contains("the link was removed")).count();
    assert_eq!(said, 1);
}

#[tokio::test]
async fn every_2xx_of_the_api_and_a_404_of_no_link_let_the_resource_go_in_whatever_state_it_is() {
    let world = World::new().await;
    let operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    let names = ["http-202", "no-link", "other-404", "suspended", "paused", "rejected", "not-synced"];
    synced(&world, &names).await;
    let org = |name: &str| org_id(names.iter().position(|known| *known == name).expect("a name"));
    let answered = |name: &str, answer| {
        let delete = Behaviour::new(answer).on_method("DELETE").on_organization(&org(name)).times(1);
        simulator.script(delete.after_effect().in_phase(Phase::Authenticated));
    };
    answered("http-202", raw(202, ""));
    answered("other-404", error(404, "MIGRATION_LINK_NOT_FOUND"));
    simulator.unlink_behind_the_back(&org("no-link"));
    world.tenant.edit_link("suspended", json!({"spec": {"suspend": true}})).await;
    world.tenant.annotate_link("paused", "migrationlink.dev/paused", "true").await;
    let refused = Behaviour::new(error(400, "INVALID_ATTRIBUTE")).on_method("POST").times(1);
    simulator.script(refused.in_phase(Phase::Authenticated).on_organization(&org("rejected")));
    world.tenant.edit_secret("rejected", &[("linkToken", &token("rotated"))]).await;
    world.diary.has_been("rejected", &["Synced", "TokenRejected"]).await;
    simulator.set_synced_after(&org("not-synced"), u32::MAX);
    world.ask("not-synced").await;
    world.diary.has_been("not-synced", &["Synced", "NotSynced"]).await;
    for name in ["suspended", "paused"] {
        world.announced(name, &["Synced", "Suspended"]).await;
    }

    let before = names.map(|name| world.methods(&org(name)).len());
    for name in names {
        world.tenant.delete_link(name).await;
    }
    for (name, before) in names.into_iter().zip(before) {
        world.tenant.gone(name).await;
        let methods = world.methods(&org(name)).split_off(before);
        assert_eq!(methods.iter().filter(|method| *method == "DELETE").count(), 1, "{name}: {methods:?}");
        assert_eq!(methods.last().map(String::as_str), Some("DELETE"), "{name}");
        assert_eq!(simulator.link_token(&org(name)), None, "{name}");
        assert!(!world.diary.reasons(name).contains(&"DeletionBlocked".to_owned()), "{name}");
    }
    world.tells_no_secret(&operator, &names).await;
}

/// To remove a link no token is needed.
#[tokio::test]
async fn a_secret_that_has_lost_its_token_is_enough() {
    let world = World::new().await;
    let _operator = world.operator().await;
    synced(&world, &["link"]).await;
    world.tenant.delete_secret("link").await;
    world.diary.has_been("link", &["Synced", "SecretNotFound"]).await;
    keys_alone(&world, "link").await;
    world.diary.has_been("link", &["Synced", "SecretNotFound", "InvalidSecret"]).await;
    world.tenant.delete_link("link").await;
    world.tenant.gone("link").await;
    assert_eq!(world.cloud.simulator.link_token(&org_id(0)), None);
}

/// `kubectl delete -f` and a GitOps prune take the Secret with the link.
#[tokio::test]
async fn a_secret_that_is_deleted_with_its_link_is_asked_back_and_taken_when_it_comes() {
    let world = World::new().await;
    let operator = world.operator().await;
    synced(&world, &["link"]).await;
    let both = world.tenant.kubectl(&["delete", "--wait=false", "secret/link", "migrationlink/link"], "");
    assert!(both.success, "{both:?}");
    // The Secret may be read before it is gone: then there is nothing to wait for.
    eventually("it is held up, or gone", async || {
        let gone = world.tenant.links().get_opt("link").await.expect("an answer").is_none();
        let reasons = world.diary.reasons("link");
        if gone || reasons.last().is_some_and(|last| last == "DeletionBlocked") {
            Ok(())
        } else {
            Err(format!("{reasons:?}"))
        }
    })
    .await;
    keys_alone(&world, "link").await;
    world.tenant.gone("link").await;
    assert_eq!(world.cloud.simulator.link_token(&org_id(0)), None);
    world.tells_no_secret(&operator, &["link"]).await;
}

#[tokio::test]
async fn where_nothing_was_accepted_nothing_is_read_and_nothing_called() {
    let world = World::new().await;
    let operator = world.operator().await;
    let refused = Behaviour::new(error(400, "INVALID_ATTRIBUTE")).on_method("POST").times(1);
    let refused = refused.in_phase(Phase::Authenticated);
    world.cloud.simulator.script(refused);
    world.link_with("link", &org_id(0), delete).await;
    let pages = world.diary.has_been("link", &["TokenRejected"]).await;
    let record = pages[0].status.link.as_ref().expect("a record");
    assert_eq!(record.sent, None, "a refusal is no effect");
    world.announced("link", &["TokenRejected"]).await;
    let ledger = Ledger::open(&operator, &world.cloud);
    world.tenant.delete_link("link").await;
    world.tenant.gone("link").await;
    ledger.expect(&[WRITE_FINALIZERS], Calls::default()).await;
}

#[tokio::test]
async fn the_finalizers_of_others_stay_and_the_link_is_removed_once() {
    const OTHER: &str = "example.com/backup";
    let world = World::new().await;
    let operator = world.operator().await;
    synced(&world, &["link"]).await;
    world.tenant.edit_link("link", json!({"metadata": {"finalizers": [OTHER, FINALIZER]}})).await;
    world.announced("link", &["Synced"]).await;
    let ledger = Ledger::open(&operator, &world.cloud);
    world.tenant.delete_link("link").await;
    eventually("ours is dropped", async || {
        let finalizers = world.tenant.link("link").await.metadata.finalizers;
        if finalizers == Some(vec![OTHER.to_owned()]) { Ok(()) } else { Err(format!("{finalizers:?}")) }
    })
    .await;
    world.ask("link").await;
    ledger.expect(&[READ_SECRET, WRITE_FINALIZERS], Calls { others: 1, ..Calls::default() }).await;
    world.tenant.edit_link("link", json!({"metadata": {"finalizers": null}})).await;
    world.tenant.gone("link").await;
}

/// Creates the Secret of a link without its token.
async fn keys_alone(world: &World, name: &str) {
    let keys = keys(name);
    let content = [("publicKey", keys.public_key.as_str()), ("privateKey", &keys.private_key)];
    world.tenant.create_secret(name, &content).await;
}
