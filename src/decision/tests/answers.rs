//! What a call may be answered.

use std::time::Duration;

use crate::api::Reason;
use crate::decision::{CallFailure, Outcome};

pub fn failure(reason: Reason) -> CallFailure {
    CallFailure {
        reason,
        message: format!("{reason} happened. Do this."),
        retry_after: None,
        maybe_effective: false,
    }
}

pub fn failed(reason: Reason) -> Outcome {
    Outcome::Failed(failure(reason))
}

/// A POST whose effect nobody saw.
pub fn ambiguous() -> Outcome {
    Outcome::Failed(CallFailure { maybe_effective: true, ..failure(Reason::EndpointUnavailable) })
}

pub fn limited(seconds: u64) -> Outcome {
    let retry_after = Some(Duration::from_secs(seconds));
    Outcome::Failed(CallFailure { retry_after, ..failure(Reason::RateLimited) })
}

pub fn state(word: &str) -> Outcome {
    Outcome::State(word.into())
}

pub fn accepted(word: &str) -> Outcome {
    Outcome::Accepted(Some(word.into()))
}
