//! What nobody works on: suspended, paused, or not allowed.

use std::time::Duration;

use kube::api::DeleteParams;
use migrationlink_operator::api::{ConditionType, Conditions, MigrationLink};
use migrationlink_simulator::{Answer, Behaviour};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{World, is_sound, keys, org_id, spec, token, trouble};

/// How long is looked for what must not happen.
const A_WHILE: Duration = Duration::from_secs(2);

/// The patch that stops a link, or lets it go on.
type Stop = fn(bool) -> Value;

/// The ways to stop a link, each with the name of the link that is stopped so.
const STOPS: [(&str, Stop); 2] = [
    ("suspended", |stop| json!({"spec": {"suspend": stop}})),
    ("paused", |stop| {
        let value = if stop { Value::from("true") } else { Value::Null };
        json!({"metadata": {"annotations": {"migrationlink.dev/paused": value}}})
    }),
];

#[tokio::test]
async fn a_suspended_link_is_left_alone_and_then_goes_on() {
    let world = World::new().await;
    let operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    for (n, (name, _)) in STOPS.into_iter().enumerate() {
        simulator.add_organization(&org_id(n), [keys(name)]);
        world.link(name, &org_id(n), &world.cloud.base_url()).await;
    }
    for (name, stop) in STOPS {
        world.diary.has_been(name, &["Synced"]).await;
        world.tenant.edit_link(name, stop(true)).await;
    }
    for (name, _) in STOPS {
        let link = world.tenant.wait_for(name, "it is suspended", is_suspended).await;
        assert_eq!(conditions(&link), [("Ready", "True"), ("Suspended", "True")]);
        assert_eq!(link.status.unwrap().state.as_deref(), Some("SYNCED"));
        world.announced(name, &["Synced", "Suspended"]).await;
    }
    simulator.clear_journal();
    let requests = operator.requests();
    for (name, _) in STOPS {
        world.tenant.edit_secret(name, &[("linkToken", &token("rotated"))]).await;
        world.ask(name).await;
    }
    sleep(A_WHILE).await;
    assert!(simulator.journal().is_empty());
    let asked = operator.requests().since(&requests);
    assert!(asked.counts().is_empty(), "{asked:?}");

    for (name, stop) in STOPS {
        world.tenant.edit_link(name, stop(false)).await;
    }
    for (n, (name, _)) in STOPS.into_iter().enumerate() {
        let link = world.tenant.wait_for(name, "it goes on", |link| handled(link) == Some("now")).await;
        assert_eq!(conditions(&link), [("Ready", "True")]);
        assert_eq!(simulator.link_token(&org_id(n)), Some(token("rotated")));
        assert_eq!(world.diary.reasons(name), ["Synced"]);
    }
}

#[tokio::test]
async fn a_link_in_trouble_is_suspended_without_it_and_decided_anew_when_it_goes_on() {
    let world = World::new().await;
    let operator = world.operator().await;
    let simulator = &world.cloud.simulator;
    for (n, (name, _)) in STOPS.into_iter().enumerate() {
        simulator.add_organization(&org_id(n), [keys(name)]);
        let denied = Answer::NotOnAccessList { address: "203.0.113.7".into() };
        simulator.script(Behaviour::new(denied).on_organization(&org_id(n)).times(1));
        world.link(name, &org_id(n), &world.cloud.base_url()).await;
    }
    for (name, stop) in STOPS {
        world.diary.has_been(name, &["AccessListDenied"]).await;
        world.tenant.edit_link(name, stop(true)).await;
    }
    for (name, _) in STOPS {
        let link = world.tenant.wait_for(name, "it is suspended", is_suspended).await;
        assert_eq!(conditions(&link), [("Suspended", "True")], "kstatus: Current");
        let status = link.status.unwrap();
        assert_eq!((status.observed_generation, status.attempts), (link.metadata.generation, None));
        assert_eq!(status.next_attempt_time, None);
    }
    for (name, stop) in STOPS {
        world.tenant.edit_link(name, stop(false)).await;
    }
    for (name, _) in STOPS {
        // At once: the slow pace is forgotten.
        world.tenant.wait_for_ready(name, "True", "Synced").await;
        world.announced(name, &["AccessListDenied", "Suspended", "Synced"]).await;
    }

    // From the beginning: not even the Secret is read.
    let requests = operator.requests();
    world.secret("new").await;
    let mut asleep = spec("new", &org_id(0), &world.cloud.base_url());
    asleep.suspend = Some(true);
    world.tenant.create_link("new", asleep).await;
    let link = world.tenant.wait_for("new", "it is suspended", is_suspended).await;
    assert_eq!(conditions(&link), [("Suspended", "True")]);
    assert_eq!(operator.requests().since(&requests).count("get", "secrets"), 0);
}

#[tokio::test]
async fn credentials_go_to_no_origin_that_is_not_allowed() {
    let world = World::new().await;
    world.cloud.simulator.add_organization(&org_id(0), [keys("link")]);
    let mut operator = world.tenant.operator().arg("--allowed-origin=https://om.example.com").start().await;
    world.link("link", &org_id(0), &world.cloud.base_url()).await;
    let pages = world.diary.has_been("link", &["EndpointNotAllowed"]).await;
    pages.iter().for_each(is_sound);
    let (ready, beside) = trouble(&pages[0].status);
    assert_eq!(beside.type_, "Stalled");
    let flag = format!("--allowed-origin={} ", world.cloud.origin());
    assert!(ready.message.contains(&flag), "{}", ready.message);
    assert_eq!((pages[0].status.attempts, &pages[0].status.next_attempt_time), (None, &None));
    world.ask("link").await;
    world.tenant.wait_for("link", "the wish is acknowledged", |link| handled(link) == Some("now")).await;
    assert_eq!(operator.requests().count("get", "secrets"), 0);
    assert!(world.cloud.simulator.journal().is_empty());
    assert_eq!(operator.stop().await, Some(0));

    let _operator = world.operator().await;
    world.diary.has_been("link", &["EndpointNotAllowed", "Synced"]).await;
    world.announced("link", &["EndpointNotAllowed", "Synced"]).await;
}

/// What a schema cannot see: a host that looks like an address and is none.
#[tokio::test]
async fn a_base_url_that_no_request_can_be_made_of_is_said_at_once() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.cloud.simulator.add_organization(&org_id(0), [keys("link")]);
    world.link("link", &org_id(0), "https://10.0.0.999/api/public/v1.0").await;
    let pages = world.diary.has_been("link", &["InvalidSpec"]).await;
    pages.iter().for_each(is_sound);
    let (ready, beside) = trouble(&pages[0].status);
    assert_eq!(beside.type_, "Stalled");
    assert!(ready.message.starts_with("spec.baseUrl cannot be used: it is not a URL"), "{}", ready.message);
    assert!(ready.message.ends_with("create it again with a right one."), "{}", ready.message);
    assert_eq!(operator.requests().count("get", "secrets"), 0);

    world.tenant.links().delete("link", &DeleteParams::default()).await.unwrap();
    world.tenant.create_link("link", spec("link", &org_id(0), &world.cloud.base_url())).await;
    world.diary.has_been("link", &["InvalidSpec", "Synced"]).await;
}

fn is_suspended(link: &MigrationLink) -> bool {
    link.status
        .as_ref()
        .and_then(|status| status.conditions.as_ref())
        .is_some_and(|conditions| conditions.is_true(ConditionType::Suspended))
}

fn conditions(link: &MigrationLink) -> Vec<(&str, &str)> {
    let conditions = link.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .map(|condition| {
            assert_eq!(condition.observed_generation, link.metadata.generation, "{condition:?}");
            (condition.type_.as_str(), condition.status.as_str())
        })
        .collect()
}

fn handled(link: &MigrationLink) -> Option<&str> {
    link.status.as_ref()?.last_handled_reconcile_at.as_deref()
}
