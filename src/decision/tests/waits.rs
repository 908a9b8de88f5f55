//! Back-off, its survival, the progress deadline, and clocks that were wrong.

use super::case::{
    Case, Change, Content, DAY, HOUR, INTERVAL, MINUTE, accepted, at, failed, link, state, synced, time,
};
use super::story::{Did, NOTHING, story};
use crate::api::{ConditionType, Conditions, Reason};

#[test]
fn the_back_off_is_kept_in_the_status_and_survives_a_restart() {
    let mut told = story(link()).failing(&failed(Reason::EndpointUnavailable)).told();
    for _ in 0..6 {
        told.next();
    }
    assert_eq!(told.case.link.status.attempts, Some(7));
    let wait = told.wait;
    assert_eq!(told.restart().pass(), NOTHING);
    assert_eq!(told.wait, wait);
    told.next();
    assert_eq!(told.case.link.status.attempts, Some(8), "it counts on");
}

#[test]
fn the_waits_double_to_ten_minutes_and_to_an_hour() {
    let waits = |reason, count: usize| {
        let mut told = story(link()).failing(&failed(reason)).told();
        let mut waits = vec![];
        while waits.len() < count {
            waits.push(told.case.next().unwrap());
            let next = told.case.link.status.next_attempt_time.clone().unwrap();
            told.until(next.0.duration_since(at(0)).as_secs());
        }
        waits
    };
    // Jitter 0.5: three quarters of the back-off, all of the slow pace; upwards to whole seconds.
    assert_eq!(waits(Reason::EndpointUnavailable, 11), [2, 3, 6, 12, 24, 48, 96, 192, 384, 450, 450]);
    assert_eq!(waits(Reason::Unauthorized, 8), [60, 120, 240, 480, 960, 1920, 3600, 3600]);
}

#[test]
fn a_fixed_cause_is_tried_at_once() {
    let changes: [(&str, Change); 4] = [
        ("spec", Case::edited),
        ("reconcile-at", |case| case.reconcile_at("1")),
        ("token", |case| case.holds("t2", "k1")),
        ("keys", |case| case.holds("t1", "k2")),
    ];
    for (name, change) in changes {
        let mut told = story(link()).failing(&failed(Reason::Unauthorized)).told();
        told.until(HOUR);
        told.then(change).pass();
        assert_eq!(told.case.link.status.attempts, Some(1), "{name}");
        told.assert_waits_about(MINUTE);
        told.link = accepted("SYNCED");
        told.next();
        assert_eq!(told.case.conditions(), "Ready=True Synced", "{name}");
        assert_eq!(told.case.link.status.attempts, None, "{name}");
    }
}

#[test]
fn what_is_wrong_with_the_inputs_now_is_said_though_the_last_look_asked_to_wait() {
    // Found by pairs of faults: the Secret is looked for again, because it is not watched yet; meanwhile it is made, and the watch tells
    // of it, but it may not be read. That must not read as if it were not there, which nothing would end.
    let mut told = story(link().no_secret().without_watch()).told();
    let watched = |mut case: Case| {
        case.secret_access = crate::decision::SecretAccess::Watch;
        case.secret(Content::Denied)
    };
    told.then(watched).pass();
    assert_eq!(told.case.conditions(), "Ready=False SecretAccessDenied, Stalled=True SecretAccessDenied");
    told.then(Case::no_secret).pass();
    assert_eq!(told.case.conditions(), "Ready=False SecretNotFound, Reconciling=True SecretNotFound");
    told.then(|case| case.secret(Content::Denied)).pass();
    told.case.secret = Some(super::case::stored("t1", "k1", told.case.secret.unwrap().version));
    told.case.secret.as_mut().unwrap().uid = "5ec7e7-2".into();
    told.next();
    assert_eq!(told.case.conditions(), "Ready=True Synced", "the right to read it was given");
}

#[test]
fn what_has_been_reconciling_for_half_an_hour_is_stalled_in_one_write() {
    for case in [link(), link().no_secret(), link().without_watch().no_secret()] {
        let mut told = story(case).failing(&failed(Reason::EndpointUnavailable)).told();
        told.until(30 * MINUTE);
        let reason = told.case.condition(ConditionType::Reconciling).unwrap();
        let before = told.total;
        told.until(30 * MINUTE + 2);
        assert_eq!(told.total - before, Did { publishes: 1, ..NOTHING });
        let line = told.case.conditions();
        assert!(line.contains(&format!("Stalled={reason}")) && !line.contains("Reconciling"), "{line}");
        assert!(line.starts_with(&format!("Ready={}", reason.replace("True", "False"))), "{line}");
        assert!(told.events.last().unwrap().warning);
        // It stays so, at the same pace, with the time of its beginning.
        let events = told.events.len();
        told.until(5 * HOUR);
        assert_eq!(told.case.conditions(), line);
        assert_eq!(told.events.len(), events);
        let since = told.case.link.status.conditions.as_ref().unwrap().of(ConditionType::Stalled).unwrap();
        assert!(since.last_transition_time <= time(30 * MINUTE + 2));
    }
}

#[test]
fn the_deadline_is_not_put_off_by_another_reason_of_the_same_kind() {
    let mut told = story(link()).answers(failed(Reason::EndpointUnavailable), state("NOT_SYNCED")).told();
    told.until(20 * MINUTE);
    told.link = failed(Reason::UnexpectedResponse);
    told.until(31 * MINUTE);
    assert_eq!(told.case.conditions(), "Ready=False UnexpectedResponse, Stalled=True UnexpectedResponse");
    told.link = accepted("NOT_SYNCED");
    told.until(45 * MINUTE);
    assert_eq!(told.case.conditions(), "Ready=False NotSynced, Stalled=True NotSynced", "and it stays");
}

#[test]
fn the_deadline_counts_anew_after_a_change_or_a_reason_that_needs_a_person() {
    let overdue = || {
        let mut told = story(link()).failing(&failed(Reason::EndpointUnavailable)).told();
        told.until(40 * MINUTE);
        assert!(told.case.conditions().contains("Stalled"));
        told
    };
    let changes: [Change; 3] = [Case::edited, |case| case.reconcile_at("1"), |case| case.holds("t2", "k1")];
    for change in changes {
        let mut told = overdue();
        told.then(change).pass();
        let again = "Ready=False EndpointUnavailable, Reconciling=True EndpointUnavailable";
        assert_eq!(told.case.conditions(), again);
        told.until(69 * MINUTE);
        assert_eq!(told.case.conditions(), again);
        told.until(71 * MINUTE);
        assert!(told.case.conditions().contains("Stalled"));
    }
    let mut told = overdue();
    told.then(Case::relabelled).pass();
    assert!(told.case.conditions().contains("Stalled"), "labels are no change");
    told.link = failed(Reason::Unauthorized);
    told.until(55 * MINUTE);
    assert_eq!(told.case.conditions(), "Ready=False Unauthorized, Stalled=True Unauthorized");
    told.link = failed(Reason::EndpointUnavailable);
    told.until(told.wait.unwrap().duration_since(at(0)).as_secs());
    assert!(told.case.conditions().contains("Reconciling"), "{}", told.case.conditions());
}

#[test]
fn a_deadline_that_a_person_restarts_is_restarted_while_it_runs() {
    let mut told = story(link()).failing(&failed(Reason::EndpointUnavailable)).told();
    told.until(25 * MINUTE);
    told.then(Case::edited).pass();
    told.until(50 * MINUTE);
    assert!(told.case.conditions().contains("Reconciling"), "{}", told.case.conditions());
    told.until(56 * MINUTE);
    assert!(told.case.conditions().contains("Stalled"), "{}", told.case.conditions());
}

#[test]
fn a_clock_that_was_ahead_stops_nothing() {
    // A next attempt that was written under a wrong clock counts as passed.
    let mut told = story(link().accepted("t1").not_ready(Reason::EndpointUnavailable, Some(30 * DAY)));
    assert_eq!(told.pass(), Did { reads: 1, polls: 1, publishes: 1, ..NOTHING });
    // The clock is put back by a month while the process runs: the checks go on.
    let mut told = story(synced().now(30 * DAY));
    told.restart().pass();
    told.next();
    told.case.now = at(HOUR);
    told.pass();
    assert!(told.waits() <= 2 * INTERVAL, "{}", told.waits());
    let before = told.total;
    told.until(3 * HOUR);
    let polls = (told.total - before).polls;
    assert!((6..=9).contains(&polls), "{polls}");
    // And before the API has answered at all.
    let mut told = story(synced().now(30 * DAY));
    told.restart().pass();
    told.case.now = at(HOUR);
    told.pass();
    assert!(told.waits() <= 2 * INTERVAL, "{}", told.waits());
}

#[test]
fn a_day_of_failures_is_paced() {
    for (reason, most) in [
        (Reason::EndpointUnavailable, 320),
        (Reason::ServiceUpgrading, 320),
        (Reason::UnexpectedResponse, 320),
        (Reason::Unauthorized, 40),
        (Reason::TokenRejected, 40),
    ] {
        for case in [link(), link().accepted("t1"), synced()] {
            let mut told = story(case).failing(&failed(reason)).told();
            told.until(DAY);
            let calls = told.total.links + told.total.polls;
            assert!((15..=most).contains(&calls), "{reason}: {calls}");
            assert!(told.total.reads <= calls + 2, "{reason}: {:?}", told.total);
        }
    }
    for content in [Content::Bad, Content::Denied] {
        let mut told = story(link().without_watch().secret(content)).told();
        told.until(DAY);
        assert!((20..=40).contains(&told.total.reads), "{:?}", told.total);
    }
}
