//! What was done is known at once and recorded before anything else, for the resource that it was done for: late events, writes
//! that fail, and resources that are edited, deleted and made anew meanwhile cost no call twice.

use std::time::Duration;

use migrationlink_operator::api::{DeletionPolicy, MigrationLink};
use migrationlink_simulator::{Answer, Behaviour, Phase};
use serde_json::json;
use tokio::time::sleep;

use crate::support::{
    Calls, Fault, Front, Ledger, Operator, Page, WRITE_STATUS, World, eventually, is_sound, keys, org_id,
    spec, token,
};

/// How long a POST takes here, and how long is looked for what must not happen.
const A_WHILE: Duration = Duration::from_secs(2);

async fn operator<'a>(world: &'a World, front: &Front) -> Operator<'a> {
    world.prepared().behind(&front.url()).arg("--sync-interval=24h").start().await
}

/// Every POST takes effect at once and is answered after a while.
fn slow_posts(world: &World) {
    let slow = Behaviour::new(Answer::Normal).on_method("POST").in_phase(Phase::Authenticated);
    world.cloud.simulator.script(slow.after_effect().delayed(A_WHILE));
}

async fn posts(world: &World, count: usize) {
    eventually(&format!("POST number {count} is under way"), async || match world.cloud.calls().posts {
        found if found == count => Ok(()),
        _ => Err(format!("{:#?}", world.cloud.simulator.journal())),
    })
    .await;
}

/// A Secret with the keys of the link `link` and this token.
async fn create_secret(world: &World, name: &str, link_token: &str) {
    let keys = keys("link");
    let content = [
        ("publicKey", keys.public_key.as_str()),
        ("privateKey", &keys.private_key),
        ("linkToken", link_token),
    ];
    world.tenant.create_secret(name, &content).await;
}

#[tokio::test]
async fn late_events_of_the_watch_repeat_no_call() {
    let world = World::new().await;
    let front = Front::start(world.tenant.control_plane).await;
    let operator = operator(&world, &front).await;
    slow_posts(&world);
    let ledger = Ledger::open(&operator, &world.cloud);
    world.link_with("link", &org_id(0), |_| {}).await;
    posts(&world, 1).await;
    front.hold_watch();
    world.diary.has_been("link", &["Synced"]).await;
    // The watch of the Secrets goes on.
    world.tenant.edit_secret("link", &[("linkToken", &token("rotated"))]).await;
    posts(&world, 2).await;
    let settled = |link: &MigrationLink| {
        let status = link.status.as_ref().expect("a status");
        status.link.as_ref().and_then(|record| record.token_fingerprint.clone())
    };
    let first = settled(&world.tenant.link("link").await);
    world.tenant.wait_for("link", "the rotation is recorded", |link| settled(link) != first).await;
    world.ask("link").await;
    sleep(A_WHILE).await;
    assert_eq!(world.methods(&org_id(0)), ["POST", "POST"]);

    front.release();
    let calls = Calls { challenges: 1, posts: 2, polls: 1, ..Calls::default() };
    let asked = [("get secrets", 3), ("patch migrationlinks/status", 4), ("create events", 1)];
    ledger.expect(&asked, calls).await;
    assert_eq!(world.diary.reasons("link"), ["Synced"]);
}

#[tokio::test]
async fn a_status_that_cannot_be_written_after_a_post_costs_no_other_post_and_is_written_later() {
    let world = World::new().await;
    let front = Front::start(world.tenant.control_plane).await;
    let operator = operator(&world, &front).await;
    let rows = [
        ("http-500", Fault::Refused(500), 3),
        ("http-409", Fault::Refused(409), 3),
        ("http-429", Fault::Refused(429), 1),
        ("lost", Fault::Lost(500), 1),
        ("lost-and-refused", Fault::Lost(504), 2),
        // The deadline of a call is 10 s.
        ("hang", Fault::Hang, 1),
    ];
    for (n, (name, fault, times)) in rows.into_iter().enumerate() {
        front.script(name, fault, times);
        world.link_with(name, &org_id(n), |_| {}).await;
    }
    for (n, (name, ..)) in rows.into_iter().enumerate() {
        let pages = world.diary.has_been(name, &["Synced"]).await;
        pages.iter().for_each(is_sound);
        assert_eq!(pages.len(), 1, "{name}: {pages:?}");
        // Not when it was written, but when the API accepted it.
        let at = pages[0].status.link.as_ref().and_then(|record| record.accepted_time.clone());
        assert_eq!(pages[0].status.last_synced_time, at, "{name}");
        eventually(&format!("{name}: all faults were met"), async || match front.left(name) {
            0 => Ok(()),
            left => Err(format!("{left}")),
        })
        .await;
        assert_eq!(world.methods(&org_id(n)), ["POST"], "{name}");
    }
    sleep(A_WHILE).await;
    for (n, (name, ..)) in rows.into_iter().enumerate() {
        assert_eq!(world.methods(&org_id(n)), ["POST"], "{name}");
    }
    let names = rows.map(|(name, ..)| name);
    world.tells_no_secret(&operator, &names).await;
}

/// With the policy `Delete` nothing is sent before it is written down that it will be.
#[tokio::test]
async fn what_cannot_be_announced_is_not_sent() {
    let world = World::new().await;
    let front = Front::start(world.tenant.control_plane).await;
    let _operator = operator(&world, &front).await;
    let rows = [("http-500", Fault::Refused(500), 2), ("lost", Fault::Lost(500), 1)];
    for (n, (name, fault, times)) in rows.into_iter().enumerate() {
        front.script(name, fault, times);
        world.link_with(name, &org_id(n), |spec| spec.deletion_policy = DeletionPolicy::Delete).await;
    }
    for (n, (name, ..)) in rows.into_iter().enumerate() {
        eventually(&format!("{name} is sent"), async || match world.methods(&org_id(n)).len() {
            0 => Err(format!("{} faults to come", front.left(name))),
            _ => Ok(()),
        })
        .await;
        assert_eq!(front.left(name), 0, "{name}");
        let announced = world.diary.versions(name).into_iter().any(|link| {
            let status = link.status.filter(|status| status.observed_generation == Some(-1));
            status.and_then(|status| status.link).is_some_and(|record| record.sent.is_some())
        });
        assert!(announced, "{name}");
        world.diary.has_been(name, &["Synced"]).await;
        assert_eq!(world.methods(&org_id(n)), ["POST"], "{name}");
    }
}

/// The one that was answered is gone: its outcome is nothing for the next one of the same name.
#[tokio::test]
async fn an_outcome_that_is_kept_is_dropped_with_its_resource() {
    for watch_is_held in [false, true] {
        let world = World::new().await;
        let front = Front::start(world.tenant.control_plane).await;
        let _operator = operator(&world, &front).await;
        let simulator = &world.cloud.simulator;
        simulator.add_organization(&org_id(0), [keys("link")]);
        create_secret(&world, "first", &token("first")).await;
        create_secret(&world, "second", &token("second")).await;
        let made_of = |secret: &str| spec(secret, &org_id(0), &world.cloud.base_url());
        if watch_is_held {
            slow_posts(&world);
        } else {
            front.script("link", Fault::Refused(500), usize::MAX);
        }
        world.tenant.create_link("link", made_of("first")).await;
        posts(&world, 1).await;
        if watch_is_held {
            // It learns of it only from the refusal of what it wants to write.
            front.hold_watch();
        } else {
            eventually("the outcome is kept", async || match front.left("link") {
                usize::MAX => Err("nothing was to be written".to_owned()),
                _ => Ok(()),
            })
            .await;
        }
        world.tenant.delete_link("link").await;
        world.tenant.gone("link").await;
        let second = world.tenant.create_link("link", made_of("second")).await;
        posts(&world, 2).await;
        front.script("link", Fault::Hang, 0);
        let link = world.tenant.wait_for_ready("link", "True", "Synced").await;
        assert_eq!(link.metadata.uid, second.metadata.uid);
        let status = link.status.expect("a status");
        let names: Vec<_> = status.inputs.iter().flatten().map(|input| input.name.as_str()).collect();
        assert_eq!(names, ["second"]);
        let held_since = status.link.and_then(|record| record.held_since).expect("it holds the organization");
        assert!(Some(held_since) >= second.metadata.creation_timestamp);
        front.release();
        sleep(A_WHILE).await;
        assert_eq!(world.methods(&org_id(0)), ["POST", "POST"]);
        assert_eq!(simulator.link_token(&org_id(0)), Some(token("second")));
        assert_eq!(world.diary.pages("link").len(), 1, "{}", world.diary.last("link"));
    }
}

#[tokio::test]
async fn an_edit_during_a_call_is_recorded_as_what_it_was_made_from_and_then_acted_on() {
    for watch_is_held in [false, true] {
        let world = World::new().await;
        let front = Front::start(world.tenant.control_plane).await;
        let operator = operator(&world, &front).await;
        slow_posts(&world);
        let ledger = Ledger::open(&operator, &world.cloud);
        world.link_with("link", &org_id(0), |_| {}).await;
        posts(&world, 1).await;
        if watch_is_held {
            front.hold_watch();
        }
        create_secret(&world, "other", &token("other")).await;
        let edit = json!({
            "metadata": {"annotations": {"migrationlink.dev/reconcile-at": "now"}},
            "spec": {"secretRef": {"name": "other"}},
        });
        world.tenant.edit_link("link", edit).await;
        let link = world.tenant.wait_for_ready("link", "True", "Synced").await;
        let generation = link.metadata.generation.expect("a generation");
        // The diary is kept from a watch, and may be a moment behind.
        let pages = eventually("three pages", async || match world.diary.pages("link") {
            pages if pages.len() >= 3 => Ok(pages),
            pages => Err(format!("{pages:?}")),
        })
        .await;
        pages.iter().for_each(is_sound);
        let [before, announced, after] = &pages[..] else { panic!("{pages:?}") };
        let of = |page: &Page| {
            let status = &page.status;
            let inputs = status.inputs.as_ref().expect("inputs");
            let handled = status.last_handled_reconcile_at.clone();
            (status.observed_generation, inputs[0].name.clone(), handled)
        };
        assert_eq!(of(before), (Some(generation - 1), "link".to_owned(), None));
        assert_eq!(of(announced), of(before), "nothing of it reads as done");
        assert!(announced.status.link.as_ref().is_some_and(|record| record.sent.is_some()));
        assert_eq!(of(after), (Some(generation), "other".to_owned(), Some("now".to_owned())));
        front.release();
        let calls = Calls { challenges: 1, posts: 2, ..Calls::default() };
        let mut asked = vec![("get secrets", 2), (WRITE_STATUS.0, 3), ("create events", 1)];
        if watch_is_held {
            // One write was refused, and the link read again.
            asked = vec![
                ("get secrets", 2),
                (WRITE_STATUS.0, 4),
                ("create events", 1),
                ("get migrationlinks", 1),
            ];
        }
        ledger.expect(&asked, calls).await;
        assert_eq!(world.cloud.simulator.link_token(&org_id(0)), Some(token("other")));
    }
}
