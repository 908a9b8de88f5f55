//! An outcome that could not be recorded for so long that others of the organization were let write meanwhile.

use std::sync::Arc;

use super::Pass;
use crate::controller::slots::Taken;
use crate::controller::store::Known;

/// Why an outcome that comes late is not recorded now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// Another link writes to the organization.
    Waits,
    /// Another link was accepted since, or wrote: decide anew.
    Overtaken,
}

impl Pass<'_> {
    /// Whether the outcome may not be recorded as it is. What others have written since is in force, and not what this outcome says:
    /// it is recorded between their calls, and not at all when one of them holds the organization.
    pub(super) fn comes_late(&self, known: &Known) -> Option<Late> {
        if !known.given_on {
            return None;
        }
        if self.take_slot(known) == Taken::ByAnother {
            return Some(Late::Waits);
        }
        if self.context.store.holder(self.key).is_some() {
            tracing::info!(link = %self.key, "what came of its call is not recorded: another link holds the organization by now");
            self.remember(&known.link, |known| {
                known.answered = None;
                known.given_on = false;
            });
            return Some(Late::Overtaken);
        }
        let answered = self.context.store.get(self.key).and_then(|now| now.answered);
        let same = match (&answered, &known.answered) {
            (Some(now), Some(then)) => Arc::ptr_eq(now, then),
            _ => false,
        };
        (!same).then_some(Late::Overtaken)
    }
}
