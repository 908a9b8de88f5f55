//! Who may call the remote API now, and who waits for what.
//!
//! A link asks before it reads its Secret ([`Pacer::park`]) and before its call ([`Pacer::admit`]). If a gate
//! (`remote::pacing`) does not let it through it is *parked*: it takes no slot, keeps no Secret and has no timer; its origin
//! keeps it in a row. When its turn comes, and not before, places in both gates are kept for it and it is woken through
//! the queue; it asks again, and goes. So a credential under 429 with a thousand links costs one probe, and an endpoint
//! that is down one call at a time.

mod lanes;
mod site;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::key::Key;
use super::queue::{Queue, Urgency};
use crate::endpoint::Origin;
use crate::metrics::Paced;
use crate::rate::Rate;
use crate::remote::CredentialId;
use crate::remote::pacing::{Breaker, Verdict};
use site::Tickets;
use state::State;

/// What the administrator set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// Links worked on at the same time: more calls than that there cannot be.
    pub concurrency: usize,
    /// Calls to one origin at the same time.
    pub origin_concurrency: usize,
    /// Calls with one credential.
    pub api_rate: Rate,
    /// Calls to one origin.
    pub origin_rate: Rate,
}

/// All gates, and the links that wait at them. A clone shares everything with its original.
#[derive(Clone)]
pub struct Pacer(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: Notify,
    jitter: fn() -> f64,
}

/// The answer to a link that asked.
#[must_use]
pub enum Admission {
    /// It may call.
    Granted(Permit),
    /// It waits, and will be woken.
    Held(Held),
}

/// A link may not call now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Why.
    pub why: HeldWhy,
    /// Not before that time. None where that depends on other calls.
    pub until: Option<Instant>,
}

/// Why a link may not call now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldWhy {
    /// It is not its turn yet. Nothing is wrong.
    Turn,
    /// The server limits its credential.
    RateLimited {
        /// When one of its links tries again. That may be over: then one is trying.
        until: Instant,
    },
    /// The endpoint does not answer.
    Unavailable {
        /// When the first of the failures in a row came.
        since: Instant,
        /// When one of its links tries again. That may be over: then one is trying.
        until: Instant,
    },
}

/// The right to one call. Dropped without a verdict, as that of a call that was given up, it gives its places back and
/// counts neither for nor against anybody; the call counts for the rates all the same, since it may have been sent.
#[must_use = "it holds places that others wait for"]
pub struct Permit {
    pacer: Pacer,
    origin: Origin,
    credential: CredentialId,
    tickets: Option<Tickets>,
}

impl Pacer {
    /// A pacer that has seen no call.
    pub fn new(pacing: Pacing) -> Self {
        Self::with_jitter(pacing, super::random)
    }

    /// The same with random numbers from 0 to 1 from elsewhere.
    pub fn with_jitter(pacing: Pacing, jitter: fn() -> f64) -> Self {
        Self(Arc::new(Inner { state: Mutex::new(State::new(pacing)), changed: Notify::new(), jitter }))
    }

    /// Asks for a turn. None: it is this link's turn, and for 15 s a place is kept for the call that it prepares. A link
    /// that is held keeps its place in the row until it goes or is forgotten; asking again does not set it back, and
    /// brings it forward if it is more urgent now. Without a `credential`, which may not be known yet, only the origin
    /// counts.
    ///
    /// The origin has to be an allowed one: what is known of an origin is never forgotten.
    pub fn park(
        &self,
        key: &Key,
        urgency: Urgency,
        origin: &Origin,
        credential: Option<CredentialId>,
        now: Instant,
    ) -> Option<Held> {
        self.with(now, |state| state.park(key, urgency, origin, credential, now))
    }

    /// Asks to call now; otherwise as [`Pacer::park`].
    pub fn admit(
        &self,
        key: &Key,
        urgency: Urgency,
        origin: &Origin,
        credential: CredentialId,
        now: Instant,
    ) -> Admission {
        match self.with(now, |state| state.admit(key, urgency, origin, credential, now)) {
            Ok(tickets) => Admission::Granted(Permit {
                pacer: self.clone(),
                origin: origin.clone(),
                credential,
                tickets: Some(tickets),
            }),
            Err(held) => Admission::Held(held),
        }
    }

    /// What would hold the link back now. It keeps no place and parks nobody; a link whose turn it is is not held back.
    pub fn look(
        &self,
        key: &Key,
        origin: &Origin,
        credential: Option<CredentialId>,
        now: Instant,
    ) -> Option<Held> {
        self.lock().look(key, origin, credential, now)
    }

    /// The link is gone, or wants to call no more: a place that was kept for it goes to the next.
    pub fn forget(&self, key: &Key, now: Instant) {
        self.with(now, |state| state.forget(key, now));
    }

    /// Wakes the links whose turn has come, for ever.
    pub async fn run(&self, queue: &Queue) {
        loop {
            let (woken, alarm) = {
                let mut state = self.lock();
                (state.turn(Instant::now()), state.alarm())
            };
            for (key, urgency) in woken {
                queue.wake(&key, urgency);
            }
            let changed = self.0.changed.notified();
            match alarm {
                Some(time) => tokio::select! {
                    () = sleep_until(time) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    /// Changes the state, and lets whoever wakes the links know if there is something to do.
    fn with<T>(&self, now: Instant, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        if state.has_news(now) {
            self.0.changed.notify_one();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, so the state is whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The call has ended.
    pub fn done(mut self, verdict: Verdict, now: Instant) {
        self.end(verdict, now);
    }

    fn end(&mut self, verdict: Verdict, now: Instant) {
        let Some(tickets) = self.tickets.take() else { return };
        let (pacer, origin, whose) = (&self.pacer, &self.origin, Some(self.credential));
        let sample = (pacer.0.jitter)();
        match pacer.with(now, |state| state.end(origin, whose, tickets, verdict, now, sample)) {
            Some(Breaker::Opened) => {
                tracing::warn!(%origin, "does not answer: it is called by one at a time");
            }
            Some(Breaker::Closed) => tracing::info!(%origin, "answers again"),
            None => {}
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.end(Verdict::Nothing, Instant::now());
    }
}

impl Paced for Pacer {
    fn held(&self) -> [(&'static str, usize); 3] {
        let (mut turn, mut rate_limited, mut unavailable) = (0, 0, 0);
        self.lock().waiting(|why, links| match why {
            HeldWhy::Turn => turn += links,
            HeldWhy::RateLimited { .. } => rate_limited += links,
            HeldWhy::Unavailable { .. } => unavailable += links,
        });
        [("turn", turn), ("rate_limited", rate_limited), ("unavailable", unavailable)]
    }

    fn breaker_openings(&self) -> u64 {
        self.lock().openings()
    }
}

#[cfg(test)]
mod tests;
