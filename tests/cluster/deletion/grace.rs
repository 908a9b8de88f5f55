//! No namespace hangs for ever: what needs a person is waited for, and then the resource goes and its link stays.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use migrationlink_simulator::Behaviour;
use tokio::time::sleep;

use super::{blocked, synced};
use crate::failures::case::error;
use crate::support::{Operator, Page, World, eventually, is_sound, org_id};

const GRACE: SignedDuration = SignedDuration::from_secs(5);

#[tokio::test]
async fn after_the_grace_period_the_resource_goes_the_link_stays_and_everybody_is_told() {
    let world = World::new().await;
    let operator = world.prepared().arg("--deletion-grace-period=5s").start().await;
    let names = ["refused", "no-secret"];
    synced(&world, &names).await;
    let simulator = &world.cloud.simulator;
    let refusal = Behaviour::new(error(403, "FEATURE_UNSUPPORTED")).on_method("DELETE");
    simulator.script(refusal.on_organization(&org_id(0)));
    world.tenant.delete_secret("no-secret").await;
    world.diary.has_been("no-secret", &["Synced", "SecretNotFound"]).await;
    assert_eq!(left_behind(&operator).await, 0);
    for name in names {
        world.tenant.delete_link(name).await;
    }
    for (n, (name, cause)) in names.into_iter().zip(["Forbidden", "SecretNotFound"]).enumerate() {
        let is_blocked = |page: &Page| page.reason().as_deref() == Some("DeletionBlocked");
        let page = world.diary.page(name, "it is held up", is_blocked).await;
        is_sound(&page);
        let (ready, beside) = blocked(&page.status);
        assert_eq!((beside.type_.as_str(), beside.reason.as_str()), ("Stalled", cause));
        let release = beside.last_transition_time.0 + GRACE;
        let end = format!(" At {release} that happens by itself.");
        assert!(ready.message.ends_with(&end), "{end:?} is not the end of {:?}", ready.message);
        for phrase in ["(a Secret that is gone: restored)", r#"'{"spec":{"deletionPolicy":"Retain"}}'"#] {
            assert!(ready.message.contains(phrase), "{}", ready.message);
        }
        world.tenant.gone(name).await;
        assert!(Timestamp::now() >= release, "{name} was let go before its time");
        assert!(simulator.link_token(&org_id(n)).is_some());
        eventually("the event of the release", async || {
            let events = world.tenant.events(name).await;
            let told = events.iter().any(|event| {
                event.type_.as_deref() == Some("Warning")
                    && event.reason.as_deref() == Some("LinkLeftBehind")
                    && event.note.as_ref().is_some_and(|note| {
                        note.contains(&format!("within the deletion grace period ({cause}) and stays"))
                    })
            });
            if told { Ok(()) } else { Err(format!("{events:?}")) }
        })
        .await;
        let lines = operator.log();
        let lines =
            lines.lines().filter(|line| line.contains("and stays. Remove it by hand") && line.contains(name));
        assert_eq!(lines.count(), 1, "{}", operator.log());
    }
    assert_eq!(left_behind(&operator).await, 2);
    // The slow pace: once at the deletion.
    assert_eq!(world.methods(&org_id(0)), ["POST", "DELETE"]);
    world.tells_no_secret(&operator, &names).await;
}

#[tokio::test]
async fn without_a_grace_period_it_is_waited_for_ever() {
    let world = World::new().await;
    let operator = world.prepared().arg("--deletion-grace-period=never").start().await;
    synced(&world, &["link"]).await;
    world.tenant.delete_secret("link").await;
    world.diary.has_been("link", &["Synced", "SecretNotFound"]).await;
    world.tenant.delete_link("link").await;
    let pages = world.diary.has_been("link", &["Synced", "SecretNotFound", "DeletionBlocked"]).await;
    let status = &pages.last().expect("a page").status;
    let (ready, beside) = blocked(status);
    assert_eq!((beside.type_.as_str(), beside.reason.as_str()), ("Stalled", "SecretNotFound"));
    assert!(!ready.message.contains("by itself"), "{}", ready.message);
    assert_eq!((status.attempts, &status.next_attempt_time), (None, &None), "woken by the change");
    world.secret("link").await;
    world.tenant.gone("link").await;
    assert_eq!(world.cloud.simulator.link_token(&org_id(0)), None);
    assert_eq!(left_behind(&operator).await, 0);
}

/// What a link has been stalled for before does not count.
#[tokio::test]
async fn the_grace_period_begins_with_the_deletion() {
    let world = World::new().await;
    let _operator = world.prepared().arg("--deletion-grace-period=5s").start().await;
    synced(&world, &["link"]).await;
    let refusal = Behaviour::new(error(403, "FEATURE_UNSUPPORTED"));
    world.cloud.simulator.script(refusal);
    world.ask("link").await;
    let stalled = world.diary.has_been("link", &["Synced", "Forbidden"]).await.pop().expect("a page");
    let since = stalled.status.conditions.expect("conditions")[0].last_transition_time.0;
    // Longer than the grace period.
    sleep(Duration::from_secs(6)).await;
    world.tenant.delete_link("link").await;
    let pages = world.diary.has_been("link", &["Synced", "Forbidden", "DeletionBlocked"]).await;
    let (_, beside) = blocked(&pages.last().expect("a page").status);
    let anew = beside.last_transition_time.0;
    assert!(anew >= since + SignedDuration::from_secs(5), "{since} {anew}");
    world.tenant.gone("link").await;
    assert!(Timestamp::now() >= anew + GRACE);
}

/// It goes on in the status, not in the process, and whoever mended the cause is heard first.
#[tokio::test]
async fn a_grace_period_goes_on_while_the_operator_is_away() {
    let world = World::new().await;
    let prepared = || world.prepared().arg("--deletion-grace-period=5s");
    let mut first = prepared().start().await;
    let names = ["mended", "not-mended"];
    synced(&world, &names).await;
    let simulator = &world.cloud.simulator;
    simulator.script(Behaviour::new(error(403, "FEATURE_UNSUPPORTED")).on_method("DELETE").times(2));
    for name in names {
        world.tenant.delete_link(name).await;
    }
    for name in names {
        world.diary.has_been(name, &["Synced", "DeletionBlocked"]).await;
    }
    first.kill().await;
    world.ask("mended").await;
    sleep(Duration::from_secs(6)).await;
    let second = prepared().start().await;
    for name in names {
        world.tenant.gone(name).await;
    }
    assert_eq!(world.methods(&org_id(0)), ["POST", "DELETE", "DELETE"]);
    assert_eq!(world.methods(&org_id(1)), ["POST", "DELETE"]);
    assert_eq!(simulator.link_token(&org_id(0)), None);
    assert!(simulator.link_token(&org_id(1)).is_some());
    assert_eq!(left_behind(&second).await, 1);
}

/// The counter of the links that stayed.
async fn left_behind(operator: &Operator<'_>) -> u32 {
    let metrics = operator.metrics().await;
    let count = metrics.lines().find_map(|line| line.strip_prefix("migrationlink_links_left_behind_total "));
    count.and_then(|count| count.parse().ok()).expect("a counter")
}
