//! What the operator does with a link: one pure function over what has been observed.
//!
//! `observe → decide → act → record`, until [`decide`] says "nothing until T". Nothing in here has a clock, a client or
//! randomness: the time and a jitter sample come in as values, so that the reconciler, the property tests and a model
//! checker all run the same code.

mod backoff;
mod decide;
mod deletion;
mod fingerprint;
mod hold;
mod inputs;
mod message;
mod observe;
mod outcome;
mod paced;
mod status;

pub use decide::{Release, Step, decide};
pub use inputs::{Credentials, Fetched, Fingerprints, Inputs, KEYS, Unusable, read};
pub use message::{IMPERATIVE_CHECK, truncated};
pub use observe::{
    Failing, Held, HeldWhy, Holder, InputReference, Link, Memory, Nudge, Origins, SecretAccess, Settings,
    Version, View,
};
pub use outcome::{Attempt, Call, CallFailure, Outcome, Settled, settle};
pub use status::{Announcement, announcement, stalled_by};

#[cfg(test)]
mod tests;
