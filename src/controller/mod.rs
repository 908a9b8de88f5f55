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
mod run;
mod slots;
mod store;
mod watch;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::time::Instant;

pub use client::{ClientError, Cluster, cluster};
pub(crate) use explain::explain;
pub use health::ControllerHealth;
pub(crate) use inputs::fetched;
pub(crate) use key::Key;
pub(crate) use kubernetes::{Kubernetes, KubernetesError};
pub use pacing::{Admission, Held, HeldWhy, Pacer, Pacing, Permit};
pub use run::EndedEarly;
pub use store::Store;

use crate::decision::{SecretAccess, Settings, Step, View, decide};
use crate::leader::Claim;
use crate::metrics::Metrics;
use crate::remote;
use events::Events;
use queue::Queue;
use reconcile::Context;
use slots::Slots;
use watch::{Progress, Watches};

/// The reconciler, ready to run.
pub struct Controller {
    context: Context,
    queue: Arc<Queue>,
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
            metrics,
            claim,
            settings,
            secrets,
            config_maps,
            surroundings,
            stopping: AtomicBool::new(false),
        };
        Self {
            context,
            queue,
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
}
