//! What a process does with a step, as `controller/reconcile.rs`, `calls.rs`, `records.rs`, `slots.rs` and `store.rs` do it.

use migrationlink_operator::api::Reason;
use migrationlink_operator::decision::{Call, CallFailure, Link, Memory, Outcome};

use super::intern::Id;
use super::model::Operator;
use super::resource::{fingerprint, token_in};
use super::rules::{Act, attempt};
use super::world::{Calling, InForce, Known, Nonce, Process, Read, Request, World};

/// What becomes of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Served,
    /// It never arrives.
    Lost,
    /// It is done, and the answer never arrives.
    Unanswered,
}

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Working,
    Former,
}

/// What the controller does around the rules, and what a changed one leaves out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Controller {
    /// Writes without a look at its claim.
    pub ignores_claim: bool,
    /// Does not wait for the organization's slot.
    pub ignores_slot: bool,
    /// Writes to an organization without having read its other resources.
    pub trusts_old_views: bool,
    /// Writes over whatever version is there.
    pub ignores_version: bool,
    /// Takes a 401 to a nonce that it knew for a verdict on the keys.
    pub believes_any_401: bool,
    /// Forgets an outcome that could not be recorded.
    pub forgets_outcome: bool,
}

impl World {
    pub fn process(&mut self, who: Who) -> Option<&mut Process> {
        match who {
            Who::Working => Some(&mut self.working),
            Who::Former => self.former.as_mut(),
        }
    }
}

impl Operator {
    /// One step for a link. None if there is nothing to do.
    pub fn step(&self, world: &World, who: Who, index: usize, fate: Fate) -> Option<World> {
        let process = match who {
            Who::Working => &world.working,
            Who::Former => world.former.as_ref()?,
        };
        let act = self.next_act(process, index)?;
        let rival = world.links[1 - index];
        let mut next = world.clone();
        let process = next.process(who)?;
        match act {
            Act::Wait | Act::Again => self.end_pass(process, index),
            Act::Read => {
                let secret = self.config.secret_of(index);
                let version = world.secrets[secret];
                process.notices[secret] = version;
                let link = process.known[index].link?;
                let (generation, deleting) = (link.generation, link.deleting);
                process.known[index].read = Some(Read { version, generation, deleting });
            }
            Act::Call(call) => {
                let writes = matches!(call, Call::Link | Call::Unlink);
                if writes && !self.has_slot(process, index, rival) {
                    return Some(next);
                }
                // A process that has lost its claim ends here. What it would ask without writing changes nothing.
                if who == Who::Former && !self.trespasses(&mut next) {
                    return Some(next);
                }
                let known = &mut next.process(who)?.known[index];
                known.calling = Some(Calling { call, link: known.link?, read: known.read? });
            }
            Act::Announce(after) => {
                if !self.has_slot(process, index, rival) {
                    return Some(next);
                }
                let mut memory = Memory::clone(&process.known[index].memory);
                memory.announced = after.status.link.as_ref().and_then(|record| record.sent.clone());
                process.known[index].memory = Id::of(memory);
                self.patch(&mut next, who, index, Some(after), fate);
            }
            Act::Publish(after) | Act::AddFinalizer(after) => {
                self.patch(&mut next, who, index, Some(after), fate);
            }
            Act::Record(after, memory) => {
                if after.is_none_or(|after| self.patch(&mut next, who, index, Some(after), fate))
                    && let Some(process) = next.process(who)
                {
                    process.known[index].memory = memory;
                    process.known[index].answered = None;
                } else if self.controller.forgets_outcome
                    && let Some(process) = next.process(who)
                {
                    process.known[index].answered = None;
                }
            }
            Act::DropFinalizer { after, unlinked, left_behind } => {
                let gone = after.deleting;
                if self.patch(&mut next, who, index, (!gone).then_some(after), fate) {
                    next.truth.left_behind[index] |= left_behind;
                    if unlinked && let Some(process) = next.process(who) {
                        process.known[index].answered = None;
                    }
                }
            }
        }
        Some(next)
    }

    /// What a process does next for a link. None if that is nothing.
    pub fn next_act(&self, process: &Process, index: usize) -> Option<Act> {
        if process.known[index].calling.is_some() {
            return None;
        }
        let act = self.rules.act(&self.config, process, index)?;
        let mine = process.slot == Some(index) || self.controller.ignores_slot;
        let waits_for_slot = process.waiting[index] && !mine && process.slot.is_some() && needs_slot(act);
        let nothing = act == Act::Wait && !process.in_pass(index);
        (!waits_for_slot && !nothing).then_some(act)
    }

    /// Whether the next step of the process at work is a patch, whose fate may differ.
    pub fn patches(&self, world: &World, index: usize) -> bool {
        matches!(
            self.next_act(&world.working, index),
            Some(
                Act::Announce(_)
                    | Act::Publish(_)
                    | Act::Record(Some(_), _)
                    | Act::AddFinalizer(_)
                    | Act::DropFinalizer { .. }
            )
        )
    }

    /// Whether it is this link's turn to write. If it has just been given the slot, or `rival`, the other link of the
    /// organization, had to be read first, it decides again.
    fn has_slot(&self, process: &mut Process, index: usize, rival: Option<Id<Link>>) -> bool {
        if self.controller.ignores_slot {
            return true;
        }
        if process.slot.is_some_and(|holder| holder != index) {
            process.waiting[index] = true;
            self.end_pass(process, index);
            return false;
        }
        let known = &process.known[1 - index];
        let unread = known.link.is_some() && !known.current && !self.controller.trusts_old_views;
        if unread {
            self.take_in(process, 1 - index, rival, true);
        }
        process.slot.replace(index) == Some(index) && !unread
    }

    fn end_pass(&self, process: &mut Process, index: usize) {
        process.known[index].read = None;
        let unrecorded = process.known[index].answered;
        if process.slot == Some(index) && !unrecorded.is_some_and(|attempt| attempt.changes_the_link()) {
            let other = 1 - index;
            let next = process.waiting[other] && process.known[other].link.is_some();
            process.waiting[other] = false;
            process.slot = next.then_some(other);
        }
        if self.controller.forgets_outcome {
            process.known[index].answered = None;
        }
    }

    /// A process without a claim is about to write: it ends, and another begins and waits. False, unless it does not look.
    fn trespasses(&self, world: &mut World) -> bool {
        world.truth.trespassed |= self.controller.ignores_claim;
        if !self.controller.ignores_claim {
            world.former = None;
        }
        self.controller.ignores_claim
    }

    /// Writes exactly the version that the process knows. False if it is another by now, which is then read, or if no answer
    /// came, which ends the pass.
    fn patch(&self, world: &mut World, who: Who, index: usize, after: Option<Id<Link>>, fate: Fate) -> bool {
        if who == Who::Former && !self.trespasses(world) {
            return false;
        }
        let current = world.links[index];
        let Some(process) = world.process(who) else { return false };
        if fate == Fate::Lost {
            self.end_pass(process, index);
            return false;
        }
        let expected = process.known[index].fresh || self.controller.ignores_version;
        let Some(current) = current.filter(|_| expected) else {
            self.take_in(process, index, current, true);
            return false;
        };
        // Only the status and the finalizers are written.
        let after = after.map(|after| {
            let (status, finalizers) = (after.status.clone(), after.finalizers.clone());
            Id::of(Link { status, finalizers, ..Link::clone(&current) })
        });
        world.put(index, after);
        let Some(process) = world.process(who) else { return false };
        if fate == Fate::Unanswered {
            self.end_pass(process, index);
            return false;
        }
        self.take_in(process, index, after, true);
        true
    }

    /// The process sees the link as it is now, by a call of its own or from the watch.
    pub fn take_in(&self, process: &mut Process, index: usize, link: Option<Id<Link>>, called: bool) {
        let known = &mut process.known[index];
        (known.link, known.fresh) = (link, true);
        known.current |= called;
        if link.is_none() {
            *known = Known { calling: known.calling, ..Known::of(None, true) };
            process.waiting[index] = false;
            if process.known[index].calling.is_none() {
                self.end_pass(process, index);
            }
        }
    }

    /// What the API does with a request. What was sent before and has not come in yet never will.
    pub fn serve(&self, world: &mut World, index: usize) {
        let Some(calling) = world.working.known[index].calling else { return };
        if let Some(request) = world.working.request(index) {
            world.orphan = None;
            if world.working.nonce == Nonce::Expired && self.controller.believes_any_401 {
                world.working.nonce = Nonce::Unknown;
                self.answer(world, index, failure(Reason::Unauthorized, false));
                return;
            }
            let outcome = if self.is_refused(world, request) {
                failure(Reason::LinkExists, false)
            } else {
                self.take_effect(world, request);
                match request.call {
                    Call::Unlink => Outcome::Unlinked,
                    _ => Outcome::Accepted(self.config.answers_state.then(|| "SYNCED".into())),
                }
            };
            if self.config.nonces {
                world.working.nonce = Nonce::Good;
            }
            self.answer(world, index, outcome);
            return;
        }
        debug_assert!(matches!(calling.call, Call::Poll | Call::Adopt));
        let outcome = if world.remote.is_some() { Outcome::State("SYNCED".into()) } else { Outcome::NoLink };
        self.answer(world, index, outcome);
    }

    fn is_refused(&self, world: &World, request: Request) -> bool {
        request.call == Call::Link && self.config.refuses_second && world.remote.is_some()
    }

    /// A POST or DELETE does what it is for, unless it is refused.
    pub fn take_effect(&self, world: &mut World, request: Request) {
        let Request { link, call, token } = request;
        if self.is_refused(world, request) {
            return;
        }
        if call == Call::Unlink {
            let recorded = |by: usize, token| {
                let record = world.links[by].and_then(|other| other.status.link.clone());
                record.and_then(|record| record.token_fingerprint) == Some(fingerprint(token))
            };
            world.truth.removed_anothers |= world.remote.is_some_and(|remote| match remote.by {
                None => true,
                Some(by) => by != link && recorded(by, remote.token),
            });
        }
        world.remote = (call == Call::Link).then_some(InForce { by: Some(link), token });
        if call == Call::Link {
            world.truth.accepted[link] |= 1 << token;
        }
    }

    /// The process at work gets an answer, or gives up waiting for it.
    pub fn answer(&self, world: &mut World, index: usize, outcome: Outcome) {
        let Some(calling) = world.working.known[index].calling.take() else { return };
        let process = &mut world.working;
        if process.known[index].link.is_some() {
            process.known[index].answered = Some(attempt(&self.config, index, calling, outcome));
        } else {
            // It was for a resource that is gone.
            self.end_pass(process, index);
        }
    }

    /// The token in force that a link should have.
    pub fn wanted(&self, world: &World, index: usize) -> u8 {
        let secret = self.config.secret_of(index);
        token_in(secret, world.secrets[secret])
    }
}

fn needs_slot(act: Act) -> bool {
    matches!(act, Act::Read | Act::Call(Call::Link | Call::Unlink) | Act::Announce(_))
}

/// A call that failed.
pub fn failure(reason: Reason, maybe_effective: bool) -> Outcome {
    let message = format!("{reason} happened.");
    Outcome::Failed(CallFailure { reason, message, retry_after: None, maybe_effective })
}
