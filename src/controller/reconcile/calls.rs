//! A call to the HTTP API: the organization's slot, a turn, the claim, and what came back.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::{Pass, SLOT_WAIT};
use crate::controller::act;
use crate::controller::inputs::Reading;
use crate::controller::key::Key;
use crate::controller::kubernetes::KubernetesError;
use crate::controller::pacing::{self, Admission, Permit};
use crate::controller::queue::Urgency;
use crate::controller::slots::Taken;
use crate::controller::store::Known;
use crate::decision::{Call, Held, HeldWhy, Link};
use crate::remote::CredentialId;
use crate::remote::pacing::Verdict;

/// The longest that a call to the HTTP API may take.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// Links of an organization that are read at the same time: whoever makes thousands of them delays others, but not for long.
const LINKS_AT_ONCE: usize = 8;

impl Pass<'_> {
    /// A POST or DELETE: whoever gets the organization's slot decides again before it, and so does who has read a link anew.
    pub(super) async fn write(
        &mut self,
        known: &Known,
        call: Call,
    ) -> Result<Option<Option<Timestamp>>, KubernetesError> {
        match self.take_slot(known) {
            Taken::ByAnother => return Ok(Some(self.later(SLOT_WAIT))),
            taken if self.read_unread().await? || taken == Taken::Anew => {}
            _ => {
                let claim = self.context.claim.clone();
                let _write = claim.begin_write();
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
    pub(super) async fn ask(&mut self, known: &Known, call: Call) {
        self.call(known, call, Instant::now() + CALL_DEADLINE).await;
    }

    pub(super) fn take_slot(&self, known: &Known) -> Taken {
        let Some(organization) = &known.organization else { return Taken::Before };
        let (slots, now) = (&self.context.slots, Instant::now());
        let (taken, woken) = slots.take(organization, self.key, now);
        self.context.wake(woken, Urgency::Change);
        if let Some(holder) = slots.overdue(organization, self.key, SLOT_WAIT, now) {
            tracing::info!(
                link = %self.key, %holder,
                "it still waits for its turn to write to its organization, which another MigrationLink names, too"
            );
        }
        taken
    }

    /// Reads the links of the organization that this process knows from the watch only: the copy that worked before may have sent a
    /// token for one of them a moment ago. False if there are none that matter. Of one that holds the organization only itself does:
    /// the others were accepted later, if at all. And as soon as another one turns out to hold it the rest need not be known.
    pub(super) async fn read_unread(&self) -> Result<bool, KubernetesError> {
        let store = &self.context.store;
        let Some(since) = self.context.claim.since() else { return Ok(false) };
        let mut unread = store.unread(self.key, &since);
        let mut any = false;
        if let Some(mine) = unread.iter().position(|(link, _)| link == self.key) {
            let (link, uid) = unread.swap_remove(mine);
            self.read_link(&link, &uid).await?;
            any = true;
        }
        if unread.is_empty() || store.holds(self.key) {
            return Ok(any);
        }
        let reads = stream::iter(unread).map(|(link, uid)| async move { self.read_link(&link, &uid).await });
        let mut reads = reads.buffer_unordered(LINKS_AT_ONCE);
        while let Some(read) = reads.next().await {
            read?;
            if store.holder(self.key).is_some() {
                break;
            }
        }
        Ok(true)
    }

    /// Reads a link of the organization anew.
    async fn read_link(&self, link: &Key, uid: &str) -> Result<(), KubernetesError> {
        let store = &self.context.store;
        let woken = match self.context.kubernetes.link(&link.namespace, &link.name).await {
            Ok(link) => store.update(link),
            Err(KubernetesError::NotFound) => store.found_gone(link, uid),
            // Whoever takes the right away in a namespace of theirs must not hold up the links of others.
            Err(error @ KubernetesError::Forbidden(_)) if link != self.key => {
                tracing::warn!(%link, for_link = %self.key, %error, "a link of the same organization cannot be read");
                store.found_unreadable(link, uid);
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        self.context.wake(woken, Urgency::Change);
        Ok(())
    }

    pub(super) fn later(&self, wait: Duration) -> Option<Timestamp> {
        self.context.now().saturating_add(wait).ok()
    }

    /// Whose calls those with these keys are.
    pub(super) fn credential(&self, link: &Link, reading: &Reading) -> Option<CredentialId> {
        let keys = act::api_keys(reading.credentials.as_ref()?);
        Some(self.context.remote.credential(link.base_url()?.origin(), &keys))
    }

    /// What would hold a call back now.
    pub(super) fn look(&self, known: &Known) -> Option<Held> {
        let origin = &known.organization.as_ref()?.0;
        let held = self.context.pacer.look(self.key, origin, known.credential, Instant::now())?;
        Some(self.held(held))
    }

    /// Waits for a turn to call. False if it is this link's turn by now.
    pub(super) fn park(&mut self, known: &Known) -> bool {
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
        Held { why, until: until.and_then(|ahead| self.context.now().saturating_add(ahead).ok()) }
    }

    /// Makes a call and keeps what came back until it is recorded.
    async fn call(&mut self, known: &Known, which: Call, deadline: Instant) {
        let (context, link) = (self.context, &known.link);
        let (Some(credential), Some(base_url)) = (known.credential, link.base_url()) else { return };
        let Some(permit) = self.admit(known, credential) else { return };
        let Some(read) = &self.read else { return };
        let called = act::call(
            &context.remote,
            link,
            base_url,
            &read.reading,
            which,
            deadline,
            context.surroundings.clock,
        )
        .await;
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
            if called.attempt.changes_the_link() {
                context.store.overtake(self.key);
            }
            self.remember(link, |known| known.answered = Some(Arc::new(called.attempt)));
        }
    }
}
