//! A state of the model: what the API server, the HTTP API and the two copies of the operator know.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use migrationlink_operator::decision::{Attempt, Call, Link, Memory};

use super::config::{Budget, Config};
use super::intern::Id;
use super::resource::{LONG_AGO, Token, at, new_link, token_in};

/// As many links as there can be.
pub const LINKS: usize = 2;

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The resources as the API server has them; None: gone.
    pub links: [Option<Id<Link>>; LINKS],
    /// The versions of the Secrets.
    pub secrets: [u8; LINKS],
    /// The link that is in force at the HTTP API.
    pub remote: Option<InForce>,
    /// A request of which nobody awaits the answer any more, and that may still take effect.
    pub orphan: Option<Request>,
    /// The copy that holds the claim.
    pub working: Process,
    /// What the other copy has seen of the links while it waits, and whether it is still told of changes.
    pub standby: [Standby; LINKS],
    /// A copy that held the claim and does not know yet that it is over. There is no standby then.
    pub former: Option<Process>,
    /// What may still happen.
    pub left: Budget,
    /// What really happened, which no copy knows.
    pub truth: Truth,
}

/// A link at the HTTP API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InForce {
    /// Whose POST made it; None: somebody else's.
    pub by: Option<usize>,
    pub token: Token,
}

/// A POST or DELETE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    pub link: usize,
    pub call: Call,
    pub token: Token,
}

/// The history as far as a property asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Truth {
    /// The tokens that the API took from each link's POST, one bit for each.
    pub accepted: [u8; LINKS],
    /// An older `observedGeneration` was published.
    pub went_back: bool,
    /// Something was written without the claim.
    pub trespassed: bool,
    /// A deletion removed a link that another resource made, or nobody here.
    pub removed_anothers: bool,
    /// The grace period of a deletion ended.
    pub left_behind: [bool; LINKS],
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub known: [Known; LINKS],
    /// The link that has the organization's slot.
    pub slot: Option<usize>,
    /// Who waits for it.
    pub waiting: [bool; LINKS],
    /// When it began to work, in seconds from now.
    pub started: i64,
    /// The versions of the Secrets that it knows of.
    pub notices: [u8; LINKS],
    pub nonce: Nonce,
}

/// The nonce that a process knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Nonce {
    Unknown,
    Good,
    Expired,
}

/// What a process knows of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Known {
    /// The newest version that it has seen; None: gone.
    pub link: Option<Id<Link>>,
    /// Whether that is the API server's version.
    pub fresh: bool,
    /// Whether a call of this process has brought it, and not only the watch.
    pub current: bool,
    pub memory: Id<Memory>,
    /// A call that was answered and is not recorded.
    pub answered: Option<Id<Attempt>>,
    /// What the pass has read.
    pub read: Option<Read>,
    /// A call that is awaited.
    pub calling: Option<Calling>,
}

/// What was read of a Secret, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Read {
    pub version: u8,
    pub generation: i64,
    pub deleting: bool,
}

/// A call on its way, and what it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Calling {
    pub call: Call,
    pub link: Id<Link>,
    pub read: Read,
}

/// What the copy that waits knows of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Standby {
    pub link: Option<Id<Link>>,
    pub lags: bool,
}

impl Known {
    pub fn of(link: Option<Id<Link>>, fresh: bool) -> Self {
        Self {
            link,
            fresh,
            current: false,
            memory: Id::of(Memory::default()),
            answered: None,
            read: None,
            calling: None,
        }
    }
}

impl World {
    pub fn new(config: &Config) -> Self {
        let links = [0, 1].map(|index| (index < config.links).then(|| Id::of(new_link(config, index))));
        let secrets = [1; LINKS];
        Self {
            links,
            secrets,
            remote: config.foreign.then_some(InForce { by: None, token: 0 }),
            orphan: None,
            working: Process {
                known: links.map(|link| Known::of(link, true)),
                slot: None,
                waiting: [false; LINKS],
                started: 0,
                notices: secrets,
                nonce: Nonce::Unknown,
            },
            standby: links.map(|link| Standby { link, lags: false }),
            former: None,
            left: config.budget,
            truth: Truth::default(),
        }
    }

    /// The resource has another version, or is gone: nobody has seen that yet but the copy that waits, unless it lags.
    pub fn put(&mut self, index: usize, link: Option<Id<Link>>) {
        if let (Some(before), Some(after)) = (self.links[index], link) {
            self.truth.went_back |= after.status.observed_generation < before.status.observed_generation;
        }
        self.links[index] = link;
        for process in [Some(&mut self.working), self.former.as_mut()].into_iter().flatten() {
            process.known[index].fresh = false;
        }
        if !self.standby[index].lags {
            self.standby[index].link = link;
        }
    }

    /// The other copy gets the claim and begins to work with what it has seen so far. What was sent may still take effect.
    pub fn take_over(&mut self) -> Process {
        let calling = (0..LINKS).find_map(|link| self.working.request(link));
        self.orphan = calling.or(self.orphan);
        let standby = self.standby;
        let links = self.links;
        self.standby = links.map(|link| Standby { link, lags: false });
        let next = Process {
            known: [0, 1].map(|index| Known::of(standby[index].link, standby[index].link == links[index])),
            slot: None,
            waiting: [false; LINKS],
            started: 0,
            notices: self.secrets,
            nonce: Nonce::Unknown,
        };
        std::mem::replace(&mut self.working, next)
    }

    /// Time passes: everything that bears a time is so many seconds older.
    pub fn age(&mut self, seconds: i64) {
        self.each_link(|link| link.aged(seconds));
        for process in [Some(&mut self.working), self.former.as_mut()].into_iter().flatten() {
            process.started = (process.started - seconds).max(-LONG_AGO);
            for known in &mut process.known {
                known.memory = known.memory.aged(seconds);
                known.answered = known.answered.map(|attempt| attempt.aged(seconds));
            }
        }
        self.rank();
    }

    /// Of the times at which organizations were first held only the order is kept once they are long ago.
    fn rank(&mut self) {
        let mut times = Vec::new();
        let limit = at(-LONG_AGO);
        self.each_link(|link| {
            times.extend(held_since(link).filter(|time| *time < limit));
            link
        });
        times.sort_unstable();
        times.dedup();
        let ranks: Vec<_> =
            times.iter().rev().zip(1..).map(|(time, rank)| (*time, at(-LONG_AGO - rank))).collect();
        if ranks.iter().all(|(time, rank)| time == rank) {
            return;
        }
        self.each_link(|link| {
            let Some((_, rank)) = ranks.iter().find(|(time, _)| held_since(link) == Some(*time)) else {
                return link;
            };
            let mut link = Link::clone(&link);
            link.status.link.get_or_insert_default().held_since = Some(Time(*rank));
            Id::of(link)
        });
    }

    fn each_link(&mut self, mut change: impl FnMut(Id<Link>) -> Id<Link>) {
        let standby = self.standby.iter_mut().map(|standby| &mut standby.link);
        let processes = [Some(&mut self.working), self.former.as_mut()].into_iter().flatten();
        let known = processes.flat_map(|process| &mut process.known).map(|known| &mut known.link);
        for link in self.links.iter_mut().chain(standby).chain(known).flatten() {
            *link = change(*link);
        }
    }
}

fn held_since(link: Id<Link>) -> Option<k8s_openapi::jiff::Timestamp> {
    Some(link.status.link.as_ref()?.held_since.as_ref()?.0)
}

impl Process {
    /// The POST or DELETE that is awaited for a link.
    pub fn request(&self, link: usize) -> Option<Request> {
        let calling =
            self.known[link].calling.filter(|calling| matches!(calling.call, Call::Link | Call::Unlink))?;
        let secret = calling.link.spec.secret_ref.name.strip_prefix("secret-")?.parse().ok()?;
        Some(Request { link, call: calling.call, token: token_in(secret, calling.read.version) })
    }

    /// Whether another resource holds the organization, as far as this process knows.
    pub fn is_held_by_another(&self, index: usize) -> bool {
        // Both were created at the same time, and their uids are in the order of their numbers.
        let rank = |index: usize| Some((held_since(self.known[index].link?)?, index));
        rank(1 - index).is_some_and(|other| rank(index).is_none_or(|mine| other < mine))
    }

    /// Whether a pass over a link is under way.
    pub fn in_pass(&self, index: usize) -> bool {
        self.known[index].read.is_some() || self.slot == Some(index)
    }
}
