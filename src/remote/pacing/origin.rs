//! The gate of one origin: its rate, how many calls at once, and the circuit breaker.

use std::time::Duration;

use tokio::time::Instant;

use super::gate::{Gate, Ticket};
use super::{Free, Verdict, doubled};
use crate::rate::Rate;

/// So many failures in a row, of any links, open the breaker. Where one call in ten fails by chance, five in a row come
/// once in a hundred thousand calls; and a dead endpoint costs five deadlines, not one for each link.
const FAILURES: u32 = 5;
/// First and longest wait before a probe, half of it jittered.
const PROBES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));

/// Lets the calls to one origin through.
#[derive(Debug)]
pub struct OriginGate {
    gate: Gate,
    /// Failures in a row, and when the first of them came.
    failures: u32,
    since: Option<Instant>,
    /// Waits in a row, those between probes included. They begin anew when the breaker is closed for good.
    waits: u32,
}

/// The endpoint does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// When the first of the failures in a row came.
    pub since: Instant,
    /// When it is tried again. That may be over: then one call is trying.
    pub until: Instant,
}

/// What the end of a call did to the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// Too many failures in a row: from now on one call tries at a time.
    Opened,
    /// The endpoint answers again.
    Closed,
}

impl OriginGate {
    /// The gate of an origin that was never called, for at most `most` calls at once.
    pub fn new(rate: Rate, most: usize) -> Self {
        Self { gate: Gate::new(rate, most), failures: 0, since: None, waits: 0 }
    }

    /// Whether one more call can be reserved.
    pub fn free(&self, now: Instant) -> Free {
        self.gate.free(now)
    }

    /// The places that calls have, or that are reserved.
    pub fn in_use(&self) -> usize {
        self.gate.in_use()
    }

    /// From now on no place is reserved beyond so many, whatever the limit is: other origins need them.
    pub fn set_share(&mut self, share: usize) {
        self.gate.set_share(share);
    }

    /// Reserves the place of a call. Only where [`OriginGate::free`] says so.
    pub fn reserve(&mut self) -> Ticket {
        self.gate.reserve()
    }

    /// Whether the reservation still holds: the breaker ends them all.
    pub fn holds(&self, ticket: &Ticket) -> bool {
        self.gate.is_current(ticket)
    }

    /// The call goes. Only with a reservation that holds.
    pub fn take(&mut self, ticket: &mut Ticket, now: Instant) {
        self.gate.take(ticket, now);
    }

    /// The call has ended, or will not be made. `sample`, from 0 to 1, spreads the next probe.
    pub fn end(&mut self, ticket: Ticket, verdict: Verdict, now: Instant, sample: f64) -> Option<Breaker> {
        let current = self.gate.give_back(ticket);
        match verdict {
            Verdict::Answered | Verdict::Limited(_) => self.answered(now),
            // What was on its way when the breaker opened has nothing new to say.
            Verdict::Unavailable if current => self.failed(now, sample),
            Verdict::Unavailable | Verdict::Nothing => None,
        }
    }

    /// Whether the breaker is open, and since when.
    pub fn unavailable(&self) -> Option<Unavailable> {
        let until = self.gate.shut_until()?;
        Some(Unavailable { since: self.since.unwrap_or(until), until })
    }

    /// Whether the endpoint answered at last, and often enough, for all calls to go.
    pub fn is_trusted(&self) -> bool {
        self.gate.is_open()
    }

    fn answered(&mut self, now: Instant) -> Option<Breaker> {
        let was_shut = self.gate.shut_until().is_some();
        self.gate.succeeded(now);
        self.failures = 0;
        self.since = None;
        if self.gate.is_open() {
            self.waits = 0;
        }
        was_shut.then_some(Breaker::Closed)
    }

    fn failed(&mut self, now: Instant, sample: f64) -> Option<Breaker> {
        let was_shut = self.gate.shut_until().is_some();
        self.since.get_or_insert(now);
        self.failures = self.failures.saturating_add(1);
        if !was_shut && self.failures < FAILURES {
            return None;
        }
        self.waits = self.waits.saturating_add(1);
        self.gate.shut(now + doubled(PROBES, self.waits).mul_f64(0.5 + sample.clamp(0.0, 1.0) / 2.0));
        (!was_shut).then_some(Breaker::Opened)
    }
}
