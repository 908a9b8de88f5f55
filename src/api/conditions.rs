//! The conditions as kstatus reads them: `Ready` always, the others only while they are True.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The condition types that the operator writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// The link is in force and says SYNCED.
    Ready,
    /// The operator is at work and expects to succeed by itself.
    Reconciling,
    /// A person must act.
    Stalled,
    /// Nothing is done because somebody asked for that.
    Suspended,
}

impl ConditionType {
    /// The type as it stands in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Suspended => "Suspended",
        }
    }
}

/// Reading and writing a list of conditions by type.
pub trait Conditions {
    /// The condition of that type.
    fn of(&self, kind: ConditionType) -> Option<&Condition>;

    /// Whether the condition of that type is there and True.
    fn is_true(&self, kind: ConditionType) -> bool {
        self.of(kind).is_some_and(|condition| condition.status == "True")
    }

    /// Sets the condition of that type. `lastTransitionTime` moves only when `status` changes
    /// (Kubernetes API conventions, "Typical status properties").
    fn set(
        &mut self,
        kind: ConditionType,
        status: &str,
        reason: &str,
        message: &str,
        generation: i64,
        now: &Time,
    );

    /// Takes the condition of that type away.
    fn unset(&mut self, kind: ConditionType);
}

impl Conditions for Vec<Condition> {
    fn of(&self, kind: ConditionType) -> Option<&Condition> {
        self.iter().find(|condition| condition.type_ == kind.as_str())
    }

    fn set(
        &mut self,
        kind: ConditionType,
        status: &str,
        reason: &str,
        message: &str,
        generation: i64,
        now: &Time,
    ) {
        let since = match self.of(kind) {
            Some(old) if old.status == status => old.last_transition_time.clone(),
            _ => now.clone(),
        };
        let condition = Condition {
            type_: kind.as_str().to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: Some(generation),
            last_transition_time: since,
        };
        match self.iter_mut().find(|old| old.type_ == kind.as_str()) {
            Some(old) => *old = condition,
            None => self.push(condition),
        }
    }

    fn unset(&mut self, kind: ConditionType) {
        self.retain(|condition| condition.type_ != kind.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let mut conditions = Vec::new();
        conditions.set(ConditionType::Ready, "False", "Unauthorized", "a", 1, &at(10));
        conditions.set(ConditionType::Ready, "False", "Forbidden", "b", 2, &at(20));
        let ready = conditions.of(ConditionType::Ready).unwrap();
        assert_eq!((&ready.last_transition_time, ready.reason.as_str()), (&at(10), "Forbidden"));
        assert_eq!(ready.observed_generation, Some(2));
        conditions.set(ConditionType::Ready, "True", "Synced", "c", 2, &at(30));
        assert_eq!(conditions.of(ConditionType::Ready).unwrap().last_transition_time, at(30));
        assert!(conditions.is_true(ConditionType::Ready));
        conditions.unset(ConditionType::Ready);
        assert!(conditions.is_empty());
    }
}
