//! A link that was there and is gone.

use migrationlink_simulator::{Answer, Behaviour, MissingLink};

use super::case::error;
use crate::support::{World, eventually, is_sound, keys, org_id, token, trouble};

#[tokio::test]
async fn a_lost_link_gets_its_token_again() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    let names = ["link", "refused", "unsure"];
    for (n, name) in names.into_iter().enumerate() {
        simulator.add_organization(&org_id(n), [keys(name)]);
        world.link(name, &org_id(n), &world.cloud.base_url()).await;
    }
    for name in names {
        world.diary.has_been(name, &["Synced"]).await;
    }

    simulator.unlink_behind_the_back(&org_id(0));
    world.ask("link").await;
    let pages = world.diary.has_been("link", &["Synced", "LinkLost", "Synced"]).await;
    pages.iter().for_each(is_sound);
    let [before, lost, after] = &pages[..] else { panic!("{pages:?}") };
    let (before, lost, after) = (&before.status, &lost.status, &after.status);
    let (ready, beside) = trouble(lost);
    assert_eq!((ready.status.as_str(), beside.type_.as_str()), ("False", "Reconciling"));
    assert!(ready.message.contains("sending the link token again"), "{}", ready.message);
    assert_eq!((lost.state.as_deref(), lost.attempts), (Some("NOT_SYNCED"), Some(1)));
    assert_eq!(lost.last_handled_reconcile_at.as_deref(), Some("now"));
    let record =
        |status: &migrationlink_operator::api::MigrationLinkStatus| status.link.clone().expect("a link");
    assert!(record(lost).lost_since.is_some() && record(after).lost_since.is_none());
    assert_eq!((record(after).relinks, record(after).held_since), (None, record(before).held_since));
    assert_eq!(after.state.as_deref(), Some("SYNCED"));
    assert_eq!(simulator.link_token(&org_id(0)), Some(token("link")));
    lost_once(&world, "link").await;

    // The token is used up by now.
    simulator.unlink_behind_the_back(&org_id(1));
    let used_up = Behaviour::new(error(400, "INVALID_ATTRIBUTE")).on_method("POST");
    simulator.script(used_up.on_organization(&org_id(1)).times(1));
    world.ask("refused").await;
    world.diary.has_been("refused", &["Synced", "LinkLost", "TokenRejected"]).await;
    world.tenant.edit_secret("refused", &[("linkToken", &token("new"))]).await;
    world.diary.has_been("refused", &["Synced", "LinkLost", "TokenRejected", "Synced"]).await;
    assert_eq!(simulator.link_token(&org_id(1)), Some(token("new")));
    lost_once(&world, "refused").await;

    // Where the API says NOT_SYNCED of a link that is not there, it may pass: a person can be quicker.
    simulator.configure(|config| config.missing_link = MissingLink::NotSynced);
    simulator.unlink_behind_the_back(&org_id(2));
    simulator.clear_journal();
    world.ask("unsure").await;
    let pages = world.diary.has_been("unsure", &["Synced", "NotSynced"]).await;
    let status = &pages[1].status;
    assert_eq!(trouble(status).1.type_, "Reconciling");
    assert!(record(status).lost_since.is_some());
    assert_eq!(world.cloud.calls().posts, 0);
    world.tenant.annotate_link("unsure", "migrationlink.dev/relink-at", "now").await;
    let pages = world.diary.has_been("unsure", &["Synced", "NotSynced", "Synced"]).await;
    let status = &pages.last().expect("Synced").status;
    assert_eq!(status.last_handled_relink_at.as_deref(), Some("now"));
    assert_eq!(record(status).lost_since, None);
    assert_eq!(simulator.link_token(&org_id(2)), Some(token("unsure")));
    assert_eq!(world.cloud.calls().posts, 1);
}

/// `relink-at` sends the token of a link that is well, too, and a wish is kept until the API has taken the token.
#[tokio::test]
async fn a_wish_to_link_again_is_kept_until_the_token_is_taken() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    simulator.add_organization(&org_id(0), [keys("link")]);
    world.link("link", &org_id(0), &world.cloud.base_url()).await;
    world.diary.has_been("link", &["Synced"]).await;
    simulator.clear_journal();
    simulator.script(Behaviour::new(Answer::Upgrading).on_method("POST").times(1));
    world.tenant.annotate_link("link", "migrationlink.dev/relink-at", "again").await;
    let pages = world.diary.has_been("link", &["Synced", "ServiceUpgrading", "Synced"]).await;
    pages.iter().for_each(is_sound);
    assert_eq!(pages[1].status.last_handled_relink_at, None);
    assert_eq!(pages[1].status.state.as_deref(), Some("SYNCED"), "the token is the same");
    assert_eq!(pages.last().expect("Synced").status.last_handled_relink_at.as_deref(), Some("again"));
    assert_eq!(world.cloud.calls().posts, 2);
}

async fn lost_once(world: &World, name: &str) {
    eventually("one event LinkLost", async || {
        let events = world.tenant.events(name).await;
        let lost: Vec<_> =
            events.iter().filter(|event| event.reason.as_deref() == Some("LinkLost")).collect();
        match lost[..] {
            [event] if event.series.is_none() && event.type_.as_deref() == Some("Warning") => Ok(()),
            _ => Err(format!("{events:?}")),
        }
    })
    .await;
}
