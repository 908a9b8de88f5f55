//! What a call's answer means for the status.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::backoff;
use super::deletion;
use super::inputs::Fingerprints;
use super::message;
use super::observe::{Failing, Link, Memory, Nudge, Settings};
use super::status::{Draft, cause_of, reason_of, seconds};
use crate::api::{Beside, DriftPolicy, InputRecord, LinkRecord, MigrationLinkStatus, Reason};

/// The word for a link that is in force.
const SYNCED: &str = "SYNCED";
/// The word for one that is not.
pub(super) const NOT_SYNCED: &str = "NOT_SYNCED";

/// A call to the HTTP API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// POST: send the link token.
    Link,
    /// GET: ask for the state.
    Poll,
    /// GET, after a POST that was refused because there is a link: if it is SYNCED, it counts as accepted.
    Adopt,
    /// DELETE: remove the link.
    Unlink,
}

/// What a call was answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// 2xx to the POST, with the state if the answer had a readable one.
    Accepted(Option<String>),
    /// The state, in the API's own word.
    State(String),
    /// The API knows no link of this organization.
    NoLink,
    /// The link is removed, or there was none.
    Unlinked,
    /// Anything else.
    Failed(CallFailure),
}

/// A call that did not bring what it was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFailure {
    /// The reason for the status.
    pub reason: Reason,
    /// What happened, and what to do about it: ours, never the remote's text.
    pub message: String,
    /// How long the server wants to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether the request may have had an effect that nobody saw.
    pub maybe_effective: bool,
}

/// A call that was made, with all that it was made from: it is recorded as that, even if the resource was edited
/// meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Which call.
    pub call: Call,
    /// When it was answered.
    pub at: Timestamp,
    /// Generation of the spec that it was made from.
    pub generation: i64,
    /// Value of the annotation `reconcile-at`.
    pub reconcile_at: Option<String>,
    /// Value of the annotation `relink-at`.
    pub relink_at: Option<String>,
    /// The inputs that it was made with.
    pub inputs: Vec<InputRecord>,
    /// Fingerprints of the token (empty where none was needed) and of the keys.
    pub fingerprints: Fingerprints,
    /// What came back.
    pub outcome: Outcome,
}

impl Attempt {
    /// Whether this is a POST that was refused because there is a link.
    pub fn is_refused_for_a_link(&self) -> bool {
        let exists = |failure: &CallFailure| failure.reason == Reason::LinkExists;
        self.call == Call::Link && matches!(&self.outcome, Outcome::Failed(failure) if exists(failure))
    }

    /// Whether the link may be another by what came back, so that nobody may write to it before this is recorded.
    pub fn changes_the_link(&self) -> bool {
        match &self.outcome {
            Outcome::Accepted(_) | Outcome::Unlinked => true,
            Outcome::State(_) | Outcome::NoLink => self.call == Call::Adopt,
            Outcome::Failed(failure) => failure.maybe_effective,
        }
    }
}

/// What follows from an outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// The status to publish; None if nothing of it changes.
    pub status: Option<Box<MigrationLinkStatus>>,
    /// What to remember.
    pub memory: Memory,
}

/// Works an outcome into the status.
pub fn settle(link: &Link, settings: &Settings, memory: &Memory, attempt: &Attempt, jitter: f64) -> Settled {
    let context = Context { link, settings, memory, attempt, jitter };
    match &attempt.outcome {
        Outcome::Accepted(state) => context.accepted(state.as_deref()),
        Outcome::State(state) if attempt.call == Call::Adopt && state == SYNCED => {
            context.accepted(Some(state))
        }
        Outcome::State(_) | Outcome::NoLink if attempt.call == Call::Adopt => {
            context.failed(&CallFailure::link_exists())
        }
        Outcome::State(state) => context.state(context.draft(), state, false),
        Outcome::NoLink => context.state(context.draft(), NOT_SYNCED, true),
        // What there is to record is that the resource is let go, and somebody did that already.
        Outcome::Unlinked => Settled { status: None, memory: context.answered(None) },
        Outcome::Failed(failure) => context.failed(failure),
    }
}

impl CallFailure {
    /// The link that a POST was refused for is not known to be ours.
    fn link_exists() -> Self {
        Self {
            reason: Reason::LinkExists,
            message: message::not_adopted(),
            retry_after: None,
            maybe_effective: false,
        }
    }
}

struct Context<'a> {
    link: &'a Link,
    settings: &'a Settings,
    memory: &'a Memory,
    attempt: &'a Attempt,
    jitter: f64,
}

impl Context<'_> {
    fn interval(&self) -> Duration {
        self.link.interval(self.settings)
    }

    /// Whether the token of a lost link is to be sent again.
    fn resends(&self) -> bool {
        self.link.status.link.as_ref().is_some_and(|record| record.resend == Some(true))
    }

    /// Whether this is what came of sending the token.
    fn posted(&self) -> bool {
        matches!(self.attempt.call, Call::Link | Call::Adopt)
    }

    /// The status with what every outcome settles: generation, inputs, keys, and the request for a check.
    fn draft(&self) -> Draft {
        let mut draft = Draft::new(self.link, self.attempt.at);
        // Never back: a process that took over with an old view of the link may have called for a spec of before.
        let generation = Some(self.attempt.generation);
        draft.status.observed_generation = draft.status.observed_generation.max(generation);
        draft.status.inputs = Some(self.attempt.inputs.clone());
        draft.status.last_handled_reconcile_at.clone_from(&self.attempt.reconcile_at);
        draft.record().key_fingerprint = Some(self.attempt.fingerprints.keys.clone());
        if self.posted() && draft.reason() == Some(Reason::LinkLost) {
            let relinks = draft.record().relinks.unwrap_or(0);
            draft.record().relinks = Some(relinks.saturating_add(1));
        }
        draft
    }

    fn accepted(&self, state: Option<&str>) -> Settled {
        let mut draft = self.draft();
        let relink_asked = self.attempt.relink_at.is_some()
            && self.attempt.relink_at != self.link.status.last_handled_relink_at;
        draft.status.last_handled_relink_at.clone_from(&self.attempt.relink_at);
        let at = seconds(self.attempt.at);
        let record = draft.record();
        let another = record.token_fingerprint.as_ref() != Some(&self.attempt.fingerprints.token);
        record.held_since.get_or_insert_with(|| at.clone());
        record.accepted_time = Some(at);
        record.token_fingerprint = Some(self.attempt.fingerprints.token.clone());
        record.sent = None;
        record.resend = None;
        if another {
            record.lost_since = None;
        }
        if another || relink_asked {
            record.relinks = None;
        }
        if let Some(state) = state {
            return self.state(draft, state, false);
        }
        // The answer does not say: the next decision polls.
        draft.status.state = Some(NOT_SYNCED.to_owned());
        draft.not_ready(Reason::NotSynced, &message::accepted_without_state());
        draft.no_retry();
        self.done(draft)
    }

    fn state(&self, mut draft: Draft, state: &str, no_link: bool) -> Settled {
        let synced_before = draft.status.state.as_deref() == Some(SYNCED);
        draft.status.state = Some(state.to_owned());
        if state == SYNCED {
            if !synced_before || draft.status.last_synced_time.is_none() {
                draft.status.last_synced_time = Some(seconds(self.attempt.at));
            }
            draft.record().lost_since = None;
            draft.record().relinks = None;
            draft.record().resend = None;
            draft.ready(&message::synced());
            return self.done(draft);
        }
        let was_synced = draft.status.last_synced_time.is_some();
        let at = self.attempt.at;
        // A word of the future is no loss: what it means is not known.
        let lost = no_link || (was_synced && state == NOT_SYNCED);
        if self.attempt.call == Call::Poll && lost {
            draft.record().lost_since.get_or_insert_with(|| seconds(at));
            let left = window_left(draft.record(), no_link, at);
            if left.is_zero() && self.link.spec.drift_policy == DriftPolicy::Report {
                draft.reported(&message::link_lost_reported(self.link, no_link));
                let attempts = draft.attempts(Reason::LinkLost, self.fresh());
                let next = backoff::next_check(&self.link.uid, self.interval(), at);
                draft.retry(attempts, Some(next));
                return self.done(draft);
            }
            if left.is_zero() {
                draft.not_ready(Reason::LinkLost, &message::link_lost(no_link));
                draft.retry(1, None);
                return self.done(draft);
            }
            return self.not_synced(draft, state, no_link, Some(left));
        }
        self.not_synced(draft, state, no_link, None)
    }

    fn not_synced(&self, mut draft: Draft, state: &str, no_link: bool, left: Option<Duration>) -> Settled {
        // What is asked after a POST is asked for the first time.
        let first = self.fresh() || self.posted();
        let attempts = draft.attempts(Reason::NotSynced, first);
        let waiting =
            draft.record().accepted_time.as_ref().map(|time| backoff::since(time.0, self.attempt.at));
        draft.not_ready(Reason::NotSynced, &message::not_synced(state, no_link, waiting.unwrap_or_default()));
        let delay = backoff::delay(Reason::NotSynced, attempts, None, self.interval(), self.jitter);
        let delay = match (delay, left) {
            (Some(delay), Some(left)) => Some(delay.min(left)),
            (delay, _) => delay,
        };
        draft.retry(attempts, delay.map(|delay| backoff::after(self.attempt.at, delay)));
        self.done(draft)
    }

    fn failed(&self, failure: &CallFailure) -> Settled {
        if self.attempt.call == Call::Unlink {
            return self.deletion_failed(failure);
        }
        if let Some(settled) = self.failed_silently(failure) {
            return settled;
        }
        let mut draft = self.draft();
        let token = &self.attempt.fingerprints.token;
        if self.posted() {
            // A rotation: what the API last said was about another token.
            if draft.record().token_fingerprint.as_ref() != Some(token) && draft.status.state.is_some() {
                draft.status.state = Some(NOT_SYNCED.to_owned());
            }
            // A POST that nobody saw the end of is settled by the same POST again, and so is one that was to bring a lost
            // link back: a poll would say again that it is lost, and at once.
            let lost = self.link.status.conditions.as_ref().and_then(reason_of) == Some(Reason::LinkLost);
            if lost || self.resends() {
                draft.record().resend = Some(true);
            }
            if failure.maybe_effective {
                draft.record().sent = Some(token.clone());
            } else if self.memory.announced.is_some() && draft.record().sent == self.memory.announced {
                // Said for this POST, or for one of another token that was not made: the Secret was changed in between.
                draft.record().sent = None;
            }
        }
        let attempts = draft.attempts(failure.reason, self.fresh());
        draft
            .not_ready(failure.reason, &message::failed(self.link, failure, self.attempt.call == Call::Link));
        draft.retry(attempts, self.next(failure, attempts));
        Settled { memory: self.failed_memory(failure.reason), ..self.done(draft) }
    }

    /// The link could not be removed.
    fn deletion_failed(&self, failure: &CallFailure) -> Settled {
        let mut draft = self.draft();
        let attempts = draft.attempts(failure.reason, self.fresh());
        let grace = self.settings.deletion_grace_period;
        deletion::block(
            &mut draft,
            self.link,
            grace,
            failure.reason,
            &message::failed(self.link, failure, self.attempt.call == Call::Link),
        );
        draft.retry(attempts, self.next(failure, attempts));
        Settled { memory: self.failed_memory(failure.reason), ..self.done(draft) }
    }

    /// A check that fails for a reason that passes by itself is nobody's business until it has lasted an interval, and
    /// is then published once: an outage costs a steady fleet one write a link.
    fn failed_silently(&self, failure: &CallFailure) -> Option<Settled> {
        let memory = self.memory;
        let draft = Draft::new(self.link, self.attempt.at);
        let published = draft.unknown_reason();
        let checked = self.attempt.call == Call::Poll && (draft.is_ready() || published.is_some());
        let keys = draft.status.link.as_ref().and_then(|record| record.key_fingerprint.as_ref());
        let first = self.fresh() || keys != Some(&self.attempt.fingerprints.keys);
        if !checked || failure.reason.beside() != Beside::Reconciling || first {
            return None;
        }
        let before = memory.failing.as_ref();
        let attempts = before
            .filter(|before| before.reason == failure.reason)
            .map_or(1, |before| before.attempts.saturating_add(1));
        let since = before.map_or(self.attempt.at, |before| before.since);
        let next = self.next(failure, attempts).unwrap_or(self.attempt.at);
        let failing = Failing { since, attempts, next, reason: failure.reason };
        let memory = Memory { failing: Some(failing), ..self.failed_memory(failure.reason) };
        let lasted = backoff::since(since, self.attempt.at) >= self.interval();
        if published == Some(failure.reason) || (draft.is_ready() && !lasted) {
            return Some(Settled { status: None, memory });
        }
        let mut draft = self.draft();
        draft.unknown(failure.reason, &message::check_failing(&failure.message, memory.answered));
        draft.retry(attempts, Some(next));
        Some(Settled { memory, ..self.done(draft) })
    }

    fn next(&self, failure: &CallFailure, attempts: i32) -> Option<Timestamp> {
        backoff::delay(failure.reason, attempts, failure.retry_after, self.interval(), self.jitter)
            .map(|delay| backoff::after(self.attempt.at, delay))
    }

    /// Whether a person changed something since the last outcome.
    fn fresh(&self) -> bool {
        let Attempt { generation, reconcile_at, inputs, .. } = self.attempt;
        self.link.changed(*generation, reconcile_at.as_ref(), inputs)
    }

    fn done(&self, draft: Draft) -> Settled {
        let status = draft.finish(self.link, self.fresh());
        let cause = status.conditions.as_ref().and_then(cause_of);
        Settled {
            status: (status != self.link.status).then(|| Box::new(status)),
            memory: self.answered(cause),
        }
    }

    /// What is remembered of an answer.
    fn answered(&self, cause: Option<Reason>) -> Memory {
        Memory { answered: Some(self.attempt.at), nudge: self.nudge(cause), ..Memory::default() }
    }

    /// What is remembered of a failure: not that the API answered for the link.
    fn failed_memory(&self, cause: Reason) -> Memory {
        Memory { answered: self.memory.answered, nudge: self.nudge(Some(cause)), ..Memory::default() }
    }

    /// Another link's success gives a reason to try once; it lasts as long as the reason for waiting is the same.
    fn nudge(&self, cause: Option<Reason>) -> Option<Nudge> {
        let (Nudge::Due(reason) | Nudge::Spent(reason)) = self.memory.nudge?;
        (cause == Some(reason)).then_some(Nudge::Spent(reason))
    }
}

/// How much is left of the time in which a link that lost SYNCED is not yet called lost. A link that the API does not
/// know at all is lost at once, the first time.
fn window_left(record: &LinkRecord, no_link: bool, at: Timestamp) -> Duration {
    let relinks = record.relinks.unwrap_or(0);
    if no_link && relinks == 0 {
        return Duration::ZERO;
    }
    let from = record.lost_since.iter().chain(&record.accepted_time).map(|time| time.0).max().unwrap_or(at);
    backoff::lost_window(relinks).saturating_sub(backoff::since(from, at))
}
