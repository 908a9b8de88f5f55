//! A state of the election.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::jiff::Timestamp;
use migrationlink_operator::leader::{held, released};

use super::TIMING;

/// The name of a process that has just begun, until it gets one.
const NEW: u8 = u8::MAX;
/// Any other name than those of the candidates.
pub const GONE: u8 = u8::MAX - 1;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// What the lease says: who holds it.
    pub holder: Holder,
    pub candidates: Vec<Candidate>,
    /// Requests that nobody waits for any more: whose, and whether the lease is still as it was.
    pub late: Vec<Write>,
}

/// What the lease says. Names are numbers: those of the candidates first, then those of processes that have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    Nobody,
    /// It was given back.
    Released,
    Name(u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    pub name: u8,
    pub seen: Option<View>,
    /// Ticks for which it may still write.
    pub claim: Option<u8>,
    /// A write that it awaits.
    pub writing: Option<Write>,
    pub stopped: bool,
}

/// The lease as a candidate saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    pub holder: Holder,
    /// Whether that is all that happened: not after an attempt whose effect is not known.
    pub current: bool,
    /// Whether the lease still has this version.
    pub fresh: bool,
    /// Ticks since it was seen first.
    pub age: u8,
}

/// A write on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Write {
    pub holder: Holder,
    /// Whether the lease still has the version that it is for.
    pub fresh: bool,
    /// Ticks since it was begun.
    pub age: u8,
}

/// The lease as an object. One that was renewed differs in its time.
pub fn lease(holder: Holder, renewed: bool) -> Lease {
    let time = Timestamp::from_second(1_767_225_600 + i64::from(renewed)).unwrap();
    match holder {
        Holder::Nobody => Lease::default(),
        Holder::Released => released(Lease { spec: Some(LeaseSpec::default()), ..Lease::default() }, time),
        Holder::Name(name) => {
            // Only its renewal tells one version from the next.
            let spec = LeaseSpec { holder_identity: Some(name.to_string()), ..LeaseSpec::default() };
            held(Lease { spec: Some(spec), ..Lease::default() }, &name.to_string(), TIMING, time)
        }
    }
}

impl Candidate {
    pub fn new(name: u8) -> Self {
        Self { name, seen: None, claim: None, writing: None, stopped: false }
    }

    /// Whether it may write.
    pub fn holds(&self) -> bool {
        self.claim > Some(0)
    }
}

impl Place {
    /// Nobody waits for these any more.
    pub fn leave(&mut self, writes: impl IntoIterator<Item = Write>) {
        self.late.extend(writes.into_iter().map(|write| Write { age: 0, ..write }));
        self.late.sort_unstable();
        self.late.dedup();
    }

    pub fn write(&mut self, write: Write) {
        self.holder = write.holder;
        for candidate in &mut self.candidates {
            candidate.seen.iter_mut().for_each(|view| view.fresh = false);
            candidate.writing.iter_mut().for_each(|write| write.fresh = false);
        }
        for write in &mut self.late {
            write.fresh = false;
        }
        self.leave([]);
    }

    /// Names are as good as any others: the same state has the same.
    pub fn name(&mut self) {
        self.candidates.sort_by_key(|candidate| {
            let seen = candidate.seen.map(|view| (view.current, view.fresh, view.age));
            let own = self.holder == Holder::Name(candidate.name);
            (
                own,
                candidate.claim,
                candidate.stopped,
                seen,
                candidate.writing.map(|write| (write.fresh, write.age)),
            )
        });
        let names: Vec<u8> = self.candidates.iter().map(|candidate| candidate.name).collect();
        let rename = |holder: &mut Holder| {
            if let Holder::Name(name) = holder {
                let place = names.iter().position(|known| known == name && *name != NEW);
                *name = place.map_or(GONE, |place| u8::try_from(place).unwrap());
            }
        };
        for (candidate, name) in self.candidates.iter_mut().zip(0..) {
            // Who else holds it, and how old a version is that decides nothing, makes no difference.
            candidate.seen =
                candidate.seen.filter(|view| view.current || view.fresh).map(|view| match view.holder {
                    Holder::Name(holder) if holder == candidate.name => {
                        View { holder: Holder::Name(name), age: 0, ..view }
                    }
                    Holder::Name(_) => View { holder: Holder::Name(GONE), ..view },
                    Holder::Nobody | Holder::Released => View { age: 0, ..view },
                });
            candidate.name = name;
            candidate.writing.iter_mut().for_each(|write| rename(&mut write.holder));
        }
        rename(&mut self.holder);
        self.late.iter_mut().for_each(|write| rename(&mut write.holder));
        self.leave([]);
    }

    /// A process ends, and another begins in its place.
    pub fn end(&mut self, index: usize) {
        let candidate = &mut self.candidates[index];
        let writing = candidate.writing.take();
        *candidate = Candidate::new(NEW);
        self.leave(writing);
    }
}
