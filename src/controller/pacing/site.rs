//! One origin: its gate, the gates of its credentials, and the links that wait there.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use super::super::key::Key;
use super::lanes::{Lanes, Place};
use super::{Held, HeldWhy, Pacing};
use crate::rate::Rate;
use crate::remote::CredentialId;
use crate::remote::pacing::{Breaker, CredentialGate, Free, OriginGate, Ticket, Verdict};

/// So many gates of credentials at most are remembered though nobody waits there.
const MOST_IDLE: usize = 4096;

/// Whose gate. None where the credential is not known yet: then only the origin's gate counts.
pub(super) type Whose = Option<CredentialId>;

/// The places of a call in both gates.
pub(super) struct Tickets {
    origin: Ticket,
    credential: Ticket,
}

/// A link whose turn has come.
pub(super) struct Call {
    pub(super) key: Key,
    pub(super) tickets: Tickets,
}

/// See above. A link goes when both gates let it, so its place in both is reserved at once; what waits for one gate
/// never holds a place in the other.
pub(super) struct Site {
    gate: OriginGate,
    accounts: HashMap<Whose, Account>,
    /// The credentials one of whose links could go if the origin let it.
    ready: Lanes<Whose>,
    /// When to look again at those whose links wait for a time.
    timers: BTreeSet<(Instant, Whose)>,
    /// When those that nobody waits for can be forgotten.
    idle: BTreeSet<(Instant, Whose)>,
}

/// One credential.
struct Account {
    gate: CredentialGate,
    waiting: Lanes<Key>,
    listed: Listed,
}

/// The one list of its site that a credential is in.
#[derive(Clone, Copy)]
enum Listed {
    /// None: its links wait for the end of a call.
    Nowhere,
    Ready(Place),
    Timer(Instant),
    Idle(Instant),
}

impl Site {
    pub(super) fn new(pacing: &Pacing) -> Self {
        Self {
            gate: OriginGate::new(pacing.origin_rate, pacing.origin_concurrency),
            accounts: HashMap::new(),
            ready: Lanes::new(),
            timers: BTreeSet::new(),
            idle: BTreeSet::new(),
        }
    }

    /// A link waits from now on.
    pub(super) fn enter(&mut self, pacing: &Pacing, whose: Whose, place: Place, key: Key, now: Instant) {
        let account = self.accounts.entry(whose).or_insert_with(|| {
            let rate = if whose.is_some() { pacing.api_rate } else { Rate::OFF };
            Account {
                gate: CredentialGate::new(rate, pacing.origin_concurrency),
                waiting: Lanes::new(),
                listed: Listed::Nowhere,
            }
        });
        account.waiting.insert(place, key);
        self.list(whose, now);
    }

    /// A link does not wait any longer.
    pub(super) fn leave(&mut self, whose: Whose, place: Place, now: Instant) {
        if let Some(account) = self.accounts.get_mut(&whose) {
            account.waiting.remove(place);
        }
        self.list(whose, now);
    }

    /// The places that calls have, or that are kept for them.
    pub(super) fn in_use(&self) -> usize {
        self.gate.in_use()
    }

    /// The links whose turn has come; their places are reserved, of which there may be `share` in all.
    pub(super) fn call(&mut self, share: usize, now: Instant) -> Vec<Call> {
        self.gate.set_share(share);
        while let Some(&(at, whose)) = self.timers.first()
            && at <= now
        {
            self.list(whose, now);
        }
        while let Some(&(at, whose)) = self.idle.first()
            && (at <= now || self.idle.len() > MOST_IDLE)
        {
            self.idle.pop_first();
            self.accounts.remove(&whose);
        }
        let mut calls = Vec::new();
        while self.gate.free(now) == Free::Now {
            // While it is in doubt whether the endpoint answers, those go first that have waited longest: whose calls fail, for
            // a reason of their own perhaps, and who asks again at once, must not speak for the others.
            let next = if self.gate.is_trusted() {
                self.ready.next().map(|next| next.place)
            } else {
                self.ready.oldest()
            };
            let Some(whose) = next.and_then(|place| self.ready.take(place)) else {
                break;
            };
            let Some(account) = self.accounts.get_mut(&whose) else { continue };
            account.listed = Listed::Nowhere;
            let next = account.waiting.next().map(|next| next.place);
            if let Some(key) = next.and_then(|place| account.waiting.take(place)) {
                let tickets = Tickets { origin: self.gate.reserve(), credential: account.gate.reserve() };
                calls.push(Call { key, tickets });
            }
            self.list(whose, now);
        }
        calls
    }

    /// Whether the server limits this credential.
    pub(super) fn is_limited(&self, whose: Whose) -> bool {
        self.accounts.get(&whose).is_some_and(|account| account.limited().is_some())
    }

    /// Whether the places that were reserved can still be taken.
    pub(super) fn holds(&self, whose: Whose, tickets: &Tickets) -> bool {
        let account = self.accounts.get(&whose);
        self.gate.holds(&tickets.origin)
            && account.is_some_and(|account| account.gate.holds(&tickets.credential))
    }

    /// The call goes. Only with places that hold.
    pub(super) fn take(&mut self, whose: Whose, tickets: &mut Tickets, now: Instant) {
        self.gate.take(&mut tickets.origin, now);
        if let Some(account) = self.accounts.get_mut(&whose) {
            account.gate.take(&mut tickets.credential, now);
        }
        self.list(whose, now);
    }

    /// The call has ended, or will not be made.
    pub(super) fn end(
        &mut self,
        whose: Whose,
        tickets: Tickets,
        verdict: Verdict,
        now: Instant,
        sample: f64,
    ) -> Option<Breaker> {
        let breaker = self.gate.end(tickets.origin, verdict, now, sample);
        if let Some(account) = self.accounts.get_mut(&whose) {
            let verdict = if whose.is_some() { verdict } else { Verdict::Nothing };
            account.gate.end(tickets.credential, verdict, now);
        }
        self.list(whose, now);
        breaker
    }

    /// What holds a link of this credential back now, those apart that wait in front of it.
    pub(super) fn held(&self, whose: Whose, now: Instant) -> Option<Held> {
        let account = self.accounts.get(&whose);
        let of_origin = self.gate.free(now);
        let of_credential = account.map_or(Free::Now, |account| account.gate.free(now));
        let limited = account.and_then(Account::limited).filter(|_| of_credential != Free::Now);
        let unavailable = self.unavailable().filter(|_| of_origin != Free::Now);
        // The end of a limit is told also while the origin's gate cannot say when it is free.
        let free = if limited.is_some() { of_credential } else { of_origin.max(of_credential) };
        let until = match free {
            Free::Now => return None,
            Free::At(time) => Some(time),
            Free::Later => None,
        };
        Some(Held { why: limited.or(unavailable).unwrap_or(HeldWhy::Turn), until })
    }

    /// Calls `each` with why links wait, and how many.
    pub(super) fn waiting(&self, mut each: impl FnMut(HeldWhy, usize)) {
        for account in self.accounts.values().filter(|account| !account.waiting.is_empty()) {
            let why = account.limited().or(self.unavailable()).unwrap_or(HeldWhy::Turn);
            each(why, account.waiting.len());
        }
    }

    /// When [`Site::call`] has something to do, if nothing happens before.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let turn = match self.gate.free(now) {
            _ if self.ready.is_empty() => None,
            Free::Now => Some(now),
            Free::At(time) => Some(time),
            Free::Later => None,
        };
        timer.into_iter().chain(turn).min()
    }

    fn unavailable(&self) -> Option<HeldWhy> {
        let unavailable = self.gate.unavailable()?;
        Some(HeldWhy::Unavailable { since: unavailable.since, until: unavailable.until })
    }

    /// Puts a credential into the list where it belongs.
    fn list(&mut self, whose: Whose, now: Instant) {
        let Some(account) = self.accounts.get_mut(&whose) else { return };
        match account.listed {
            Listed::Nowhere => {}
            Listed::Ready(place) => self.ready.remove(place),
            Listed::Timer(at) => _ = self.timers.remove(&(at, whose)),
            Listed::Idle(at) => _ = self.idle.remove(&(at, whose)),
        }
        account.listed = match account.waiting.next() {
            None => account.gate.forgettable_at(now).map_or(Listed::Nowhere, Listed::Idle),
            Some(next) => match account.gate.free(now) {
                Free::Now => Listed::Ready(Place { urgency: next.rank, ..next.place }),
                Free::At(at) => Listed::Timer(at),
                Free::Later => Listed::Nowhere,
            },
        };
        match account.listed {
            Listed::Nowhere => {}
            Listed::Ready(place) => self.ready.insert(place, whose),
            Listed::Timer(at) => _ = self.timers.insert((at, whose)),
            Listed::Idle(at) => _ = self.idle.insert((at, whose)),
        }
    }

    /// How many credentials are remembered.
    #[cfg(test)]
    pub(super) fn credentials(&self) -> usize {
        self.accounts.len()
    }
}

impl Account {
    fn limited(&self) -> Option<HeldWhy> {
        self.gate.limited_until().map(|until| HeldWhy::RateLimited { until })
    }
}
