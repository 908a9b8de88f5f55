//! How fast calls may go: by rate, by what servers ask for, by how many at once, and not at all where nobody answers.
//! Pure: the time and a random sample come in as values. What waits, and in which order, is the controller's matter.

mod bucket;
mod credential;
mod gate;
mod origin;
mod verdict;

use std::time::Duration;

use tokio::time::Instant;

pub use credential::CredentialGate;
pub use gate::Ticket;
pub use origin::{Breaker, OriginGate, Unavailable};
pub use verdict::Verdict;

/// Whether a call can go. The greater one is the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Free {
    /// Yes.
    Now,
    /// At that time, if nothing happens before.
    At(Instant),
    /// When a call that is on its way has ended, or one that is reserved has gone.
    Later,
}

/// The `count`-th wait in a row (from 1): it doubles from the first to the longest.
fn doubled((first, longest): (Duration, Duration), count: u32) -> Duration {
    first.saturating_mul(2u32.saturating_pow(count.saturating_sub(1))).min(longest)
}

#[cfg(test)]
pub(crate) mod tests;
