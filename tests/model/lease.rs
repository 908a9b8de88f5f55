//! The protocol of the lease, over the product's pure `evaluate`: candidates, one lease with a resourceVersion, requests that
//! are lost, late or not answered, processes that stand still, and a clock that goes on at any moment.
//!
//! A tick is a third of the lease's duration: a claim lasts two from the begin of the write, and others wait for three from
//! when they saw it. All clocks run alike; the third between the two, which the product has for clocks that do not, is not
//! put to the test. A write may be given up at any moment, and what was given up come in at any time later. A process that
//! lost its claim ends and comes back under another name. What a watch tells is read at any moment, or never.

mod place;

use std::sync::LazyLock;
use std::time::Duration;

use migrationlink_operator::leader::{Seen, Step, Timing, evaluate};
use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};
use tokio::time::Instant;

use super::run::{begin, report};
use place::{Candidate, GONE, Holder, Place, View, Write, lease};

const TIMING: Timing = Timing { duration: Duration::from_secs(15) };
/// Of time. Three are the lease's duration.
const TICK: Duration = Duration::from_secs(5);
/// Older than this is as old as this: beyond the duration.
const OLD: u8 = 4;
/// A free lease is taken within so many ticks.
const BOUND: usize = 5;

const ONE_HOLDER: &str = "at most one candidate has a valid claim";
const TAKEN: &str = "a lease that nobody can hold any more is taken";
const HELD: &str = "a claim is valid";
const HANDED_OVER: &str = "a claim is valid, and another is over whose process does not know it";

/// What a candidate does, and what one with a defect does otherwise.
#[derive(Clone)]
struct Election {
    candidates: usize,
    /// The most requests at a time that nobody waits for any more.
    late: usize,
    evaluate: fn(Option<&Seen>, &str, Option<Instant>, Timing, Instant) -> Step,
    /// The lease is written over whatever version is there.
    ignores_version: bool,
    /// A renewal that is seen does not count anew.
    counts_from_first_sight: bool,
    /// A claim lasts until somebody says that it is over.
    never_ends: bool,
}

const SOUND: Election = Election {
    candidates: 2,
    late: 2,
    evaluate,
    ignores_version: false,
    counts_from_first_sight: false,
    never_ends: false,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    /// What `evaluate` says.
    Step(usize),
    /// A newer version is told, or read.
    See(usize),
    /// The write that a candidate awaits is done, or refused, and answered.
    Answer(usize),
    /// Its answer is given up; it may come in later.
    GiveUp(usize),
    /// A late write comes in.
    Late(usize),
    /// It never will.
    Drop(usize),
    /// It is told to end, and gives the lease back.
    Release(usize),
    Stop(usize),
    Continue(usize),
    Tick,
}

/// The moment at which the model stands still.
fn now() -> Instant {
    static NOW: LazyLock<Instant> = LazyLock::new(|| Instant::now() + Duration::from_hours(1));
    *NOW
}

impl Election {
    fn step_of(&self, candidate: &Candidate) -> Step {
        let seen = candidate.seen.filter(|view| view.current).map(|view| Seen {
            lease: Some(lease(view.holder, false)),
            at: now() - TICK * u32::from(view.age),
        });
        let claim = candidate.claim.map(|ticks| now() + TICK * u32::from(ticks));
        (self.evaluate)(seen.as_ref(), &candidate.name.to_string(), claim, TIMING, now())
    }

    /// The candidate learns what the lease says now.
    fn see(&self, place: &mut Place, index: usize) {
        let candidate = &mut place.candidates[index];
        let holder = match place.holder {
            Holder::Name(name) if name != candidate.name => Holder::Name(GONE),
            holder => holder,
        };
        let before = candidate.seen.map(|view| Seen {
            lease: Some(lease(view.holder, false)),
            at: now() - TICK * u32::from(view.age),
        });
        let changed = candidate.seen.is_none_or(|view| !view.fresh) && !self.counts_from_first_sight;
        let seen = Seen::update(before, Some(lease(holder, changed)), now());
        let age = u8::try_from((now() - seen.at).as_secs() / TICK.as_secs()).unwrap_or(OLD);
        candidate.seen = Some(View { holder, current: true, fresh: true, age });
    }

    /// The number of ticks until somebody holds the lease, when nothing goes wrong and nothing takes time any more: all that is
    /// on its way comes in, and all take their steps before a tick.
    fn taken_after(&self, place: &Place) -> Option<usize> {
        let mut place = place.clone();
        while let Some(late) = place.late.pop() {
            if late.fresh {
                place.write(late);
            }
        }
        for ticks in 0..=BOUND {
            // Most steps at once: a read, a write and its answer for each, and again for those that were slower.
            for _ in 0..self.candidates * 6 {
                let next = (0..self.candidates).filter(|index| !place.candidates[*index].stopped).find_map(
                    |index| {
                        let actions = [Action::Answer(index), Action::See(index), Action::Step(index)];
                        actions.into_iter().find_map(|action| self.next_state(&place, action))
                    },
                );
                match next {
                    Some(next) => place = next,
                    None => break,
                }
                if place.candidates.iter().any(|candidate| !candidate.stopped && candidate.holds()) {
                    return Some(ticks);
                }
            }
            place = self.next_state(&place, Action::Tick)?;
        }
        None
    }
}

impl Model for Election {
    type State = Place;
    type Action = Action;

    fn init_states(&self) -> Vec<Place> {
        let candidates =
            (0..self.candidates).map(|name| Candidate::new(u8::try_from(name).unwrap())).collect();
        vec![Place { holder: Holder::Nobody, candidates, late: Vec::new() }]
    }

    fn actions(&self, place: &Place, actions: &mut Vec<Action>) {
        for (index, candidate) in place.candidates.iter().enumerate() {
            if candidate.stopped {
                actions.push(Action::Continue(index));
                continue;
            }
            actions.extend([Action::Step(index), Action::See(index), Action::Stop(index)]);
            if candidate.writing.is_some() {
                actions.extend([Action::Answer(index), Action::GiveUp(index)]);
            }
            if candidate.claim.is_some() {
                actions.push(Action::Release(index));
            }
        }
        for late in 0..place.late.len() {
            actions.extend([Action::Late(late), Action::Drop(late)]);
        }
        actions.push(Action::Tick);
    }

    fn next_state(&self, place: &Place, action: Action) -> Option<Place> {
        let mut next = place.clone();
        match action {
            Action::Step(index) => {
                let candidate = &mut next.candidates[index];
                if candidate.writing.is_some() {
                    return None;
                }
                match self.step_of(candidate) {
                    Step::Wait(_) => return None,
                    Step::Read => self.see(&mut next, index),
                    Step::Lost => next.end(index),
                    Step::Acquire | Step::Renew => {
                        let fresh = candidate.seen.is_some_and(|view| view.fresh) || self.ignores_version;
                        candidate.writing =
                            Some(Write { holder: Holder::Name(candidate.name), fresh, age: 0 });
                    }
                }
            }
            Action::See(index) => {
                let candidate = &next.candidates[index];
                // What its own write is answered it learns from the answer.
                if candidate.writing.is_some()
                    || candidate.claim.is_some()
                    || candidate.seen.is_none_or(|view| view.fresh)
                {
                    return None;
                }
                self.see(&mut next, index);
            }
            Action::Answer(index) => {
                let write = next.candidates[index].writing.take()?;
                if write.fresh || self.ignores_version {
                    next.write(write);
                    let candidate = &mut next.candidates[index];
                    let left = 2 - write.age.min(2);
                    candidate.claim = Some(left);
                    self.see(&mut next, index);
                } else if let Some(view) = &mut next.candidates[index].seen {
                    view.current = false;
                }
            }
            Action::GiveUp(index) => {
                let candidate = &mut next.candidates[index];
                let writing = candidate.writing.take();
                candidate.seen.iter_mut().for_each(|view| view.current = false);
                next.leave(writing);
            }
            Action::Late(late) => {
                let write = next.late.remove(late);
                if write.fresh || self.ignores_version {
                    next.write(write);
                }
            }
            Action::Drop(late) => {
                next.late.remove(late);
            }
            Action::Release(index) => {
                let candidate = &mut next.candidates[index];
                let fresh = candidate
                    .seen
                    .is_some_and(|view| view.fresh && view.holder == Holder::Name(candidate.name));
                candidate.claim = None;
                next.end(index);
                next.leave(fresh.then_some(Write { holder: Holder::Released, fresh, age: 0 }));
            }
            Action::Stop(index) => next.candidates[index].stopped = true,
            Action::Continue(index) => next.candidates[index].stopped = false,
            Action::Tick => {
                for candidate in &mut next.candidates {
                    candidate.seen.iter_mut().for_each(|view| view.age = (view.age + 1).min(OLD));
                    candidate.writing.iter_mut().for_each(|write| write.age = (write.age + 1).min(2));
                    if !self.never_ends {
                        candidate.claim = candidate.claim.map(|left| left.saturating_sub(1));
                    }
                }
            }
        }
        next.name();
        Some(next)
    }

    fn within_boundary(&self, place: &Place) -> bool {
        place.late.len() <= self.late
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_HOLDER, |_, place: &Place| {
                place.candidates.iter().filter(|candidate| candidate.holds()).count() < 2
            }),
            Property::always(TAKEN, |election: &Self, place: &Place| {
                place.candidates.iter().all(|candidate| candidate.stopped)
                    || election.taken_after(place).is_some()
            }),
            Property::sometimes(HELD, |_, place: &Place| place.candidates.iter().any(Candidate::holds)),
            Property::sometimes(HANDED_OVER, |_, place: &Place| {
                let over = place.candidates.iter().any(|candidate| candidate.claim == Some(0));
                over && place.candidates.iter().any(Candidate::holds)
            }),
        ]
    }
}

#[test]
fn a_lease_has_one_holder_and_a_free_one_is_taken() {
    for (candidates, late) in [(2, 2), (3, 0)] {
        let begun = begin();
        let election = Election { candidates, late, ..SOUND };
        let checker = election.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        report(&format!("the lease, {candidates} candidates"), &checker, begun);
        checker.assert_properties();
    }
}

/// The properties that a defect breaks.
fn broken(election: Election) -> Vec<&'static str> {
    let checker = election.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let properties = checker.model().properties();
    let failures = properties.iter().filter(|property| property.expectation == Expectation::Always);
    failures.map(|property| property.name).filter(|name| checker.discovery(name).is_some()).collect()
}

#[test]
fn defects_of_the_lease_are_caught() {
    let defects: [(&str, Election, &str); 5] = [
        (
            "nobody waits until a lease expires",
            Election {
                evaluate: |seen, me, claim, timing, now| match evaluate(seen, me, claim, timing, now) {
                    Step::Wait(_) => Step::Acquire,
                    step => step,
                },
                ..SOUND
            },
            ONE_HOLDER,
        ),
        (
            "a renewal that is seen does not count anew",
            Election { counts_from_first_sight: true, ..SOUND },
            ONE_HOLDER,
        ),
        (
            "the lease is written without resourceVersion",
            Election { ignores_version: true, ..SOUND },
            ONE_HOLDER,
        ),
        ("a claim does not end by itself", Election { never_ends: true, ..SOUND }, ONE_HOLDER),
        (
            "a lease that expired is left alone",
            Election {
                evaluate: |seen, me, claim, timing, now| match evaluate(seen, me, claim, timing, now) {
                    Step::Acquire if seen.and_then(Seen::holder).is_some() => Step::Wait(timing.duration),
                    step => step,
                },
                ..SOUND
            },
            TAKEN,
        ),
    ];
    for (name, election, breaks) in defects {
        let found = broken(election);
        println!("model: caught: {name}: {found:?}");
        assert!(found.contains(&breaks), "{name}: {found:?} instead of {breaks:?}");
    }
}
