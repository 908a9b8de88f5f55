//! The gates, call by call, and under everything that can happen to them.

mod limited;
mod properties;
mod unavailable;

use tokio::time::Instant;

use super::{CredentialGate, Free, OriginGate, Ticket, Verdict};
use crate::rate::Rate;

/// Whether there are never more of these calls, in the order of time, than rate × time + burst.
pub(crate) fn is_within(rate: Rate, calls: &[Instant]) -> bool {
    let (Some(interval), Some(start)) = (rate.interval(), calls.first()) else { return true };
    // How far ahead of the rate the calls are: it grows by no more than a burst from any call to any later one.
    let (mut count, mut least) = (0.0, f64::INFINITY);
    calls.iter().all(|time| {
        let ahead = count - (*time - *start).div_duration_f64(interval);
        count += 1.0;
        least = least.min(ahead);
        ahead - least + 1.0 <= f64::from(rate.burst()) + 1e-6
    })
}

/// What the two gates have in common, and how calls go through them here.
trait Gate {
    fn free(&self, now: Instant) -> Free;
    fn reserve(&mut self) -> Ticket;
    fn holds(&self, ticket: &Ticket) -> bool;
    fn take(&mut self, ticket: &mut Ticket, now: Instant);
    fn end(&mut self, ticket: Ticket, verdict: Verdict, now: Instant);
    fn shut_until(&self) -> Option<Instant>;

    /// A call that goes now, if one can.
    fn call(&mut self, now: Instant) -> Option<Ticket> {
        (self.free(now) == Free::Now).then(|| {
            let mut ticket = self.reserve();
            self.take(&mut ticket, now);
            ticket
        })
    }

    /// As many calls as can go now.
    fn calls(&mut self, now: Instant) -> Vec<Ticket> {
        // Where nothing limits them, 1000 are all.
        std::iter::from_fn(|| self.call(now)).take(1000).collect()
    }

    /// Ends them all in the same way.
    fn end_all(&mut self, tickets: Vec<Ticket>, verdict: Verdict, now: Instant) {
        for ticket in tickets {
            self.end(ticket, verdict, now);
        }
    }
}

macro_rules! gate {
    ($gate:ty, $shut_until:expr $(, $sample:expr)?) => {
        impl Gate for $gate {
            fn free(&self, now: Instant) -> Free {
                self.free(now)
            }
            fn reserve(&mut self) -> Ticket {
                self.reserve()
            }
            fn holds(&self, ticket: &Ticket) -> bool {
                self.holds(ticket)
            }
            fn take(&mut self, ticket: &mut Ticket, now: Instant) {
                self.take(ticket, now);
            }
            fn end(&mut self, ticket: Ticket, verdict: Verdict, now: Instant) {
                self.end(ticket, verdict, now $(, $sample)?);
            }
            fn shut_until(&self) -> Option<Instant> {
                $shut_until(self)
            }
        }
    };
}

gate!(CredentialGate, CredentialGate::limited_until);
// With this sample the waits are not jittered.
gate!(OriginGate, |gate: &OriginGate| gate.unavailable().map(|unavailable| unavailable.until), 1.0);
