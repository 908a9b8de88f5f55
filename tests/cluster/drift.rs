//! Links that were there and are gone: brought back, or only said.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use migrationlink_operator::api::{DriftPolicy, MigrationLinkSpec};
use migrationlink_simulator::{Behaviour, MissingLink, Phase};
use serde_json::json;

use crate::failures::case::raw;
use crate::support::{Calls, Ledger, Page, READ_SECRET, World, eventually, is_sound, org_id, token, trouble};

fn report(spec: &mut MigrationLinkSpec) {
    spec.drift_policy = DriftPolicy::Report;
}

fn says(reason: &str) -> impl Fn(&Page) -> bool + '_ {
    move |page| page.reason().as_deref() == Some(reason)
}

/// What the status says of a link that was accepted lies so far back: so long a test does not wait.
async fn age(world: &World, name: &str, by: SignedDuration) {
    let then = Some(Time(Timestamp::now() - by));
    let mut status = world.tenant.link(name).await.status.expect("a status");
    let record = status.link.as_mut().expect("a record");
    record.accepted_time.clone_from(&then);
    record.lost_since = then;
    world.tenant.write_status(name, &status).await;
}

#[tokio::test]
async fn a_link_that_is_gone_costs_one_poll_one_post_and_two_writes_each_time() {
    let world = World::new().await;
    let operator = world.prepared().arg("--sync-interval=24h").start().await;
    world.link_with("link", &org_id(0), |_| {}).await;
    world.diary.has_been("link", &["Synced"]).await;
    world.announced("link", &["Synced"]).await;
    // An event that is like one of before is a repetition of that.
    let events = [[("create events", 1), ("patch events", 1)], [("patch events", 2), ("create events", 0)]];
    for (time, events) in ["once", "twice"].into_iter().zip(events) {
        let ledger = Ledger::open(&operator, &world.cloud);
        world.cloud.simulator.unlink_behind_the_back(&org_id(0));
        world.tenant.annotate_link("link", "migrationlink.dev/reconcile-at", time).await;
        let writes = ("patch migrationlinks/status", 2);
        let events = events.into_iter().filter(|(_, count)| *count > 0);
        let asked: Vec<_> = [READ_SECRET, writes].into_iter().chain(events).collect();
        ledger.expect(&asked, Calls { polls: 1, posts: 1, ..Calls::default() }).await;
        assert_eq!(world.cloud.simulator.link_token(&org_id(0)), Some(token("link")));
    }
    assert_eq!(world.diary.reasons("link"), ["Synced", "LinkLost", "Synced", "LinkLost", "Synced"]);
}

/// The API takes the token and knows of no link: that is not for ever answered with another POST.
#[tokio::test]
async fn a_link_that_does_not_come_back_is_sent_once_more_and_then_waited_for() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    let no_effect = Behaviour::new(raw(201, "")).on_method("POST").in_phase(Phase::Authenticated);
    simulator.script(no_effect);
    world.link_with("link", &org_id(0), |_| {}).await;
    let pages = world.diary.has_been("link", &["NotSynced", "LinkLost", "NotSynced"]).await;
    pages.iter().for_each(is_sound);
    let asked_twice = |page: &Page| page.status.attempts == Some(2);
    let page = world.diary.page("link", "it was asked for twice", asked_twice).await;
    let record = page.status.link.expect("a record");
    assert!(record.relinks == Some(1) && record.lost_since.is_some(), "{record:?}");
    assert_eq!(world.methods(&org_id(0)).iter().filter(|method| *method == "POST").count(), 2);

    // After the window, which has doubled, it is tried again.
    age(&world, "link", SignedDuration::from_mins(19)).await;
    world.ask("link").await;
    let acknowledged = |page: &Page| page.status.last_handled_reconcile_at.is_some();
    let page = world.diary.page("link", "the wish is acknowledged", acknowledged).await;
    assert_eq!(page.reason().as_deref(), Some("NotSynced"));
    simulator.clear_scripts();
    age(&world, "link", SignedDuration::from_mins(21)).await;
    world.tenant.annotate_link("link", "migrationlink.dev/reconcile-at", "again").await;
    world.diary.has_been("link", &["NotSynced", "LinkLost", "NotSynced", "LinkLost", "Synced"]).await;
    assert_eq!(world.methods(&org_id(0)).iter().filter(|method| *method == "POST").count(), 3);
    assert_eq!(simulator.link_token(&org_id(0)), Some(token("link")));
}

/// Where the API says NOT_SYNCED of a link that is not there.
#[tokio::test]
async fn a_link_that_stays_not_synced_is_lost_after_ten_minutes() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    simulator.configure(|config| config.missing_link = MissingLink::NotSynced);
    world.link_with("relinked", &org_id(0), |_| {}).await;
    world.link_with("reported", &org_id(1), report).await;
    let names = ["relinked", "reported"];
    for (n, name) in names.into_iter().enumerate() {
        world.diary.has_been(name, &["Synced"]).await;
        simulator.unlink_behind_the_back(&org_id(n));
        world.ask(name).await;
    }
    for (n, name) in names.into_iter().enumerate() {
        let pages = world.diary.has_been(name, &["Synced", "NotSynced"]).await;
        pages.iter().for_each(is_sound);
        assert!(pages[1].status.link.as_ref().is_some_and(|record| record.lost_since.is_some()));
        assert_eq!(world.methods(&org_id(n)), ["POST", "GET"]);
        age(&world, name, SignedDuration::from_mins(11)).await;
        world.tenant.annotate_link(name, "migrationlink.dev/reconcile-at", "later").await;
    }
    let pages = world.diary.has_been("relinked", &["Synced", "NotSynced", "LinkLost", "Synced"]).await;
    pages.iter().for_each(is_sound);
    let lost = pages.iter().find(|page| page.reason().as_deref() == Some("LinkLost")).expect("LinkLost");
    assert!(trouble(&lost.status).0.message.contains("the API no longer says SYNCED"));
    assert_eq!(simulator.link_token(&org_id(0)), Some(token("relinked")));
    eventually("one event LinkLost", async || {
        let events = world.tenant.events("relinked").await;
        let lost = events.iter().filter(|event| event.reason.as_deref() == Some("LinkLost"));
        if lost.filter(|event| event.series.is_none()).count() == 1 {
            Ok(())
        } else {
            Err(format!("{events:?}"))
        }
    })
    .await;

    let pages = world.diary.has_been("reported", &["Synced", "NotSynced", "LinkLost"]).await;
    assert_eq!(trouble(&pages.last().expect("a page").status).1.type_, "Stalled");
    assert_eq!(simulator.link_token(&org_id(1)), None);
}

#[tokio::test]
async fn a_lost_link_that_is_only_to_be_reported_waits_for_a_person_and_is_looked_after() {
    let world = World::new().await;
    let operator = world.prepared().arg("--sync-interval=10m").start().await;
    let simulator = &world.cloud.simulator;
    let names = ["asked-for", "came-back", "rotated", "policy"];
    for (n, name) in names.into_iter().enumerate() {
        world.link_with(name, &org_id(n), report).await;
    }
    let mut messages = Vec::new();
    for (n, name) in names.into_iter().enumerate() {
        world.diary.has_been(name, &["Synced"]).await;
        simulator.unlink_behind_the_back(&org_id(n));
        world.ask(name).await;
        let pages = world.diary.has_been(name, &["Synced", "LinkLost"]).await;
        pages.iter().for_each(is_sound);
        let status = &pages[1].status;
        let (ready, beside) = trouble(status);
        assert_eq!((beside.type_.as_str(), status.state.as_deref()), ("Stalled", Some("NOT_SYNCED")));
        let next = status.next_attempt_time.as_ref().expect("polls go on").0;
        assert!(next <= ready.last_transition_time.0 + SignedDuration::from_secs(601), "{status:?}");
        messages.push(ready.message.clone());
        // It is looked at when asked, and nothing is sent.
        world.tenant.annotate_link(name, "migrationlink.dev/reconcile-at", "again").await;
        let again = |page: &Page| page.status.last_handled_reconcile_at.as_deref() == Some("again");
        let page = world.diary.page(name, "the wish is acknowledged", again).await;
        assert_eq!(page.reason().as_deref(), Some("LinkLost"));
        assert_eq!(world.methods(&org_id(n)), ["POST", "GET", "GET"]);
        world.announced(name, &["Synced", "LinkLost"]).await;
    }

    let (_, command) = messages[0].split_once("To send the link token again: ").expect("a command");
    let ran = world.tenant.control_plane.shell(command);
    assert!(ran.success, "{command}: {ran:?}");
    simulator.link_behind_the_back(&org_id(1), "by-hand");
    world.tenant.annotate_link("came-back", "migrationlink.dev/reconcile-at", "thrice").await;
    world.tenant.edit_secret("rotated", &[("linkToken", &token("new"))]).await;
    world.tenant.edit_link("policy", json!({"spec": {"driftPolicy": "Relink"}})).await;
    let tokens = [token("asked-for"), "by-hand".to_owned(), token("new"), token("policy")];
    for ((n, name), token) in names.into_iter().enumerate().zip(tokens) {
        let page = world.diary.page(name, "it is SYNCED again", says("Synced")).await;
        is_sound(&page);
        let record = page.status.link.expect("a record");
        assert_eq!((record.lost_since, record.relinks), (None, None), "{name}");
        assert_eq!(world.diary.reasons(name), ["Synced", "LinkLost", "Synced"]);
        assert_eq!(simulator.link_token(&org_id(n)), Some(token), "{name}");
    }
    assert_eq!(world.methods(&org_id(0)), ["POST", "GET", "GET", "POST"]);
    assert_eq!(world.methods(&org_id(1)), ["POST", "GET", "GET", "GET"]);
    eventually("a relink is acknowledged", async || {
        let status = world.tenant.link("asked-for").await.status.expect("a status");
        if status.last_handled_relink_at.is_some() { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    world.tells_no_secret(&operator, &names).await;
}
