//! How the reconciler runs and ends: it watches, works on what is due, and at the end leaves nothing half done behind.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join_all, ready, select_all};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout_at};

use super::key::Key;
use super::kubernetes::KubernetesError;
use super::queue::Urgency;
use super::reconcile::{Context, Done, RECORD_PATIENCE, reconcile};
use super::{Controller, back_off, instant};
use crate::api::InputKind;
use crate::leader::{AtEnd, Elector, Loss};

/// How long what is under way may go on once the operator was told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// For how long from its answer or from then on, and how often, an outcome is tried to be recorded meanwhile.
const RECORDING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));
/// First and longest wait after the Kubernetes API failed for a link.
const KUBERNETES_BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// So many links are named in one line of the log.
const NAMED: usize = 5;

/// Why the reconciler ended though nobody told it to.
#[derive(Debug, thiserror::Error)]
pub enum EndedEarly {
    /// A task of it ended: a defect.
    #[error("{0} ended by itself")]
    Task(&'static str),
    /// This process may not write any more.
    #[error(transparent)]
    ClaimLost(Loss),
}

impl Controller {
    /// Watches, works as soon as the process may write, and goes on until `shutdown` is done. Nothing new is begun then; calls that
    /// are under way are finished and what they were answered is recorded, in 10 s at most.
    ///
    /// # Errors
    /// [`EndedEarly`] when a part of it ended by itself, or the claim was lost: what was under way is cut off.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), EndedEarly> {
        self.run_until(shutdown, || {}).await
    }

    /// The same as a candidate in an election: the lease is kept for as long as anything may still be written, and released as soon
    /// as nothing may. Where a write was cut off it is left to expire.
    ///
    /// # Errors
    /// See [`Controller::run`].
    pub async fn run_elected(
        self,
        elector: Elector,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), EndedEarly> {
        let (release, released) = oneshot::channel();
        let work = self.run_until(shutdown, || {
            // Nobody listens where the claim is lost already.
            let _ = release.send(());
        });
        let at_end = async { released.await.map_or(AtEnd::LetExpire, |()| AtEnd::Release) };
        let (ended, ()) = tokio::join!(work, elector.run(at_end));
        ended
    }

    /// `release` is called when no write waits for its answer, and none is begun any more.
    async fn run_until(
        mut self,
        shutdown: impl Future<Output = ()>,
        release: impl FnOnce(),
    ) -> Result<(), EndedEarly> {
        let sending = tokio::spawn(std::mem::replace(&mut self.sending, ready(()).boxed()));
        let mut watching = JoinSet::new();
        let mut passes = JoinSet::new();
        let (claim, queue, concurrency) = (self.context.claim.clone(), self.queue.clone(), self.concurrency);
        let mut lost = pin!(async {
            let loss = claim.lost().await;
            let cut_off = queue.in_flight();
            if cut_off > 0 {
                tracing::warn!(
                    links = cut_off,
                    "work under way was cut off, because the claim to write is lost"
                );
            }
            EndedEarly::ClaimLost(loss)
        });
        let mut shutdown = pin!(shutdown);
        let begun = tokio::select! {
            biased;
            ended = &mut lost => Err(ended),
            () = &mut shutdown => Ok(None),
            begun = self.begin(&mut watching) => begun.map(Some),
        };
        let context = match begun {
            Ok(Some(context)) => context,
            // Nothing was begun.
            ended => {
                release();
                return ended.map(drop);
            }
        };
        tokio::select! {
            biased;
            ended = &mut lost => return Err(ended),
            () = shutdown => {}
            ended = work(&context, concurrency, &mut watching, &mut passes) => return Err(ended),
        }
        context.stopping.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + DRAIN;
        tokio::select! {
            biased;
            ended = lost => return Err(ended),
            drained = timeout_at(deadline, drain(&context, concurrency, &mut passes)) => {
                drained.unwrap_or(Ok(()))?;
            }
        }
        // Of a read that is cut off nothing comes.
        let writes = claim.writes_in_flight();
        tell_what_is_lost(&context, writes);
        if writes == 0 {
            release();
        }
        passes.shutdown().await;
        // With the last of those who send events their sending ends, too. It takes no claim.
        drop(context);
        let _ = timeout_at(deadline, sending).await;
        Ok(())
    }

    /// Begins to watch. Returns as soon as the first lists are in and the process may write.
    async fn begin(mut self, watching: &mut JoinSet<()>) -> Result<Arc<Context>, EndedEarly> {
        for (scope, progress) in &self.links {
            watching.spawn(self.watches.clone().links(scope.clone(), progress.clone()));
        }
        for ((_, links), (scope, secrets)) in self.links.iter().zip(&self.context.secrets) {
            // Only the names that links refer to are kept, so these are listed first.
            let (links, secrets, scope, watches) =
                (links.clone(), secrets.clone(), scope.clone(), self.watches.clone());
            watching.spawn(async move {
                links.until_listed().await;
                watches.inputs::<Secret>(InputKind::Secret, scope, secrets).await;
            });
        }
        for (scope, config_maps) in &self.context.config_maps {
            let (store, config_maps, scope, watches) =
                (self.context.store.clone(), config_maps.clone(), scope.clone(), self.watches.clone());
            watching.spawn(async move {
                store.until_config_maps().await;
                watches.inputs::<ConfigMap>(InputKind::ConfigMap, scope, config_maps).await;
            });
        }
        let claim = self.context.claim.clone();
        tokio::select! {
            Some(_) = watching.join_next() => return Err(EndedEarly::Task("a watch")),
            () = async { tokio::join!(self.until_known(), claim.acquired()); } => {}
        }
        // A copy that has waited for its turn begins now, like one that has just been started.
        self.context.settings.started_at = self.context.now();
        let _ = self.working.set(Instant::now());
        Ok(Arc::new(self.context))
    }

    /// Waits for the first lists, so that what is as it was costs nothing. A namespace that the operator may not see
    /// stops no other.
    async fn until_known(&self) {
        let scope_known = |index: usize| async move {
            if let Some((_, links)) = self.links.get(index) {
                links.until_listed().await;
            }
            if let Some((_, secrets)) = self.context.secrets.get(index) {
                secrets.until_tried().await;
            }
        };
        join_all(self.links.iter().map(|(_, links)| links.until_tried())).await;
        select_all((0..self.links.len()).map(|index| scope_known(index).boxed_local())).await;
        let listed = self.links.iter().enumerate().filter(|(_, (_, links))| links.listed());
        join_all(listed.map(|(index, _)| scope_known(index))).await;
    }
}

/// Works on what is due, for ever.
async fn work(
    context: &Arc<Context>,
    concurrency: usize,
    watching: &mut JoinSet<()>,
    passes: &mut JoinSet<()>,
) -> EndedEarly {
    let Context { queue, claim, metrics, .. } = &**context;
    let mut pacing = pin!(context.pacer.run(queue));
    let places = Arc::new(Semaphore::new(concurrency));
    loop {
        let due = async {
            let place = places.clone().acquire_owned().await;
            (place, queue.next().await)
        };
        tokio::select! {
            Some(_) = watching.join_next() => return EndedEarly::Task("a watch"),
            () = &mut pacing => return EndedEarly::Task("the pacing"),
            Some(ended) = passes.join_next() => {
                if ended.is_err() {
                    return EndedEarly::Task("a pass");
                }
            }
            (place, (key, urgency)) = due => {
                // Whoever was stopped for a while finds out here, and not from a timer.
                if !claim.holds() {
                    return EndedEarly::ClaimLost(claim.lost().await);
                }
                metrics.queue_depth(queue.depth());
                let pass = pass(context.clone(), key, urgency);
                passes.spawn(async move {
                    pass.await;
                    drop(place);
                });
            }
        }
    }
}

/// Lets what is under way come to its end, and records what could not be recorded before: whoever takes over would have to call
/// again.
async fn drain(
    context: &Arc<Context>,
    concurrency: usize,
    passes: &mut JoinSet<()>,
) -> Result<(), EndedEarly> {
    let (patience, pause) = RECORDING;
    let (begun, mut again) = (Instant::now(), interval(pause));
    // What has been failing for long is tried once, and then not waited for.
    let mut within = Duration::MAX;
    loop {
        let waiting = context.unrecorded(within);
        if passes.is_empty() && waiting.is_empty() {
            return Ok(());
        }
        tokio::select! {
            Some(ended) = passes.join_next() => ended.map_err(|_| EndedEarly::Task("a pass"))?,
            _ = again.tick() => {
                for key in waiting {
                    if passes.len() >= concurrency {
                        break;
                    }
                    if context.queue.take_out_of_turn(&key) {
                        passes.spawn(pass(context.clone(), key, Urgency::Change));
                    }
                }
                within = if begun.elapsed() < patience { RECORD_PATIENCE } else { patience };
            }
        }
    }
}

fn tell_what_is_lost(context: &Context, writes: usize) {
    if writes > 0 {
        tracing::warn!(writes, "cut off what was still under way after 10 s");
    }
    let lost = context.unrecorded(Duration::MAX);
    if !lost.is_empty() {
        let some: Vec<_> = lost.iter().take(NAMED).map(ToString::to_string).collect();
        tracing::warn!(
            links = lost.len(),
            "what calls were answered may not be recorded, and then they are made again: {}{}",
            some.join(", "),
            if lost.len() > NAMED { ", …" } else { "" }
        );
    }
}

async fn pass(context: Arc<Context>, key: Key, urgency: Urgency) {
    let (queue, metrics) = (&context.queue, &context.metrics);
    let running = metrics.reconcile_started();
    let began = Instant::now();
    let done = reconcile(&context, &key, urgency).await;
    drop(running);
    let (outcome, next) = match done {
        Done::Until(until) => ("done", until.map(|until| instant(until, context.now()))),
        Done::Gone => ("gone", None),
        Done::Failed { error, failures } => {
            match error {
                // The watches tell of an API server that is away.
                KubernetesError::Unreachable | KubernetesError::Timeout | KubernetesError::NotTheWriter => {
                    tracing::debug!(link = %key, %error, "nothing could be done");
                }
                _ => tracing::warn!(link = %key, %error, "nothing could be done"),
            }
            (
                "kubernetes_error",
                Some(
                    Instant::now() + back_off(KUBERNETES_BACK_OFF, failures, (context.surroundings.jitter)()),
                ),
            )
        }
        Done::Cut => {
            tracing::error!(link = %key, "a pass did not come to an end: please report this");
            ("cut", Some(Instant::now() + KUBERNETES_BACK_OFF.1))
        }
    };
    metrics.reconciled(outcome, began.elapsed());
    queue.done(&key, next);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_after_a_failed_call_of_the_kubernetes_api_doubles_to_a_minute() {
        let after = |failures, jitter| back_off(KUBERNETES_BACK_OFF, failures, jitter);
        let seconds = [1, 2, 7, i32::MAX].map(|failures| after(failures, 1.0));
        assert_eq!(seconds, [1, 2, 60, 60].map(Duration::from_secs));
        assert_eq!(back_off(KUBERNETES_BACK_OFF, 1, 0.0), Duration::from_millis(500));
    }
}
