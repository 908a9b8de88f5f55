//! Calls that may not be made now.

use std::time::Duration;

use super::case::{Case, HOUR, INTERVAL, MINUTE, at, link, synced};
use super::story::{Did, NOTHING, Story, story};
use crate::api::Reason;
use crate::decision::HeldWhy;

const SAID: Did = Did { publishes: 1, ..NOTHING };
const READ: Did = Did { reads: 1, ..NOTHING };

/// A check of a link in force is due.
fn due() -> Case {
    synced().last_answered(0).now(2 * INTERVAL)
}

fn released(told: &mut Story) -> Did {
    told.case.held = None;
    told.pass()
}

#[test]
fn who_only_waits_for_a_turn_is_not_written_to() {
    let mut told = story(link().held(HeldWhy::Turn, None));
    assert_eq!(told.pass(), READ, "what nobody has looked at is read: perhaps it needs no call");
    assert_eq!(told.wait, None);
    let mut told = story(due().held(HeldWhy::Turn, None));
    assert_eq!(told.pass(), NOTHING, "not even its Secret is read");
    assert_eq!(released(&mut told).polls, 1);
}

#[test]
fn a_link_that_nobody_has_looked_at_says_once_what_it_waits_for() {
    for (why, reason) in
        [(HeldWhy::Unavailable, "EndpointUnavailable"), (HeldWhy::RateLimited, "RateLimited")]
    {
        for case in [
            link(),
            synced().edited().reconcile_at("1"),
            synced().not_ready(Reason::Unauthorized, Some(1)).edited(),
        ] {
            let mut told = story(case.now(2 * INTERVAL).held(why, Some(3 * INTERVAL)));
            assert_eq!(told.pass().publishes, 1);
            assert_eq!(told.case.conditions(), format!("Ready=False {reason}, Reconciling=True {reason}"));
            assert_eq!(told.case.link.status.observed_generation, Some(told.case.link.generation));
            assert_eq!(told.pass().publishes, 0);
            told.then(|case| case.now(3 * INTERVAL));
            let did = released(&mut told);
            assert_eq!(did.links + did.polls, 1);
            assert_eq!(told.case.conditions(), "Ready=True Synced");
        }
    }
}

#[test]
fn what_is_published_already_is_not_written_again() {
    let case = synced().not_ready(Reason::EndpointUnavailable, Some(5)).now(MINUTE);
    let mut told = story(case.held(HeldWhy::Unavailable, None));
    assert_eq!(told.pass(), NOTHING);
    told.until(30 * MINUTE + 5);
    assert_eq!(told.total, SAID, "but what lasts needs a person in the end");
    assert_eq!(told.case.conditions(), "Ready=False EndpointUnavailable, Stalled=True EndpointUnavailable");
}

#[test]
fn a_due_check_that_is_held_back_counts_as_failing_since_it_was_due() {
    let mut told = story(synced().last_answered(0)).told();
    let due = told.wait.unwrap();
    told.case.now = due;
    told.then(|case| case.held(HeldWhy::Unavailable, None));
    assert_eq!(told.pass(), NOTHING);
    assert_eq!(told.case.conditions(), "Ready=True Synced");
    assert_eq!(told.waits(), INTERVAL);
    assert_eq!(told.next(), SAID);
    assert_eq!(
        told.case.conditions(),
        "Ready=Unknown EndpointUnavailable, Reconciling=True EndpointUnavailable"
    );
    told.case.now = told.case.now.saturating_add(Duration::from_mins(20)).unwrap();
    assert_eq!(told.pass(), NOTHING);
    assert_eq!(released(&mut told), Did { reads: 1, polls: 1, publishes: 1, ..NOTHING });
    assert_eq!(told.case.conditions(), "Ready=True Synced");
}

#[test]
fn a_new_token_that_is_held_back_does_not_read_as_done() {
    let mut told = story(synced().holds("t2", "k1").held(HeldWhy::Unavailable, None));
    assert_eq!(told.pass(), Did { reads: 1, ..SAID });
    assert_eq!(told.case.link.status.state.as_deref(), Some("NOT_SYNCED"));
    assert_eq!(
        told.case.conditions(),
        "Ready=False EndpointUnavailable, Reconciling=True EndpointUnavailable"
    );
    assert_eq!(told.pass(), NOTHING);
    assert_eq!(released(&mut told).links, 1);
}

#[test]
fn a_rate_limit_of_the_key_survives_a_restart() {
    let mut told = story(link().held(HeldWhy::RateLimited, Some(20 * MINUTE)));
    told.pass();
    assert_eq!(told.case.next(), Some(20 * MINUTE - 1));
    told.restart().case.held = None;
    assert_eq!(told.pass(), NOTHING);
    assert_eq!(told.wait, Some(at(20 * MINUTE)));
}

#[test]
fn a_deletion_that_is_held_back_says_so_once() {
    let mut told = story(synced().delete().deleting().held(HeldWhy::Unavailable, None));
    told.pass();
    assert_eq!(told.case.conditions(), "Ready=False DeletionBlocked, Reconciling=True EndpointUnavailable");
    assert_eq!(told.pass(), NOTHING);
    told.then(|case| case.now(HOUR));
    assert_eq!(told.pass(), NOTHING, "it is not let go");
    assert_eq!(released(&mut told).unlinks, 1);
}

#[test]
fn a_deletion_that_waits_for_a_person_ends_with_its_grace_period_though_its_call_is_held_back() {
    for why in [HeldWhy::Turn, HeldWhy::RateLimited, HeldWhy::Unavailable] {
        let mut told =
            story(synced().delete().deleting()).unlinking(super::case::failed(Reason::Unauthorized)).told();
        told.then(|case| case.now(2 * MINUTE).held(why, None));
        assert_eq!(told.pass(), NOTHING, "{why:?}");
        assert_eq!(told.wait, Some(at(10 * MINUTE + 1)));
        assert_eq!(told.next(), Did { finalizers: 1, ..NOTHING });
        assert!(matches!(told.released, Some(crate::decision::Release::LeftBehind(_))));
    }
}

#[test]
fn a_deletion_that_waits_for_its_turn_does_not_look_at_the_clock_again_and_again() {
    let case = synced().delete().not_ready(Reason::NotSynced, Some(5)).now(HOUR).deleting();
    let mut told = story(case.held(HeldWhy::Turn, None));
    told.pass();
    assert_eq!(told.wait, None, "no progress deadline");
}

#[test]
fn a_link_that_is_resumed_says_so_though_its_check_is_held_back() {
    let mut told = story(due().paused()).told();
    assert_eq!(told.case.conditions(), "Ready=True Synced, Suspended=True Suspended");
    told.case.link.paused = false;
    told.then(|case| case.held(HeldWhy::Unavailable, None));
    assert_eq!(told.pass().publishes, 1);
    assert!(!told.case.conditions().contains("Suspended"), "{}", told.case.conditions());
}

#[test]
fn a_sibling_s_success_ends_a_stalled_wait_once_for_each_reason() {
    let mut told = story(link()).failing(&super::case::failed(Reason::AccessListDenied)).told();
    let sent = Did { reads: 1, links: 1, publishes: 1, ..NOTHING };
    told.then(|case| case.nudged(Reason::Unauthorized));
    assert_eq!(told.pass(), NOTHING, "another reason");
    told.then(|case| case.nudged(Reason::AccessListDenied));
    assert_eq!(told.pass(), sent);
    assert_eq!(told.case.memory.nudge, Some(crate::decision::Nudge::Spent(Reason::AccessListDenied)));
    assert_eq!(told.pass(), NOTHING);
    assert_eq!(told.case.link.status.attempts, Some(2), "the back-off goes on");
    told.link = super::case::failed(Reason::Forbidden);
    told.next();
    assert_eq!(told.case.memory.nudge, None);
}
