//! POSTs whose end nobody saw, and links that were there before.

use super::case::{Case, MINUTE, ambiguous, failed, link, state, synced};
use super::story::{Did, NOTHING, Story, story};
use crate::api::{ConditionType, Conditions, Reason};
use crate::decision::Outcome;

const SENT: Did = Did { reads: 1, links: 1, publishes: 1, ..NOTHING };
/// With a word about it before.
const ANNOUNCED: Did = Did { publishes: 2, ..SENT };
/// The POST is refused because of a link that is there; a poll settles it.
const SETTLED: Did = Did { polls: 1, ..SENT };

fn exists() -> Outcome {
    failed(Reason::LinkExists)
}

fn message(told: &Story) -> String {
    let conditions = told.case.link.status.conditions.as_ref().unwrap();
    conditions.of(ConditionType::Ready).unwrap().message.clone()
}

#[test]
fn with_the_policy_delete_the_first_token_is_remembered_before_it_is_sent() {
    let mut told = story(link().delete());
    assert_eq!(told.pass(), ANNOUNCED);
    assert_eq!(told.case.known().sent, None, "accepted");
    // And so is one that replaces another, whatever the policy.
    told.then(|case| case.holds("t2", "k1"));
    assert_eq!(told.pass(), ANNOUNCED);
    assert_eq!(told.case.known().sent, None, "accepted");
}

/// The Secret holds the accepted token again by the time that another process looks: the other one may be in force.
#[test]
fn a_crash_during_the_post_of_another_token_hides_nothing() {
    let mut told = story(synced()).told();
    told.then(|case| case.holds("t2", "k1"));
    told.case.inputs = Some(told.case.read());
    let crate::decision::Step::Announce(status) = told.case.step() else { panic!("{:?}", told.case.step()) };
    assert_eq!(status.observed_generation, told.case.link.status.observed_generation);
    assert_eq!(status.conditions, told.case.link.status.conditions, "nothing else is said");
    told.case.link.status = *status;
    told.then(|case| case.holds("t1", "k1"));
    assert_eq!(told.restart().pass(), SENT);
    let known = told.case.known();
    assert_eq!((known.sent, known.token_fingerprint.as_deref()), (None, Some("t1")));
    assert_eq!(told.pass(), NOTHING);
}

#[test]
fn a_crash_during_the_post_leaves_a_trace() {
    let mut told = story(link().delete().sent("t1")).restart().clone_case();
    assert_eq!(told.pass(), SENT, "the same POST again");
    let mut told = story(link().delete().sent("t1").deleting());
    assert_eq!(told.pass(), Did { reads: 1, unlinks: 1, finalizers: 1, ..NOTHING });
}

#[test]
fn a_refusal_clears_only_what_was_said_for_this_post() {
    // Said for this POST.
    let mut told = story(link().delete()).answers(failed(Reason::TokenRejected), state("SYNCED"));
    assert_eq!(told.pass(), ANNOUNCED);
    assert_eq!(told.case.known().sent, None);
    assert_eq!(told.next(), ANNOUNCED);
    told.then(Case::deleting);
    assert_eq!(told.pass(), Did { finalizers: 1, ..NOTHING }, "no link of ours: none is removed");

    // Of a POST before, whose end nobody saw.
    let mut told = story(link().delete()).answers(ambiguous(), state("SYNCED")).told();
    assert_eq!(told.case.known().sent.as_deref(), Some("t1"));
    told.link = failed(Reason::TokenRejected);
    assert_eq!(told.next(), SENT);
    assert_eq!(told.case.known().sent.as_deref(), Some("t1"));
    told.then(|case| case.holds("t2", "k1")).pass();
    assert_eq!(
        told.case.known().sent.as_deref(),
        Some("t1"),
        "another token's refusal does not clear it either"
    );
    told.then(Case::deleting);
    assert_eq!(told.pass(), Did { reads: 1, unlinks: 1, finalizers: 1, ..NOTHING });
}

#[test]
fn a_lost_answer_is_settled_by_the_same_post() {
    let mut told = story(link()).answers(ambiguous(), state("SYNCED")).told();
    told.link = super::case::accepted("SYNCED");
    assert_eq!(told.next(), SENT);
    assert_eq!((told.case.known().sent, told.case.conditions().as_str()), (None, "Ready=True Synced"));
}

#[test]
fn a_lost_answer_is_settled_by_a_poll_where_the_post_is_refused() {
    let mut told = story(link()).answers(ambiguous(), state("SYNCED")).told();
    told.link = exists();
    assert_eq!(told.next(), SETTLED);
    let known = told.case.known();
    assert_eq!((known.token_fingerprint.as_deref(), known.sent), (Some("t1"), None));
    assert!(known.held_since.is_some());
    assert_eq!(told.case.conditions(), "Ready=True Synced");
}

#[test]
fn a_link_that_is_not_synced_is_not_taken_over() {
    for poll in [state("NOT_SYNCED"), Outcome::NoLink, state("MIGRATING")] {
        let mut told = story(link()).answers(ambiguous(), poll).told();
        told.link = exists();
        assert_eq!(told.next(), SETTLED);
        assert_eq!(told.case.conditions(), "Ready=False LinkExists, Stalled=True LinkExists");
        assert_eq!(told.case.known().token_fingerprint, None);
        assert_eq!(told.case.known().sent.as_deref(), Some("t1"), "it may still be ours");
        told.poll = state("SYNCED");
        told.assert_waits_about(MINUTE);
        assert_eq!(told.next(), SETTLED);
        assert_eq!(told.case.conditions(), "Ready=True Synced");
    }
}

#[test]
fn a_poll_that_fails_settles_nothing() {
    let mut told = story(link()).answers(ambiguous(), failed(Reason::EndpointUnavailable)).told();
    told.link = exists();
    assert_eq!(told.next(), SETTLED);
    assert_eq!(
        told.case.conditions(),
        "Ready=False EndpointUnavailable, Reconciling=True EndpointUnavailable"
    );
    told.poll = state("SYNCED");
    assert_eq!(told.next(), SETTLED);
    assert_eq!(told.case.conditions(), "Ready=True Synced");
}

#[test]
fn a_link_of_others_is_taken_over_only_where_a_person_says_so() {
    for case in [link(), link().delete()] {
        let announced = u32::from(case.link.finalized());
        let mut told = story(case).answers(exists(), state("SYNCED"));
        assert_eq!(told.pass(), Did { publishes: 1 + announced, ..SENT }, "no poll, though it says SYNCED");
        assert_eq!(told.case.conditions(), "Ready=False LinkExists, Stalled=True LinkExists");
        assert_eq!(told.case.known().sent, None);
        let said = message(&told);
        assert!(
            said.ends_with(
                "kubectl annotate migrationlink orders -n payments migrationlink.dev/adopt-existing=true \
             migrationlink.dev/reconcile-at=\"$(date +%s)\" --overwrite"
            ),
            "{said}"
        );
        told.then(|case| case.adopting().reconcile_at("1"));
        assert_eq!(told.pass(), Did { publishes: 1 + announced, ..SETTLED });
        assert_eq!(told.case.conditions(), "Ready=True Synced");
        assert_eq!(told.case.known().token_fingerprint.as_deref(), Some("t1"));
    }
}

#[test]
fn where_a_token_was_accepted_before_nothing_is_taken_over() {
    let mut told = story(synced().adopting().holds("t2", "k1")).answers(exists(), state("SYNCED"));
    assert_eq!(told.pass(), ANNOUNCED);
    assert_eq!(told.case.conditions(), "Ready=False LinkExists, Stalled=True LinkExists");
    assert!(!message(&told).contains("adopt-existing"), "{}", message(&told));
    assert_eq!(told.case.known().token_fingerprint.as_deref(), Some("t1"));
}

/// What was announced need not have been sent: the process was gone before. A link that is there is that of the accepted token.
#[test]
fn after_a_crash_the_accepted_link_is_not_taken_for_that_of_an_announced_token() {
    let mut told = story(synced().sent("t2").holds("t2", "k1")).answers(exists(), state("SYNCED"));
    assert_eq!(told.restart().pass(), SENT, "no poll: it would say SYNCED of the accepted token's link");
    assert_eq!(told.case.conditions(), "Ready=False LinkExists, Stalled=True LinkExists");
    assert_eq!(told.case.known().token_fingerprint.as_deref(), Some("t1"));
    // The accepted token is back in the Secret: that its link is there is what is wanted.
    told.then(|case| case.holds("t1", "k1"));
    assert_eq!(told.pass(), SETTLED);
    assert_eq!(told.case.conditions(), "Ready=True Synced");
    assert_eq!(told.case.known().sent, None);
}

/// A link that is lost, and that somebody else made anew meanwhile with a token of their own.
#[test]
fn a_link_of_others_in_the_place_of_a_lost_one_is_neither_taken_over_nor_removed() {
    let mut told = story(synced().delete()).answers(exists(), Outcome::NoLink).told();
    told.next();
    assert_eq!(told.case.conditions(), "Ready=False LinkExists, Stalled=True LinkExists");
    assert_eq!(told.case.known().sent, None, "the API said that it did not take the token");
    told.poll = state("SYNCED");
    for _ in 0..3 {
        assert_eq!(told.next(), SENT, "no poll: it would say SYNCED of the link of others");
    }
    assert_eq!(told.case.conditions(), "Ready=False LinkExists, Stalled=True LinkExists");
    told.link = super::case::accepted("SYNCED");
    told.next();
    assert_eq!((told.case.conditions().as_str(), told.case.known().resend), ("Ready=True Synced", None));
}

/// The Secret is changed between the announcement and the POST.
#[test]
fn a_refusal_clears_what_was_announced_for_another_token_and_not_sent() {
    let mut told = story(link().delete()).answers(exists(), state("SYNCED"));
    told.case.inputs = Some(told.case.read());
    let crate::decision::Step::Announce(status) = told.case.step() else { panic!("{:?}", told.case.step()) };
    told.case.memory.announced = status.link.as_ref().and_then(|record| record.sent.clone());
    told.case.link.status = *status;
    told.then(|case| case.holds("t2", "k1"));
    told.pass();
    assert_eq!(told.case.conditions(), "Ready=False LinkExists, Stalled=True LinkExists");
    assert_eq!(told.case.known().sent, None);
    told.then(Case::deleting);
    assert_eq!(told.pass(), Did { finalizers: 1, ..NOTHING }, "somebody else's link stays");
}

#[test]
fn what_was_announced_and_not_sent_is_nothing_to_remove() {
    let mut told = story(link().delete());
    told.case.inputs = Some(told.case.read());
    let crate::decision::Step::Announce(status) = told.case.step() else { panic!("{:?}", told.case.step()) };
    told.case.memory.announced = status.link.as_ref().and_then(|record| record.sent.clone());
    told.case.link.status = *status;
    let mut crashed = told.clone_case();
    told.then(Case::deleting);
    assert_eq!(told.pass(), Did { finalizers: 1, ..NOTHING });
    crashed.then(Case::deleting).restart();
    assert_eq!(
        crashed.pass(),
        Did { reads: 1, unlinks: 1, finalizers: 1, ..NOTHING },
        "it may have been sent"
    );
}

impl Story {
    fn clone_case(&mut self) -> Story {
        story(self.case.clone())
    }
}
