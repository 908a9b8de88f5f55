//! Servers that are no longer allowed, and operators that end while they remove a link.

use std::time::Duration;

use migrationlink_simulator::{Answer, Behaviour, Phase};

use super::{blocked, delete, synced};
use crate::support::{Page, World, eventually, is_sound, org_id};

#[tokio::test]
async fn to_a_server_that_is_no_longer_allowed_no_credentials_go_for_a_removal_either() {
    let world = World::new().await;
    let mut first = world.operator().await;
    synced(&world, &["link"]).await;
    assert_eq!(first.stop().await, Some(0));
    world.tenant.delete_link("link").await;
    world.cloud.simulator.clear_journal();
    let requests = first.requests();

    let mut second = world.tenant.operator().arg("--allowed-origin=https://om.example.com").start().await;
    let pages = world.diary.has_been("link", &["Synced", "DeletionBlocked"]).await;
    pages.iter().for_each(is_sound);
    let status = &pages.last().expect("a page").status;
    let (ready, beside) = blocked(status);
    assert_eq!((beside.type_.as_str(), beside.reason.as_str()), ("Stalled", "EndpointNotAllowed"));
    let flag = format!("--allowed-origin={} ", world.cloud.origin());
    for phrase in [flag.as_str(), "deletionPolicy", "that happens by itself."] {
        assert!(ready.message.contains(phrase), "{phrase:?} is not in {:?}", ready.message);
    }
    assert_eq!((status.attempts, &status.next_attempt_time), (None, &None));
    world.ask("link").await;
    let acknowledged = |page: &Page| page.status.last_handled_reconcile_at.is_some();
    world.diary.page("link", "the wish is acknowledged", acknowledged).await;
    assert_eq!(second.requests().since(&requests).count("get", "secrets"), 0);
    assert_eq!(world.cloud.simulator.journal(), []);
    assert_eq!(second.stop().await, Some(0));

    let _third = world.operator().await;
    world.tenant.gone("link").await;
    assert_eq!(world.methods(&org_id(0)), ["DELETE"]);
}

/// Creates a link with the policy `Delete` and deletes it; the answer to the DELETE, which has its effect, takes so long.
async fn removal_under_way(world: &World, delay: Duration) {
    world.link_with("link", &org_id(0), delete).await;
    world.diary.has_been("link", &["Synced"]).await;
    let slow = Behaviour::new(Answer::Normal).on_method("DELETE").in_phase(Phase::Authenticated).times(1);
    world.cloud.simulator.script(slow.after_effect().delayed(delay));
    world.tenant.delete_link("link").await;
    eventually("the DELETE is under way", async || {
        let methods = world.methods(&org_id(0));
        if methods == ["POST", "DELETE"] { Ok(()) } else { Err(format!("{methods:?}")) }
    })
    .await;
}

#[tokio::test]
async fn who_is_told_to_stop_while_it_removes_a_link_lets_the_resource_go() {
    let world = World::new().await;
    let mut operator = world.operator().await;
    removal_under_way(&world, Duration::from_secs(2)).await;
    assert_eq!(operator.stop().await, Some(0));
    assert!(world.tenant.links().get_opt("link").await.expect("an answer").is_none());
    assert_eq!(world.methods(&org_id(0)), ["POST", "DELETE"]);
}

#[tokio::test]
async fn after_a_crash_in_a_removal_it_is_asked_for_once_more() {
    let world = World::new().await;
    let mut first = world.operator().await;
    removal_under_way(&world, Duration::from_secs(20)).await;
    first.kill().await;
    assert_eq!(world.cloud.simulator.link_token(&org_id(0)), None);
    assert!(world.tenant.link("link").await.metadata.deletion_timestamp.is_some());
    let _second = world.operator().await;
    world.tenant.gone("link").await;
    // The second one is told that there is no link.
    assert_eq!(world.methods(&org_id(0)), ["POST", "DELETE", "DELETE"]);
    assert_eq!(world.diary.reasons("link"), ["Synced"]);
}

/// What was sent, and by whom nobody knows, is removed, too.
#[tokio::test]
async fn a_link_that_was_made_in_a_crash_is_removed_with_its_resource() {
    let world = World::new().await;
    let mut first = world.operator().await;
    let slow = Behaviour::new(Answer::Normal).on_method("POST").in_phase(Phase::Authenticated).times(1);
    world.cloud.simulator.script(slow.after_effect().delayed(Duration::from_secs(20)));
    world.link_with("link", &org_id(0), delete).await;
    eventually("the POST is under way", async || match world.methods(&org_id(0)).len() {
        0 => Err(format!("{:?}", world.cloud.simulator.journal())),
        _ => Ok(()),
    })
    .await;
    first.kill().await;
    let status = world.tenant.link("link").await.status.expect("a status");
    assert_eq!(status.observed_generation, Some(-1));
    assert!(status.link.is_some_and(|record| record.sent.is_some() && record.token_fingerprint.is_none()));
    assert!(world.cloud.simulator.link_token(&org_id(0)).is_some());

    world.tenant.delete_link("link").await;
    let _second = world.operator().await;
    world.tenant.gone("link").await;
    assert_eq!(world.methods(&org_id(0)), ["POST", "DELETE"]);
    assert_eq!(world.cloud.simulator.link_token(&org_id(0)), None);
}
