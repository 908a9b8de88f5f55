//! What the gate of a credential and that of an origin have in common: a rate, a number of calls at once, and being shut
//! for a time, after which one call tries alone and the others follow in a ramp.

use tokio::time::Instant;

use super::Free;
use super::bucket::Bucket;
use crate::rate::Rate;

/// See above. A call goes through it in two steps: its place is reserved when its turn comes, and taken when it really
/// goes. Only then does it cost a token, so that reservations that come late all at once exceed no rate.
#[derive(Debug)]
pub(super) struct Gate {
    bucket: Bucket,
    /// The most calls at once.
    limit: usize,
    /// The same, as long as others need the rest.
    share: usize,
    flow: Flow,
    /// Counts how often the gate was shut or opened; what was reserved before counts no longer.
    era: u64,
    /// Reservations of this era.
    reserved: usize,
    /// Calls on their way, of any era.
    in_flight: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Open,
    /// Nothing goes before `until`, and then one call alone.
    Shut {
        until: Instant,
        probing: bool,
    },
    /// Opening again: so many at once. Each success adds one, so the number doubles from round to round.
    Ramp {
        window: usize,
    },
}

/// A place in a gate, to be given back to it.
#[derive(Debug)]
#[must_use = "the gate keeps the place until it gets this back"]
pub struct Ticket {
    era: u64,
    taken: bool,
}

impl Gate {
    /// An open gate for at most `limit` calls at once, one at least.
    pub(super) fn new(rate: Rate, limit: usize) -> Self {
        Self {
            bucket: Bucket::new(rate),
            limit: limit.max(1),
            share: usize::MAX,
            flow: Flow::Open,
            era: 0,
            reserved: 0,
            in_flight: 0,
        }
    }

    /// Whether one more can be reserved.
    pub(super) fn free(&self, now: Instant) -> Free {
        let (most, from) = match self.flow {
            Flow::Open => (self.limit, now),
            Flow::Ramp { window } => (window, now),
            Flow::Shut { probing: true, .. } => return Free::Later,
            Flow::Shut { until, probing: false } => (self.limit, until),
        };
        if self.in_use() >= most.min(self.share) {
            return Free::Later;
        }
        match self.bucket.free_at(self.reserved, now).map(|at| at.max(from)) {
            Some(at) if at > now => Free::At(at),
            Some(_) => Free::Now,
            None => Free::Later,
        }
    }

    /// Reserves a place. Only where [`Gate::free`] says so.
    pub(super) fn reserve(&mut self) -> Ticket {
        if let Flow::Shut { probing, .. } = &mut self.flow {
            *probing = true;
        }
        self.reserved += 1;
        Ticket { era: self.era, taken: false }
    }

    /// Whether nothing was shut or opened since it was reserved.
    pub(super) fn is_current(&self, ticket: &Ticket) -> bool {
        ticket.era == self.era
    }

    /// The call goes. Only with a reservation that is current.
    pub(super) fn take(&mut self, ticket: &mut Ticket, now: Instant) {
        ticket.taken = true;
        self.reserved = self.reserved.saturating_sub(1);
        self.in_flight += 1;
        self.bucket.take(now);
    }

    /// The place is free again; the token is spent if the call went. Says whether it was of this era.
    pub(super) fn give_back(&mut self, ticket: Ticket) -> bool {
        let (era, taken) = ticket.into_parts();
        let current = era == self.era;
        if taken {
            self.in_flight = self.in_flight.saturating_sub(1);
        } else if current {
            self.reserved = self.reserved.saturating_sub(1);
        }
        if let Flow::Shut { probing, .. } = &mut self.flow
            && current
        {
            *probing = false;
        }
        current
    }

    /// Nothing goes before that time.
    pub(super) fn shut(&mut self, until: Instant) {
        self.enter(Flow::Shut { until, probing: false });
    }

    /// A gate that is shut stays so until that time at least.
    pub(super) fn prolong(&mut self, time: Instant) {
        if let Flow::Shut { until, .. } = &mut self.flow {
            *until = time.max(*until);
        }
    }

    /// Until when it is shut. That may be over: then one call is trying, or about to.
    pub(super) fn shut_until(&self) -> Option<Instant> {
        if let Flow::Shut { until, .. } = self.flow { Some(until) } else { None }
    }

    pub(super) fn is_open(&self) -> bool {
        self.flow == Flow::Open
    }

    /// A call went well: opens what is shut, without a burst, and widens the ramp.
    pub(super) fn succeeded(&mut self, now: Instant) {
        match self.flow {
            Flow::Open => {}
            Flow::Shut { .. } => {
                self.bucket.drain(now);
                self.enter(Flow::Open);
                self.widen(2);
            }
            Flow::Ramp { window } => self.widen(window + 1),
        }
    }

    /// The places that calls have, or that are reserved.
    pub(super) fn in_use(&self) -> usize {
        self.reserved + self.in_flight
    }

    /// From now on no place is reserved beyond so many, whatever the limit is.
    pub(super) fn set_share(&mut self, share: usize) {
        self.share = share;
    }

    /// When its bucket is full.
    pub(super) fn full_at(&self, now: Instant) -> Instant {
        self.bucket.full_at(now)
    }

    fn enter(&mut self, flow: Flow) {
        self.flow = flow;
        self.era += 1;
        self.reserved = 0;
    }

    fn widen(&mut self, window: usize) {
        self.flow = if window < self.limit { Flow::Ramp { window } } else { Flow::Open };
    }
}

impl Ticket {
    /// The end of it.
    fn into_parts(self) -> (u64, bool) {
        (self.era, self.taken)
    }
}
