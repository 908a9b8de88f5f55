//! What the API says when it accepts, in all its forms.

use migrationlink_simulator::{Answer, LinkAnswer};

use super::Case;
use super::case::raw;
use crate::support::{World, is_sound, org_id, token, trouble};

#[tokio::test]
async fn every_2xx_of_the_api_to_the_post_is_an_acceptance() {
    let world = World::new().await;
    world.cloud.simulator.configure(|config| config.link_answer = LinkAnswer::SourceOrganization);
    let operator = world.operator().await;
    let case = |name| Case::passing(name, "Synced", &[]);
    let echo = r#"{"status": "SYNCED", "targetOrg": {"linkToken": "canary"}, "errorMessage": "canary"}"#;
    let said = [
        case("documented").accepted(raw(201, r#"{"status": "SYNCED"}"#)),
        case("echoed-with-status").accepted(raw(200, echo)),
        case("enveloped").accepted(raw(200, r#"{"status": 201, "content": {"status": "SYNCED"}}"#)),
        case("old-envelope").accepted(raw(200, r#"{"status": 201, "envelope": {"status": "SYNCED"}}"#)),
    ];
    let unsaid = [
        case("echoed"),
        case("no-body").accepted(raw(204, "")),
        case("accepted").accepted(raw(202, "")),
        case("truncated").accepted(Answer::TruncatedBody),
    ];
    for (n, case) in said.iter().chain(&unsaid).enumerate() {
        case.begin(&world, &org_id(n)).await;
    }
    for (n, case) in said.iter().chain(&unsaid).enumerate() {
        let path: &[&str] = if n < said.len() { &["Synced"] } else { &["NotSynced", "Synced"] };
        let pages = world.diary.has_been(case.name, path).await;
        pages.iter().for_each(is_sound);
        assert_eq!(pages.len(), path.len(), "{}: {pages:?}", case.name);
        assert_eq!(world.cloud.simulator.link_token(&org_id(n)), Some(token(case.name)));
        let now = &pages.last().expect("Synced").status;
        assert_eq!(now.state.as_deref(), Some("SYNCED"));
        let link = now.link.as_ref().expect("accepted");
        assert!(link.accepted_time.is_some() && link.held_since.is_some() && now.last_synced_time.is_some());
        if n >= said.len() {
            let first = &pages[0].status;
            assert_eq!((first.state.as_deref(), first.attempts), (Some("NOT_SYNCED"), None));
            let (ready, beside) = trouble(first);
            assert_eq!(beside.type_, "Reconciling");
            assert!(ready.message.contains("did not say a state"), "{}", ready.message);
        }
    }
    let names: Vec<_> = said.iter().chain(&unsaid).map(|case| case.name).collect();
    world.tells_no_secret(&operator, &names).await;
}

/// 5 s, then 10 s, ± 10 %.
#[tokio::test]
async fn a_link_that_is_not_synced_is_asked_about_until_it_is() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let not_synced = |name, says| {
        let mut case = Case::passing(name, "NotSynced", &[says, "waiting for SYNCED"]);
        case.first_wait = 4..=6;
        case
    };
    let slow = Case { times: 2, state: Some("NOT_SYNCED"), ..not_synced("slow", "says NOT_SYNCED") };
    slow.prepare(&world, &org_id(0));
    world.cloud.simulator.set_synced_after(&org_id(0), 1);
    world.link(slow.name, &org_id(0), &world.cloud.base_url()).await;
    let warming_up = raw(201, r#"{"status": "Warming up"}"#);
    let other = Case { state: Some("Warming up"), ..not_synced("other-word", "says Warming up") }
        .accepted(warming_up);
    other.begin(&world, &org_id(1)).await;
    for case in [slow, other] {
        let pages = world.diary.has_been(case.name, &["NotSynced", "Synced"]).await;
        pages.iter().for_each(is_sound);
        case.check(&pages);
        world.announced(case.name, &["NotSynced", "Synced"]).await;
    }
}
