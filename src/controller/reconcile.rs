//! One link through the loop: observe, decide, act, record, until there is nothing to do before a certain time.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::act;
use super::events::Events;
use super::inputs::{self, Reading};
use super::key::Key;
use super::kubernetes::{Kubernetes, KubernetesError};
use super::pacing::{self, Admission, Pacer, Permit};
use super::queue::{Queue, Urgency};
use super::slots::{Slots, Taken};
use super::store::{Known, Store};
use super::watch::Scope;
use crate::api::{FINALIZER, InputKind, MigrationLinkStatus};
use crate::decision::{
    Announcement, Call, Held, HeldWhy, InputReference, Link, Release, SecretAccess, Settings, Settled, Step,
    Version, View, announcement, decide,
};
use crate::leader::Claim;
use crate::metrics::Metrics;
use crate::remote::pacing::Verdict;
use crate::remote::{Client, CredentialId};

/// More steps than any pass needs. A pass that takes more is cut, so that a defect cannot become a hot loop.
const MOST_STEPS: usize = 16;
/// Who waits for an organization's slot is woken when it is free; this is only for what nobody thought of.
const SLOT_WAIT: Duration = Duration::from_mins(2);
/// The longest that a call to the HTTP API may take.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

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
    /// The time.
    pub clock: fn() -> Timestamp,
    /// A random number from 0 to 1.
    pub jitter: fn() -> f64,
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
        let config_map = link.references().iter().any(|reference| reference.kind == InputKind::ConfigMap);
        if watched(&self.secrets) && (!config_map || watched(&self.config_maps)) {
            SecretAccess::Watch
        } else {
            SecretAccess::Get
        }
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
    // Whatever else failed, only an outcome that is not recorded and may have changed the link keeps others from writing to it.
    let unrecorded = context.store.get(key).and_then(|known| known.answered);
    if !unrecorded.is_some_and(|attempt| attempt.changes_the_link()) {
        context.wake(context.slots.free(key), Urgency::Change);
    }
    done
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
            now: (context.clock)(),
            jitter: (context.jitter)(),
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
                Taken::Anew => {}
                // What is announced is sent next: not hours later, by a process that knows nothing of it.
                Taken::Before if self.park(known) => return Ok(Some(None)),
                Taken::Before => {
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
            Step::Record(settled) => self.record(known, settled).await?,
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

    /// A POST or DELETE: whoever gets the organization's slot decides again before it.
    async fn write(
        &mut self,
        known: &Known,
        call: Call,
    ) -> Result<Option<Option<Timestamp>>, KubernetesError> {
        match self.take_slot(known) {
            Taken::ByAnother => return Ok(Some(self.later(SLOT_WAIT))),
            Taken::Anew => {}
            Taken::Before => {
                let claim = self.context.claim.clone();
                // The claim is looked at each time that the call goes on, and not only when a timer says so: this process may
                // have been stopped in between. What is cut off here may have had its effect, and this process ends.
                let unclaimed = poll_fn(|_| if claim.holds() { Poll::Pending } else { Poll::Ready(()) });
                tokio::select! {
                    biased;
                    () = unclaimed => return Err(KubernetesError::NotTheWriter),
                    () = claim.ended() => return Err(KubernetesError::NotTheWriter),
                    () = self.ask(known, call) => {}
                }
            }
        }
        Ok(None)
    }

    /// A call with all the time that it may take.
    async fn ask(&mut self, known: &Known, call: Call) {
        self.call(known, call, Instant::now() + CALL_DEADLINE).await;
    }

    fn take_slot(&self, known: &Known) -> Taken {
        let Some(organization) = &known.organization else { return Taken::Before };
        let (taken, woken) = self.context.slots.take(organization, self.key);
        self.context.wake(woken, Urgency::Change);
        taken
    }

    fn later(&self, wait: Duration) -> Option<Timestamp> {
        (self.context.clock)().saturating_add(wait).ok()
    }

    /// Whose calls those with these keys are.
    fn credential(&self, link: &Link, reading: &Reading) -> Option<CredentialId> {
        let keys = act::api_keys(reading.credentials.as_ref()?);
        Some(self.context.remote.credential(link.base_url()?.origin(), &keys))
    }

    /// What would hold a call back now.
    fn look(&self, known: &Known) -> Option<Held> {
        let origin = &known.organization.as_ref()?.0;
        let held = self.context.pacer.look(self.key, origin, known.credential, Instant::now())?;
        Some(self.held(held))
    }

    /// Waits for a turn to call. False if it is this link's turn by now.
    fn park(&mut self, known: &Known) -> bool {
        let origin = known.organization.as_ref().map(|organization| &organization.0);
        let held = origin.and_then(|origin| {
            self.context.pacer.park(self.key, self.urgency, origin, known.credential, Instant::now())
        });
        self.held = None;
        self.parked = held.is_some();
        self.parked
    }

    /// The right to make a call with these keys. None if it has to wait.
    fn admit(&mut self, known: &Known, credential: CredentialId) -> Option<Permit> {
        if let Some(permit) = self.permit.take() {
            return Some(permit);
        }
        let origin = &known.organization.as_ref()?.0;
        match self.context.pacer.admit(self.key, self.urgency, origin, credential, Instant::now()) {
            Admission::Granted(permit) => Some(permit),
            Admission::Held(held) => {
                self.held = Some(self.held(held));
                None
            }
        }
    }

    /// The same on the wall clock, as a decision sees it.
    fn held(&self, held: pacing::Held) -> Held {
        let why = match held.why {
            pacing::HeldWhy::Turn => HeldWhy::Turn,
            pacing::HeldWhy::RateLimited { .. } => HeldWhy::RateLimited,
            pacing::HeldWhy::Unavailable { .. } => HeldWhy::Unavailable,
        };
        let ahead = held.until.map(|until| until.saturating_duration_since(Instant::now()));
        let until = ahead.filter(|ahead| !ahead.is_zero());
        Held { why, until: until.and_then(|ahead| (self.context.clock)().saturating_add(ahead).ok()) }
    }

    /// Makes a call and keeps what came back until it is recorded.
    async fn call(&mut self, known: &Known, which: Call, deadline: Instant) {
        let (context, link) = (self.context, &known.link);
        let (Some(credential), Some(base_url)) = (known.credential, link.base_url()) else { return };
        let Some(permit) = self.admit(known, credential) else { return };
        let Some(read) = &self.read else { return };
        let called =
            act::call(&context.remote, link, base_url, &read.reading, which, deadline, context.clock).await;
        if let Some(called) = called {
            tracing::debug!(link = %self.key, call = ?which, outcome = ?called.attempt.outcome, "called");
            let result = called.failure.map_or(Ok(()), Err);
            if called.attempt.is_refused_for_a_link() {
                self.permit = Some(permit);
            } else {
                permit.done(Verdict::of(&result), Instant::now());
            }
            if result.is_ok()
                && let Some(organization) = &known.organization
            {
                context.wake(context.store.nudge(&organization.0, credential), Urgency::Routine);
            }
            self.remember(link, |known| known.answered = Some(Arc::new(called.attempt)));
        }
    }

    async fn record(&self, seen: &Known, settled: Settled) -> Result<(), KubernetesError> {
        let link = &seen.link;
        let written = match settled.status {
            Some(status) => self.publish(link, &status).await?,
            None => true,
        };
        if written {
            // The outcome need not be kept any longer.
            self.remember(link, |known| {
                // What another link's success gave while this was written is not lost.
                let nudged = Some(known.memory.nudge).filter(|nudge| *nudge != seen.memory.nudge);
                known.memory = settled.memory;
                known.memory.nudge = nudged.unwrap_or(known.memory.nudge);
                known.answered = None;
            });
        }
        Ok(())
    }

    /// Writes the status of this version of the link and announces what changed. False if the link is another version by
    /// now, or gone: that is taken in, and the next step decides anew.
    async fn publish(&self, link: &Link, status: &MigrationLinkStatus) -> Result<bool, KubernetesError> {
        let patched = self.context.kubernetes.patch_status(link, status).await;
        let written = self.take_in(link, patched).await?;
        if written && let Some(announcement) = announcement(&link.status, status) {
            self.announce(link, announcement);
        }
        Ok(written)
    }

    async fn patch_finalizers(&self, link: &Link, finalizers: &[String]) -> Result<bool, KubernetesError> {
        let patched = self.context.kubernetes.patch_finalizers(link, finalizers).await;
        let written = self.take_in(link, patched).await?;
        if written && link.deleting && finalizers.is_empty() {
            // Nothing else holds it: it is gone.
            self.gone(link);
        }
        Ok(written)
    }

    /// Takes in what a patch was answered. False if the link is another version by now, or gone.
    async fn take_in(
        &self,
        link: &Link,
        patched: Result<Link, KubernetesError>,
    ) -> Result<bool, KubernetesError> {
        let (context, key) = (self.context, self.key);
        let patched = match patched {
            Err(KubernetesError::Conflict) => {
                match context.kubernetes.link(&key.namespace, &key.name).await {
                    Ok(newer) => {
                        context.wake(context.store.update(newer), Urgency::Change);
                        return Ok(false);
                    }
                    Err(error) => Err(error),
                }
            }
            patched => patched,
        };
        match patched {
            Ok(written) => {
                context.wake(context.store.update(written), Urgency::Change);
                Ok(true)
            }
            Err(KubernetesError::NotFound) => {
                self.gone(link);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn gone(&self, link: &Link) {
        self.context.wake(self.context.store.found_gone(self.key, &link.uid), Urgency::Change);
    }

    /// The resource was let go.
    fn released(&self, link: &Link, release: Release) {
        match release {
            Release::NotNeeded => {}
            Release::Unlinked => {
                tracing::info!(link = %self.key, "the link was removed");
                self.remember(link, |known| known.answered = None);
            }
            Release::LeftBehind(announcement) => {
                self.context.metrics.link_left_behind();
                self.announce(link, announcement);
            }
        }
    }

    fn announce(&self, link: &Link, announcement: Announcement) {
        if announcement.warning {
            tracing::warn!(link = %self.key, reason = announcement.reason, "{}", announcement.note);
        } else {
            tracing::info!(link = %self.key, reason = announcement.reason, "{}", announcement.note);
        }
        self.context.events.send(link, announcement);
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
