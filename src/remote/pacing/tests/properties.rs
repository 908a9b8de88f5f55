//! What holds whatever happens to the calls, and in whatever order.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::super::{CredentialGate, Free, OriginGate, Ticket, Verdict};
use super::{Gate, is_within};
use crate::rate::Rate;

const LIMIT: usize = 6;

#[derive(Clone, Copy, Debug)]
enum Event {
    Pass(u64),
    Reserve,
    /// Takes or drops one of the reservations.
    Take(usize),
    Drop(usize),
    /// Ends one of the calls.
    End(usize, Verdict),
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        3 => Just(Verdict::Answered),
        6 => Just(Verdict::Unavailable),
        1 => Just(Verdict::Limited(None)),
        1 => (0u64..20).prop_map(|seconds| Verdict::Limited(Some(Duration::from_secs(seconds)))),
        1 => Just(Verdict::Nothing),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0u64..3000).prop_map(Event::Pass),
        4 => Just(Event::Reserve),
        4 => any::<usize>().prop_map(Event::Take),
        1 => any::<usize>().prop_map(Event::Drop),
        3 => (any::<usize>(), verdict()).prop_map(|(index, verdict)| Event::End(index, verdict)),
    ]
}

fn rate() -> impl Strategy<Value = Rate> {
    prop_oneof![Just("0"), Just("7/s"), Just("90/m")].prop_map(|text| text.parse().unwrap())
}

/// One of them, out of the list.
fn pick(tickets: &mut Vec<Ticket>, index: usize) -> Option<Ticket> {
    (!tickets.is_empty()).then(|| tickets.swap_remove(index % tickets.len()))
}

/// Whatever happens, and then everything is answered: 100 more calls go through in `bound`.
fn check(mut gate: impl Gate, rate: Rate, events: &[Event], bound: Duration) -> Result<(), TestCaseError> {
    let mut now = Instant::now();
    let (mut promised, mut calls, mut taken) = (Vec::new(), Vec::new(), Vec::new());
    for event in events {
        match *event {
            Event::Pass(millis) => now += Duration::from_millis(millis),
            Event::Reserve => match gate.free(now) {
                Free::Now => {
                    if let Some(until) = gate.shut_until() {
                        prop_assert!(until <= now);
                        let out = promised.iter().chain(&calls).filter(|ticket| gate.holds(ticket));
                        prop_assert_eq!(out.count(), 0, "one alone");
                    }
                    promised.push(gate.reserve());
                }
                Free::At(time) => prop_assert!(time > now),
                Free::Later => prop_assert!(!promised.is_empty() || !calls.is_empty()),
            },
            Event::Take(index) => {
                if let Some(mut ticket) = pick(&mut promised, index) {
                    if gate.holds(&ticket) {
                        gate.take(&mut ticket, now);
                        taken.push(now);
                        calls.push(ticket);
                    } else {
                        gate.end(ticket, Verdict::Nothing, now);
                    }
                }
            }
            Event::Drop(index) => {
                if let Some(ticket) = pick(&mut promised, index) {
                    gate.end(ticket, Verdict::Nothing, now);
                }
            }
            Event::End(index, verdict) => {
                if let Some(ticket) = pick(&mut calls, index) {
                    gate.end(ticket, verdict, now);
                }
            }
        }
        prop_assert!(calls.len() <= LIMIT);
    }
    gate.end_all(promised, Verdict::Nothing, now);
    gate.end_all(calls, Verdict::Nothing, now);
    let good_from = now;
    for _ in 0..100 {
        if let Free::At(time) = gate.free(now) {
            now = time;
        }
        let call = gate.call(now);
        prop_assert!(call.is_some(), "nothing is on its way, so this can go");
        taken.push(now);
        gate.end_all(call.into_iter().collect(), Verdict::Answered, now);
    }
    prop_assert!(now - good_from <= bound, "{:?}", now - good_from);
    prop_assert!(is_within(rate, &taken));
    Ok(())
}

/// 100 calls at the rate, those already taken out of the bucket included.
fn of_the_rate(rate: Rate) -> Duration {
    rate.interval().unwrap_or_default() * 120
}

proptest! {
    #[test]
    fn an_origin_is_never_called_more_than_allowed_and_never_left(
        rate in rate(),
        events in proptest::collection::vec(event(), 0..300),
    ) {
        check(OriginGate::new(rate, LIMIT), rate, &events, of_the_rate(rate) + Duration::from_mins(1))?;
    }

    #[test]
    fn a_credential_is_never_used_more_than_allowed_and_never_left(
        rate in rate(),
        events in proptest::collection::vec(event(), 0..300),
    ) {
        check(CredentialGate::new(rate, LIMIT), rate, &events, of_the_rate(rate) + Duration::from_mins(10))?;
    }
}
