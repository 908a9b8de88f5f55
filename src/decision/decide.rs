//! The rules, in their order: the first one that matches says the step.

use k8s_openapi::jiff::Timestamp;

use super::backoff::{self, PROGRESS_DEADLINE};
use super::inputs::{Fingerprints, Inputs, Unusable};
use super::message;
use super::observe::{SecretAccess, View};
use super::outcome::{NOT_SYNCED, Settled, settle};
use super::status::{Draft, reason_of, silent};
use crate::api::{Beside, ConditionType, Conditions, LinkRecord, MigrationLinkStatus, Reason};

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing, until that time or until something changes.
    Wait(Option<Timestamp>),
    /// Read the objects that the link refers to.
    ReadInputs,
    /// Send the link token.
    Link,
    /// Ask for the state.
    Poll,
    /// Write this status. It differs from the one that is there.
    Publish(Box<MigrationLinkStatus>),
    /// Record what a call was answered.
    Record(Settled),
}

/// Says the next step for a link. The numbers are those of the design's table of rules.
pub fn decide(view: &View<'_>) -> Step {
    // Record first: an outcome comes before anything else that is done for the link.
    if let Some(attempt) = view.answered {
        return Step::Record(settle(view.link, view.settings, view.memory, attempt, view.jitter));
    }
    deleted(view)
        .or_else(|| suspended(view))
        .or_else(|| not_allowed(view))
        .or_else(|| held_back(view))
        .or_else(|| unread(view))
        .or_else(|| call(view))
        .unwrap_or_else(|| steady(view))
}

/// Rule 1.
fn deleted(view: &View<'_>) -> Option<Step> {
    view.link.deleting.then_some(Step::Wait(None))
}

/// Rule 6.
fn suspended(view: &View<'_>) -> Option<Step> {
    if view.link.spec.suspend != Some(true) && !view.link.paused {
        return None;
    }
    let mut draft = Draft::new(view.link, view.now);
    draft.status.observed_generation = Some(view.link.generation);
    draft.suspended(&message::suspended());
    Some(publish_or_wait(view, draft, None))
}

/// Rule 7, and a base URL that no request can be made of.
fn not_allowed(view: &View<'_>) -> Option<Step> {
    let (reason, message) = match view.link.spec.base_url.parse::<crate::endpoint::BaseUrl>() {
        Ok(base) if view.settings.allowed_origins.allow(base.origin()) => return None,
        Ok(base) => (Reason::EndpointNotAllowed, message::endpoint_not_allowed(base.origin().as_str())),
        Err(problem) => (Reason::InvalidSpec, message::invalid_base_url(&problem.to_string())),
    };
    let mut draft = Draft::new(view.link, view.now);
    draft.status.observed_generation = Some(view.link.generation);
    draft.status.last_handled_reconcile_at.clone_from(&view.link.reconcile_at);
    draft.not_ready(reason, &message);
    draft.no_retry();
    Some(publish_or_wait(view, draft, None))
}

/// Rule 9.
fn held_back(view: &View<'_>) -> Option<Step> {
    let hold = hold(view)?;
    if broken(view, hold.reason) {
        return None;
    }
    let mut draft = Draft::new(view.link, view.now);
    draft.status.observed_generation = Some(view.link.generation);
    if let Some(inputs) = view.inputs {
        draft.status.inputs = Some(inputs.records.clone());
    }
    draft.resumed();
    // A silent rate limit holds back something new: that must not read as done.
    if !draft.failed() && view.changed() {
        let accepted = draft.record().token_fingerprint.clone();
        let read = view.inputs.and_then(|inputs| inputs.usable.as_ref().ok());
        if read.is_some_and(|read| Some(&read.token) != accepted.as_ref()) {
            draft.status.state = Some(NOT_SYNCED.to_owned());
        }
        draft.not_ready(hold.reason, &message::held_back());
        draft.retry(1, hold.until);
    }
    Some(publish_or_wait(view, draft, hold.until))
}

/// Rule 10.
fn unread(view: &View<'_>) -> Option<Step> {
    let wanted = view.inputs_moved() || wants_link_unread(view) || wants_poll(view);
    (view.inputs.is_none() && wanted).then_some(Step::ReadInputs)
}

/// Rules 11 to 14.
fn call(view: &View<'_>) -> Option<Step> {
    let inputs = view.inputs?;
    let fingerprints = match &inputs.usable {
        Ok(fingerprints) => fingerprints,
        Err(unusable) => return Some(unusable_inputs(view, inputs, unusable)),
    };
    if wants_link_unread(view) || wants_link(view, fingerprints) {
        return Some(Step::Link);
    }
    (wants_poll(view) || keys_changed(view, fingerprints)).then_some(Step::Poll)
}

/// Rule 15.
fn steady(view: &View<'_>) -> Step {
    let mut draft = Draft::new(view.link, view.now);
    draft.status.observed_generation = Some(view.link.generation);
    if let Some(inputs) = view.inputs {
        draft.status.inputs = Some(inputs.records.clone());
    }
    draft.resumed();
    publish_or_wait(view, draft, Some(due(view)))
}

/// Rule 11.
fn unusable_inputs(view: &View<'_>, inputs: &Inputs, unusable: &Unusable) -> Step {
    let fresh = view.changed();
    let mut draft = Draft::new(view.link, view.now);
    draft.status.observed_generation = Some(view.link.generation);
    draft.status.inputs = Some(inputs.records.clone());
    draft.status.last_handled_reconcile_at.clone_from(&view.link.reconcile_at);
    let attempts = draft.attempts(unusable.reason, fresh);
    let interval = view.link.interval(view.settings);
    let delay = backoff::delay(unusable.reason, attempts, None, interval, view.jitter).or_else(|| {
        // Nobody tells when the object changes: look again.
        (view.secret_access == SecretAccess::Get).then(|| backoff::slow(attempts, view.jitter))
    });
    draft.not_ready(unusable.reason, &unusable.message);
    match delay {
        Some(delay) => draft.retry(attempts, Some(backoff::after(view.now, delay))),
        None => draft.no_retry(),
    }
    let until = draft.status.next_attempt_time.as_ref().map(|time| time.0);
    let status = draft.finish(view.link, fresh);
    finished(view, status, until)
}

/// Why nothing is tried, and until when (None: until something changes).
struct Hold {
    reason: Reason,
    until: Option<Timestamp>,
}

/// What the last outcome asked to wait for, if that is still ahead.
fn hold(view: &View<'_>) -> Option<Hold> {
    let status = &view.link.status;
    let published = status.conditions.as_ref().and_then(reason_of);
    // A silent failure holds nothing but the checks of a link that was SYNCED.
    let was_synced = status.conditions.as_ref().is_some_and(silent);
    let failing = view.memory.failing.as_ref().filter(|_| was_synced);
    let reason = failing.map(|failing| failing.reason).or(published)?;
    let longest = backoff::longest(reason, view.link.interval(view.settings));
    let ahead = |time: &Timestamp| *time > view.now && *time <= backoff::after(view.now, longest);
    let next = status.next_attempt_time.as_ref().map(|time| time.0).filter(ahead);
    let next_check = failing.map(|failing| failing.next).filter(ahead);
    if let Some(until) = next.max(next_check) {
        return Some(Hold { reason, until: Some(until) });
    }
    let woken = matches!(reason, Reason::SecretNotFound | Reason::InvalidSecret)
        && view.secret_access == SecretAccess::Watch
        && view.inputs.is_none_or(|inputs| inputs.usable.as_ref().is_err_and(|now| now.reason == reason));
    woken.then_some(Hold { reason, until: None })
}

/// Whether something changed that ends the wait.
fn broken(view: &View<'_>, reason: Reason) -> bool {
    if view.inputs.is_none() && view.inputs_moved() {
        return true;
    }
    match reason {
        // Another token or spec does not help: the limit is on the keys. And without keys it is not over.
        Reason::RateLimited => view
            .inputs
            .and_then(|inputs| inputs.usable.as_ref().ok())
            .is_some_and(|fingerprints| keys_changed(view, fingerprints)),
        Reason::NotSynced | Reason::LinkLost => view.changed() || view.link.relink_asked(),
        _ => view.changed(),
    }
}

/// Whether these are other API keys than those last tried.
fn keys_changed(view: &View<'_>, fingerprints: &Fingerprints) -> bool {
    let record = view.link.status.link.as_ref();
    record.and_then(|record| record.key_fingerprint.as_ref()) != Some(&fingerprints.keys)
}

/// The part of rules 12 and 13 that needs no input.
fn wants_link_unread(view: &View<'_>) -> bool {
    let status = &view.link.status;
    let never_accepted_or_unsettled =
        |record: &LinkRecord| record.token_fingerprint.is_none() || record.sent.is_some();
    status.link.as_ref().is_none_or(never_accepted_or_unsettled)
        || view.link.relink_asked()
        || status.conditions.as_ref().and_then(reason_of) == Some(Reason::LinkLost)
}

/// The part of rule 12 that compares the token.
fn wants_link(view: &View<'_>, fingerprints: &Fingerprints) -> bool {
    let record = view.link.status.link.as_ref();
    record.and_then(|record| record.token_fingerprint.as_ref()) != Some(&fingerprints.token)
}

/// The part of rule 14 that needs no input.
fn wants_poll(view: &View<'_>) -> bool {
    let ready = view.link.status.conditions.as_ref().is_some_and(|all| all.is_true(ConditionType::Ready));
    !ready || view.link.reconcile_asked() || due(view) <= view.now
}

/// When the next regular check is due. After an answer at least half an interval passes: nothing is asked twice
/// without need.
fn due(view: &View<'_>) -> Timestamp {
    let interval = view.link.interval(view.settings);
    let last = view.memory.answered.unwrap_or(view.settings.started_at);
    if last > view.now {
        // The clock was put back: from here on nothing is known of the last answer.
        return view.now;
    }
    let after = if view.memory.answered.is_some() { backoff::after(last, interval / 2) } else { last };
    backoff::next_check(&view.link.uid, interval, after)
}

fn publish_or_wait(view: &View<'_>, draft: Draft, until: Option<Timestamp>) -> Step {
    let fresh = view.link.generation_changed();
    finished(view, draft.finish(view.link, fresh), until)
}

/// Publishes where it changes something; else waits, at most until the progress deadline.
fn finished(view: &View<'_>, status: MigrationLinkStatus, until: Option<Timestamp>) -> Step {
    if status != view.link.status {
        return Step::Publish(Box::new(status));
    }
    let deadline = status.conditions.as_ref().and_then(|conditions| {
        let reconciling = conditions.of(ConditionType::Reconciling)?;
        let passes = reason_of(conditions).is_some_and(|reason| reason.beside() == Beside::Reconciling);
        passes.then(|| backoff::after(reconciling.last_transition_time.0, PROGRESS_DEADLINE))
    });
    Step::Wait(match (until, deadline) {
        (Some(until), Some(deadline)) => Some(until.min(deadline)),
        (until, deadline) => until.or(deadline),
    })
}
