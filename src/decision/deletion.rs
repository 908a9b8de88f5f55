//! Rules 1 to 4: a resource that is being deleted, and what keeps it.

use k8s_openapi::jiff::Timestamp;

use super::backoff;
use super::decide::{Release, Step, unusable_status};
use super::hold;
use super::message;
use super::observe::{Link, View};
use super::status::{Announcement, Draft, cause_of, seconds};
use crate::api::{Beside, ConditionType, Conditions, MigrationLinkStatus, Reason};
use crate::endpoint::BaseUrl;

/// The step for a resource that is being deleted; None for any other.
pub(super) fn step(view: &View<'_>) -> Option<Step> {
    let link = view.link;
    if !link.deleting {
        return None;
    }
    if !link.finalized() {
        return Some(Step::Wait(None));
    }
    if !link.deletes() || nothing_to_remove(view) || view.holder.is_some() {
        return Some(Step::DropFinalizer(Release::NotNeeded));
    }
    Some(refused(view).or_else(|| hold::step(view)).unwrap_or_else(|| unlink(view)))
}

/// Whether no token was accepted, and none was sent with an effect that nobody saw. What is published as sent and was for a
/// POST that this process has not made yet was not.
fn nothing_to_remove(view: &View<'_>) -> bool {
    view.link.status.link.as_ref().is_none_or(|record| {
        let sent = record.sent.is_some() && record.sent != view.memory.announced;
        record.token_fingerprint.is_none() && record.held_since.is_none() && !sent
    })
}

/// Rule 3.
fn refused(view: &View<'_>) -> Option<Step> {
    let (cause, message) = view.refused_endpoint()?;
    let mut draft = Draft::new(view.link, view.now);
    draft.status.observed_generation = Some(view.link.generation);
    draft.status.last_handled_reconcile_at.clone_from(&view.link.reconcile_at);
    block(&mut draft, view.link, view.settings.deletion_grace_period, cause, &message);
    draft.no_retry();
    Some(finished(view, draft.finish(view.link, view.link.generation_changed()), None))
}

/// Rule 4.
fn unlink(view: &View<'_>) -> Step {
    let Some(inputs) = view.inputs else { return Step::ReadInputs };
    let Err(unusable) = &inputs.keys else { return Step::Unlink };
    let grace = view.settings.deletion_grace_period;
    let say = |draft: &mut Draft| block(draft, view.link, grace, unusable.reason, &unusable.message);
    let (status, until) = unusable_status(view, inputs, unusable, say);
    finished(view, status, until)
}

/// Whether it takes a person to get a deletion going again that is held up by this.
fn needs_a_person(cause: Reason) -> bool {
    cause.beside() == Beside::Stalled || matches!(cause, Reason::SecretNotFound | Reason::CANotFound)
}

/// Says that the deletion is held up, by what, and how it goes on.
pub(super) fn block(
    draft: &mut Draft,
    link: &Link,
    grace: Option<std::time::Duration>,
    cause: Reason,
    message: &str,
) {
    if cause == Reason::LiveExportRunning {
        draft.not_ready(cause, message);
        return;
    }
    let person = needs_a_person(cause);
    let since = blocked_since(&link.status).unwrap_or_else(|| seconds(draft.now()).0);
    let release = grace.filter(|_| person).map(|grace| backoff::after(since, grace));
    let message = message::deletion_blocked(link, message, release);
    draft.blocked(cause, if person { Beside::Stalled } else { Beside::Reconciling }, &message);
}

/// Since when a person has been needed for the deletion to go on.
fn blocked_since(status: &MigrationLinkStatus) -> Option<Timestamp> {
    let conditions = status.conditions.as_ref()?;
    let ready = conditions.of(ConditionType::Ready)?;
    let stalled = conditions.of(ConditionType::Stalled).filter(|stalled| stalled.status == "True")?;
    (ready.reason == Reason::DeletionBlocked.as_str()).then_some(stalled.last_transition_time.0)
}

/// Publishes where it changes something; else waits, until the grace period is over: then the link is left behind, so that
/// no namespace hangs for ever.
pub(super) fn finished(view: &View<'_>, status: MigrationLinkStatus, until: Option<Timestamp>) -> Step {
    if status != view.link.status {
        return Step::Publish(Box::new(status));
    }
    let grace = view.settings.deletion_grace_period;
    let end = grace.and_then(|grace| Some(backoff::after(blocked_since(&status)?, grace)));
    match end {
        Some(end) if end <= view.now => {
            let cause = status.conditions.as_ref().and_then(cause_of);
            Step::DropFinalizer(Release::LeftBehind(Announcement {
                warning: true,
                action: "Release",
                // Not that of the condition: an event that is like one of before counts as its repetition, and keeps its note.
                reason: "LinkLeftBehind".to_owned(),
                note: message::left_behind(view.link, cause),
            }))
        }
        Some(end) => Step::Wait(Some(until.map_or(end, |until| until.min(end)))),
        None => Step::Wait(until),
    }
}

impl View<'_> {
    /// Why no credentials may be sent to the base URL, and the words for it.
    pub(super) fn refused_endpoint(&self) -> Option<(Reason, String)> {
        match self.link.spec.base_url.parse::<BaseUrl>() {
            Ok(base) if self.settings.allowed_origins.allow(base.origin()) => None,
            Ok(base) => {
                Some((Reason::EndpointNotAllowed, message::endpoint_not_allowed(base.origin().as_str())))
            }
            Err(problem) => Some((Reason::InvalidSpec, message::invalid_base_url(&problem.to_string()))),
        }
    }
}
