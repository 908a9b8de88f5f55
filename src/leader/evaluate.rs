//! What to do about the lease: a pure function of what was seen of it, and when.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// The times of an election, all from the lease's duration: 15 s make client-go's 10 s and 2 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// So long a lease that does not change is left to its holder.
    pub duration: Duration,
}

impl Timing {
    /// So long after the begin of its last successful renewal a holder may write.
    pub fn renew_deadline(self) -> Duration {
        self.duration * 2 / 3
    }

    /// Time from the begin of one attempt to the begin of the next.
    pub fn retry(self) -> Duration {
        self.duration * 2 / 15
    }

    /// The longest that one call may take. One that hangs leaves time for two more before the claim ends, and an API
    /// server that takes seconds for each is slow but not away.
    pub fn call(self) -> Duration {
        self.duration / 5
    }
}

/// The lease as it was seen last.
#[derive(Clone, Debug)]
pub struct Seen {
    /// None where there was none.
    pub lease: Option<Lease>,
    /// When what it says was seen for the first time. A new label makes nobody's lease any longer.
    pub at: Instant,
}

impl Seen {
    /// Takes in a newer version.
    pub fn update(before: Option<Self>, lease: Option<Lease>, now: Instant) -> Self {
        let at = match before {
            Some(before) if spec(before.lease.as_ref()) == spec(lease.as_ref()) => before.at,
            _ => now,
        };
        Self { lease, at }
    }

    /// Who holds it.
    pub fn holder(&self) -> Option<&str> {
        spec(self.lease.as_ref())?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// When its holder has lost it, unless it changes before.
    fn expires(&self, timing: Timing) -> Instant {
        let own = spec(self.lease.as_ref()).and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok());
        let duration = own.filter(|seconds| *seconds > 0).map_or(timing.duration, Duration::from_secs);
        self.at + duration
    }
}

fn spec(lease: Option<&Lease>) -> Option<&LeaseSpec> {
    lease?.spec.as_ref()
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the lease.
    Read,
    /// Nobody holds it any more: take it.
    Acquire,
    /// It is ours: write that it still is.
    Renew,
    /// It is somebody else's, for so long at least unless it changes.
    Wait(Duration),
    /// It was ours, and is not any more.
    Lost,
}

/// What comes next for the candidate `me`, whose claim lasts until `claim` if it has one. `seen` is None before the
/// first look at the lease, and after an attempt whose effect is not known.
pub fn evaluate(seen: Option<&Seen>, me: &str, claim: Option<Instant>, timing: Timing, now: Instant) -> Step {
    if claim.is_some_and(|end| end <= now) {
        return Step::Lost;
    }
    let Some(seen) = seen else { return Step::Read };
    match (claim, seen.holder()) {
        // Also without a claim: then the answer to our write got lost.
        (_, Some(holder)) if holder == me => Step::Renew,
        (Some(_), _) => Step::Lost,
        (None, None) => Step::Acquire,
        (None, Some(_)) => match seen.expires(timing).checked_duration_since(now) {
            None | Some(Duration::ZERO) => Step::Acquire,
            Some(left) => Step::Wait(left),
        },
    }
}

/// The lease, held by `me`. `time` is for people: nobody decides by it.
pub fn held(mut lease: Lease, me: &str, timing: Timing, time: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_deref() != Some(me) {
        spec.holder_identity = Some(me.to_owned());
        spec.acquire_time = Some(MicroTime(time));
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |before| before.saturating_add(1)));
    }
    spec.lease_duration_seconds = i32::try_from(timing.duration.as_secs()).ok();
    spec.renew_time = Some(MicroTime(time));
    lease
}

/// The lease, held by nobody. One second, as client-go writes it: zero is not allowed.
pub fn released(mut lease: Lease, time: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = None;
    spec.lease_duration_seconds = Some(1);
    spec.renew_time = Some(MicroTime(time));
    lease
}
