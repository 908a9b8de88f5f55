//! What the probes are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::queue::Queue;
use super::watch::Progress;
use crate::admin::Health;

/// A link that is due and not taken for so long, while there is room, shows that the process stands still.
const STANDSTILL: Duration = Duration::from_mins(2);

/// The reconciler's health.
pub struct ControllerHealth {
    queue: Arc<Queue>,
    watches: Vec<Arc<Progress>>,
    working: Arc<AtomicBool>,
    concurrency: usize,
}

impl ControllerHealth {
    pub(super) fn new(
        queue: Arc<Queue>,
        watches: Vec<Arc<Progress>>,
        working: Arc<AtomicBool>,
        concurrency: usize,
    ) -> Self {
        Self { queue, watches, working, concurrency }
    }
}

impl Health for ControllerHealth {
    fn live(&self) -> Result<(), String> {
        let working = self.working.load(Ordering::Relaxed);
        if working && self.queue.in_flight() < self.concurrency && self.queue.overdue() > STANDSTILL {
            return Err("a link has been due for 2 minutes and nothing takes it".into());
        }
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        if let Some(watch) = self.watches.iter().find(|watch| !watch.listed()) {
            return Err(format!("waiting for the first list of {}", watch.what));
        }
        match self.watches.iter().find(|watch| watch.refused()) {
            Some(watch) => {
                Err(format!("the API server refuses the watch of {}: the log says why", watch.what))
            }
            None => Ok(()),
        }
    }
}
