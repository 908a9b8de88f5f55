//! How a status is written: conditions beside a reason, and what of it is worth an event.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::backoff::{self, PROGRESS_DEADLINE};
use super::message;
use super::observe::Link;
use crate::api::{Beside, ConditionType, Conditions, LinkRecord, MigrationLinkStatus, Reason};

/// A time as the API server keeps it: whole seconds.
pub(super) fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// Something that a person should be able to see in the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Whether it is bad news.
    pub warning: bool,
    /// What it is about beside the reason. Events with the same reason and the same action are taken for repetitions of the first,
    /// whose note stays (kube's `Recorder`, as client-go does it).
    pub action: &'static str,
    /// The reason, as in the condition.
    pub reason: String,
    /// The message, as in the condition.
    pub note: String,
}

/// What the change from one status to the next is announced with: one for each change of reason, and for each time
/// that a person becomes needed.
pub fn announcement(old: &MigrationLinkStatus, new: &MigrationLinkStatus) -> Option<Announcement> {
    let essence = |status: &MigrationLinkStatus| {
        let conditions = status.conditions.as_ref()?;
        let stalled = conditions.is_true(ConditionType::Stalled);
        let shown = suspended(conditions).or_else(|| conditions.of(ConditionType::Ready))?;
        Some((shown.reason.clone(), cause_of(conditions), stalled, shown.message.clone()))
    };
    let (reason, cause, stalled, note) = essence(new)?;
    let said = |(before, cause_before, was_stalled, _)| {
        before == reason && cause_before == cause && (was_stalled || !stalled)
    };
    if essence(old).is_some_and(said) {
        return None;
    }
    let quiet = matches!(reason.parse(), Ok(Reason::Synced | Reason::NotSynced | Reason::Suspended));
    let action = match cause {
        Some(cause) if cause.as_str() != reason => cause.as_str(),
        _ if stalled => "Stall",
        _ => "Reconcile",
    };
    Some(Announcement { warning: stalled || !quiet, action, reason, note })
}

fn suspended(conditions: &Vec<Condition>) -> Option<&Condition> {
    conditions.of(ConditionType::Suspended).filter(|condition| condition.status == "True")
}

/// A status on its way from the one that was published to the next.
pub(super) struct Draft {
    pub(super) status: MigrationLinkStatus,
    conditions: Vec<Condition>,
    now: Timestamp,
}

impl Draft {
    pub(super) fn new(link: &Link, now: Timestamp) -> Self {
        let mut status = link.status.clone();
        let conditions = status.conditions.take().unwrap_or_default();
        Self { status, conditions, now }
    }

    /// What the API accepted, to be written into.
    pub(super) fn record(&mut self) -> &mut LinkRecord {
        self.status.link.get_or_insert_with(LinkRecord::default)
    }

    /// The reason for not being ready, as published.
    pub(super) fn reason(&self) -> Option<Reason> {
        reason_of(&self.conditions)
    }

    /// The time that it is drawn up at.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether there is a condition of that type.
    pub(super) fn has(&self, kind: ConditionType) -> bool {
        self.conditions.of(kind).is_some()
    }

    /// Whether it is published that a deletion is held up.
    pub(super) fn is_blocked(&self) -> bool {
        is_blocked(&self.conditions)
    }

    /// Whether the trouble is published: `Ready` is there and False.
    pub(super) fn failed(&self) -> bool {
        self.conditions.of(ConditionType::Ready).is_some_and(|ready| ready.status == "False")
    }

    pub(super) fn is_ready(&self) -> bool {
        self.conditions.is_true(ConditionType::Ready)
    }

    /// The reason of a `Ready` that is Unknown: a check that has been failing is published.
    pub(super) fn unknown_reason(&self) -> Option<Reason> {
        let ready = self.conditions.of(ConditionType::Ready).filter(|ready| ready.status == "Unknown")?;
        ready.reason.parse().ok()
    }

    /// The number of this failure: one more than before, or the first if the reason or anything else changed.
    pub(super) fn attempts(&self, reason: Reason, fresh: bool) -> i32 {
        let goes_on = !fresh && cause_of(&self.conditions) == Some(reason);
        if goes_on { self.status.attempts.unwrap_or(0).saturating_add(1) } else { 1 }
    }

    /// Sets `Ready=True` and takes everything away that speaks of trouble.
    pub(super) fn ready(&mut self, message: &str) {
        self.set(ConditionType::Ready, "True", Reason::Synced, message);
        for kind in [ConditionType::Reconciling, ConditionType::Stalled, ConditionType::Suspended] {
            self.conditions.unset(kind);
        }
        self.status.attempts = None;
        self.status.next_attempt_time = None;
    }

    /// Sets `Ready=False` and what stands beside the reason.
    pub(super) fn not_ready(&mut self, reason: Reason, message: &str) {
        self.trouble("False", reason, reason, reason.beside(), message);
    }

    /// Sets `Ready=False` for a lost link that is left to a person.
    pub(super) fn reported(&mut self, message: &str) {
        self.trouble("False", Reason::LinkLost, Reason::LinkLost, Beside::Stalled, message);
    }

    /// Sets `Ready=False` for a deletion that is held up; the condition beside it has the cause for its reason.
    pub(super) fn blocked(&mut self, cause: Reason, beside: Beside, message: &str) {
        if !self.is_blocked() {
            // How long it was stalled before it was to be deleted is of no interest here.
            self.conditions.unset(ConditionType::Stalled);
        }
        self.trouble("False", Reason::DeletionBlocked, cause, beside, message);
    }

    /// Sets `Ready=Unknown`: the last answer was good, and there has been none for long.
    pub(super) fn unknown(&mut self, reason: Reason, message: &str) {
        self.trouble("Unknown", reason, reason, reason.beside(), message);
    }

    /// Notes the failures in a row and the next attempt.
    pub(super) fn retry(&mut self, attempts: i32, next: Option<Timestamp>) {
        self.status.attempts = Some(attempts);
        // Whole seconds, upwards: never earlier than asked for.
        self.status.next_attempt_time = next.map(|next| {
            let whole = Timestamp::from_second(next.as_second()).unwrap_or(next);
            Time(if whole < next { backoff::after(whole, std::time::Duration::from_secs(1)) } else { whole })
        });
    }

    /// Nothing is tried again by itself.
    pub(super) fn no_retry(&mut self) {
        self.status.attempts = None;
        self.status.next_attempt_time = None;
    }

    /// Sets `Suspended=True`. A `Ready=True` stays; everything else goes, so that kstatus says Current.
    pub(super) fn suspended(&mut self, message: &str) {
        if !self.is_ready() {
            self.conditions.unset(ConditionType::Ready);
        }
        self.conditions.unset(ConditionType::Reconciling);
        self.conditions.unset(ConditionType::Stalled);
        self.set(ConditionType::Suspended, "True", Reason::Suspended, message);
        self.no_retry();
    }

    /// Takes `Suspended` away.
    pub(super) fn resumed(&mut self) {
        self.conditions.unset(ConditionType::Suspended);
    }

    /// The status as it is published. `fresh`: a person changed something, so that the progress deadline counts anew.
    pub(super) fn finish(mut self, link: &Link, fresh: bool) -> MigrationLinkStatus {
        let now = seconds(self.now);
        let old = link.status.conditions.as_ref();
        let was_stalled = old.is_some_and(|old| old.is_true(ConditionType::Stalled));
        // Escalated before: Stalled beside a reason that passes by itself.
        let was_escalated = was_stalled && old.and_then(reason_of).is_some_and(may_escalate);
        let escalates = self.reason().is_some_and(may_escalate);
        let reconciling = self.conditions.of(ConditionType::Reconciling).cloned().filter(|_| escalates);
        if let Some(reconciling) = reconciling {
            let overdue = |since: &Time| backoff::since(since.0, self.now) >= PROGRESS_DEADLINE;
            if !fresh && (was_escalated || overdue(&reconciling.last_transition_time)) {
                self.conditions.unset(ConditionType::Reconciling);
                self.conditions.push(Condition {
                    type_: ConditionType::Stalled.as_str().to_owned(),
                    last_transition_time: old
                        .and_then(|old| old.of(ConditionType::Stalled))
                        .filter(|_| was_escalated)
                        .map_or_else(|| now.clone(), |stalled| stalled.last_transition_time.clone()),
                    ..reconciling
                });
            } else if fresh {
                self.conditions.unset(ConditionType::Reconciling);
                self.conditions.push(Condition { last_transition_time: now, ..reconciling });
            }
        }
        let generation = self.status.observed_generation;
        for condition in &mut self.conditions {
            condition.observed_generation = generation;
        }
        // One order, so that equal statuses are equal.
        self.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        self.status.conditions = (!self.conditions.is_empty()).then_some(self.conditions);
        self.status
    }

    fn trouble(&mut self, ready: &str, reason: Reason, cause: Reason, beside: Beside, message: &str) {
        self.set(ConditionType::Ready, ready, reason, message);
        self.conditions.unset(ConditionType::Suspended);
        match beside {
            Beside::Nothing => {
                self.conditions.unset(ConditionType::Reconciling);
                self.conditions.unset(ConditionType::Stalled);
            }
            Beside::Reconciling => {
                self.conditions.unset(ConditionType::Stalled);
                self.set(ConditionType::Reconciling, "True", cause, message);
            }
            Beside::Stalled => {
                self.conditions.unset(ConditionType::Reconciling);
                self.set(ConditionType::Stalled, "True", cause, message);
            }
        }
    }

    fn set(&mut self, kind: ConditionType, status: &str, reason: Reason, message: &str) {
        let generation = self.status.observed_generation.unwrap_or_default();
        let message = message::truncated(message, message::LONGEST);
        self.conditions.set(kind, status, reason.as_str(), message, generation, &seconds(self.now));
    }
}

/// Whether a check that fails is silent, or was: Ready is True or Unknown.
pub(super) fn silent(conditions: &Vec<Condition>) -> bool {
    conditions.of(ConditionType::Ready).is_some_and(|ready| ready.status != "False")
}

/// Whether it is published that a deletion is held up.
pub(super) fn is_blocked(conditions: &Vec<Condition>) -> bool {
    matches!(reason_of(conditions), Some(Reason::DeletionBlocked | Reason::LiveExportRunning))
}

/// Whether the reason needs a person once it has lasted for long. A deletion has a grace period instead, and a live export
/// takes its time.
pub(super) fn may_escalate(reason: Reason) -> bool {
    reason.beside() == Beside::Reconciling && reason != Reason::LiveExportRunning
}

/// What is waited for: the reason for not being ready or, where that is a deletion that is held up, what holds it up.
pub(super) fn cause_of(conditions: &Vec<Condition>) -> Option<Reason> {
    match reason_of(conditions)? {
        Reason::DeletionBlocked => {
            let besides = [ConditionType::Stalled, ConditionType::Reconciling];
            besides.iter().find_map(|kind| conditions.of(*kind)?.reason.parse().ok())
        }
        reason => Some(reason),
    }
}

/// What a link waits for a person for.
pub fn stalled_by(status: &MigrationLinkStatus) -> Option<Reason> {
    let conditions = status.conditions.as_ref().filter(|all| all.is_true(ConditionType::Stalled))?;
    cause_of(conditions)
}

/// The reason for not being ready.
pub(super) fn reason_of(conditions: &Vec<Condition>) -> Option<Reason> {
    conditions.of(ConditionType::Ready).filter(|ready| ready.status != "True")?.reason.parse().ok()
}
