//! What the probes are told.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::queue::Queue;
use super::watch::Progress;
use crate::admin::Health;
use crate::leader::Claim;

/// A link that is due and not taken for so long, while there is room, shows that the process stands still.
const STANDSTILL: Duration = Duration::from_mins(2);

/// The reconciler's health.
pub struct ControllerHealth {
    pub(super) queue: Arc<Queue>,
    pub(super) watches: Vec<Arc<Progress>>,
    pub(super) claim: Claim,
    /// Since when it works. One that waits for the lease takes nothing, however long it has been due.
    pub(super) working: Arc<OnceLock<Instant>>,
    pub(super) concurrency: usize,
}

impl Health for ControllerHealth {
    fn live(&self) -> Result<(), String> {
        let worked = self.working.get().map_or(Duration::ZERO, Instant::elapsed);
        let waits = self.queue.overdue().min(worked);
        if self.queue.in_flight() < self.concurrency && waits > STANDSTILL {
            return Err("a link has been due for 2 minutes and nothing takes it".into());
        }
        Ok(())
    }

    /// A copy that waits for its turn is ready; one that never gets it before a person acts is not.
    fn ready(&self) -> Result<(), String> {
        if let Some(watch) = self.watches.iter().find(|watch| !watch.listed()) {
            return Err(format!("waiting for the first list of {}", watch.what));
        }
        if let Some(watch) = self.watches.iter().find(|watch| watch.refused()) {
            return Err(format!("the API server refuses the watch of {}: the log says why", watch.what));
        }
        self.claim.refused().map_or(Ok(()), Err)
    }
}
