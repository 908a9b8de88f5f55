//! What each outcome makes of the status.

use super::case::{Case, MINUTE, accepted, ambiguous, at, failed, limited, link, state, synced, time};
use crate::api::Reason;
use crate::decision::{Call, Outcome, Step, settle};

#[test]
fn an_accepted_token_is_recorded_with_what_it_was_sent_with() {
    let case = link().reconcile_at("1").relink_at("2").now(7).after(Call::Link, accepted("SYNCED"));
    assert_eq!(case.conditions(), "Ready=True Synced");
    let status = &case.link.status;
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(status.state.as_deref(), Some("SYNCED"));
    assert_eq!(status.last_synced_time, Some(time(7)));
    assert_eq!(status.inputs, Some(case.read().records));
    assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("1"));
    assert_eq!(status.last_handled_relink_at.as_deref(), Some("2"));
    let known = case.known();
    assert_eq!((known.held_since, known.accepted_time), (Some(time(7)), Some(time(7))));
    assert_eq!(known.token_fingerprint.as_deref(), Some("t1"));
    assert_eq!(known.key_fingerprint.as_deref(), Some("k1"));
    assert_eq!(case.memory.answered, Some(at(7)));
}

/// A process that took over before it saw the newest version has called for the spec of before.
#[test]
fn an_outcome_of_an_older_spec_does_not_take_the_generation_back() {
    let seen = link().recorded().after(Call::Link, accepted("SYNCED"));
    let edited = seen.clone().edited().recorded();
    for outcome in [accepted("SYNCED"), failed(Reason::Unauthorized), ambiguous()] {
        let settled = settle(
            &edited.link,
            &edited.settings,
            &edited.memory,
            &seen.attempt(Call::Link, outcome),
            edited.jitter,
        );
        let status = settled.status.map_or(edited.link.status.clone(), |status| *status);
        assert_eq!(status.observed_generation, Some(2), "{status:?}");
    }
}

#[test]
fn held_since_survives_a_rotation() {
    let rotated = synced().now(500).holds("t2", "k1").after(Call::Link, accepted("SYNCED")).known();
    assert_eq!((rotated.held_since, rotated.accepted_time), (Some(time(0)), Some(time(500))));
    assert_eq!(rotated.token_fingerprint.as_deref(), Some("t2"));
}

#[test]
fn a_post_answered_without_a_state_is_followed_by_a_poll() {
    let case = link().has_read().after(Call::Link, Outcome::Accepted(None));
    assert_eq!(case.conditions(), "Ready=False NotSynced, Reconciling=True NotSynced");
    assert_eq!(case.link.status.state.as_deref(), Some("NOT_SYNCED"), "the state never flatters");
    assert_eq!(case.step(), Step::Poll);
    let case = case.after(Call::Poll, state("NOT_SYNCED"));
    assert_eq!((case.link.status.attempts, case.next()), (Some(1), Some(5)), "the first NOT_SYNCED answer");
}

#[test]
fn not_synced_is_asked_about_after_5_s_and_ever_less_often() {
    let mut case = link().after(Call::Link, accepted("NOT_SYNCED"));
    assert_eq!(case.conditions(), "Ready=False NotSynced, Reconciling=True NotSynced");
    let mut waits = vec![];
    for _ in 0..10 {
        waits.push(case.next().unwrap());
        case.now = case.link.status.next_attempt_time.as_ref().unwrap().0;
        case = case.after(Call::Poll, state("NOT_SYNCED"));
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
}

#[test]
fn a_post_that_is_accepted_counts_not_synced_anew() {
    let mut case = link().accepted("t1").not_ready(Reason::NotSynced, Some(800)).relink_at("1");
    case.link.status.attempts = Some(9);
    let case = case.after(Call::Link, accepted("NOT_SYNCED"));
    assert_eq!((case.link.status.attempts, case.next()), (Some(1), Some(5)));
}

#[test]
fn a_word_of_the_future_is_kept_and_is_no_loss() {
    let case = synced().now(100).after(Call::Poll, state("MIGRATING"));
    assert_eq!(case.link.status.state.as_deref(), Some("MIGRATING"));
    assert_eq!(case.conditions(), "Ready=False NotSynced, Reconciling=True NotSynced");
    assert_eq!(case.known().lost_since, None);
    let later = case.now(60 * MINUTE).after(Call::Poll, state("MIGRATING"));
    assert!(later.conditions().starts_with("Ready=False NotSynced"), "{}", later.conditions());
    let first = link().after(Call::Link, accepted("PENDING"));
    assert_eq!(first.link.status.state.as_deref(), Some("PENDING"));
}

#[test]
fn last_synced_time_is_the_last_change_to_synced() {
    let again = synced().now(100).after(Call::Poll, state("SYNCED"));
    assert_eq!(again.link.status.last_synced_time, Some(time(0)));
    let back =
        again.now(200).after(Call::Poll, state("NOT_SYNCED")).now(300).after(Call::Poll, state("SYNCED"));
    assert_eq!(back.link.status.last_synced_time, Some(time(300)));
    assert_eq!(back.conditions(), "Ready=True Synced");
}

#[test]
fn an_unchanged_answer_publishes_nothing() {
    let settled = synced().now(100).settle(Call::Poll, state("SYNCED"));
    assert_eq!(settled.status, None);
    assert_eq!(settled.memory.answered, Some(at(100)));
}

#[test]
fn a_rotation_says_not_synced_until_its_post_is_answered() {
    for outcome in [ambiguous(), failed(Reason::TokenRejected), failed(Reason::Unauthorized)] {
        let rotated = synced().holds("t2", "k1").after(Call::Link, outcome);
        assert_eq!(rotated.link.status.state.as_deref(), Some("NOT_SYNCED"));
        assert_eq!(rotated.known().token_fingerprint.as_deref(), Some("t1"));
    }
    // A check that fails leaves the state, and Ready tells.
    let checked = synced().after(Call::Poll, failed(Reason::Unauthorized));
    assert_eq!(checked.link.status.state.as_deref(), Some("SYNCED"));
    assert_eq!(checked.conditions(), "Ready=False Unauthorized, Stalled=True Unauthorized");
    // There is nothing to say of a link that never was.
    assert_eq!(link().after(Call::Link, ambiguous()).link.status.state, None);
}

#[test]
fn an_ambiguous_send_is_remembered_until_a_post_is_accepted() {
    let sent = |case: &Case| case.known().sent;
    let lost_answer = link().after(Call::Link, ambiguous());
    assert_eq!(sent(&lost_answer).as_deref(), Some("t1"));
    // A refusal says nothing about what the POST before it did.
    let refused = lost_answer.clone().after(Call::Link, failed(Reason::TokenRejected));
    assert_eq!(sent(&refused).as_deref(), Some("t1"));
    assert_eq!(sent(&lost_answer.clone().after(Call::Link, accepted("SYNCED"))), None);
    assert_eq!(sent(&lost_answer.after(Call::Poll, state("SYNCED"))).as_deref(), Some("t1"));
    // Without an effect nothing is remembered; and a poll has none.
    assert_eq!(sent(&link().after(Call::Link, failed(Reason::EndpointUnavailable))), None);
    assert_eq!(sent(&link().accepted("t1").after(Call::Poll, ambiguous())), None);
}

#[test]
fn keys_that_were_never_tried_fail_in_no_silence() {
    // A status that says nothing of the keys would never hold a rate limit.
    let mut case = synced();
    case.record().key_fingerprint = None;
    let case = case.after(Call::Poll, limited(60));
    assert_eq!(case.conditions(), "Ready=False RateLimited, Reconciling=True RateLimited");
    assert_eq!(case.known().key_fingerprint.as_deref(), Some("k1"));
    assert!(matches!(case.step_after_reading(), Step::Wait(_)));
}

#[test]
fn what_was_edited_meanwhile_is_recorded_as_what_it_was_made_from() {
    let mut case = synced().reconcile_at("1").has_read();
    case.answered = Some(case.attempt(Call::Poll, state("SYNCED")));
    case = case.edited().reconcile_at("2").holds("t2", "k1");
    let Step::Record(settled) = case.step() else { panic!("{:?}", case.step()) };
    let status = settled.status.unwrap();
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("1"));
    case.link.status = *status;
    (case.answered, case.inputs) = (None, None);
    assert_eq!(case.step(), Step::ReadInputs);
    assert_eq!(case.step_after_announcing(), Step::Link);
}

#[test]
fn a_failure_counts_on_while_its_reason_goes_on_and_nobody_changes_anything() {
    let once = link().accepted("t1").not_ready(Reason::Unauthorized, Some(60));
    let attempts = |case: Case, reason| case.after(Call::Poll, failed(reason)).link.status.attempts;
    assert_eq!(attempts(once.clone(), Reason::Unauthorized), Some(2));
    assert_eq!(attempts(once.clone().relabelled(), Reason::Unauthorized), Some(2));
    for changed in [
        once.clone().edited(),
        once.clone().reconcile_at("1"),
        once.clone().holds("t1", "k2"),
        once.clone().holds("t2", "k1"),
    ] {
        assert_eq!(attempts(changed, Reason::Unauthorized), Some(1));
    }
    assert_eq!(attempts(once, Reason::Forbidden), Some(1));
}
