//! A credential under 429.

use std::time::Duration;

use tokio::time::Instant;

use super::super::{CredentialGate, Free, Verdict};
use super::Gate;
use crate::rate::Rate;

const ANSWERED: Verdict = Verdict::Answered;

fn limited(seconds: u64) -> Verdict {
    Verdict::Limited(Some(Duration::from_secs(seconds)))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_servers_wish_holds_for_all_and_then_one_tries_alone() {
    let mut gate = CredentialGate::new(Rate::OFF, 32);
    let start = Instant::now();
    let call = gate.call(start).unwrap();
    gate.end(call, limited(60), start);
    let until = start + seconds(60);
    assert_eq!(gate.limited_until(), Some(until));
    assert_eq!(gate.free(start), Free::At(until));
    assert_eq!(gate.free(until - Duration::from_nanos(1)), Free::At(until));
    let probe = gate.call(until).unwrap();
    assert_eq!(gate.free(until), Free::Later, "one alone");
    assert_eq!(gate.limited_until(), Some(until), "limited until the probe says otherwise");
    gate.end(probe, ANSWERED, until);
    assert_eq!(gate.limited_until(), None);
}

#[test]
fn after_the_probe_the_others_follow_in_a_ramp() {
    let mut gate = CredentialGate::new(Rate::OFF, 32);
    let start = Instant::now();
    let call = gate.call(start).unwrap();
    gate.end(call, limited(60), start);
    let later = start + seconds(60);
    let mut rounds = Vec::new();
    for _ in 0..6 {
        let calls = gate.calls(later);
        rounds.push(calls.len());
        gate.end_all(calls, ANSWERED, later);
    }
    assert_eq!(rounds, [1, 2, 4, 8, 16, 32]);
    assert_eq!(gate.forgettable_at(later), Some(later), "the ramp is over");
}

#[test]
fn with_a_rate_they_follow_at_the_rate_without_a_burst() {
    let mut gate = CredentialGate::new("10/s".parse().unwrap(), 32);
    let start = Instant::now();
    let call = gate.call(start).unwrap();
    gate.end(call, limited(60), start);
    let mut now = start + seconds(60);
    let probe = gate.call(now).unwrap();
    gate.end(probe, ANSWERED, now);
    for _ in 0..20 {
        assert_eq!(gate.free(now), Free::At(now + Duration::from_millis(100)));
        now += Duration::from_millis(100);
        let call = gate.call(now).unwrap();
        gate.end(call, ANSWERED, now);
    }
}

#[test]
fn without_a_wish_the_wait_doubles_and_a_success_begins_it_anew() {
    let mut gate = CredentialGate::new(Rate::OFF, 32);
    let mut now = Instant::now();
    let mut waits = Vec::new();
    for _ in 0..11 {
        let call = gate.call(now).unwrap();
        gate.end(call, Verdict::Limited(None), now);
        let until = gate.limited_until().unwrap();
        waits.push((until - now).as_secs());
        now = until;
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
    let probe = gate.call(now).unwrap();
    gate.end(probe, ANSWERED, now);
    let call = gate.call(now).unwrap();
    gate.end(call, limited(0), now);
    assert_eq!(gate.limited_until(), Some(now + seconds(2)), "a wish of no time is no hot loop");
}

#[test]
fn those_on_their_way_make_it_no_worse_than_one_and_do_not_end_it() {
    let mut gate = CredentialGate::new(Rate::OFF, 32);
    let now = Instant::now();
    let mut calls = gate.calls(now);
    assert_eq!(calls.len(), 32);
    gate.end_all(calls.split_off(2), limited(10), now);
    assert_eq!(gate.limited_until(), Some(now + seconds(10)));
    gate.end(calls.pop().unwrap(), limited(30), now);
    assert_eq!(gate.limited_until(), Some(now + seconds(30)), "the longer wish counts");
    gate.end(calls.pop().unwrap(), ANSWERED, now);
    assert_eq!(gate.limited_until(), Some(now + seconds(30)), "it was sent before the limit");
}

#[test]
fn a_limit_ends_the_reservations() {
    let mut gate = CredentialGate::new("10/s".parse().unwrap(), 32);
    let now = Instant::now();
    let call = gate.call(now).unwrap();
    let promised: Vec<_> = (0..9).map(|_| gate.reserve()).collect();
    assert!(promised.iter().all(|ticket| gate.holds(ticket)));
    gate.end(call, limited(10), now);
    assert!(promised.iter().all(|ticket| !gate.holds(ticket)));
    let probe = gate.reserve();
    gate.end_all(promised, Verdict::Nothing, now);
    assert_eq!(gate.free(now + seconds(10)), Free::Later, "the probe is out");
    gate.end(probe, Verdict::Nothing, now);
    assert_eq!(gate.free(now + seconds(10)), Free::Now, "and another can take its place");
}

#[test]
fn it_can_be_forgotten_when_nothing_is_remarkable() {
    let mut gate = CredentialGate::new("10/s".parse().unwrap(), 32);
    let now = Instant::now();
    assert_eq!(gate.forgettable_at(now), Some(now));
    let call = gate.call(now).unwrap();
    assert_eq!(gate.forgettable_at(now), None);
    gate.end(call, ANSWERED, now);
    assert_eq!(gate.forgettable_at(now), Some(now + Duration::from_millis(100)));
    let call = gate.call(now).unwrap();
    gate.end(call, limited(3600), now);
    assert_eq!(gate.forgettable_at(now), Some(now + seconds(3600 + 600)));
}
