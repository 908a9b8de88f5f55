//! The gate of one credential at one origin: its rate, and the server's `Retry-After`.

use std::time::Duration;

use tokio::time::Instant;

use super::gate::{Gate, Ticket};
use super::{Free, Verdict, doubled};
use crate::rate::Rate;

/// First and longest wait after a 429; the server can ask for more.
const LIMITED: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(10));
/// How long a limit that nobody waits for is remembered after it is over.
const MEMORY: Duration = LIMITED.1;

/// Lets the calls of one credential through.
#[derive(Debug)]
pub struct CredentialGate {
    gate: Gate,
    /// 429s in a row, those apart that came while the gate was shut already.
    limited: u32,
}

impl CredentialGate {
    /// The gate of a credential that was never limited; `most` is how many of its calls there can be at once.
    pub fn new(rate: Rate, most: usize) -> Self {
        Self { gate: Gate::new(rate, most), limited: 0 }
    }

    /// Whether one more call can be reserved.
    pub fn free(&self, now: Instant) -> Free {
        self.gate.free(now)
    }

    /// Reserves the place of a call. Only where [`CredentialGate::free`] says so.
    pub fn reserve(&mut self) -> Ticket {
        self.gate.reserve()
    }

    /// Whether the reservation still holds: a limit ends them all.
    pub fn holds(&self, ticket: &Ticket) -> bool {
        self.gate.is_current(ticket)
    }

    /// The call goes. Only with a reservation that holds.
    pub fn take(&mut self, ticket: &mut Ticket, now: Instant) {
        self.gate.take(ticket, now);
    }

    /// The call has ended, or will not be made.
    pub fn end(&mut self, ticket: Ticket, verdict: Verdict, now: Instant) {
        let current = self.gate.give_back(ticket);
        match verdict {
            Verdict::Limited(wish) if self.gate.shut_until().is_none() || current => {
                self.limited = self.limited.saturating_add(1);
                self.gate.shut(now + doubled(LIMITED, self.limited).max(wish.unwrap_or_default()));
            }
            // One of those that were on their way when another was limited.
            Verdict::Limited(wish) => self.gate.prolong(now + wish.unwrap_or_default()),
            // What was on its way before the limit says nothing of it.
            Verdict::Answered if current => {
                self.limited = 0;
                self.gate.succeeded(now);
            }
            Verdict::Answered | Verdict::Unavailable | Verdict::Nothing => {}
        }
    }

    /// Until when the server does not want this credential. That may be over: then one call is trying.
    pub fn limited_until(&self) -> Option<Instant> {
        self.gate.shut_until()
    }

    /// When there will be nothing to remember, if nobody uses it until then. None while there are calls.
    pub fn forgettable_at(&self, now: Instant) -> Option<Instant> {
        if self.gate.in_use() > 0 {
            return None;
        }
        let full = self.gate.full_at(now);
        Some(match self.gate.shut_until() {
            Some(until) => full.max(until + MEMORY),
            None if self.gate.is_open() => full,
            None => full.max(now + MEMORY),
        })
    }
}
