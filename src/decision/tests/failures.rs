//! The failure table, row by row: condition, pace, and the way back.

use super::case::{Content, INTERVAL, accepted, at, failed, link, state, synced};
use super::story::{Did, NOTHING, story};
use crate::api::{Beside, Reason};
use crate::decision::{Call, CallFailure, Outcome};

/// Reason, what stands beside it, and the first two waits with a jitter of one half.
const TABLE: [(Reason, &str, [i64; 2]); 13] = [
    (Reason::EndpointUnavailable, "Reconciling", [2, 3]),
    (Reason::RateLimited, "Reconciling", [2, 3]),
    (Reason::ServiceUpgrading, "Reconciling", [2, 3]),
    (Reason::UnexpectedResponse, "Reconciling", [2, 3]),
    (Reason::TlsVerificationFailed, "Stalled", [60, 120]),
    (Reason::Unauthorized, "Stalled", [60, 120]),
    (Reason::AccessListDenied, "Stalled", [60, 120]),
    (Reason::Forbidden, "Stalled", [60, 120]),
    (Reason::OrganizationNotFound, "Stalled", [60, 120]),
    (Reason::TokenRejected, "Stalled", [60, 120]),
    (Reason::LinkExists, "Stalled", [60, 120]),
    (Reason::RequestRejected, "Stalled", [60, 120]),
    (Reason::SecretAccessDenied, "Stalled", [60, 120]),
];

#[test]
fn every_class_of_a_first_sync_has_its_condition_its_pace_and_its_way_back() {
    for (reason, beside, waits) in TABLE {
        let mut told = story(link()).failing(&failed(reason));
        assert_eq!(told.pass(), Did { reads: 1, links: 1, polls: 0, publishes: 1, ..NOTHING }, "{reason}");
        let line = format!("Ready=False {reason}, {beside}=True {reason}");
        assert_eq!(told.case.conditions(), line);
        assert_eq!(told.case.next(), Some(waits[0]), "{reason}");
        assert_eq!(told.case.link.status.attempts, Some(1));
        assert_eq!(told.pass(), NOTHING, "{reason}");
        assert_eq!(told.next(), Did { reads: 1, links: 1, polls: 0, publishes: 1, ..NOTHING }, "{reason}");
        assert_eq!(told.case.conditions(), line);
        assert_eq!(told.case.next(), Some(waits[1]), "{reason}");
        assert_eq!(told.events.len(), 1, "{reason}: one event for a change, none for a repetition");
        told.link = accepted("SYNCED");
        told.next();
        assert_eq!(told.case.conditions(), "Ready=True Synced", "nothing of it is left");
    }
}

#[test]
fn every_class_of_a_check_that_a_person_asked_for_has_its_condition() {
    for (reason, beside, waits) in TABLE {
        let mut told = story(synced().reconcile_at("1")).failing(&failed(reason));
        assert_eq!(told.pass(), Did { reads: 1, links: 0, polls: 1, publishes: 1, ..NOTHING }, "{reason}");
        assert_eq!(told.case.conditions(), format!("Ready=False {reason}, {beside}=True {reason}"));
        assert_eq!(told.case.next(), Some(waits[0]), "{reason}");
        told.answers(accepted("SYNCED"), state("SYNCED")).next();
    }
}

#[test]
fn a_class_follows_another_without_a_rest() {
    for (first, ..) in TABLE {
        for (second, beside, waits) in TABLE {
            let case = link().after(Call::Link, failed(first)).now(HOUR_LATER);
            let case = case.after(Call::Link, failed(second));
            let stalled = beside == "Reconciling"
                && first.beside() == Beside::Reconciling
                && !case.conditions().contains("Reconciling");
            let beside = if stalled { "Stalled" } else { beside };
            assert_eq!(case.conditions(), format!("Ready=False {second}, {beside}=True {second}"));
            assert_eq!(case.next(), Some(waits[usize::from(first == second)]), "{first} {second}");
        }
    }
}

/// More than the progress deadline.
const HOUR_LATER: i64 = 3600;

#[test]
fn the_classes_of_the_inputs() {
    for (content, reason, beside) in [
        (None, "SecretNotFound", "Reconciling"),
        (Some(Content::Bad), "InvalidSecret", "Stalled"),
        (Some(Content::Denied), "SecretAccessDenied", "Stalled"),
    ] {
        for start in [link(), synced()] {
            let mut told = story(start);
            told.then(|case| match content.clone() {
                Some(content) => case.secret(content),
                None => case.no_secret(),
            });
            assert_eq!(told.pass(), Did { reads: 1, publishes: 1, ..NOTHING }, "{reason}");
            assert_eq!(told.case.conditions(), format!("Ready=False {reason}, {beside}=True {reason}"));
            let did = told.then(|case| case.holds("t1", "k1").reconcile_at("2")).pass();
            assert_eq!(did.links + did.polls, 1, "{reason}");
            assert_eq!(told.case.conditions(), "Ready=True Synced");
        }
    }
}

#[test]
fn the_servers_wish_is_waited_for_and_no_longer_than_is_sensible() {
    let waits = |reason, wish| {
        let failure = CallFailure {
            reason,
            message: "Wait.".into(),
            retry_after: Some(std::time::Duration::from_secs(wish)),
            maybe_effective: false,
        };
        let case = link().after(Call::Link, Outcome::Failed(failure));
        assert!(matches!(case.step(), crate::decision::Step::Wait(Some(_))), "{reason} {wish}");
        case.next().unwrap()
    };
    assert_eq!(waits(Reason::RateLimited, 90), 90);
    assert_eq!(waits(Reason::RateLimited, 1), 2);
    assert_eq!(waits(Reason::RateLimited, u64::MAX), 6 * 3600);
    assert_eq!(waits(Reason::EndpointUnavailable, 90), 90);
    assert_eq!(waits(Reason::ServiceUpgrading, u64::MAX), 600);
    assert_eq!(waits(Reason::Forbidden, u64::MAX), 600);
}

#[test]
fn a_reason_of_another_version_holds_nothing_up() {
    let mut case = link().accepted("t1").not_ready(Reason::Unauthorized, Some(INTERVAL));
    for condition in case.link.status.conditions.iter_mut().flatten() {
        condition.reason = "FromTheFuture".into();
    }
    let mut told = story(case);
    assert_eq!(told.pass().polls, 1);
    assert_eq!(told.case.conditions(), "Ready=True Synced");
    assert!(told.wait > Some(at(0)));
}
