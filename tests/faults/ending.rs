//! How a process ends that is told to: what it holds up, and what not.

use std::time::Duration;

use migrationlink_operator::decision::decide;
use migrationlink_simulator::Config;
use tokio::time::{Instant, sleep};

use crate::border::{Point, parse};
use crate::run::on_a_runtime;
use crate::stories::Story;
use crate::world::{World, log};

const LEASE: Duration = Duration::from_secs(15);

/// The token is being sent when one of two copies is told to end. How long it takes from then until the other one works, in seconds,
/// and what the first has said.
fn hand_over(faults: &[String]) -> (f64, String) {
    let _log = log::take_down();
    let took = on_a_runtime(async {
        let mut world = World::new(Config::default(), decide);
        world.lease = LEASE;
        Story::HandOver.prepare(&world).await;
        let plan: Vec<Point> = faults.iter().map(|fault| parse(fault).unwrap()).collect();
        world.border.arm(&plan);
        let _replicas = Story::HandOver.happen(&world).await;
        let begin = Instant::now();
        while world.api.object("leases", "system", "operator").unwrap()["spec"]["holderIdentity"] != "b-1" {
            sleep(Duration::from_millis(1)).await;
        }
        let took = begin.elapsed();
        sleep(Duration::from_mins(1)).await;
        let record = world.border.record();
        assert_eq!(record.violations, Vec::<String>::new());
        assert_eq!(record.met.len(), plan.len(), "{:?}", record.met);
        took
    });
    let log = log::text();
    // What was before is not meant.
    let (_, since) = log.split_once("a-1 sends").unwrap();
    (took.as_secs_f64(), since.to_owned())
}

#[test]
fn who_is_not_held_up_hands_over_at_once() {
    let (took, log) = hand_over(&[]);
    assert!(took < 0.1, "{took}");
    assert!(log.contains("gave the lease back"), "{log}");
}

#[test]
fn an_outcome_that_cannot_be_recorded_holds_up_the_next_one_for_five_seconds_and_is_named() {
    let (took, log) = hand_over(&(2..=7).map(|n| format!("patch-status#{n}/before/500")).collect::<Vec<_>>());
    assert!((4.5..5.5).contains(&took), "{took}");
    assert!(log.contains("gave the lease back"), "{log}");
    assert!(log.contains("made again: payments/link"), "{log}");
}

#[test]
fn an_outcome_that_is_recorded_at_the_second_attempt_is_not_lost() {
    let (took, log) =
        hand_over(&["patch-status#2/before/500".to_owned(), "patch-status#3/before/500".to_owned()]);
    assert!((1.5..2.5).contains(&took), "{took}");
    assert!(log.contains("gave the lease back") && !log.contains("made again"), "{log}");
}

#[test]
fn a_read_that_is_not_answered_is_cut_off_and_the_lease_is_given_back() {
    let (took, log) = hand_over(&["get-secret#1/effect/timeout".to_owned()]);
    assert!((9.0..11.0).contains(&took), "{took}");
    assert!(log.contains("gave the lease back"), "{log}");
}

#[test]
fn after_a_write_that_is_not_answered_the_lease_is_left_to_expire() {
    let (took, log) = hand_over(&["post#1/before/timeout".to_owned()]);
    // Of the ten seconds the last renewal is two old at most.
    let expired = 10.0 + LEASE.as_secs_f64();
    assert!((expired - 2.1..expired + 0.1).contains(&took), "{took}");
    assert!(log.contains("the lease is not given back") && !log.contains("gave the lease back"), "{log}");
    assert!(log.contains("writes=1"), "{log}");
}

#[test]
fn what_was_announced_is_sent() {
    // Else the next copy would take it for sent: what it meets at the API then counts as this link's own.
    let (took, log) = hand_over(&["patch-status#1/effect/slow".to_owned()]);
    assert!((4.5..5.5).contains(&took), "{took}");
    assert!(log.contains("a-1 sends post#1") && log.contains("gave the lease back"), "{log}");
}

#[test]
fn an_answer_that_comes_late_is_recorded_as_well() {
    let (took, log) = hand_over(&["post#1/effect/slow".to_owned(), "patch-status#2/before/500".to_owned()]);
    assert!((5.0..7.5).contains(&took), "{took}");
    assert!(log.contains("a-1 sends patch-status#3") && !log.contains("made again"), "{log}");
}
