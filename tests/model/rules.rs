//! The product's `decide`, asked with what a process of the model sees, and each question once.

use std::collections::HashMap;
use std::sync::Mutex;

use migrationlink_operator::api::{FINALIZER, MigrationLinkStatus};
use migrationlink_operator::decision::{
    Attempt, Call, Fingerprints, Holder, Link, Memory, Outcome, Release, SecretAccess, Settled, Step, View,
};

use super::config::Config;
use super::intern::Id;
use super::resource::{NOW, at, inputs, reference, settings, version};
use super::world::{Calling, Process, Read};

/// The rules: the product's, or changed ones.
pub type Decide = fn(&View<'_>) -> Step;

/// What a process does next for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    Wait,
    /// Wait for what is over: it is asked again at once.
    Again,
    Read,
    Call(Call),
    /// Publish that the token is going to be sent.
    Announce(Id<Link>),
    Publish(Id<Link>),
    Record(Option<Id<Link>>, Id<Memory>),
    AddFinalizer(Id<Link>),
    DropFinalizer {
        after: Id<Link>,
        unlinked: bool,
        left_behind: bool,
    },
}

/// All that a decision depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Seen {
    link: Id<Link>,
    memory: Id<Memory>,
    answered: Option<Id<Attempt>>,
    notice: u8,
    read: Option<Read>,
    held: bool,
    started: i64,
}

/// The rules and what they said before.
pub struct Rules {
    decide: Decide,
    said: Mutex<HashMap<Seen, Act>>,
}

impl Rules {
    pub fn new(decide: Decide) -> Self {
        Self { decide, said: Mutex::new(HashMap::new()) }
    }

    /// What comes next for a link; None if the process knows none.
    pub fn act(&self, config: &Config, process: &Process, index: usize) -> Option<Act> {
        let known = &process.known[index];
        let link = known.link?;
        let seen = Seen {
            link,
            memory: known.memory,
            answered: known.answered,
            notice: process.notices[config.secret_of(index)],
            // What was read for another spec holds no longer.
            read: known
                .read
                .filter(|read| read.generation == link.generation && read.deleting == link.deleting),
            held: process.is_held_by_another(index),
            started: process.started,
        };
        if let Some(act) = self.said.lock().unwrap().get(&seen) {
            return Some(*act);
        }
        let act = self.decide(config, index, &seen);
        self.said.lock().unwrap().insert(seen, act);
        Some(act)
    }

    fn decide(&self, config: &Config, index: usize, seen: &Seen) -> Act {
        let link = &*seen.link;
        let holder = Holder { namespace: link.namespace.clone(), name: format!("link-{}", 1 - index) };
        let versions = [(reference(link), version(seen.notice))];
        let inputs = seen.read.map(|read| inputs(link, config.secret_of(index), read.version));
        let step = (self.decide)(&View {
            link,
            settings: &settings(seen.started),
            memory: &seen.memory,
            secret_access: SecretAccess::Watch,
            versions: &versions,
            holder: seen.held.then_some(&holder),
            held: None,
            inputs: inputs.as_ref(),
            answered: seen.answered.as_deref(),
            now: at(0),
            jitter: 0.5,
        });
        let with = |status: MigrationLinkStatus| Id::of(Link { status, ..link.clone() });
        match step {
            Step::Wait(Some(until)) if until.as_second() <= NOW => Act::Again,
            Step::Wait(_) => Act::Wait,
            Step::Park(_) => unreachable!("no call is held back here"),
            Step::ReadInputs => Act::Read,
            Step::Link => Act::Call(Call::Link),
            Step::Poll => Act::Call(Call::Poll),
            Step::Adopt => Act::Call(Call::Adopt),
            Step::Unlink => Act::Call(Call::Unlink),
            Step::Announce(status) => Act::Announce(with(*status)),
            Step::Publish(status) => Act::Publish(with(*status)),
            Step::Record(Settled { status, memory }) => {
                Act::Record(status.map(|status| with(*status)), Id::of(memory))
            }
            Step::AddFinalizer => {
                Act::AddFinalizer(Id::of(Link { finalizers: vec![FINALIZER.into()], ..link.clone() }))
            }
            Step::DropFinalizer(release) => Act::DropFinalizer {
                after: Id::of(Link { finalizers: Vec::new(), ..link.clone() }),
                unlinked: release == Release::Unlinked,
                left_behind: matches!(release, Release::LeftBehind(_)),
            },
        }
    }
}

/// A call that is answered now.
pub fn attempt(config: &Config, index: usize, calling: Calling, outcome: Outcome) -> Id<Attempt> {
    let link = &*calling.link;
    let inputs = inputs(link, config.secret_of(index), calling.read.version);
    let none = |_| Fingerprints { token: String::new(), keys: String::new() };
    Id::of(Attempt {
        call: calling.call,
        at: at(0),
        generation: link.generation,
        reconcile_at: None,
        relink_at: None,
        inputs: inputs.records,
        fingerprints: inputs.usable.unwrap_or_else(none),
        outcome,
    })
}
