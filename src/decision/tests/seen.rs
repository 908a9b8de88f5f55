//! What is seen of a link, in words that a test can compare.

use super::case::Case;
use crate::api::{ConditionType, Conditions, LinkRecord, MigrationLinkStatus};
use crate::decision::Step;

impl Case {
    /// The condition as `Status Reason`.
    pub fn condition(&self, kind: ConditionType) -> Option<String> {
        let conditions = self.link.status.conditions.as_ref()?;
        conditions.of(kind).map(|condition| format!("{} {}", condition.status, condition.reason))
    }

    /// The conditions as `Ready=False Unauthorized, Stalled=True Unauthorized`.
    pub fn conditions(&self) -> String {
        shown(&self.link.status)
    }

    /// Seconds from now until the next attempt, as published.
    pub fn next(&self) -> Option<i64> {
        let next = self.link.status.next_attempt_time.as_ref()?;
        Some(next.0.duration_since(self.now).as_secs())
    }

    pub fn known(&self) -> LinkRecord {
        self.link.status.link.clone().unwrap_or_default()
    }
}

/// The conditions of a status in one line.
pub fn shown(status: &MigrationLinkStatus) -> String {
    let all = status.conditions.iter().flatten();
    all.map(|condition| format!("{}={} {}", condition.type_, condition.status, condition.reason))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The status of a step that publishes.
pub fn published(step: Step) -> MigrationLinkStatus {
    match step {
        Step::Publish(status) => *status,
        other => panic!("not a publication: {other:?}"),
    }
}
