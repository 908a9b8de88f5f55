//! Rule 9: nothing is tried before the time that the last outcome asked to wait for, unless something changed.

use k8s_openapi::jiff::Timestamp;

use super::backoff;
use super::decide::{Step, finished};
use super::deletion;
use super::inputs::Inputs;
use super::message;
use super::observe::{Nudge, SecretAccess, View};
use super::outcome::NOT_SYNCED;
use super::status::{Draft, cause_of, is_blocked, silent};
use crate::api::Reason;

/// The step while there is something to wait for.
pub(super) fn step(view: &View<'_>) -> Option<Step> {
    let hold = hold(view)?;
    if broken(view, hold.reason) {
        return None;
    }
    let mut draft = Draft::new(view.link, view.now);
    draft.status.observed_generation = Some(view.link.generation);
    if let Some(inputs) = view.inputs {
        draft.status.inputs = Some(inputs.records.clone());
    }
    if view.link.deleting {
        if !draft.is_blocked() {
            // A rate limit outlasts the edit that made it a deletion.
            let grace = view.settings.deletion_grace_period;
            deletion::block(&mut draft, view.link, grace, hold.reason, &message::held_back());
            draft.retry(1, hold.until);
        }
        let fresh = view.link.generation_changed();
        return Some(deletion::finished(view, draft.finish(view.link, fresh), hold.until));
    }
    draft.resumed();
    // A silent rate limit holds back something new: that must not read as done.
    if !draft.failed() && view.changed() {
        draft.not_in_force(view);
        draft.not_ready(hold.reason, &message::held_back());
        draft.retry(1, hold.until);
    }
    let fresh = view.link.generation_changed();
    Some(finished(view, draft.finish(view.link, fresh), hold.until))
}

/// Why nothing is tried, and until when (None: until something changes).
struct Hold {
    reason: Reason,
    until: Option<Timestamp>,
}

/// What the last outcome asked to wait for, if that is still ahead.
fn hold(view: &View<'_>) -> Option<Hold> {
    let status = &view.link.status;
    let conditions = status.conditions.as_ref();
    let published = conditions.and_then(cause_of);
    // A silent failure holds nothing but the checks of a link that was SYNCED.
    let was_synced = conditions.is_some_and(silent);
    let failing = view.memory.failing.as_ref().filter(|_| was_synced);
    let reason = failing.map(|failing| failing.reason).or(published)?;
    if view.link.deleting && reason != Reason::RateLimited && !conditions.is_some_and(is_blocked) {
        // What was waited for before is nothing to wait for with the deletion.
        return None;
    }
    let longest = backoff::longest(reason, view.link.interval(view.settings));
    let ahead = |time: &Timestamp| *time > view.now && *time <= backoff::after(view.now, longest);
    let next = status.next_attempt_time.as_ref().map(|time| time.0).filter(ahead);
    let next_check = failing.map(|failing| failing.next).filter(ahead);
    if let Some(until) = next.max(next_check) {
        return Some(Hold { reason, until: Some(until) });
    }
    let woken = matches!(
        reason,
        Reason::SecretNotFound | Reason::InvalidSecret | Reason::CANotFound | Reason::InvalidCA
    ) && view.secret_access == SecretAccess::Watch
        && view.inputs.is_none_or(|inputs| unusable(view, inputs) == Some(reason));
    woken.then_some(Hold { reason, until: None })
}

/// What is wrong with what was read.
fn unusable(view: &View<'_>, inputs: &Inputs) -> Option<Reason> {
    let unusable = if view.link.deleting { inputs.keys.as_ref().err() } else { inputs.usable.as_ref().err() };
    unusable.map(|unusable| unusable.reason)
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
            .and_then(|inputs| inputs.keys.as_ref().ok())
            .is_some_and(|keys| keys_changed(view, keys)),
        Reason::NotSynced | Reason::LinkLost => view.changed() || view.link.relink_asked(),
        _ => {
            // What is missing and what may not be read have the same content, none: no change, and yet another trouble.
            let trouble = view.inputs.and_then(|inputs| unusable(view, inputs));
            view.changed()
                || trouble.is_some_and(|trouble| trouble != reason)
                || view.memory.nudge == Some(Nudge::Due(reason))
        }
    }
}

/// Whether these are other API keys than those last tried.
pub(super) fn keys_changed(view: &View<'_>, keys: &String) -> bool {
    let record = view.link.status.link.as_ref();
    record.and_then(|record| record.key_fingerprint.as_ref()) != Some(keys)
}

impl Draft {
    /// What is new is not in force: a state that was said of another token is not this one's.
    pub(super) fn not_in_force(&mut self, view: &View<'_>) {
        let accepted = self.record().token_fingerprint.clone();
        let read = view.inputs.and_then(|inputs| inputs.usable.as_ref().ok());
        if read.is_some_and(|read| Some(&read.token) != accepted.as_ref()) {
            self.status.state = Some(NOT_SYNCED.to_owned());
        }
    }
}
