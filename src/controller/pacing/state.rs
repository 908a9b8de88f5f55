//! Where each link stands that asked and could not go.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::super::key::Key;
use super::super::queue::Urgency;
use super::lanes::Place;
use super::site::{Site, Tickets, Whose};
use super::{Held, HeldWhy, Pacing};
use crate::endpoint::Origin;
use crate::remote::CredentialId;
use crate::remote::pacing::{Breaker, Verdict};

/// For so long a place is kept for a link that was woken: it waits in the queue again, and reads its Secret.
const KEPT: Duration = Duration::from_secs(15);

const TURN: Held = Held { why: HeldWhy::Turn, until: None };

/// See above. The sites are as many as there are allowed origins, so they stay.
pub(super) struct State {
    pacing: Pacing,
    sites: BTreeMap<Origin, Site>,
    links: HashMap<Key, Waiting>,
    /// The links that were called, by the time at which their places are given to others.
    called: BTreeMap<(Instant, u64), Key>,
    arrivals: u64,
    /// Called, and not told yet.
    woken: Vec<(Key, Urgency)>,
    /// When whoever tells them comes by itself.
    alarm: Option<Instant>,
    /// How often a breaker opened.
    openings: u64,
}

/// A link that waits, or was called and has not come yet.
struct Waiting {
    origin: Origin,
    whose: Whose,
    place: Place,
    called: Option<(Tickets, Instant)>,
}

impl State {
    pub(super) fn new(pacing: Pacing) -> Self {
        Self {
            pacing,
            sites: BTreeMap::new(),
            links: HashMap::new(),
            called: BTreeMap::new(),
            arrivals: 0,
            woken: Vec::new(),
            alarm: None,
            openings: 0,
        }
    }

    /// Keeps places for the link, or lets it wait.
    pub(super) fn park(
        &mut self,
        key: &Key,
        urgency: Urgency,
        origin: &Origin,
        whose: Whose,
        now: Instant,
    ) -> Option<Held> {
        if self.is_called(key, origin, whose) {
            return None;
        }
        let place = match self.withdraw(key, now) {
            None => {
                self.arrivals += 1;
                Place { urgency, arrival: self.arrivals }
            }
            Some(before) => Place { urgency: urgency.min(before.urgency), ..before },
        };
        let site = self.sites.entry(origin.clone()).or_insert_with(|| Site::new(&self.pacing));
        site.enter(&self.pacing, whose, place, key.clone(), now);
        self.links.insert(key.clone(), Waiting { origin: origin.clone(), whose, place, called: None });
        self.call(now);
        if self.is_called(key, origin, whose) {
            // It knows by itself.
            self.woken.retain(|(woken, _)| woken != key);
            return None;
        }
        let held = self.sites.get(origin).and_then(|site| site.held(whose, now));
        Some(held.unwrap_or(TURN))
    }

    /// Takes the places of a call, or lets the link wait.
    pub(super) fn admit(
        &mut self,
        key: &Key,
        urgency: Urgency,
        origin: &Origin,
        credential: CredentialId,
        now: Instant,
    ) -> Result<Tickets, Held> {
        let whose = Some(credential);
        if let Some(held) = self.park(key, urgency, origin, whose, now) {
            return Err(held);
        }
        let (mut tickets, _) = self.unlink(key).and_then(|waiting| waiting.called).ok_or(TURN)?;
        if let Some(site) = self.sites.get_mut(origin) {
            site.take(whose, &mut tickets, now);
        }
        Ok(tickets)
    }

    /// What would hold the link back.
    pub(super) fn look(&self, key: &Key, origin: &Origin, whose: Whose, now: Instant) -> Option<Held> {
        if self.is_called(key, origin, whose) { None } else { self.sites.get(origin)?.held(whose, now) }
    }

    /// The call of these places has ended.
    pub(super) fn end(
        &mut self,
        origin: &Origin,
        whose: Whose,
        tickets: Tickets,
        verdict: Verdict,
        now: Instant,
        sample: f64,
    ) -> Option<Breaker> {
        let site = self.sites.get_mut(origin)?;
        let was_limited = site.is_limited(whose);
        let breaker = site.end(whose, tickets, verdict, now, sample);
        let limited = !was_limited && site.is_limited(whose);
        if breaker == Some(Breaker::Opened) {
            self.openings += 1;
            self.tell(origin, None);
        } else if limited {
            self.tell(origin, Some(whose));
        }
        self.call(now);
        breaker
    }

    /// Takes a link out of its row for good; what was kept for it goes to the next.
    pub(super) fn forget(&mut self, key: &Key, now: Instant) {
        self.withdraw(key, now);
        self.call(now);
    }

    /// Takes a link out of its row, and gives back what was kept for it; nobody is called for that yet. The place that
    /// it had.
    fn withdraw(&mut self, key: &Key, now: Instant) -> Option<Place> {
        let waiting = self.unlink(key)?;
        let site = self.sites.get_mut(&waiting.origin)?;
        match waiting.called {
            None => site.leave(waiting.whose, waiting.place, now),
            // No random number is needed where nothing failed.
            Some((tickets, _)) => _ = site.end(waiting.whose, tickets, Verdict::Nothing, now, 0.0),
        }
        Some(waiting.place)
    }

    /// Does what is due: the links to wake.
    pub(super) fn turn(&mut self, now: Instant) -> Vec<(Key, Urgency)> {
        while let Some(entry) = self.called.first_entry()
            && entry.key().0 <= now
        {
            let key = entry.get().clone();
            if let Some(place) = self.withdraw(&key, now) {
                // It may not have been told at all: this process may have stood still.
                self.woken.push((key, place.urgency));
            }
        }
        self.call(now);
        self.alarm = self.next(now);
        std::mem::take(&mut self.woken)
    }

    /// When whoever tells the called ones comes by itself.
    pub(super) fn alarm(&self) -> Option<Instant> {
        self.alarm
    }

    /// Whether it has to come before that.
    pub(super) fn has_news(&self, now: Instant) -> bool {
        let earlier = |next| self.alarm.is_none_or(|alarm| next < alarm);
        !self.woken.is_empty() || self.next(now).is_some_and(earlier)
    }

    pub(super) fn openings(&self) -> u64 {
        self.openings
    }

    /// Calls `each` with why links wait, and how many.
    pub(super) fn waiting(&self, mut each: impl FnMut(HeldWhy, usize)) {
        self.sites.values().for_each(|site| site.waiting(&mut each));
    }

    fn next(&self, now: Instant) -> Option<Instant> {
        let lapse = self.called.keys().next().map(|(time, _)| *time);
        self.sites.values().filter_map(|site| site.next(now)).chain(lapse).min()
    }

    /// Whether places are kept for a call of this link that can still be taken.
    fn is_called(&self, key: &Key, origin: &Origin, whose: Whose) -> bool {
        let Some((waiting, site)) = self.links.get(key).zip(self.sites.get(origin)) else { return false };
        let same = waiting.origin == *origin && (waiting.whose == whose || whose.is_none());
        let tickets = waiting.called.as_ref().map(|(tickets, _)| tickets);
        same && tickets.is_some_and(|tickets| site.holds(waiting.whose, tickets))
    }

    /// Takes a link off all lists but the row that it waits in.
    fn unlink(&mut self, key: &Key) -> Option<Waiting> {
        let waiting = self.links.remove(key)?;
        if let Some((_, lapse)) = &waiting.called {
            self.called.remove(&(*lapse, waiting.place.arrival));
            self.woken.retain(|(woken, _)| woken != key);
        }
        Some(waiting)
    }

    /// Wakes the links that wait at an origin, or only those of one credential: they wait for something else from now on, and
    /// may have to say so, in the order of their arrival. They keep their places in the row.
    fn tell(&mut self, origin: &Origin, only: Option<Whose>) {
        let concerned = self.links.iter().filter(|(_, waiting)| {
            waiting.origin == *origin
                && waiting.called.is_none()
                && only.is_none_or(|whose| waiting.whose == whose)
        });
        let concerned: BTreeMap<_, _> =
            concerned.map(|(key, waiting)| (waiting.place.arrival, (key, waiting.place.urgency))).collect();
        self.woken.extend(concerned.into_values().map(|(key, urgency)| (key.clone(), urgency)));
    }

    /// Calls the links whose turn has come, at every origin: what one has given back another may need.
    fn call(&mut self, now: Instant) {
        let mut in_use: usize = self.sites.values().map(Site::in_use).sum();
        for site in self.sites.values_mut() {
            let others = in_use - site.in_use();
            for call in site.call(share(self.pacing.concurrency, others), now) {
                if let Some(waiting) = self.links.get_mut(&call.key) {
                    let lapse = now + KEPT;
                    waiting.called = Some((call.tickets, lapse));
                    self.called.insert((lapse, waiting.place.arrival), call.key.clone());
                    self.woken.push((call.key, waiting.place.urgency));
                }
            }
            in_use = others + site.in_use();
        }
    }

    /// How many links and credentials are remembered.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.links.len(), self.sites.values().map(Site::credentials).sum())
    }
}

/// The most places of an origin where the others have so many: half of what they leave, so that whoever comes next finds some,
/// however many origins take a call and never answer (the "dynamic threshold" of switches, Choudhury and Hahne, 1998). One that is
/// alone has what the administrator lets it have.
fn share(concurrency: usize, others: usize) -> usize {
    match others {
        0 => usize::MAX,
        others => concurrency.saturating_sub(others).div_ceil(2).max(1),
    }
}
