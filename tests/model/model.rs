//! What may happen in a state, and what it leads to.

use std::collections::HashMap;
use std::sync::Mutex;

use migrationlink_operator::api::Reason;
use migrationlink_operator::decision::{Call, Link};
use stateright::{Model, Property};

use super::config::Config;
use super::intern::Id;
use super::process::{Controller, Fate, Who, failure};
use super::properties;
use super::rules::{Decide, Rules};
use super::world::{LINKS, Nonce, World};

/// Both copies of the operator, and all that is around them.
pub struct Operator {
    pub config: Config,
    pub rules: Rules,
    pub controller: Controller,
    /// What is known of how states go on without faults.
    pub fates: Mutex<HashMap<u64, Option<u16>>>,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// A process takes its next step for a link.
    Step(Who, usize, Fate),
    /// The call for a link is done and answered.
    Serve(usize),
    /// Nobody waits for its answer any longer.
    TimeOut(usize),
    /// It fails before it is sent.
    Refuse(usize),
    /// What was sent and given up takes effect after all.
    TakeEffect,
    /// The watch tells the process at work of a link's newest version.
    Tell(usize),
    /// The same of a Secret.
    TellSecret(usize),
    /// The copy that waits is not told of a link any more.
    Lag(usize),
    Crash,
    LoseClaim,
    Rotate(usize),
    Edit(usize),
    Delete(usize),
    Remove,
    ExpireNonce,
    /// Twenty minutes.
    Pass,
}

/// Longer than the check interval, the grace period and the first window of a lost link; shorter than the progress deadline.
const PASS: i64 = 20 * 60;

impl Operator {
    pub fn new(config: &Config, decide: Decide, controller: Controller) -> Self {
        Self { config: *config, rules: Rules::new(decide), controller, fates: Mutex::new(HashMap::new()) }
    }

    fn edit(world: &mut World, index: usize, change: impl FnOnce(&mut Link)) {
        let Some(link) = world.links[index] else { return };
        let mut link = Link::clone(&link);
        link.generation += 1;
        change(&mut link);
        world.put(index, Some(Id::of(link)));
    }

    fn delete(world: &mut World, index: usize) {
        if world.links[index].is_some_and(|link| link.finalized()) {
            Self::edit(world, index, |link| link.deleting = true);
        } else {
            world.put(index, None);
        }
    }
}

impl Model for Operator {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.config)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let left = &world.left;
        let calls = |index: usize| world.working.known[index].calling;
        for index in 0..self.config.links {
            if let Some(calling) = calls(index) {
                actions.push(Action::Serve(index));
                if left.timeouts > 0 {
                    actions.push(Action::TimeOut(index));
                }
                if left.refusals > 0 && calling.call != Call::Adopt {
                    actions.push(Action::Refuse(index));
                }
            } else {
                if self.next_act(&world.working, index).is_some() {
                    actions.push(Action::Step(Who::Working, index, Fate::Served));
                }
                if left.patches > 0 && self.patches(world, index) {
                    actions.extend(
                        [Fate::Lost, Fate::Unanswered].map(|fate| Action::Step(Who::Working, index, fate)),
                    );
                }
            }
            if world.former.is_some() {
                actions.push(Action::Step(Who::Former, index, Fate::Served));
            } else if left.lags > 0 && !world.standby[index].lags {
                actions.push(Action::Lag(index));
            }
            if !world.working.known[index].fresh {
                actions.push(Action::Tell(index));
            }
            let there = world.links[index].is_some_and(|link| !link.deleting);
            if left.edits > 0 && there {
                actions.push(Action::Edit(index));
            }
            if left.deletions > 0 && there {
                actions.push(Action::Delete(index));
            }
        }
        for secret in 0..=self.config.secret_of(self.config.links - 1) {
            if world.working.notices[secret] != world.secrets[secret] {
                actions.push(Action::TellSecret(secret));
            }
            if left.rotations > 0 {
                actions.push(Action::Rotate(secret));
            }
        }
        if world.orphan.is_some() {
            actions.push(Action::TakeEffect);
        }
        if left.removals > 0 && world.remote.is_some() {
            actions.push(Action::Remove);
        }
        if world.former.is_none() {
            if left.crashes > 0 {
                actions.push(Action::Crash);
            }
            if left.claims > 0 {
                actions.push(Action::LoseClaim);
            }
        }
        if left.nonces > 0 && world.working.nonce == Nonce::Good {
            actions.push(Action::ExpireNonce);
        }
        // Time passes when there is nothing left to do: a step takes no time beside a wait.
        if left.passes > 0 && world.former.is_none() && self.rests(world) {
            actions.push(Action::Pass);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        let left = &mut next.left;
        match action {
            Action::Step(who, index, fate) => {
                let mut next = self.step(world, who, index, fate)?;
                if fate != Fate::Served {
                    next.left.patches -= 1;
                }
                return Some(next);
            }
            Action::Serve(index) => self.serve(&mut next, index),
            Action::TimeOut(index) => {
                left.timeouts -= 1;
                let request = next.working.request(index);
                next.orphan = request.or(next.orphan);
                self.answer(&mut next, index, failure(Reason::EndpointUnavailable, request.is_some()));
            }
            Action::Refuse(index) => {
                left.refusals -= 1;
                self.answer(&mut next, index, failure(Reason::EndpointUnavailable, false));
            }
            Action::TakeEffect => {
                let request = next.orphan.take()?;
                self.take_effect(&mut next, request);
            }
            Action::Tell(index) => {
                let link = next.links[index];
                self.take_in(&mut next.working, index, link, false);
            }
            Action::TellSecret(secret) => next.working.notices[secret] = next.secrets[secret],
            Action::Lag(index) => {
                left.lags -= 1;
                next.standby[index].lags = true;
            }
            Action::Crash => {
                left.crashes -= 1;
                next.take_over();
            }
            Action::LoseClaim => {
                left.claims -= 1;
                let mut former = next.take_over();
                // What is awaited is cut off.
                for known in &mut former.known {
                    known.calling = None;
                }
                next.former = Some(former);
            }
            Action::Rotate(secret) => {
                left.rotations -= 1;
                next.secrets[secret] += 1;
            }
            Action::Edit(index) => {
                left.edits -= 1;
                Self::edit(&mut next, index, |_| {});
            }
            Action::Delete(index) => {
                left.deletions -= 1;
                Self::delete(&mut next, index);
            }
            Action::Remove => {
                left.removals -= 1;
                next.remote = None;
            }
            Action::ExpireNonce => {
                left.nonces -= 1;
                next.working.nonce = Nonce::Expired;
            }
            Action::Pass => {
                left.passes -= 1;
                next.age(PASS);
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Operator {
    /// Whether the process at work has nothing to do before something happens or time passes.
    pub fn rests(&self, world: &World) -> bool {
        (0..LINKS).all(|index| {
            let known = &world.working.known[index];
            known.calling.is_none() && known.fresh && self.next_act(&world.working, index).is_none()
        })
    }
}
