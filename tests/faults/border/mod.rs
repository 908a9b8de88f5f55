//! The border of the process: every request that it sends passes here, and here things go wrong.

pub mod cloud;
pub mod kubernetes;
mod name;
pub mod watch;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::world::life::Life;

/// Time from a request to its effect, and from its effect to its answer.
pub const WAY: Duration = Duration::from_millis(1);
/// So long takes what is slow: less than any deadline.
pub const SLOW: Duration = Duration::from_secs(5);
/// After so long the client of the Kubernetes API gives up a connection that says nothing (`read_timeout`).
pub const SILENCE: Duration = Duration::from_mins(5);

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    ListLinks,
    ListSecrets,
    ListConfigMaps,
    WatchLinks,
    WatchSecrets,
    WatchConfigMaps,
    GetSecret,
    GetConfigMap,
    GetLink,
    Status,
    Finalizer,
    Event,
    GetLease,
    CreateLease,
    UpdateLease,
    WatchLease,
    Challenge,
    Post,
    Poll,
    Delete,
}

/// One request: the how many-th of its kind since the run began to count, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Crossing {
    pub kind: Kind,
    pub nth: u32,
}

/// When it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Before the request has had its effect: it has none.
    Before,
    /// After its effect, before the answer arrives.
    Effect,
    /// After the answer has arrived; of a watch: with its first event.
    Answer,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The process is gone; another starts a second later.
    Crash,
    /// No answer ever comes.
    Timeout,
    /// The connection breaks.
    Reset,
    /// The answer breaks off in the middle of its body.
    Cut,
    /// It takes five seconds.
    Slow,
    /// It is answered with this status.
    Status(u16),
    /// A list without the last change of all; a watch that tells of an older version first.
    Older,
    /// A watch that tells an event twice.
    Twice,
    /// A watch that tells an event after the next one.
    Swapped,
}

/// A fault at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point {
    pub crossing: Crossing,
    pub phase: Phase,
    pub fault: Fault,
}

/// What the oracle wants to know of a run.
#[derive(Default)]
pub struct Record {
    /// Every request since it counts, in order.
    pub crossings: Vec<Crossing>,
    /// The faults that were met.
    pub met: Vec<Point>,
    /// POSTs that were sent: those apart that came on a nonce that had grown too old.
    pub sent: usize,
    /// POSTs that had an effect.
    pub effective: usize,
    /// POSTs with an effect whose process ended before it wrote a status.
    pub orphans: usize,
    /// What must not happen and did.
    pub violations: Vec<String>,
    /// A token was sent where the link of another one was, and accepted.
    replaced: bool,
    /// The processes whose POST has had its effect, and that have written no status since.
    unrecorded: BTreeSet<String>,
    /// Who waits for the answer to a POST.
    posting: Option<Arc<Life>>,
}

#[derive(Default)]
struct State {
    counts: bool,
    plan: Vec<Point>,
    numbers: HashMap<Kind, u32>,
    record: Record,
}

/// See above. Clones share everything.
#[derive(Clone, Default)]
pub struct Border(Arc<Mutex<State>>);

impl Border {
    /// From now on requests count, and these faults lie in wait.
    pub fn arm(&self, plan: &[Point]) {
        let mut state = self.lock();
        state.counts = true;
        state.plan = plan.to_vec();
    }

    /// What was seen.
    pub fn record(&self) -> Record {
        std::mem::take(&mut self.lock().record)
    }

    pub fn violation(&self, what: String) {
        self.lock().record.violations.push(what);
    }

    /// A request is on its way. What goes wrong with it, if anything does.
    fn cross(&self, kind: Kind) -> (Crossing, Option<Point>) {
        let mut state = self.lock();
        let state = &mut *state;
        if !state.counts {
            return (Crossing { kind, nth: 0 }, None);
        }
        let nth = state.numbers.entry(kind).or_default();
        *nth += 1;
        let crossing = Crossing { kind, nth: *nth };
        state.record.crossings.push(crossing);
        let point = state.plan.iter().position(|point| point.crossing == crossing);
        (crossing, point.map(|at| state.plan.swap_remove(at)))
    }

    /// A fault has come to pass.
    fn met(&self, point: Point) {
        self.lock().record.met.push(point);
    }

    /// A POST is sent.
    fn posts_now(&self, life: &Arc<Life>) {
        let mut state = self.lock();
        if let Some(other) =
            state.record.posting.as_ref().filter(|other| !Arc::ptr_eq(other, life) && other.alive())
        {
            let text = format!("{} sends the token while {} waits for an answer", life.name, other.name);
            state.record.violations.push(text);
        }
        state.record.posting = Some(life.clone());
    }

    /// How many faults were met.
    pub fn met_so_far(&self) -> usize {
        self.lock().record.met.len()
    }

    /// A POST was sent.
    fn sent(&self) {
        self.lock().record.sent += 1;
    }

    /// A POST has had its effect; `replaces`: where the link of another token was.
    fn posted(&self, life: &Life, replaces: bool) {
        let record = &mut self.lock().record;
        record.effective += 1;
        record.replaced |= replaces;
        if life.alive() {
            record.unrecorded.insert(life.name.clone());
        } else {
            record.orphans += 1;
        }
    }

    /// Whether the link of one token was replaced by that of another.
    fn replaced(&self) -> bool {
        self.lock().record.replaced
    }

    /// A POST is answered.
    fn answered(&self) {
        self.lock().record.posting = None;
    }

    /// A process has written a status.
    pub fn wrote_status(&self, life: &Life) {
        self.lock().record.unrecorded.remove(&life.name);
    }

    /// A process has ended.
    pub fn ended(&self, life: &Life) {
        let record = &mut self.lock().record;
        record.orphans += usize::from(record.unrecorded.remove(&life.name));
        record.posting.take_if(|posting| posting.name == life.name);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Kind {
    pub fn is_watch(self) -> bool {
        matches!(self, Self::WatchLinks | Self::WatchSecrets | Self::WatchConfigMaps | Self::WatchLease)
    }

    pub fn is_list(self) -> bool {
        matches!(self, Self::ListLinks | Self::ListSecrets | Self::ListConfigMaps)
    }

    pub fn is_remote(self) -> bool {
        matches!(self, Self::Challenge | Self::Post | Self::Poll | Self::Delete)
    }

    /// Whether it is only for who holds the lease.
    pub fn is_write(self) -> bool {
        matches!(self, Self::Status | Self::Finalizer | Self::Post | Self::Delete)
    }

    /// Everything that can go wrong with such a request. Left out is what no server does, answers that are lies: a 404 that says
    /// that an object is gone which is there, or that there is no link.
    pub fn faults(self) -> Vec<(Phase, Fault)> {
        use Fault::{Crash, Cut, Older, Reset, Slow, Status, Swapped, Timeout, Twice};
        let statuses: &[u16] = match self {
            _ if self.is_remote() => &[400, 401, 403, 404, 409, 429, 503],
            _ if self.is_watch() => &[403, 410, 429, 500],
            _ if self.is_list() => &[403, 410, 429, 503],
            _ => &[401, 403, 409, 422, 429, 500],
        };
        let statuses = || statuses.iter().map(|code| Status(*code));
        let before = [Crash, Timeout, Reset, Slow].into_iter().chain(statuses());
        let mut faults: Vec<_> = before.map(|fault| (Phase::Before, fault)).collect();
        if self.is_watch() {
            let with_event =
                [Crash, Timeout, Reset, Cut, Slow, Status(410), Status(500), Older, Twice, Swapped];
            faults.extend(with_event.map(|fault| (Phase::Answer, fault)));
            return faults;
        }
        if self.is_list() {
            faults.push((Phase::Effect, Older));
        }
        // That a POST or DELETE had an effect and was refused is a lie as well.
        let truthful = |fault: &Fault| !matches!((self, fault), (Self::Post | Self::Delete, Status(code)) if *code < 500);
        let after = [Crash, Timeout, Reset, Cut, Slow].into_iter().chain(statuses()).filter(truthful);
        faults.extend(after.map(|fault| (Phase::Effect, fault)));
        faults.push((Phase::Answer, Crash));
        faults
    }
}

impl fmt::Display for Crossing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", name::kind(self.kind), self.nth)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.crossing, name::phase(self.phase), name::fault(self.fault))
    }
}

pub use name::{ALL_KINDS, parse};
