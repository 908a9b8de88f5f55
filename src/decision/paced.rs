//! A call that may not be made now: others go first, the server limits the key, or the endpoint is known to be down. Held back
//! is not failed: it is published only where nothing else would tell a person.

use k8s_openapi::jiff::Timestamp;

use super::backoff;
use super::decide::{Step, due, progress_deadline};
use super::deletion;
use super::message;
use super::observe::{Held, HeldWhy, View};
use super::status::Draft;
use crate::api::{ConditionType, MigrationLinkStatus, Reason};

/// The step, or what is done instead while its call is held back.
pub(super) fn step(view: &View<'_>, step: Step) -> Step {
    match (view.held, &step) {
        (Some(held), Step::Link | Step::Poll | Step::Unlink | Step::Announce(_)) => instead(view, held),
        // What moved is read all the same: it may need no call.
        (Some(held), Step::ReadInputs) if !view.inputs_moved() => instead(view, held),
        _ => step,
    }
}

fn instead(view: &View<'_>, held: Held) -> Step {
    if view.link.deleting && Draft::new(view.link, view.now).is_blocked() {
        // What was said of the grace period holds, whatever the call waits for.
        return match deletion::finished(view, view.link.status.clone(), None) {
            Step::Wait(until) => Step::Park(until),
            step => step,
        };
    }
    let reason = match held.why {
        HeldWhy::Turn => return park(view, None),
        HeldWhy::RateLimited => Reason::RateLimited,
        HeldWhy::Unavailable => Reason::EndpointUnavailable,
    };
    // Only a limit has an end that is worth to survive a restart.
    let next = held.until.filter(|_| held.why == HeldWhy::RateLimited);
    let mut draft = Draft::new(view.link, view.now);
    if view.link.deleting {
        draft.status.observed_generation = Some(view.link.generation);
        let grace = view.settings.deletion_grace_period;
        deletion::block(&mut draft, view.link, grace, reason, &message::held(reason));
        draft.retry(1, next);
        return publish_or_park(view, draft.finish(view.link, true));
    }
    let silent = draft.is_ready() || draft.unknown_reason().is_some();
    let news = view.link.generation_changed() || draft.is_new() || (silent && view.changed());
    if news {
        draft.status.observed_generation = Some(view.link.generation);
        if let Some(inputs) = view.inputs {
            draft.status.inputs = Some(inputs.records.clone());
        }
        draft.not_in_force(view);
        draft.not_ready(reason, &message::held(reason));
        draft.retry(1, next);
        return publish_or_park(view, draft.finish(view.link, true));
    }
    if draft.is_ready() {
        // A due check counts as failing since it was due.
        let interval = view.link.interval(view.settings);
        let since = view.memory.failing.as_ref().map_or_else(|| due(view), |failing| failing.since);
        let end = backoff::after(since, interval);
        if end > view.now {
            draft.resumed();
            let status = draft.finish(view.link, false);
            let unchanged = status == view.link.status;
            return if unchanged { park(view, Some(end)) } else { Step::Publish(Box::new(status)) };
        }
        draft.unknown(reason, &message::check_failing(&message::held(reason), view.memory.answered));
        draft.retry(1, next);
        return publish_or_park(view, draft.finish(view.link, false));
    }
    park(view, None)
}

fn publish_or_park(view: &View<'_>, status: MigrationLinkStatus) -> Step {
    if status == view.link.status { park(view, None) } else { Step::Publish(Box::new(status)) }
}

/// Waits to be woken, at most until then; every wait but that for a deletion ends at the progress deadline.
fn park(view: &View<'_>, until: Option<Timestamp>) -> Step {
    let deadline = progress_deadline(&view.link.status).filter(|_| !view.link.deleting);
    match deadline {
        Some(deadline) if deadline <= view.now => {
            let draft = Draft::new(view.link, view.now);
            let status = draft.finish(view.link, false);
            if status == view.link.status { Step::Park(until) } else { Step::Publish(Box::new(status)) }
        }
        _ => Step::Park(match (until, deadline) {
            (Some(until), Some(deadline)) => Some(until.min(deadline)),
            (until, deadline) => until.or(deadline),
        }),
    }
}

impl Draft {
    /// Whether nobody has said anything about the link yet.
    fn is_new(&self) -> bool {
        self.status.conditions.is_none() && !self.has(ConditionType::Ready)
    }
}
