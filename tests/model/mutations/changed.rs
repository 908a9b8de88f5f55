//! The rules with something else in what they see, or in what they say.

use migrationlink_operator::api::{ConditionType, Conditions, MigrationLinkStatus, Reason};
use migrationlink_operator::decision::{Attempt, Link, Settled, Step, View, decide};

/// The rules on a link that looks different.
pub fn seeing(view: &View<'_>, change: impl FnOnce(&mut Link)) -> Step {
    let mut link = view.link.clone();
    change(&mut link);
    decide(&View { link: &link, ..*view })
}

/// The rules with another answer than the one that came.
pub fn hearing(view: &View<'_>, change: impl FnOnce(&mut Attempt)) -> Step {
    let mut attempt = view.answered.cloned();
    if let Some(attempt) = &mut attempt {
        change(attempt);
    }
    decide(&View { answered: attempt.as_ref(), ..*view })
}

/// The rules with something else in what they record.
pub fn recording(view: &View<'_>, change: impl FnOnce(&Attempt, &mut MigrationLinkStatus)) -> Step {
    match (decide(view), view.answered) {
        (Step::Record(Settled { status, memory }), Some(attempt)) => {
            let mut status = status.map_or_else(|| view.link.status.clone(), |status| *status);
            change(attempt, &mut status);
            Step::Record(Settled { status: Some(Box::new(status)), memory })
        }
        (step, _) => step,
    }
}

/// Whether a status says that another link holds the organization.
pub fn is_duplicate(status: &MigrationLinkStatus) -> bool {
    let ready = status.conditions.as_ref().and_then(|all| all.of(ConditionType::Ready));
    ready.is_some_and(|ready| ready.reason == Reason::DuplicateOrganization.as_str())
}
