//! The rules, in their order: the first one that matches says the step.

use k8s_openapi::jiff::Timestamp;

use super::backoff::{self, PROGRESS_DEADLINE};
use super::hold::{self, keys_changed};
use super::inputs::{Fingerprints, Inputs, Unusable};
use super::observe::{SecretAccess, View};
use super::outcome::{Attempt, Outcome, Settled, settle};
use super::status::{Announcement, Draft, may_escalate, reason_of};
use super::{deletion, message, paced};
use crate::api::{ConditionType, Conditions, DriftPolicy, LinkRecord, MigrationLinkStatus, Reason};

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing, until that time or until something changes.
    Wait(Option<Timestamp>),
    /// Nothing, until the call that is held back may be made, and at most until that time.
    Park(Option<Timestamp>),
    /// Read the objects that the link refers to.
    ReadInputs,
    /// Send the link token.
    Link,
    /// Ask for the state.
    Poll,
    /// Ask for the state of a link that was there before the POST.
    Adopt,
    /// Remove the link.
    Unlink,
    /// Write this status, which says that a token is going to be sent, and remember that it is for the POST that follows.
    Announce(Box<MigrationLinkStatus>),
    /// Write this status. It differs from the one that is there.
    Publish(Box<MigrationLinkStatus>),
    /// Record what a call was answered.
    Record(Settled),
    /// Have the resource held when it is deleted.
    AddFinalizer,
    /// Let the resource go.
    DropFinalizer(Release),
}

/// Why a resource is let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// There is nothing to remove.
    NotNeeded,
    /// The link was removed.
    Unlinked,
    /// The link could not be removed in time, and stays.
    LeftBehind(Announcement),
}

/// Says the next step for a link. The numbers are those of the design's table of rules.
pub fn decide(view: &View<'_>) -> Step {
    // Record first: an outcome comes before anything else that is done for the link.
    if let Some(attempt) = view.answered {
        return record(view, attempt);
    }
    let step = deletion::step(view)
        .or_else(|| finalizer(view))
        .or_else(|| suspended(view))
        .or_else(|| not_allowed(view))
        .or_else(|| duplicate(view))
        .or_else(|| hold::step(view))
        .or_else(|| unread(view))
        .or_else(|| call(view))
        .unwrap_or_else(|| steady(view));
    paced::step(view, step)
}

fn record(view: &View<'_>, attempt: &Attempt) -> Step {
    if attempt.outcome == Outcome::Unlinked && view.link.deleting && view.link.finalized() {
        return Step::DropFinalizer(Release::Unlinked);
    }
    if may_be_ours(view, attempt) && view.held.is_none() {
        match view.inputs.map(|inputs| &inputs.usable) {
            None => return Step::ReadInputs,
            Some(Ok(read)) if read.token == attempt.fingerprints.token => return Step::Adopt,
            Some(_) => {}
        }
    }
    Step::Record(settle(view.link, view.settings, view.memory, attempt, view.jitter))
}

/// Whether the link that a POST was refused for may be the one that this token made: it was sent before and nobody saw
/// the end of it, or a person says so.
fn may_be_ours(view: &View<'_>, attempt: &Attempt) -> bool {
    if !attempt.is_refused_for_a_link() || view.link.deleting {
        return false;
    }
    let token = Some(&attempt.fingerprints.token);
    let record = view.link.status.link.as_ref();
    let sent = record.and_then(|record| record.sent.as_ref());
    let sent_before = sent.is_some() && (sent != token || view.memory.announced.as_ref() != token);
    match record.and_then(|record| record.token_fingerprint.as_ref()) {
        None => (sent == token && sent_before) || view.link.adopt,
        // Another one may have been sent since, and was refused because of this one's link.
        accepted if accepted == token => sent_before,
        // It is the link of the accepted token that is there.
        Some(_) => false,
    }
}

/// Rule 5.
fn finalizer(view: &View<'_>) -> Option<Step> {
    match (view.link.deletes(), view.link.finalized()) {
        (true, false) => Some(Step::AddFinalizer),
        (false, true) => Some(Step::DropFinalizer(Release::NotNeeded)),
        _ => None,
    }
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
    let (reason, message) = view.refused_endpoint()?;
    let mut draft = Draft::new(view.link, view.now);
    draft.status.observed_generation = Some(view.link.generation);
    draft.status.last_handled_reconcile_at.clone_from(&view.link.reconcile_at);
    draft.not_ready(reason, &message);
    draft.no_retry();
    Some(publish_or_wait(view, draft, None))
}

/// Rule 8. What was accepted for this resource is not in force any more: it is decided anew when the holder goes.
fn duplicate(view: &View<'_>) -> Option<Step> {
    let holder = view.holder?;
    let mut draft = Draft::new(view.link, view.now);
    draft.status.observed_generation = Some(view.link.generation);
    draft.status.last_handled_reconcile_at.clone_from(&view.link.reconcile_at);
    draft.status.link = None;
    draft.status.inputs = None;
    draft.status.state = None;
    draft.status.last_synced_time = None;
    draft.not_ready(Reason::DuplicateOrganization, &message::duplicate(view.link, holder));
    draft.no_retry();
    Some(publish_or_wait(view, draft, None))
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
        return Some(announce(view, fingerprints).unwrap_or(Step::Link));
    }
    (wants_poll(view) || keys_changed(view, &fingerprints.keys)).then_some(Step::Poll)
}

/// A crash during a POST must not hide its effect. With the policy `Delete` and nothing accepted before, it would leave a link
/// behind that nobody remembers; and where another token was accepted, one that is in force although the Secret holds the
/// accepted one again. The generation stays what it was: nothing reads as done.
fn announce(view: &View<'_>, fingerprints: &Fingerprints) -> Option<Step> {
    let mut status = view.link.status.clone();
    let record = status.link.get_or_insert_default();
    let wanted = match &record.token_fingerprint {
        None => view.link.deletes(),
        Some(accepted) => *accepted != fingerprints.token,
    };
    // What is remembered as sent already makes that the next decision sends, whatever the Secret holds by then.
    if !wanted || record.sent.is_some() {
        return None;
    }
    record.sent = Some(fingerprints.token.clone());
    Some(Step::Announce(Box::new(status)))
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
    let say = |draft: &mut Draft| draft.not_ready(unusable.reason, &unusable.message);
    let (status, until) = unusable_status(view, inputs, unusable, say);
    finished(view, status, until)
}

/// What there is to publish of inputs that cannot be used, in the words that `say` writes, and when they are looked at again.
pub(super) fn unusable_status(
    view: &View<'_>,
    inputs: &Inputs,
    unusable: &Unusable,
    say: impl FnOnce(&mut Draft),
) -> (MigrationLinkStatus, Option<Timestamp>) {
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
    say(&mut draft);
    match delay {
        Some(delay) => draft.retry(attempts, Some(backoff::after(view.now, delay))),
        None => draft.no_retry(),
    }
    let until = draft.status.next_attempt_time.as_ref().map(|time| time.0);
    (draft.finish(view.link, fresh), until)
}

/// The part of rules 12 and 13 that needs no input.
fn wants_link_unread(view: &View<'_>) -> bool {
    let status = &view.link.status;
    let never_accepted_or_unsettled = |record: &LinkRecord| {
        record.token_fingerprint.is_none() || record.sent.is_some() || record.resend == Some(true)
    };
    status.link.as_ref().is_none_or(never_accepted_or_unsettled)
        || view.link.relink_asked()
        || (view.link.spec.drift_policy == DriftPolicy::Relink
            && status.conditions.as_ref().and_then(reason_of) == Some(Reason::LinkLost))
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
pub(super) fn due(view: &View<'_>) -> Timestamp {
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
pub(super) fn finished(view: &View<'_>, status: MigrationLinkStatus, until: Option<Timestamp>) -> Step {
    if status != view.link.status {
        return Step::Publish(Box::new(status));
    }
    Step::Wait(match (until, progress_deadline(&status)) {
        (Some(until), Some(deadline)) => Some(until.min(deadline)),
        (until, deadline) => until.or(deadline),
    })
}

/// When what is reconciling now will need a person.
pub(super) fn progress_deadline(status: &MigrationLinkStatus) -> Option<Timestamp> {
    let conditions = status.conditions.as_ref()?;
    let reconciling = conditions.of(ConditionType::Reconciling)?;
    let passes = reason_of(conditions).is_some_and(may_escalate);
    passes.then(|| backoff::after(reconciling.last_transition_time.0, PROGRESS_DEADLINE))
}
