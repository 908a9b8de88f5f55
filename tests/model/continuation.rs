//! How a state goes on when nothing goes wrong any more. It is run, step by step, from every state: an `eventually` of the
//! checker would miss what goes round in circles.

use std::hash::{DefaultHasher, Hash, Hasher};

use migrationlink_operator::api::{ConditionType, Conditions, DriftPolicy, Reason};
use migrationlink_operator::decision::Link;

use super::config::Budget;
use super::model::Operator;
use super::process::{Fate, Who, failure};
use super::resource::{LONG_AGO, fingerprint};
use super::world::{InForce, LINKS, Standby, Truth, World};

/// The most steps until everything is as it should be, passes of time included.
pub const MOST_STEPS: u16 = 80;
/// The most steps until there is nothing to do before time passes.
const MOST_STEPS_TO_REST: u16 = 30;

/// How the API answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Weather {
    Fair,
    /// It cannot be reached.
    Down,
    /// It takes requests and does not answer.
    Silent,
}

impl Operator {
    /// Whether a state settles as it should, whatever becomes of what was sent and given up.
    pub fn settles(&self, world: &World) -> bool {
        let landed = world.orphan.map(|request| {
            let mut landed = world.clone();
            self.take_effect(&mut landed, request);
            landed
        });
        [Some(world), landed.as_ref()]
            .into_iter()
            .flatten()
            .all(|world| self.settled(self.bare(world)).is_some())
    }

    /// Whether there is an end of steps before time passes, also when no call succeeds.
    pub fn comes_to_rest(&self, world: &World) -> bool {
        let rests = |weather| {
            self.walk(self.bare(world), weather, MOST_STEPS_TO_REST, &mut |_| Rest::Troubled).is_some()
        };
        rests(Weather::Down) && rests(Weather::Silent)
    }

    /// The number of steps until it has settled: until it rests as it did before time passed, nothing was written meanwhile,
    /// and all is as it should be.
    fn settled(&self, world: World) -> Option<u16> {
        let mut last: Option<World> = None;
        self.walk(world, Weather::Fair, MOST_STEPS, &mut |resting: &World| {
            let settled = last.as_ref() == Some(resting);
            last = Some(resting.clone());
            if settled { self.end(resting) } else { Rest::GoesOn }
        })
    }

    /// The number of steps to the end. Time passes where there is nothing left to do. Every state on the way is remembered.
    fn walk(
        &self,
        mut world: World,
        weather: Weather,
        most: u16,
        at_rest: &mut dyn FnMut(&World) -> Rest,
    ) -> Option<u16> {
        let mut way = Vec::new();
        // In the round that is the last nothing may be written.
        let mut written = false;
        let rest = loop {
            let mut hasher = DefaultHasher::new();
            (weather, &world).hash(&mut hasher);
            let key = hasher.finish();
            if let Some(known) = self.fates.lock().unwrap().get(&key) {
                break *known;
            }
            if way.len() > usize::from(most) {
                break None;
            }
            way.push(key);
            if let Some(next) = self.onward(&world, weather) {
                written |= next.links != world.links;
                world = next;
                continue;
            }
            match at_rest(&world) {
                Rest::GoesOn => {}
                Rest::Settled if !written => break Some(0),
                Rest::Troubled => break Some(0),
                Rest::Settled | Rest::Wrong => break None,
            }
            written = false;
            world.age(LONG_AGO);
        };
        let mut known = self.fates.lock().unwrap();
        for (key, steps) in way.iter().rev().zip(1..) {
            known.insert(*key, rest.map(|rest| rest + steps).filter(|steps| *steps <= most));
        }
        let steps = rest? + u16::try_from(way.len()).ok()?;
        (steps <= most).then_some(steps)
    }

    /// The next step without faults; None if there is nothing to do before time passes.
    fn onward(&self, world: &World, weather: Weather) -> Option<World> {
        let calling = (0..LINKS).find(|index| world.working.known[*index].calling.is_some());
        if let Some(index) = calling {
            let mut next = world.clone();
            match weather {
                Weather::Fair => self.serve(&mut next, index),
                Weather::Down => self.answer(&mut next, index, failure(Reason::EndpointUnavailable, false)),
                Weather::Silent => {
                    let writes = next.working.request(index).is_some();
                    self.answer(&mut next, index, failure(Reason::EndpointUnavailable, writes));
                }
            }
            return Some(next);
        }
        let first = world.working.slot.unwrap_or(0);
        [first, 1 - first].into_iter().find_map(|index| self.step(world, Who::Working, index, Fate::Served))
    }

    /// A state without what has no part in how it goes on: what might happen and what happened. The watches have caught up.
    fn bare(&self, world: &World) -> World {
        let mut bare = World {
            orphan: None,
            former: None,
            standby: world.links.map(|link| Standby { link, lags: false }),
            left: Budget::default(),
            truth: Truth::default(),
            ..world.clone()
        };
        for index in 0..LINKS {
            if !bare.working.known[index].fresh {
                self.take_in(&mut bare.working, index, world.links[index], false);
            }
        }
        bare.working.notices = bare.secrets;
        bare
    }

    /// Whether a state in which everything rests is the right one: one link holds the organization with the token that its
    /// Secret has now, every other says so, and what was to be deleted is gone.
    fn end(&self, world: &World) -> Rest {
        let links: Vec<(usize, &Link)> = world
            .links
            .iter()
            .enumerate()
            .filter_map(|(index, link)| Some((index, &**link.as_ref()?)))
            .collect();
        let told = |link: &Link| link.status.observed_generation == Some(link.generation) && !link.deleting;
        let (duplicates, holders): (Vec<_>, Vec<_>) = links
            .into_iter()
            .partition(|(_, link)| reason(link) == Some(Reason::DuplicateOrganization.as_str()));
        let clean = |(_, link): &(usize, &Link)| told(link) && link.status.link.is_none();
        if !duplicates.iter().all(clean) {
            return Rest::Wrong;
        }
        match holders.as_slice() {
            [] if duplicates.is_empty() => Rest::Settled,
            [(index, link)] if told(link) => self.holds(world, *index, link),
            _ => Rest::Wrong,
        }
    }

    fn holds(&self, world: &World, index: usize, link: &Link) -> Rest {
        let accepted = link.status.link.as_ref().and_then(|record| record.token_fingerprint.clone());
        let wanted = self.wanted(world, index);
        let troubled = match world.remote {
            // A lost link that is left to a person.
            None => {
                self.config.drift == DriftPolicy::Report && reason(link) == Some(Reason::LinkLost.as_str())
            }
            Some(InForce { by: None, .. }) => {
                reason(link) == Some(Reason::LinkExists.as_str()) && accepted.is_none()
            }
            Some(InForce { token, .. }) => {
                let ready =
                    link.status.conditions.as_ref().is_some_and(|all| all.is_true(ConditionType::Ready));
                return if ready && accepted == Some(fingerprint(wanted)) && token == wanted {
                    Rest::Settled
                } else {
                    Rest::Wrong
                };
            }
        };
        if troubled { Rest::Troubled } else { Rest::Wrong }
    }
}

/// What there is to say of a state in which there is nothing to do before time passes.
enum Rest {
    GoesOn,
    /// It goes on like this for ever, and nothing is written.
    Settled,
    /// A person is needed. Each attempt, an hour after the other, is written.
    Troubled,
    Wrong,
}

/// The reason for not being ready.
fn reason(link: &Link) -> Option<&str> {
    let ready = link.status.conditions.as_ref()?.of(ConditionType::Ready)?;
    (ready.status != "True").then_some(ready.reason.as_str())
}
