//! The circuit breaker of an origin.

use std::time::Duration;

use tokio::time::Instant;

use super::super::{Breaker, Free, OriginGate, Ticket, Unavailable, Verdict};
use super::Gate;
use crate::rate::Rate;

const ANSWERED: Verdict = Verdict::Answered;
const UNAVAILABLE: Verdict = Verdict::Unavailable;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A gate whose breaker has just opened.
fn open(now: Instant) -> OriginGate {
    let mut gate = OriginGate::new(Rate::OFF, 32);
    for failures in 1..=5 {
        let call = gate.call(now).unwrap();
        let opened = gate.end(call, UNAVAILABLE, now, 1.0);
        assert_eq!(opened, (failures == 5).then_some(Breaker::Opened));
    }
    gate
}

/// The probe of a gate whose breaker is open, and when it goes.
fn probe(gate: &mut OriginGate) -> (Ticket, Instant) {
    let until = gate.unavailable().unwrap().until;
    assert_eq!(gate.free(until - Duration::from_nanos(1)), Free::At(until));
    (gate.call(until).unwrap(), until)
}

#[test]
fn five_failures_in_a_row_open_it_and_one_tries_alone() {
    let start = Instant::now();
    let mut gate = open(start);
    assert_eq!(gate.unavailable(), Some(Unavailable { since: start, until: start + seconds(2) }));
    let (probe, now) = probe(&mut gate);
    assert_eq!(gate.free(now), Free::Later);
    assert_eq!(gate.end(probe, UNAVAILABLE, now, 1.0), None, "open as before");
    let until = now + seconds(4);
    assert_eq!(gate.unavailable(), Some(Unavailable { since: start, until }));
}

#[test]
fn probes_come_at_most_a_minute_apart_and_half_of_it_is_jitter() {
    let mut gate = open(Instant::now());
    let mut waits = Vec::new();
    for _ in 0..6 {
        let (probe, now) = probe(&mut gate);
        gate.end(probe, UNAVAILABLE, now, 1.0);
        waits.push((gate.unavailable().unwrap().until - now).as_secs());
    }
    assert_eq!(waits, [4, 8, 16, 32, 60, 60]);
    let (probe, now) = probe(&mut gate);
    gate.end(probe, UNAVAILABLE, now, 0.0);
    assert_eq!(gate.unavailable().unwrap().until - now, seconds(30));
}

#[test]
fn the_first_success_closes_it_in_a_ramp() {
    let mut gate = open(Instant::now());
    let (probe, now) = probe(&mut gate);
    assert_eq!(gate.end(probe, ANSWERED, now, 1.0), Some(Breaker::Closed));
    assert_eq!(gate.unavailable(), None);
    let mut rounds = Vec::new();
    for _ in 0..6 {
        let calls = gate.calls(now);
        rounds.push(calls.len());
        gate.end_all(calls, ANSWERED, now);
    }
    assert_eq!(rounds, [2, 4, 8, 16, 32, 32]);
}

#[test]
fn bad_answers_among_good_ones_do_not_open_it() {
    let mut gate = OriginGate::new(Rate::OFF, 32);
    let now = Instant::now();
    for good in [ANSWERED, Verdict::Limited(None)] {
        for _ in 0..100 {
            for verdict in [UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, good] {
                let call = gate.call(now).unwrap();
                assert_eq!(gate.end(call, verdict, now, 1.0), None);
            }
        }
    }
}

#[test]
fn what_says_nothing_neither_counts_nor_interrupts_the_row() {
    let mut gate = OriginGate::new(Rate::OFF, 32);
    let now = Instant::now();
    for _ in 0..4 {
        let calls = vec![gate.call(now).unwrap(), gate.call(now).unwrap()];
        for (call, verdict) in calls.into_iter().zip([UNAVAILABLE, Verdict::Nothing]) {
            assert_eq!(gate.end(call, verdict, now, 1.0), None);
        }
    }
    let call = gate.call(now).unwrap();
    assert_eq!(gate.end(call, UNAVAILABLE, now, 1.0), Some(Breaker::Opened));
    let (probe, now) = probe(&mut gate);
    assert_eq!(gate.end(probe, Verdict::Nothing, now, 1.0), None);
    assert_eq!(gate.free(now), Free::Now, "another tries in its place");
}

#[test]
fn those_on_their_way_when_it_opens_lengthen_nothing_but_one_that_is_answered_closes_it() {
    let mut gate = OriginGate::new(Rate::OFF, 32);
    let start = Instant::now();
    let mut calls = gate.calls(start);
    let last = calls.pop().unwrap();
    gate.end_all(calls, UNAVAILABLE, start);
    assert_eq!(gate.unavailable().unwrap().until, start + seconds(2));
    assert_eq!(gate.end(last, ANSWERED, start, 1.0), Some(Breaker::Closed));
}

#[test]
fn an_endpoint_that_answers_only_probes_is_tried_less_and_less() {
    let mut gate = open(Instant::now());
    let mut waits = Vec::new();
    for _ in 0..3 {
        let (probe, now) = probe(&mut gate);
        gate.end(probe, ANSWERED, now, 1.0);
        while gate.unavailable().is_none() {
            let call = gate.call(now).unwrap();
            gate.end(call, UNAVAILABLE, now, 1.0);
        }
        waits.push((gate.unavailable().unwrap().until - now).as_secs());
    }
    assert_eq!(waits, [4, 8, 16]);
}
