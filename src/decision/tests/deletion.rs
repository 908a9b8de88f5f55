//! A resource that is being deleted (rules 1 to 5).

use std::time::Duration;

use super::case::{
    Case, Content, DAY, HOUR, MINUTE, accepted, ambiguous, failed, failure, limited, link, published, synced,
    time,
};
use super::story::{Did, NOTHING, Story, story};
use crate::api::{ConditionType, Conditions, DeletionPolicy, Reason};
use crate::decision::{CallFailure, Outcome, Release, Step};

/// A link in force, whose resource is deleted together with the link.
fn deleted() -> Case {
    synced().delete().deleting().now(100)
}

fn message(told: &Story) -> String {
    let conditions = told.case.link.status.conditions.as_ref().unwrap();
    conditions.of(ConditionType::Ready).unwrap().message.clone()
}

fn is_left_behind(release: Option<&Release>) -> bool {
    matches!(release, Some(Release::LeftBehind(_)))
}

const REMOVED: Did = Did { reads: 1, unlinks: 1, finalizers: 1, ..NOTHING };
const TRIED: Did = Did { reads: 1, unlinks: 1, publishes: 1, ..NOTHING };

#[test]
fn rule_2_where_there_is_nothing_to_remove_the_resource_goes_without_a_call() {
    let retained = {
        let mut case = deleted();
        case.link.spec.deletion_policy = DeletionPolicy::Retain;
        case
    };
    for case in [
        retained,
        link().delete().deleting(),
        link().delete().not_ready(Reason::TokenRejected, Some(60)).deleting(),
        deleted().held_by_another(),
        retained_while_blocked(),
    ] {
        let mut told = story(case.no_secret());
        assert_eq!(told.pass(), Did { finalizers: 1, ..NOTHING });
        assert_eq!(told.released, Some(Release::NotNeeded));
        assert_eq!(told.pass(), NOTHING, "rule 1");
        assert_eq!(told.wait, None);
    }
}

/// The way out of a deletion that is held up.
fn retained_while_blocked() -> Case {
    let mut told = story(deleted().no_secret()).told();
    told.case.link.spec.deletion_policy = DeletionPolicy::Retain;
    told.case.edited()
}

#[test]
fn rule_3_a_server_that_is_not_allowed_holds_it_up_and_no_secret_is_read() {
    let mut told = story(deleted().base_url("https://evil.example"));
    assert_eq!(told.pass(), Did { publishes: 1, ..NOTHING });
    assert_eq!(told.case.conditions(), "Ready=False DeletionBlocked, Stalled=True EndpointNotAllowed");
    assert_eq!(told.waits(), 10 * MINUTE);
    assert_eq!(told.next(), Did { finalizers: 1, ..NOTHING });
    assert!(is_left_behind(told.released.as_ref()));
}

#[test]
fn rule_4_the_link_is_removed_and_then_the_resource_goes() {
    for case in [
        deleted(),
        deleted().now(DAY),
        deleted().relabelled(),
        synced().delete().deleting().paused().now(5),
        synced().delete().not_ready(Reason::TokenRejected, Some(HOUR)).deleting(),
        // Sent once, with an effect that nobody saw.
        link().delete().sent("t1").deleting(),
        deleted().secret(Content::Keys("k1".into())),
    ] {
        let mut told = story(case);
        assert_eq!(told.pass(), REMOVED, "{:?}", told.case.link.status);
        assert_eq!(told.released, Some(Release::Unlinked));
        assert!(told.events.is_empty());
    }
}

#[test]
fn rule_5_the_finalizer_follows_the_policy() {
    let mut told = story(link());
    told.case.link.spec.deletion_policy = DeletionPolicy::Delete;
    assert_eq!(
        told.pass(),
        Did { finalizers: 1, reads: 1, publishes: 2, links: 1, ..NOTHING },
        "and what is going to be sent is remembered first"
    );
    assert!(told.case.link.finalized());
    told.then(|mut case| {
        case.link.spec.deletion_policy = DeletionPolicy::Retain;
        case.edited().paused()
    });
    assert_eq!(told.pass(), Did { finalizers: 1, publishes: 1, ..NOTHING });
    assert!(!told.case.link.finalized());
}

#[test]
fn the_finalizers_of_others_do_not_count() {
    let mut case = deleted();
    case.link.finalizers = vec!["foregroundDeletion".into()];
    assert_eq!(case.step(), Step::Wait(None));
}

#[test]
fn what_needs_a_person_is_said_with_both_ways_out_and_ends_with_the_grace_period() {
    for (case, unlink, cause) in [
        (deleted(), failed(Reason::Unauthorized), "Unauthorized"),
        (deleted(), failed(Reason::RequestRejected), "RequestRejected"),
        (deleted().no_secret(), Outcome::Unlinked, "SecretNotFound"),
        (deleted().secret(Content::Bad), Outcome::Unlinked, "InvalidSecret"),
        (deleted().secret(Content::Denied), Outcome::Unlinked, "SecretAccessDenied"),
        (deleted().no_secret().without_watch(), Outcome::Unlinked, "SecretNotFound"),
        // It has been stalled for a week: that does not count.
        (
            synced().delete().not_ready(Reason::Unauthorized, Some(HOUR)).now(7 * DAY).deleting(),
            failed(Reason::Unauthorized),
            "Unauthorized",
        ),
    ] {
        let begin = case.now.duration_since(super::case::at(0)).as_secs();
        let mut told = story(case).unlinking(unlink).told();
        assert_eq!(told.case.conditions(), format!("Ready=False DeletionBlocked, Stalled=True {cause}"));
        let stalled = told.case.link.status.conditions.as_ref().unwrap().of(ConditionType::Stalled).unwrap();
        assert_eq!(stalled.last_transition_time, time(begin), "{cause}");
        let said = message(&told);
        assert!(
            said.contains(r#"-p '{"spec":{"deletionPolicy":"Retain"}}'"#) && said.contains("restored"),
            "{said}"
        );
        assert!(
            said.ends_with(&format!("At {} that happens by itself.", time(begin + 10 * MINUTE).0)),
            "{said}"
        );
        told.until(begin + 10 * MINUTE - 1);
        assert!(told.released.is_none(), "{cause}");
        told.until(begin + 10 * MINUTE);
        assert!(is_left_behind(told.released.as_ref()), "{cause}");
        assert!(!told.case.link.finalized());
        assert!(told.total.unlinks <= 4 && told.total.publishes <= 4, "{:?}", told.total);
        assert_eq!(told.events.len(), 1, "said once: {:?}", told.events);
    }
}

#[test]
fn without_a_grace_period_it_waits_for_ever() {
    let mut case = deleted().no_secret();
    case.settings.deletion_grace_period = None;
    let mut told = story(case).told();
    assert!(!message(&told).contains("by itself"));
    assert_eq!(told.wait, None);
    assert_eq!(told.then(|case| case.now(30 * DAY)).pass(), NOTHING);
    told.then(|case| case.holds("t1", "k1"));
    assert_eq!(told.pass(), REMOVED);
}

#[test]
fn what_a_person_changes_is_tried_at_once() {
    for change in [(|case: Case| case.holds("t1", "k1")) as super::case::Change, |case| {
        case.reconcile_at("1").holds("t1", "k1")
    }] {
        let mut told = story(deleted().no_secret()).told();
        told.then(change);
        assert_eq!(told.pass(), REMOVED);
    }
    let mut told = story(deleted()).unlinking(failed(Reason::Unauthorized)).told();
    assert_eq!(told.pass(), NOTHING);
    for change in [
        (|case: Case| case.edited()) as super::case::Change,
        |case| case.reconcile_at("1"),
        |case| case.holds("t1", "k2"),
    ] {
        told.then(change);
        assert_eq!(told.pass(), TRIED);
        assert_eq!(told.case.link.status.attempts, Some(1));
    }
    told.then(Case::relabelled);
    assert_eq!(told.pass(), Did { reads: 1, publishes: 1, ..NOTHING }, "only its labels changed");
}

#[test]
fn what_passes_by_itself_is_tried_for_ever_and_never_let_go() {
    for reason in [Reason::EndpointUnavailable, Reason::ServiceUpgrading, Reason::UnexpectedResponse] {
        let mut told = story(deleted()).unlinking(failed(reason)).told();
        assert_eq!(told.case.conditions(), format!("Ready=False DeletionBlocked, Reconciling=True {reason}"));
        assert!(!message(&told).contains("by itself"));
        told.until(DAY);
        assert!(told.released.is_none());
        assert!(told.case.conditions().contains("Reconciling=True"), "no progress deadline");
        assert!((140..320).contains(&told.total.unlinks), "{:?}", told.total);
        told.unlink = Outcome::Unlinked;
        assert_eq!(told.next(), REMOVED);
    }
}

#[test]
fn a_running_live_export_is_waited_for() {
    let mut told = story(deleted()).unlinking(failed(Reason::LiveExportRunning)).told();
    assert_eq!(told.case.conditions(), "Ready=False LiveExportRunning, Reconciling=True LiveExportRunning");
    told.assert_waits_about(MINUTE);
    told.until(DAY);
    assert!(told.released.is_none());
    assert!(told.case.conditions().contains("Reconciling=True"));
    told.next();
    told.assert_waits_about(10 * MINUTE);
    assert!((130..170).contains(&told.total.unlinks), "{:?}", told.total);
}

#[test]
fn a_rate_limit_holds_a_deletion_too() {
    let mut told = story(deleted()).unlinking(limited(3600)).told();
    assert_eq!(told.case.conditions(), "Ready=False DeletionBlocked, Reconciling=True RateLimited");
    told.then(|case| case.reconcile_at("1").relabelled()).pass();
    assert_eq!(told.total.unlinks, 1);
    told.then(|case| case.holds("t1", "k2"));
    assert_eq!(told.pass(), TRIED, "another key has a limit of its own");

    // One that was there before the deletion.
    let case = synced().delete().not_ready(Reason::RateLimited, Some(HOUR)).deleting();
    let mut told = story(case).told();
    assert_eq!(told.total.unlinks, 0);
    assert_eq!(told.case.conditions(), "Ready=False DeletionBlocked, Reconciling=True RateLimited");
    assert_eq!(told.wait, Some(super::case::at(HOUR)));
    assert_eq!(told.next(), REMOVED);

    // One that nobody was told of: a check had been limited.
    let case = synced().failing(Reason::RateLimited, 10, 1, HOUR).delete().deleting().now(100);
    let mut told = story(case).told();
    assert_eq!(told.case.conditions(), "Ready=False DeletionBlocked, Reconciling=True RateLimited");
    told.restart();
    assert_eq!(told.pass(), NOTHING, "it survives a restart");
    assert_eq!(told.wait, Some(super::case::at(HOUR)));
    assert_eq!(told.next(), REMOVED);
}

#[test]
fn a_cause_that_changes_counts_and_is_said_anew() {
    let mut told = story(deleted()).unlinking(failed(Reason::Unauthorized)).told();
    told.next();
    assert_eq!(told.case.link.status.attempts, Some(2));
    told.unlink =
        Outcome::Failed(CallFailure { message: "Other words.".into(), ..failure(Reason::Forbidden) });
    told.next();
    assert_eq!(told.case.link.status.attempts, Some(1));
    assert!(message(&told).starts_with("Other words."));
    let reasons: Vec<_> = told.events.iter().map(|event| event.reason.as_str()).collect();
    assert_eq!(reasons, ["DeletionBlocked", "DeletionBlocked"]);
    assert_eq!([told.events[0].action, told.events[1].action], ["Unauthorized", "Forbidden"]);
    told.until(100 + 10 * MINUTE);
    assert!(is_left_behind(told.released.as_ref()), "the grace period goes on");
}

#[test]
fn a_removal_whose_finalizer_could_not_be_dropped_is_recorded_first() {
    let mut case = deleted().has_read();
    case.answered = Some(case.attempt(crate::decision::Call::Unlink, Outcome::Unlinked));
    assert_eq!(case.step(), Step::DropFinalizer(Release::Unlinked));
    case.link.finalizers.clear();
    assert!(matches!(case.step(), Step::Record(settled) if settled.status.is_none()));
}

#[test]
fn a_post_that_was_answered_meanwhile_is_recorded_before_the_link_is_removed() {
    for outcome in [accepted("SYNCED"), ambiguous()] {
        let mut case = link().delete().sent("t1").has_read();
        case.answered = Some(case.attempt(crate::decision::Call::Link, outcome));
        case.inputs = None;
        let mut told = story(case.deleting());
        assert_eq!(told.pass(), Did { publishes: 1, ..REMOVED });
    }
}

#[test]
fn a_grace_period_that_ended_while_the_operator_was_away_gives_one_more_try() {
    let mut told = story(deleted()).unlinking(failed(Reason::Unauthorized)).told();
    told.then(|case| case.now(DAY)).restart();
    assert_eq!(told.pass(), Did { finalizers: 1, ..TRIED });
    assert!(is_left_behind(told.released.as_ref()));
    let mut told = story(deleted()).unlinking(failed(Reason::Unauthorized)).told();
    told.then(|case| case.now(DAY)).restart();
    told.unlink = Outcome::Unlinked;
    assert_eq!(told.pass(), REMOVED);
}

#[test]
fn the_message_keeps_its_command_however_long_names_and_causes_are() {
    let mut case = deleted();
    case.link.name = "n".repeat(253);
    case.link.namespace = "m".repeat(63);
    let long = CallFailure { message: "ü".repeat(900), ..failure(Reason::Forbidden) };
    let settled = case.settle(crate::decision::Call::Unlink, Outcome::Failed(long));
    let status = settled.status.unwrap();
    let message = &status.conditions.as_ref().unwrap().of(ConditionType::Ready).unwrap().message;
    assert!(message.len() <= 1000 && message.ends_with("by itself."), "{message}");
    assert!(message.contains(r#"'{"spec":{"deletionPolicy":"Retain"}}'"#), "{message}");
    case.settings.deletion_grace_period = Some(Duration::ZERO);
    let blocked = published(case.clone().no_secret().step_after_reading());
    assert!(!blocked.conditions.unwrap().is_empty());
}
