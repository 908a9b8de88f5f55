//! One link through the loop: observe, decide, act, record, until there is nothing to do before a certain time.

mod calls;
mod late;
mod records;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::Surroundings;
use super::events::Events;
use super::inputs::{self, Reading};
use super::key::Key;
use super::kubernetes::{Kubernetes, KubernetesError};
use super::pacing::{Pacer, Permit};
use super::queue::{Queue, Urgency};
use super::slots::{Slots, Taken};
use super::store::{Known, Store};
use super::watch::Scope;
use crate::api::FINALIZER;
use crate::decision::{Call, Held, InputReference, Link, SecretAccess, Settings, Step, Version, View};
use crate::leader::Claim;
use crate::metrics::Metrics;
use crate::remote::Client;
use crate::remote::pacing::Verdict;
use late::Late;

/// More steps than any pass needs. A pass that takes more is cut, so that a defect cannot become a hot loop.
const MOST_STEPS: usize = 16;
/// Who waits for an organization's slot is woken when it is free; this is only for what nobody thought of.
const SLOT_WAIT: Duration = Duration::from_mins(2);
/// So long an outcome that is not recorded yet keeps the others of the organization from writing to it. An API server that starts
/// again, or somebody else's edits, take less. A status that can never be written (the resource leaves no room for it, or is changed
/// many times a second) must not keep an organization from all others for as long as it is there.
pub(super) const RECORD_PATIENCE: Duration = Duration::from_mins(1);

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
    /// How fast the HTTP API may be called.
    pub pacer: Pacer,
    /// The organizations that are being written to.
    pub slots: Slots,
    /// Where events go.
    pub events: Events,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether this process may write.
    pub claim: Claim,
    /// What the administrator set.
    pub settings: Settings,
    /// The watches of Secrets; none where Secrets are only read.
    pub secrets: Vec<Scope>,
    /// The watches of ConfigMaps; none where ConfigMaps are only read.
    pub config_maps: Vec<Scope>,
    /// Time, chance and the rules.
    pub surroundings: Surroundings,
    /// The process was told to stop: nothing new is begun, and what calls were answered is recorded.
    pub stopping: AtomicBool,
}

impl Context {
    /// How a change of what the link refers to is noticed now.
    fn secret_access(&self, link: &Link) -> SecretAccess {
        let watched = |scopes: &[Scope]| {
            scopes.iter().any(|(scope, progress)| {
                scope.as_ref().is_none_or(|scope| *scope == link.namespace)
                    && progress.listed()
                    && !progress.refused()
            })
        };
        if watched(&self.secrets) && (!link.uses_config_map() || watched(&self.config_maps)) {
            SecretAccess::Watch
        } else {
            SecretAccess::Get
        }
    }

    /// The links of which a call was answered within that time, and that is not recorded.
    pub(super) fn unrecorded(&self, within: Duration) -> Vec<Key> {
        self.store.unrecorded(self.now().saturating_sub(within).unwrap_or(Timestamp::MIN))
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.surroundings.clock)()
    }

    fn wake(&self, links: impl IntoIterator<Item = Key>, urgency: Urgency) {
        for key in links {
            self.queue.wake(&key, urgency);
        }
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
pub async fn reconcile(context: &Context, key: &Key, urgency: Urgency) -> Done {
    let mut pass = Pass { context, key, urgency, read: None, held: None, permit: None, parked: false };
    let done = pass.run().await;
    if let Some(permit) = pass.permit.take() {
        permit.done(Verdict::Answered, Instant::now());
    }
    if !pass.parked {
        context.pacer.forget(key, Instant::now());
    }
    give_slot_on(context, key);
    done
}

/// Whatever else failed, only an outcome that is not recorded and may have changed the link keeps others from writing to it: for a
/// while, and for as long as they may not write anyway, because this link holds the organization. After that they may, one at a
/// time as ever; the outcome stays known, and is recorded if nobody has written since.
fn give_slot_on(context: &Context, key: &Key) {
    if let Some(known) = context.store.get(key)
        && let Some(attempt) = known.answered.filter(|attempt| attempt.changes_the_link())
    {
        // A clock that was put back makes nobody wait for longer.
        let waited = context.now().duration_since(attempt.at).unsigned_abs();
        if waited < RECORD_PATIENCE || context.store.holds(key) {
            return;
        }
        context.store.give_on(key, &known.link.uid);
    }
    context.wake(context.slots.free(key), Urgency::Change);
}

/// What was read, and what for: it holds for no other resource and for no other spec.
struct Read {
    uid: String,
    generation: i64,
    deleting: bool,
    reading: Reading,
}

/// One look at a link.
struct Pass<'a> {
    context: &'a Context,
    key: &'a Key,
    urgency: Urgency,
    read: Option<Read>,
    /// A call was not let through.
    held: Option<Held>,
    /// The right to the call that settles a POST that was refused because of a link that is there: it belongs to the POST.
    permit: Option<Permit>,
    /// It waits for its turn, and will be woken.
    parked: bool,
}

impl Pass<'_> {
    async fn run(&mut self) -> Done {
        for _ in 0..MOST_STEPS {
            let Some(known) = self.context.store.get(self.key) else { return Done::Gone };
            // What was announced is sent: whoever comes next would have to take it for sent.
            let begun = known.answered.is_some() || known.memory.announced.is_some();
            if !begun && self.context.stopping.load(Ordering::Relaxed) {
                return Done::Until(None);
            }
            match self.step(&known).await {
                Ok(None) => {}
                Ok(Some(until)) => {
                    self.remember(&known.link, |known| known.kubernetes_failures = 0);
                    return Done::Until(until);
                }
                Err(error) => {
                    let failures = known.kubernetes_failures.saturating_add(1);
                    self.remember(&known.link, |known| known.kubernetes_failures = failures);
                    return Done::Failed { error, failures };
                }
            }
        }
        Done::Cut
    }

    /// One step. Some(time) when there is nothing to do before it.
    async fn step(&mut self, known: &Known) -> Result<Option<Option<Timestamp>>, KubernetesError> {
        let context = self.context;
        let Surroundings { clock, jitter, decide } = context.surroundings;
        let link = &known.link;
        let stale = |read: &Read| {
            read.uid != link.uid || read.generation != link.generation || read.deleting != link.deleting
        };
        if self.read.as_ref().is_some_and(stale) {
            self.read = None;
        }
        let versions = context.store.versions(link);
        let holder = context.store.holder(self.key);
        let view = View {
            link,
            settings: &context.settings,
            memory: &known.memory,
            secret_access: context.secret_access(link),
            versions: &versions,
            holder: holder.as_ref(),
            held: if self.permit.is_some() { None } else { self.held.or_else(|| self.look(known)) },
            inputs: self.read.as_ref().map(|read| &read.reading.inputs),
            answered: known.answered.as_deref(),
            now: clock(),
            jitter: jitter(),
        };
        match decide(&view) {
            Step::Wait(until) => return Ok(Some(until)),
            Step::Park(until) => return Ok(self.park(known).then_some(until)),
            Step::ReadInputs => {
                let reading = inputs::read(&context.kubernetes, link, &versions).await?;
                self.tell_versions(link, &versions, &reading);
                // From now on a call is held back for what concerns these keys.
                let credential = self.credential(link, &reading);
                self.remember(link, |known| known.credential = credential.or(known.credential));
                let Link { uid, generation, deleting, .. } = &**link;
                self.read =
                    Some(Read { uid: uid.clone(), generation: *generation, deleting: *deleting, reading });
            }
            Step::Link => return self.write(known, Call::Link).await,
            Step::Unlink => return self.write(known, Call::Unlink).await,
            Step::Announce(status) => match self.take_slot(known) {
                Taken::ByAnother => return Ok(Some(self.later(SLOT_WAIT))),
                taken if self.read_unread().await? || taken == Taken::Anew => {}
                // What is announced is sent next: not hours later, by a process that knows nothing of it.
                _ if self.park(known) => return Ok(Some(None)),
                _ => {
                    // Before the patch: of one whose answer is lost it must be known what it was for.
                    let token = status.link.as_ref().and_then(|record| record.sent.clone());
                    self.remember(link, |known| known.memory.announced = token);
                    self.publish(link, &status).await?;
                }
            },
            Step::Poll => self.ask(known, Call::Poll).await,
            Step::Adopt => self.ask(known, Call::Adopt).await,
            Step::Publish(status) => {
                self.publish(link, &status).await?;
            }
            Step::Record(settled) => match self.comes_late(known) {
                Some(Late::Waits) => return Ok(Some(self.later(SLOT_WAIT))),
                Some(Late::Overtaken) => {}
                None => self.record(known, settled).await?,
            },
            Step::AddFinalizer => {
                let finalizers = [link.finalizers.as_slice(), &[FINALIZER.to_owned()]].concat();
                self.patch_finalizers(link, &finalizers).await?;
            }
            Step::DropFinalizer(release) => {
                let others = link.finalizers.iter().filter(|finalizer| *finalizer != FINALIZER);
                let others: Vec<String> = others.cloned().collect();
                if self.patch_finalizers(link, &others).await? {
                    self.released(link, release);
                }
            }
        }
        Ok(None)
    }

    /// The versions that were read enter the index, and wake the other links that refer to the same objects.
    fn tell_versions(&self, link: &Link, before: &[(InputReference, Version)], reading: &Reading) {
        if self.context.secrets.is_empty() {
            return;
        }
        for (reference, version) in reading.versions.iter().cloned() {
            let before = before.iter().find(|(known, _)| *known == reference);
            let before = before.map_or(&Version::Unknown, |(_, version)| version);
            let news = self.context.store.observe_read(&link.namespace, reference, before, version);
            self.context.wake(news.into_iter().filter(|other| other != self.key), Urgency::Change);
        }
    }

    fn remember(&self, link: &Link, change: impl FnOnce(&mut Known)) {
        self.context.store.remember(self.key, &link.uid, change);
    }
}
