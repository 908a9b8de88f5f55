//! The watches: what the API server tells goes into the store, and what is news wakes the link it concerns.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::core::NamespaceResourceScope;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::back_off;
use super::key::Key;
use super::queue::{Queue, Urgency};
use super::store::Store;
use crate::api::{ConditionType, Conditions, InputKind, MigrationLink};
use crate::decision::{InputReference, Link, Version, truncated};
use crate::metrics::Metrics;

/// What the watches work with.
#[derive(Clone)]
pub struct Watches {
    /// The Kubernetes API.
    pub client: Client,
    /// Where the news goes.
    pub store: Arc<Store>,
    /// What is woken by it.
    pub queue: Arc<Queue>,
    /// Counts what cannot be decoded.
    pub metrics: Arc<Metrics>,
    /// A random number from 0 to 1.
    pub jitter: fn() -> f64,
}

/// One watch: its namespace (None for all), and how far it is.
pub type Scope = (Option<String>, Arc<Progress>);

/// How far one watch is.
#[derive(Debug)]
pub struct Progress {
    /// What is watched, for a person.
    pub what: String,
    listed: AtomicBool,
    tried: watch::Sender<bool>,
    refused: Mutex<Option<Instant>>,
}

/// What an operator that may not watch Secrets or ConfigMaps can do without the right.
const NO_INPUT_WATCH: &str = ", or has to be started with --secret-access=get, which needs neither list nor \
                              watch; until then changes are not noticed at once";

/// For so long a refusal counts. The watch is tried again every 10 s at least; that it was let in shows with its first event only, or
/// when no other refusal came.
const REFUSED_FOR: Duration = Duration::from_secs(30);

impl Progress {
    /// A watch that has not begun.
    pub fn new(what: String) -> Arc<Self> {
        let (listed, tried) = (AtomicBool::new(false), watch::Sender::new(false));
        Arc::new(Self { what, listed, tried, refused: Mutex::new(None) })
    }

    /// Whether the first complete list is in.
    pub fn listed(&self) -> bool {
        self.listed.load(Ordering::Relaxed)
    }

    /// Whether the API server refuses to let it go on: nothing that changes is noticed.
    pub fn refused(&self) -> bool {
        self.refusal().is_some_and(|at| at.elapsed() < REFUSED_FOR)
    }

    /// Returns as soon as the first list is in.
    pub async fn until_listed(&self) {
        let mut tried = self.tried.subscribe();
        while !self.listed() {
            if tried.changed().await.is_err() {
                return;
            }
        }
    }

    /// Returns as soon as the first list is in or was refused.
    pub async fn until_tried(&self) {
        // The sender lives as long as `self`.
        let _ = self.tried.subscribe().wait_for(|tried| *tried).await;
    }

    fn succeeded(&self) {
        if !self.listed.swap(true, Ordering::Relaxed) {
            tracing::info!("the first list of {} is in", self.what);
        }
        self.tried.send_replace(true);
    }

    fn works(&self) {
        *self.refusal() = None;
    }

    fn failed(&self, error: &watcher::Error) {
        if matches!(code(error), Some(403 | 404)) {
            *self.refusal() = Some(Instant::now());
        }
        self.tried.send_replace(true);
    }

    fn refusal(&self) -> MutexGuard<'_, Option<Instant>> {
        // Nothing panics while it holds the lock.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watches {
    /// Watches the links of one namespace, or of all; ends never.
    pub async fn links(self, namespace: Option<String>, progress: Arc<Progress>) {
        let api: Api<DeserializeGuard<MigrationLink>> = match &namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let mut events = watcher(api, pages()).backoff(BackOff::new(self.jitter)).boxed();
        let mut listed = HashSet::new();
        let mut trouble = Trouble::default();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    // Init comes before anything was asked of the API server.
                    if !matches!(event, Event::Init) {
                        progress.works();
                        trouble.over(&progress.what);
                    }
                    self.link_event(event, &mut listed, namespace.as_deref(), &progress);
                }
                Err(error) => {
                    trouble.tell(&progress.what, "", &error);
                    progress.failed(&error);
                }
            }
        }
    }

    fn link_event(
        &self,
        event: Event<DeserializeGuard<MigrationLink>>,
        listed: &mut HashSet<Key>,
        within: Option<&str>,
        progress: &Progress,
    ) {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(resource) => {
                if let Some(key) = self.link(resource, true) {
                    listed.insert(key);
                }
            }
            Event::InitDone => {
                for key in self.store.retain(listed, within) {
                    self.queue.wake(&key, Urgency::Change);
                }
                *listed = HashSet::new();
                progress.succeeded();
            }
            Event::Apply(resource) => {
                self.link(resource, false);
            }
            Event::Delete(resource) => {
                if let Some((key, uid)) = name(&resource) {
                    self.gone(&key, &uid);
                }
            }
        }
    }

    /// The resource is gone: a last look at it gives back what it may still hold, and others may follow.
    fn gone(&self, key: &Key, uid: &str) {
        if let Some(others) = self.store.remove(key, uid) {
            for key in others.iter().chain([key]) {
                self.queue.wake(key, Urgency::Change);
            }
        }
    }

    /// Takes in one version of a link. None if it cannot be used.
    fn link(&self, resource: DeserializeGuard<MigrationLink>, from_list: bool) -> Option<Key> {
        let (key, uid) = name(&resource)?;
        let link = match resource.0 {
            Ok(resource) => Link::observe(resource)?,
            Err(invalid) => {
                self.metrics.undecodable_resource();
                tracing::error!(
                    link = %key,
                    "this MigrationLink cannot be read and is left alone until it is mended: {}",
                    truncated(&invalid.error, 300)
                );
                // Nothing is done on the ground of a version that is no longer the resource's.
                self.gone(&key, &uid);
                return None;
            }
        };
        let ready = link.status.conditions.as_ref().is_some_and(|all| all.is_true(ConditionType::Ready));
        let applied = self.store.apply(link);
        for other in applied.others {
            self.queue.wake(&other, Urgency::Change);
        }
        if applied.news {
            let urgency = match (from_list, ready) {
                (false, _) => Urgency::Change,
                (true, false) => Urgency::Backlog,
                (true, true) => Urgency::Routine,
            };
            self.queue.wake(&key, urgency);
        }
        Some(key)
    }

    /// Watches the metadata of the Secrets or ConfigMaps of one namespace, or of all; ends never.
    pub async fn inputs<K>(self, kind: InputKind, namespace: Option<String>, progress: Arc<Progress>)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        PartialObjectMeta<K>: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + Send + Sync + 'static,
    {
        // A watch on this type asks for metadata only. (An annotation may hold a value; nothing of it is kept.)
        let api: Api<PartialObjectMeta<K>> = match &namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let mut events = watcher(api, pages()).backoff(BackOff::new(self.jitter)).boxed();
        let mut unseen = HashSet::new();
        let mut trouble = Trouble::default();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    // Init comes before anything was asked of the API server.
                    if !matches!(event, Event::Init) {
                        progress.works();
                        trouble.over(&progress.what);
                    }
                    self.input_event(kind, event, &mut unseen, namespace.as_deref(), &progress);
                }
                Err(error) => {
                    trouble.tell(&progress.what, NO_INPUT_WATCH, &error);
                    progress.failed(&error);
                }
            }
        }
    }

    fn input_event<K>(
        &self,
        kind: InputKind,
        event: Event<PartialObjectMeta<K>>,
        unseen: &mut HashSet<(String, InputReference)>,
        within: Option<&str>,
        progress: &Progress,
    ) where
        PartialObjectMeta<K>: Resource<DynamicType = ()>,
    {
        // What the first list tells is not new, only new to us: it must not overtake what people change meanwhile.
        let urgency = if progress.listed() { Urgency::Change } else { Urgency::Routine };
        let news = match event {
            Event::Init => {
                *unseen = self.store.inputs(kind, within);
                Vec::new()
            }
            Event::InitApply(object) | Event::Apply(object) => {
                match (name(&object), object.resource_version()) {
                    (Some((key, uid)), Some(resource_version)) => {
                        let reference = InputReference { kind, name: key.name };
                        let input = (key.namespace, reference);
                        unseen.remove(&input);
                        self.store.observe_input(
                            &input.0,
                            input.1,
                            Version::Present { uid, resource_version },
                        )
                    }
                    _ => Vec::new(),
                }
            }
            Event::Delete(object) => name(&object).map_or_else(Vec::new, |(key, uid)| {
                let reference = InputReference { kind, name: key.name };
                self.store.input_gone(&key.namespace, reference, &uid)
            }),
            Event::InitDone => {
                progress.succeeded();
                std::mem::take(unseen)
                    .into_iter()
                    .flat_map(|(namespace, reference)| {
                        self.store.observe_input(&namespace, reference, Version::Missing)
                    })
                    .collect()
            }
        };
        for key in news {
            self.queue.wake(&key, urgency);
        }
    }
}

/// First and longest wait after a watch failed. They begin anew after two minutes without trouble: kube's own do so with every
/// event, and as it has one before each attempt to list, a list that fails would be asked for every second, for ever.
const WAITS: (Duration, Duration) = (Duration::from_millis(800), Duration::from_secs(10));
const CALM: Duration = Duration::from_mins(2);

/// Failures in a row, and when the last one was.
struct BackOff {
    failures: i32,
    last: Option<Instant>,
    jitter: fn() -> f64,
}

impl BackOff {
    fn new(jitter: fn() -> f64) -> Self {
        Self { failures: 0, last: None, jitter }
    }
}

impl Iterator for BackOff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.last.replace(Instant::now()).is_some_and(|last| last.elapsed() > CALM) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        Some(back_off(WAITS, self.failures, (self.jitter)()))
    }
}

impl Backoff for BackOff {
    fn reset(&mut self) {}
}

/// Lists come in small pages: a page is in memory twice while it is read. (Where the objects are large, the client makes it
/// smaller still.)
fn pages() -> watcher::Config {
    watcher::Config::default().page_size(50)
}

fn name(resource: &impl ResourceExt) -> Option<(Key, String)> {
    let meta = resource.meta();
    let key = Key { namespace: meta.namespace.clone()?, name: meta.name.clone()? };
    Some((key, meta.uid.clone()?))
}

/// What is wrong with a watch; said once, until it is over or something else is wrong.
#[derive(Debug, Default)]
struct Trouble(Option<String>);

impl Trouble {
    /// `way_out`: what helps beside the missing right.
    fn tell(&mut self, what: &str, way_out: &str, error: &watcher::Error) {
        let text = match code(error) {
            Some(403) => format!(
                "the operator's role lacks {} on {what} (see deploy/rbac.yaml){way_out}; trying again until it has it",
                if matches!(error, watcher::Error::InitialListFailed(_)) { "list" } else { "watch" }
            ),
            Some(404) => format!(
                "{what} cannot be listed because the CustomResourceDefinition is not installed: kubectl apply -f \
                 crds/migrationlinks.yaml; waiting for it"
            ),
            // The history that the watch wants to go on from is gone: it lists anew by itself.
            Some(410) => return,
            Some(code) => format!("watching {what}: the API server answered {code}; trying again"),
            None => format!("watching {what}: the API server cannot be reached; trying again"),
        };
        if self.0.as_ref() != Some(&text) {
            tracing::warn!("{text}");
            tracing::debug!(%error, "watching {what}");
            self.0 = Some(text);
        }
    }

    fn over(&mut self, what: &str) {
        if self.0.take().is_some() {
            tracing::info!("watching {what} works");
        }
    }
}

fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::WatchError(status)
        | watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}
