//! The reconciler: watches, queue, and the loop observe → decide → act → record for each link.

mod act;
mod client;
mod events;
mod explain;
mod health;
mod inputs;
mod key;
mod kubernetes;
mod pacing;
mod pages;
mod queue;
mod reconcile;
mod slots;
mod store;
mod watch;

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join_all, ready, select_all};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

pub use client::{ClientError, Cluster, cluster};
pub(crate) use explain::explain;
pub use health::ControllerHealth;
pub(crate) use inputs::fetched;
pub(crate) use key::Key;
pub(crate) use kubernetes::{Kubernetes, KubernetesError};
pub use pacing::{Admission, Held, HeldWhy, Pacer, Pacing, Permit};
pub use store::Store;

use crate::api::InputKind;
use crate::decision::{SecretAccess, Settings, Step, View, decide};
use crate::leader::{Claim, Elector, Loss};
use crate::metrics::Metrics;
use crate::remote;
use events::Events;
use queue::{Queue, Urgency};
use reconcile::{Context, Done, reconcile};
use slots::Slots;
use watch::{Progress, Watches};

/// How long passes that are under way may go on once the operator was told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// First and longest wait after the Kubernetes API failed for a link.
const KUBERNETES_BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// The reconciler, ready to run.
pub struct Controller {
    context: Context,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    watches: Watches,
    links: Vec<(Option<String>, Arc<Progress>)>,
    /// Since when it works: not before the first lists are in and the process may write.
    working: Arc<OnceLock<Instant>>,
    sending: futures::future::BoxFuture<'static, ()>,
    concurrency: usize,
}

/// What the reconciler is made of.
pub struct Parts {
    /// The Kubernetes API.
    pub client: Client,
    /// The HTTP API.
    pub remote: remote::Client,
    /// Where the links are kept: the metrics read it, too.
    pub store: Arc<Store>,
    /// How fast the HTTP API may be called: the metrics read it, too.
    pub pacer: Pacer,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether this process may write.
    pub claim: Claim,
    /// What the administrator set.
    pub settings: Settings,
    /// How changed Secrets are noticed.
    pub secret_access: SecretAccess,
    /// The namespaces to work in; all if there are none.
    pub namespaces: Vec<String>,
    /// Links worked on at the same time.
    pub concurrency: usize,
    /// Time, chance and the rules.
    pub surroundings: Surroundings,
}

/// What the reconciler takes from outside. The program takes the default; tests bring a clock that stands still, and rules
/// with a mistake in them, to see that it is noticed.
#[derive(Clone, Copy)]
pub struct Surroundings {
    /// The time.
    pub clock: fn() -> Timestamp,
    /// A random number from 0 to 1.
    pub jitter: fn() -> f64,
    /// What says the next step for a link.
    pub decide: fn(&View<'_>) -> Step,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self { clock: Timestamp::now, jitter: random, decide }
    }
}

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
    /// Puts the parts together. Nothing runs before [`Controller::run`].
    pub fn new(parts: Parts) -> Self {
        let Parts {
            client,
            remote,
            store,
            pacer,
            metrics,
            claim,
            settings,
            secret_access,
            namespaces,
            concurrency,
            surroundings,
        } = parts;
        let scopes: Vec<Option<String>> =
            if namespaces.is_empty() { vec![None] } else { namespaces.into_iter().map(Some).collect() };
        let progress = |what: &str| {
            let of = |scope: &Option<String>| {
                let place =
                    scope.as_ref().map_or_else(String::new, |namespace| format!(" in namespace {namespace}"));
                (scope.clone(), Progress::new(format!("{what}{place}")))
            };
            scopes.iter().map(of).collect::<Vec<_>>()
        };
        let links = progress("migrationlinks");
        let inputs = |what: &str| {
            if secret_access == SecretAccess::Watch { progress(what) } else { Vec::new() }
        };
        let (secrets, config_maps) = (inputs("secrets"), inputs("configmaps"));
        let queue = Arc::new(Queue::default());
        let (events, sending) = Events::new(client.clone(), metrics.clone());
        let kubernetes = Kubernetes::new(client.clone(), metrics.clone(), claim.clone());
        let watches = Watches {
            client,
            store: store.clone(),
            queue: queue.clone(),
            metrics: metrics.clone(),
            jitter: surroundings.jitter,
        };
        let context = Context {
            store,
            queue: queue.clone(),
            kubernetes,
            remote,
            pacer,
            slots: Slots::default(),
            events,
            metrics: metrics.clone(),
            claim,
            settings,
            secrets,
            config_maps,
            surroundings,
        };
        Self {
            context,
            queue,
            metrics,
            watches,
            links,
            working: Arc::default(),
            sending: sending.boxed(),
            concurrency,
        }
    }

    /// What the probes ask.
    pub fn health(&self) -> ControllerHealth {
        let watches =
            self.links.iter().chain(&self.context.secrets).map(|(_, progress)| progress.clone()).collect();
        ControllerHealth {
            queue: self.queue.clone(),
            watches,
            claim: self.context.claim.clone(),
            working: self.working.clone(),
            concurrency: self.concurrency,
        }
    }

    /// Watches, works as soon as the process may write, and goes on until `shutdown` is done; what is under way then is
    /// finished, for 10 s at most.
    ///
    /// # Errors
    /// [`EndedEarly`] when a part of it ended by itself, or the claim was lost: what was under way is cut off.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), EndedEarly> {
        let sending = tokio::spawn(std::mem::replace(&mut self.sending, ready(()).boxed()));
        let mut watching = JoinSet::new();
        let mut passes = JoinSet::new();
        let (claim, queue) = (self.context.claim.clone(), self.queue.clone());
        let lost = async {
            let loss = claim.lost().await;
            let cut_off = queue.in_flight();
            if cut_off > 0 {
                tracing::warn!(
                    links = cut_off,
                    "work under way was cut off, because the claim to write is lost"
                );
            }
            EndedEarly::ClaimLost(loss)
        };
        tokio::pin!(lost);
        tokio::select! {
            biased;
            ended = &mut lost => return Err(ended),
            () = shutdown => {}
            ended = self.work(&mut watching, &mut passes) => return Err(ended),
        }
        // The context is gone by now but for the passes, so that with the last of them the way in for events is closed,
        // and the sending ends, too.
        let under_way = async {
            while passes.join_next().await.is_some() {}
            sending.await
        };
        tokio::select! {
            biased;
            ended = lost => return Err(ended),
            drained = timeout(DRAIN, under_way) => if drained.is_err() {
                tracing::warn!("cut off what was still under way after 10 s");
            }
        }
        Ok(())
    }

    /// The same as a candidate in an election: the lease is kept for as long as anything may still be written.
    ///
    /// # Errors
    /// See [`Controller::run`].
    pub async fn run_elected(
        self,
        elector: Elector,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), EndedEarly> {
        let (worked, drained) = oneshot::channel::<()>();
        let work = async {
            let ended = self.run(shutdown).await;
            drop(worked);
            ended
        };
        let (ended, ()) = tokio::join!(work, elector.run(drained.map(drop)));
        ended
    }

    /// Watches and works for ever.
    async fn work(mut self, watching: &mut JoinSet<()>, passes: &mut JoinSet<()>) -> EndedEarly {
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
            Some(_) = watching.join_next() => return EndedEarly::Task("a watch"),
            () = async { tokio::join!(self.until_known(), claim.acquired()); } => {}
        }
        // A copy that has waited for its turn begins now, like one that has just been started.
        self.context.settings.started_at = self.context.now();
        let _ = self.working.set(Instant::now());
        let context = Arc::new(self.context);
        let mut pacing = pin!(context.pacer.run(&self.queue));
        let places = Arc::new(Semaphore::new(self.concurrency));
        loop {
            let due = async {
                let place = places.clone().acquire_owned().await;
                (place, self.queue.next().await)
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
                    self.metrics.queue_depth(self.queue.depth());
                    let pass = pass(context.clone(), key, urgency);
                    passes.spawn(async move {
                        pass.await;
                        drop(place);
                    });
                }
            }
        }
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

/// The wait after so many failures in a row: it doubles from the first to the longest, half of it jittered.
fn back_off((first, longest): (Duration, Duration), failures: i32, jitter: f64) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1).clamp(0, 10)).unwrap_or(0);
    first.saturating_mul(1 << doublings).min(longest).mul_f64(0.5 + jitter / 2.0)
}

fn instant(time: Timestamp, now: Timestamp) -> Instant {
    let ahead = Duration::try_from(time.duration_since(now)).unwrap_or(Duration::ZERO);
    // A day at most: a clock that was set back must not put a link to sleep for longer.
    Instant::now() + ahead.min(Duration::from_hours(24))
}

/// A random number from 0 to 1: the hash of nothing under a new random key.
fn random() -> f64 {
    let bits = RandomState::new().hash_one(()) >> 40;
    // 24 bits fit without loss.
    f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(1u32 << 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_spread_from_0_to_1() {
        let numbers: Vec<f64> = (0..1000).map(|_| random()).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        let mean = numbers.iter().sum::<f64>() / 1000.0;
        assert!((0.4..0.6).contains(&mean), "{mean}");
    }

    #[test]
    fn the_wait_after_a_failed_call_of_the_kubernetes_api_doubles_to_a_minute() {
        let after = |failures, jitter| back_off(KUBERNETES_BACK_OFF, failures, jitter);
        let seconds = [1, 2, 7, i32::MAX].map(|failures| after(failures, 1.0));
        assert_eq!(seconds, [1, 2, 60, 60].map(Duration::from_secs));
        assert_eq!(back_off(KUBERNETES_BACK_OFF, 1, 0.0), Duration::from_millis(500));
    }
}
