//! One link through the loop: observe, decide, act, record, until there is nothing to do before a certain time.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::act::{self, Reading};
use super::events::Events;
use super::key::Key;
use super::kubernetes::{Kubernetes, KubernetesError};
use super::queue::{Queue, Urgency};
use super::store::{Known, Store};
use super::watch::Scope;
use crate::api::MigrationLinkStatus;
use crate::decision::{Call, Link, SecretAccess, Settings, Step, Version, View, announcement, decide};
use crate::leader::Claim;
use crate::remote::Client;

/// More steps than any pass needs. A pass that takes more is cut, so that a defect cannot become a hot loop.
const MOST_STEPS: usize = 16;

/// What reconciling works with.
pub struct Context {
    /// What is known of the links.
    pub store: Arc<Store>,
    /// What is due.
    pub queue: Arc<Queue>,
    /// The Kubernetes API.
    pub kubernetes: Kubernetes,
    /// The HTTP API.
    pub remote: Client,
    /// Where events go.
    pub events: Events,
    /// Whether this process may write.
    pub claim: Claim,
    /// What the administrator set.
    pub settings: Settings,
    /// The watches of Secrets; none where Secrets are only read.
    pub secrets: Vec<Scope>,
    /// The time.
    pub clock: fn() -> Timestamp,
    /// A random number from 0 to 1.
    pub jitter: fn() -> f64,
}

impl Context {
    /// How a changed Secret of this namespace is noticed now.
    fn secret_access(&self, namespace: &str) -> SecretAccess {
        let watched = self.secrets.iter().any(|(scope, progress)| {
            scope.as_ref().is_none_or(|scope| scope == namespace) && progress.listed() && !progress.refused()
        });
        if watched { SecretAccess::Watch } else { SecretAccess::Get }
    }
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing to do before that time, or before something changes.
    Until(Option<Timestamp>),
    /// The Kubernetes API failed; `failures` in a row by now.
    Failed {
        /// Why.
        error: KubernetesError,
        /// Failures in a row.
        failures: i32,
    },
    /// The resource is gone.
    Gone,
    /// Cut after too many steps.
    Cut,
}

/// Works on one link until there is nothing to do.
pub async fn reconcile(context: &Context, key: &Key) -> Done {
    let mut read = None;
    for _ in 0..MOST_STEPS {
        let Some(known) = context.store.get(key) else { return Done::Gone };
        match step(context, key, &known, &mut read).await {
            Ok(None) => {}
            Ok(Some(until)) => {
                context.store.remember(key, &known.link.uid, |known| known.kubernetes_failures = 0);
                return Done::Until(until);
            }
            Err(error) => {
                let failures = known.kubernetes_failures.saturating_add(1);
                context.store.remember(key, &known.link.uid, |known| known.kubernetes_failures = failures);
                return Done::Failed { error, failures };
            }
        }
    }
    Done::Cut
}

/// What a pass has read, and what for: it holds for no other resource and for no other spec.
struct Read {
    uid: String,
    generation: i64,
    reading: Reading,
}

/// One step. Some(time) when there is nothing to do before it.
async fn step(
    context: &Context,
    key: &Key,
    known: &Known,
    read: &mut Option<Read>,
) -> Result<Option<Option<Timestamp>>, KubernetesError> {
    let link = &known.link;
    if read.as_ref().is_some_and(|read| read.uid != link.uid || read.generation != link.generation) {
        *read = None;
    }
    let versions = context.store.versions(link);
    let view = View {
        link,
        settings: &context.settings,
        memory: &known.memory,
        secret_access: context.secret_access(&link.namespace),
        versions: &versions,
        inputs: read.as_ref().map(|read| &read.reading.inputs),
        answered: known.answered.as_deref(),
        now: (context.clock)(),
        jitter: (context.jitter)(),
    };
    match decide(&view) {
        Step::Wait(until) => return Ok(Some(until)),
        Step::ReadInputs => {
            let reading = act::read_inputs(&context.kubernetes, link, &versions).await?;
            if !context.secrets.is_empty() {
                for (reference, version) in reading.versions.iter().cloned() {
                    let before = versions.iter().find(|(known, _)| *known == reference);
                    let before = before.map_or(&Version::Unknown, |(_, version)| version);
                    let news = context.store.observe_read(&link.namespace, reference, before, version);
                    for other in news.iter().filter(|other| *other != key) {
                        context.queue.wake(other, Urgency::Change);
                    }
                }
            }
            *read = Some(Read { uid: link.uid.clone(), generation: link.generation, reading });
        }
        Step::Link => call(context, key, link, read.as_ref(), Call::Link).await,
        Step::Poll => call(context, key, link, read.as_ref(), Call::Poll).await,
        Step::Publish(status) => {
            publish(context, key, link, &status).await?;
        }
        Step::Record(settled) => {
            let written = match settled.status {
                Some(status) => publish(context, key, link, &status).await?,
                None => true,
            };
            if written {
                // The outcome need not be kept any longer.
                context.store.remember(key, &link.uid, |known| {
                    known.memory = settled.memory;
                    known.answered = None;
                });
            }
        }
    }
    Ok(None)
}

/// Makes a call and keeps what came back until it is recorded.
async fn call(context: &Context, key: &Key, link: &Link, read: Option<&Read>, which: Call) {
    let (Some(read), Some(base_url)) = (read, link.base_url()) else { return };
    let attempt = act::call(&context.remote, link, base_url, &read.reading, which, context.clock).await;
    if let Some(attempt) = attempt {
        tracing::debug!(link = %key, call = ?which, outcome = ?attempt.outcome, "called");
        context.store.remember(key, &link.uid, |known| known.answered = Some(Arc::new(attempt)));
    }
}

/// Writes the status of this version of the link and announces what changed. False if the link is another version by
/// now, or gone: that is taken in, and the next step decides anew.
async fn publish(
    context: &Context,
    key: &Key,
    link: &Link,
    status: &MigrationLinkStatus,
) -> Result<bool, KubernetesError> {
    match context.kubernetes.patch_status(link, status).await {
        Ok(written) => {
            if let Some(announcement) = announcement(&link.status, status) {
                tracing::info!(link = %key, reason = announcement.reason, "{}", announcement.note);
                context.events.send(link, announcement);
            }
            context.store.update(written);
            Ok(true)
        }
        Err(KubernetesError::Conflict) => match context.kubernetes.link(&key.namespace, &key.name).await {
            Ok(newer) => {
                context.store.update(newer);
                Ok(false)
            }
            Err(KubernetesError::NotFound) => {
                context.store.remove(key, &link.uid);
                Ok(false)
            }
            Err(error) => Err(error),
        },
        Err(KubernetesError::NotFound) => {
            context.store.remove(key, &link.uid);
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
