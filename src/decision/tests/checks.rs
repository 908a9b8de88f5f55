//! Checks of a Ready link that fail.

use super::case::{HOUR, INTERVAL, MINUTE, at, failed, limited, state, synced};
use super::story::{Did, NOTHING, Story, story};
use crate::api::{ConditionType, Conditions, Reason};

const UNKNOWN: &str = "Ready=Unknown EndpointUnavailable, Reconciling=True EndpointUnavailable";

/// A link that was checked once, and whose checks fail from then on.
fn outage(reason: Reason) -> Story {
    let mut told = story(synced()).told();
    told.next();
    told.poll = failed(reason);
    told
}

fn second(told: &Story) -> i64 {
    told.case.now.duration_since(at(0)).as_secs()
}

fn message(told: &Story) -> String {
    let conditions = told.case.link.status.conditions.as_ref().unwrap();
    conditions.of(ConditionType::Ready).unwrap().message.clone()
}

#[test]
fn it_is_silent_for_an_interval_and_then_said_once() {
    let mut told = outage(Reason::EndpointUnavailable);
    let answered = at(second(&told));
    assert_eq!(told.next(), Did { reads: 1, polls: 1, ..NOTHING });
    let begin = second(&told);
    let silent = told.until(begin + INTERVAL - 1);
    assert_eq!(silent.publishes, 0);
    assert!((5..=12).contains(&silent.polls), "{silent:?}");
    assert_eq!(told.case.conditions(), "Ready=True Synced");
    // One interval and one wait later at the latest.
    assert_eq!(told.until(begin + INTERVAL + 10 * MINUTE).publishes, 1);
    assert_eq!(told.case.conditions(), UNKNOWN);
    assert_eq!(told.case.link.status.state.as_deref(), Some("SYNCED"));
    assert!(message(&told).contains(&answered.to_string()), "{}", message(&told));
    assert_eq!(told.events.last().unwrap().reason, "EndpointUnavailable");
    // Stalled after half an hour more: one write. After it, none.
    let said = second(&told);
    assert_eq!(told.until(said + HOUR).publishes, 1);
    let line = "Ready=Unknown EndpointUnavailable, Stalled=True EndpointUnavailable";
    assert_eq!(told.case.conditions(), line);
    let more = told.until(said + 5 * HOUR);
    assert_eq!(more.publishes, 0);
    assert!(more.polls <= 4 * 12, "{more:?}");
    // And back.
    told.poll = state("SYNCED");
    assert_eq!(told.next(), Did { reads: 1, polls: 1, publishes: 1, ..NOTHING });
    assert_eq!(told.case.conditions(), "Ready=True Synced");
    assert_eq!(told.next(), Did { reads: 1, polls: 1, ..NOTHING });
}

#[test]
fn what_passes_within_the_interval_leaves_no_trace() {
    let mut told = outage(Reason::UnexpectedResponse);
    for _ in 0..4 {
        told.next();
    }
    told.poll = state("SYNCED");
    told.next();
    assert_eq!(told.total.publishes, 0);
    assert!(told.events.is_empty() && told.case.memory.failing.is_none());
    // The next outage begins anew.
    told.poll = failed(Reason::UnexpectedResponse);
    told.next();
    assert_eq!(told.until(second(&told) + INTERVAL - 1).publishes, 0);
}

#[test]
fn a_restart_in_between_forgets_the_beginning_and_says_so() {
    let mut told = outage(Reason::EndpointUnavailable);
    told.next();
    told.until(second(&told) + INTERVAL / 2);
    told.restart().pass();
    assert_eq!(told.case.memory.answered, None);
    told.until(second(&told) + 3 * INTERVAL);
    assert!(told.case.conditions().starts_with("Ready=Unknown"), "{}", told.case.conditions());
    assert!(message(&told).contains("not since the operator started"), "{}", message(&told));
    // A restart while it is published writes nothing for the same reason.
    let before = told.total.publishes;
    told.restart().pass();
    told.next();
    told.next();
    assert_eq!(told.total.publishes, before);
}

#[test]
fn another_reason_is_said_at_once_when_one_is_published_already() {
    let mut told = outage(Reason::EndpointUnavailable);
    told.next();
    told.until(second(&told) + 2 * INTERVAL);
    assert_eq!(told.case.conditions(), UNKNOWN);
    told.poll = failed(Reason::UnexpectedResponse);
    assert_eq!(told.next().publishes, 1);
    assert_eq!(
        told.case.conditions(),
        "Ready=Unknown UnexpectedResponse, Reconciling=True UnexpectedResponse"
    );
}

#[test]
fn what_needs_a_person_is_said_at_once() {
    for reason in [Reason::Unauthorized, Reason::AccessListDenied, Reason::TlsVerificationFailed] {
        let mut told = outage(reason);
        assert_eq!(told.next().publishes, 1);
        assert_eq!(told.case.conditions(), format!("Ready=False {reason}, Stalled=True {reason}"));
        assert_eq!(told.case.link.status.state.as_deref(), Some("SYNCED"));
        told.assert_waits_about(MINUTE);
        // Also in the middle of a silent outage.
        let mut told = outage(Reason::EndpointUnavailable);
        told.next();
        told.poll = failed(reason);
        assert_eq!(told.next().publishes, 1);
        assert!(told.case.memory.failing.is_none());
    }
}

#[test]
fn a_person_who_asks_is_answered_at_once() {
    let mut told = outage(Reason::EndpointUnavailable);
    told.then(|case| case.reconcile_at("1"));
    assert_eq!(told.pass().publishes, 1);
    let line = "Ready=False EndpointUnavailable, Reconciling=True EndpointUnavailable";
    assert_eq!(told.case.conditions(), line);
    // A spec that was never looked at says its reason once too, if the check is due.
    let mut told = outage(Reason::EndpointUnavailable);
    told.next();
    told.then(super::case::Case::edited);
    assert_eq!(told.pass().publishes, 1);
    assert_eq!(told.case.conditions(), line);
    assert_eq!(told.case.link.status.observed_generation, Some(2));
}

#[test]
fn a_rate_limited_check_is_not_repeated_before_its_time() {
    let mut told = outage(Reason::EndpointUnavailable);
    told.poll = limited(2 * HOUR.unsigned_abs());
    told.next();
    let begin = second(&told);
    told.then(|case| case.reconcile_at("1").relink_at("1").edited());
    let did = told.until(begin + 2 * HOUR - 1);
    assert_eq!((did.polls, did.links), (0, 0));
    told.pass();
    assert_eq!((told.total.polls, told.total.links), (2, 0));
}

#[test]
fn new_content_ends_the_wait_of_a_silent_failure() {
    let mut told = outage(Reason::EndpointUnavailable);
    for _ in 0..8 {
        told.next();
    }
    assert!(told.waits() > MINUTE);
    told.then(|case| case.holds("t2", "k1"));
    assert_eq!(told.pass(), Did { reads: 1, links: 1, publishes: 2, ..NOTHING });
    assert_eq!(told.case.conditions(), "Ready=True Synced");
    assert!(told.case.memory.failing.is_none());
}
