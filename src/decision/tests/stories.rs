//! Whole stories, with every call and every write counted: the design's table "Calls, exactly", and what follows from
//! edits, annotations and Secrets.

use super::case::{
    Case, Content, HOUR, INTERVAL, MINUTE, accepted, ambiguous, at, failed, limited, link, state, synced,
    time,
};
use super::story::{Did, NOTHING, story};
use crate::api::{ConditionType, Reason};
use crate::decision::{Outcome, Step};

const SENT: Did = Did { reads: 1, links: 1, polls: 0, publishes: 1, ..NOTHING };
/// A token that replaces another one is announced before.
const REPLACED: Did = Did { publishes: 2, ..SENT };
const CHECKED: Did = Did { reads: 1, links: 0, polls: 1, publishes: 0, ..NOTHING };
const ASKED: Did = Did { publishes: 1, ..CHECKED };
const READ: Did = Did { reads: 1, publishes: 1, ..NOTHING };
const WRITTEN: Did = Did { publishes: 1, ..NOTHING };

#[test]
fn the_first_sync_and_then_nothing_but_checks() {
    let mut told = story(link());
    assert_eq!(told.pass(), SENT);
    assert_eq!(told.case.conditions(), "Ready=True Synced");
    // Our own patch comes back, and other wake-ups without cause.
    for _ in 0..3 {
        assert_eq!(told.pass(), NOTHING);
    }
    assert!(told.waits() >= INTERVAL / 2 && told.waits() <= INTERVAL * 3 / 2, "{}", told.waits());
    assert_eq!(told.next(), CHECKED);
    let one_interval = told.waits();
    assert_eq!(one_interval, INTERVAL, "checks keep their phase");
    for _ in 0..10 {
        assert_eq!(told.next(), CHECKED);
        assert_eq!(told.waits(), INTERVAL);
    }
    assert_eq!(told.events.len(), 1, "{:?}", told.events);
}

#[test]
fn a_first_sync_that_takes_a_while() {
    let mut told = story(link()).answers(Outcome::Accepted(None), state("NOT_SYNCED"));
    assert_eq!(told.pass(), Did { reads: 1, links: 1, polls: 1, publishes: 2, ..NOTHING });
    told.assert_waits_about(5);
    assert_eq!(told.next(), ASKED);
    told.assert_waits_about(10);
    told.poll = state("SYNCED");
    assert_eq!(told.next(), ASKED);
    assert_eq!(told.case.conditions(), "Ready=True Synced");
}

#[test]
fn a_restart_costs_nothing_where_everything_is_synced() {
    for second in [1, INTERVAL - 1, 5 * HOUR] {
        let mut told = story(synced());
        told.case.now = at(second);
        assert_eq!(told.restart().pass(), NOTHING);
        // The check falls where it would have fallen without the restart.
        let phase = told.wait.unwrap().as_second() % INTERVAL;
        let mut other = story(synced()).told();
        other.until(7 * HOUR);
        assert_eq!(other.wait.unwrap().as_second() % INTERVAL, phase);
    }
}

#[test]
fn after_an_answer_at_least_half_an_interval_passes() {
    let waits: Vec<_> = (0..INTERVAL)
        .step_by(10)
        .map(|second| {
            let mut told = story(link().now(second)).told();
            let first = told.waits();
            told.next();
            assert_eq!(told.waits(), INTERVAL);
            first
        })
        .collect();
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!((INTERVAL / 2..=INTERVAL / 2 + 10).contains(least), "{least}");
    assert!((INTERVAL * 3 / 2 - 10..=INTERVAL * 3 / 2).contains(most), "{most}");
}

#[test]
fn restarts_do_not_starve_the_checks() {
    let mut told = story(synced()).told();
    for restart in 1..=30 {
        told.until(restart * INTERVAL / 10);
        told.restart().pass();
    }
    assert_eq!(told.total, Did { reads: 3, polls: 3, ..NOTHING });
}

#[test]
fn an_edit_that_needs_no_call_is_one_write() {
    let mut told = story(synced()).told();
    told.then(Case::edited);
    assert_eq!(told.pass(), WRITTEN);
    assert_eq!(told.case.link.status.observed_generation, Some(2));
    assert_eq!(told.pass(), NOTHING);
    // A shorter interval brings the check forward.
    told.then(Case::edited).case.link.spec.sync_interval = Some("1m".into());
    assert_eq!(told.pass(), WRITTEN);
    assert!(told.waits() <= MINUTE, "{}", told.waits());
    assert_eq!(told.next(), CHECKED);
    assert_eq!(told.waits(), MINUTE);
}

#[test]
fn a_secret_with_the_same_content_is_read_and_noted_and_clears_no_back_off() {
    let mut told = story(synced()).told();
    told.then(Case::relabelled);
    assert_eq!(told.pass(), READ);
    assert_eq!(told.pass(), NOTHING);

    let mut told = story(link().accepted("t1")).failing(&failed(Reason::EndpointUnavailable));
    for _ in 0..5 {
        told.pass();
        told.until(told.waits() + 1);
    }
    told.pass();
    let (attempts, next) = (told.case.link.status.attempts, told.case.link.status.next_attempt_time.clone());
    told.then(Case::relabelled);
    assert_eq!(told.pass(), READ);
    assert_eq!((told.case.link.status.attempts, &told.case.link.status.next_attempt_time), (attempts, &next));
}

#[test]
fn a_rotated_token_is_sent_once() {
    let mut told = story(synced()).told();
    told.then(|case| case.holds("t2", "k1"));
    assert_eq!(told.pass(), REPLACED);
    assert_eq!(told.pass(), NOTHING);
    assert_eq!(told.case.known().token_fingerprint.as_deref(), Some("t2"));
}

#[test]
fn rotated_keys_are_tried_with_a_poll() {
    let mut told = story(synced()).told();
    told.then(|case| case.holds("t1", "k2"));
    assert_eq!(told.pass(), ASKED);
    assert_eq!(told.case.known().key_fingerprint.as_deref(), Some("k2"));
    assert_eq!(told.pass(), NOTHING);
    // And so are keys that do not work: once, then at their pace.
    told.poll = failed(Reason::Unauthorized);
    told.then(|case| case.holds("t1", "k3"));
    assert_eq!(told.pass(), ASKED);
    assert_eq!(told.case.conditions(), "Ready=False Unauthorized, Stalled=True Unauthorized");
    assert_eq!(told.pass(), NOTHING);
    told.assert_waits_about(MINUTE);
}

#[test]
fn without_a_watch_a_rotation_is_noticed_at_the_next_check() {
    let mut told = story(synced().without_watch()).told();
    told.then(|case| case.holds("t2", "k1"));
    assert_eq!(told.pass(), NOTHING);
    assert_eq!(told.next(), REPLACED);
}

#[test]
fn a_token_that_is_rotated_back_is_sent_again_after_a_lost_answer() {
    let mut told = story(synced()).told();
    told.link = ambiguous();
    told.then(|case| case.holds("t2", "k1"));
    assert_eq!(told.pass(), REPLACED);
    assert_eq!(told.case.known().sent.as_deref(), Some("t2"));
    assert_eq!(told.case.link.status.state.as_deref(), Some("NOT_SYNCED"));
    told.link = accepted("SYNCED");
    told.then(|case| case.holds("t1", "k1"));
    assert_eq!(told.pass(), SENT, "t2 may be in force");
    let known = told.case.known();
    assert_eq!((known.sent, known.token_fingerprint.as_deref()), (None, Some("t1")));
    assert_eq!(told.pass(), NOTHING);
}

#[test]
fn a_token_that_is_rotated_back_after_a_refusal_is_only_asked_about() {
    let mut told = story(synced()).answers(failed(Reason::TokenRejected), state("SYNCED")).told();
    told.then(|case| case.holds("t2", "k1"));
    assert_eq!(told.pass(), REPLACED);
    told.then(|case| case.holds("t1", "k1"));
    assert_eq!(told.pass(), ASKED);
    assert_eq!(told.case.conditions(), "Ready=True Synced");
}

#[test]
fn a_lost_answer_is_settled_by_the_same_post() {
    let mut told = story(link()).answers(ambiguous(), state("SYNCED")).told();
    assert_eq!(told.next(), SENT);
    told.link = accepted("SYNCED");
    assert_eq!(told.next(), SENT);
    assert_eq!(told.case.known().sent, None);
}

#[test]
fn two_lost_answers_leave_no_doubt_about_the_token_in_force() {
    let mut told = story(synced()).answers(ambiguous(), state("SYNCED")).told();
    told.then(|case| case.holds("t2", "k1")).pass();
    told.then(|case| case.holds("t1", "k1"));
    assert_eq!(told.pass(), SENT);
    // The API says SYNCED, perhaps of t2: only an accepted POST counts.
    told.link = accepted("SYNCED");
    assert_eq!(told.next(), SENT);
    assert_eq!(told.case.known().sent, None);
}

#[test]
fn relink_at_sends_the_token_again_and_is_acknowledged_by_the_acceptance_only() {
    let mut told = story(synced()).told();
    told.then(|case| case.relink_at("1"));
    assert_eq!(told.pass(), SENT);
    assert_eq!(told.pass(), NOTHING);
    told.link = ambiguous();
    told.then(|case| case.relink_at("2").reconcile_at("a"));
    assert_eq!(told.pass(), SENT);
    let status = &told.case.link.status;
    assert_eq!(status.last_handled_relink_at.as_deref(), Some("1"));
    assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("a"), "good or bad");
    assert_eq!(told.pass(), NOTHING, "it breaks no back-off");
    assert_eq!(told.next(), SENT);
    told.link = accepted("SYNCED");
    assert_eq!(told.next(), SENT);
    assert_eq!(told.case.link.status.last_handled_relink_at.as_deref(), Some("2"));
}

#[test]
fn reconcile_at_asks_once_and_is_acknowledged_by_any_outcome() {
    for poll in [state("SYNCED"), failed(Reason::EndpointUnavailable), failed(Reason::Unauthorized)] {
        let mut told = story(synced()).answers(accepted("SYNCED"), poll).told();
        told.then(|case| case.reconcile_at("1"));
        assert_eq!(told.pass(), ASKED);
        assert_eq!(told.case.link.status.last_handled_reconcile_at.as_deref(), Some("1"));
        assert_eq!(told.pass(), NOTHING);
    }
    for content in [None, Some(Content::Bad), Some(Content::Denied)] {
        let mut told = story(link());
        told.case.secret = content.map(|content| link().secret(content).secret.unwrap());
        told.pass();
        told.then(|case| case.reconcile_at("1"));
        assert_eq!(told.pass(), READ);
        assert_eq!(told.case.link.status.last_handled_reconcile_at.as_deref(), Some("1"));
    }
}

#[test]
fn a_suspension_of_a_ready_link_is_one_write_and_so_is_its_end() {
    let mut told = story(synced()).told();
    told.then(Case::suspend);
    assert_eq!(told.pass(), WRITTEN);
    assert_eq!(told.case.condition(ConditionType::Ready).as_deref(), Some("True Synced"));
    told.then(|case| case.holds("t2", "k1")).case.now = at(HOUR);
    assert_eq!(told.pass(), NOTHING);
    told.then(|case| case.holds("t1", "k1").edited()).case.link.spec.suspend = None;
    assert_eq!(told.restart().pass(), READ, "the Secret moved, but not its content");
    assert_eq!(told.case.conditions(), "Ready=True Synced");
    assert_eq!(told.case.link.status.observed_generation, Some(3));
}

#[test]
fn a_suspended_link_that_was_not_ready_is_tried_at_once_when_it_is_resumed() {
    let mut told = story(link()).failing(&failed(Reason::Unauthorized)).told();
    told.then(Case::paused);
    assert_eq!(told.pass(), WRITTEN);
    assert_eq!(told.case.conditions(), "Suspended=True Suspended");
    assert_eq!(told.case.step(), Step::Wait(None));
    told.case.link.paused = false;
    assert_eq!(told.pass(), SENT);
    assert_eq!(told.case.link.status.attempts, Some(1), "decided anew");
}

#[test]
fn a_check_that_fails_right_after_a_pause_shows_the_end_of_the_pause() {
    let mut told = story(synced()).told();
    told.then(Case::paused).pass();
    told.case.now = at(HOUR);
    told.case.link.paused = false;
    told.poll = failed(Reason::EndpointUnavailable);
    assert_eq!(told.pass(), ASKED);
    assert_eq!(told.case.conditions(), "Ready=True Synced", "a check that fails is silent at first");
    assert_eq!(told.pass(), NOTHING);
}

#[test]
fn an_origin_that_becomes_allowed_goes_on_after_the_restart() {
    let mut told = story(link().base_url("https://om.example:8443/api/public/v1.0"));
    assert_eq!(told.pass(), WRITTEN);
    assert_eq!(told.pass(), NOTHING);
    assert_eq!(told.wait, None);
    told.case.settings.allowed_origins.0.push("https://om.example:8443".parse().unwrap());
    assert_eq!(told.restart().pass(), SENT);
    assert_eq!(told.case.conditions(), "Ready=True Synced");
    told.case.settings.allowed_origins.0.pop();
    assert_eq!(told.restart().pass(), WRITTEN);
    assert_eq!(told.case.conditions(), "Ready=False EndpointNotAllowed, Stalled=True EndpointNotAllowed");
}

#[test]
fn a_missing_secret_is_not_looked_for_and_its_appearance_wakes() {
    let mut told = story(link().no_secret());
    assert_eq!(told.pass(), READ);
    assert_eq!(told.restart().pass(), NOTHING);
    told.case.listed = false;
    assert_eq!(told.pass(), NOTHING, "the list of Secrets is not in yet");
    told.case.listed = true;
    // The progress deadline, and then nothing ever.
    assert_eq!(told.next(), WRITTEN);
    assert_eq!(told.case.conditions(), "Ready=False SecretNotFound, Stalled=True SecretNotFound");
    assert_eq!(told.wait, None);
    told.then(|case| case.secret(Content::Bad));
    assert_eq!(told.pass(), READ);
    assert_eq!(told.case.conditions(), "Ready=False InvalidSecret, Stalled=True InvalidSecret");
    assert_eq!((told.wait, told.pass()), (None, NOTHING));
    told.then(Case::relabelled);
    assert_eq!(told.pass(), READ);
    told.then(|case| case.holds("t1", "k1"));
    assert_eq!(told.pass(), SENT);
    assert_eq!(told.case.conditions(), "Ready=True Synced");
}

#[test]
fn without_a_watch_a_missing_secret_is_looked_for_at_the_slow_pace() {
    for content in [None, Some(Content::Bad)] {
        let mut told = story(link().without_watch());
        told.case.secret = content.map(|content| link().secret(content).secret.unwrap());
        assert_eq!(told.pass(), READ);
        for minutes in [1, 2, 4, 8] {
            told.assert_waits_about(minutes * MINUTE);
            assert_eq!(told.next(), READ);
        }
        told.then(|case| case.holds("t1", "k1"));
        assert_eq!(told.pass(), NOTHING, "nobody tells");
        told.until(35 * MINUTE);
        assert_eq!(told.case.conditions(), "Ready=True Synced");
    }
}

#[test]
fn a_secret_that_goes_while_a_check_fails_silently_is_not_read_twice() {
    let mut told = story(synced()).told();
    told.poll = failed(Reason::EndpointUnavailable);
    assert_eq!(told.next(), CHECKED, "silent");
    told.then(Case::no_secret);
    assert_eq!(told.pass(), READ);
    let second = told.case.now.duration_since(at(0)).as_secs();
    assert_eq!(told.until(second + 25 * MINUTE), NOTHING);
    assert_eq!(told.pass(), NOTHING);
}

#[test]
fn a_secret_that_appears_and_may_not_be_read_is_not_said_to_be_missing() {
    let mut told = story(link().no_secret()).told();
    told.then(|case| case.secret(Content::Denied));
    assert_eq!(told.pass(), READ);
    assert_eq!(told.case.conditions(), "Ready=False SecretAccessDenied, Stalled=True SecretAccessDenied");
    told.assert_waits_about(MINUTE);
}

#[test]
fn a_secret_that_may_not_be_read_is_tried_slowly() {
    let mut told = story(link().secret(Content::Denied)).told();
    told.assert_waits_about(MINUTE);
    assert_eq!(told.next(), READ);
    told.assert_waits_about(2 * MINUTE);
    told.case.secret = link().secret;
    told.next();
    assert_eq!(told.case.conditions(), "Ready=True Synced");
}

#[test]
fn a_rate_limit_holds_against_everything_but_other_keys() {
    let mut told = story(synced()).answers(limited(3 * HOUR.unsigned_abs()), state("SYNCED")).told();
    told.then(|case| case.holds("t2", "k1"));
    assert_eq!(told.pass(), REPLACED);
    told.assert_waits_about(30 * MINUTE); // the progress deadline
    let calls = |did: Did| did.links + did.polls;
    told.then(|case| case.reconcile_at("1").relink_at("1").edited().holds("t3", "k1"));
    assert_eq!(calls(told.restart().pass()), 0);
    told.then(Case::no_secret);
    assert_eq!(calls(told.pass()), 0);
    told.then(|case| case.holds("t3", "k1"));
    assert_eq!(calls(told.pass()), 0, "the limit holds although the Secret was away");
    assert_eq!(calls(told.until(3 * HOUR)), 0);
    told.link = accepted("SYNCED");
    told.until(3 * HOUR + 10);
    assert_eq!(told.case.conditions(), "Ready=True Synced");
    assert_eq!(told.total.links, 2);

    let mut told = story(link()).failing(&limited(600)).told();
    told.then(|case| case.holds("t1", "k2"));
    assert_eq!(told.pass(), SENT);
}

#[test]
fn a_status_that_somebody_wiped_is_made_anew() {
    let mut told = story(synced()).told();
    told.case.link.status = link().link.status;
    assert_eq!(told.pass(), SENT);
    assert_eq!(told.case.known().held_since, Some(time(1)));
}
