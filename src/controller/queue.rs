//! Which link is worked on next: each at its time, the urgent ones first, none twice at once. Among those that are as urgent the
//! namespaces take turns: nobody waits for all that another tenant has just created.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::key::Key;

/// How much of a hurry a link is in. The smaller one goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Urgency {
    /// A person, or a tool of theirs, has just changed something.
    Change,
    /// Found at the start, and not ready.
    Backlog,
    /// The operator's own doing: checks and retries.
    Routine,
}

/// Every so many turns the oldest due link goes first, however urgent the others are: nothing starves.
pub(super) const FAIR_TURN: u64 = 8;

/// The links that wait or are being worked on.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Key, Entry>,
    /// One lane for each urgency, ordered by round, then by time, and then by arrival.
    lanes: [BTreeMap<Place, Key>; 3],
    /// Where each stands, in the order of time and arrival over all lanes.
    oldest: BTreeMap<(Instant, u64), (Urgency, Place)>,
    /// For each lane the rounds that are given out.
    rounds: [Rounds; 3],
    arrivals: u64,
    turns: u64,
    in_flight: usize,
    /// When a link was taken last.
    taken: Option<Instant>,
}

/// Where a link stands in its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    round: u64,
    time: Instant,
    arrival: u64,
}

/// In each round every namespace has one turn. What waits for its time has no round: it comes at that time.
#[derive(Debug, Default)]
struct Rounds {
    /// The one that is on.
    now: u64,
    /// The last one in which a namespace has a place.
    last: HashMap<String, u64>,
}

#[derive(Debug, Default)]
struct Entry {
    place: Option<(Urgency, Place)>,
    running: bool,
    /// Woken while it was being worked on.
    again: Option<Urgency>,
}

impl Queue {
    /// Makes the link due now. One that is being worked on is due again as soon as that is done.
    pub fn wake(&self, key: &Key, urgency: Urgency) {
        self.lock().wake(key, urgency, Instant::now());
        self.changed.notify_one();
    }

    /// The next link that is due, as soon as there is one, and how urgent it is. It counts as being worked on until
    /// [`Queue::done`].
    pub async fn next(&self) -> (Key, Urgency) {
        loop {
            let changed = self.changed.notified();
            let upcoming = {
                let mut state = self.lock();
                match state.take(Instant::now()) {
                    Some(next) => return next,
                    None => state.upcoming(),
                }
            };
            match upcoming {
                Some(time) => tokio::select! {
                    () = sleep_until(time) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    /// Takes a link out of its turn: from now on it counts as being worked on. False if it is already.
    pub fn take_out_of_turn(&self, key: &Key) -> bool {
        self.lock().take_out_of_turn(key)
    }

    /// The link has been worked on, and is due again at `next` unless something wakes it before.
    pub fn done(&self, key: &Key, next: Option<Instant>) {
        self.lock().done(key, next, Instant::now());
        self.changed.notify_one();
    }

    /// Links that wait for their time or their turn.
    pub fn depth(&self) -> usize {
        self.lock().lanes.iter().map(BTreeMap::len).sum()
    }

    /// Links that are being worked on.
    pub fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    /// For how long a link has been due and none been taken.
    pub fn overdue(&self) -> Duration {
        let now = Instant::now();
        let state = self.lock();
        let oldest = state.oldest.keys().next().map(|(time, _)| *time);
        oldest
            .max(state.taken.filter(|_| oldest.is_some()))
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, so the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self, key: &Key, urgency: Urgency, now: Instant) {
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.running {
            entry.again = Some(entry.again.map_or(urgency, |before| before.min(urgency)));
            return;
        }
        match entry.place {
            // Due already and at least as urgent: it keeps its place in the row.
            Some((before, place)) if place.time <= now && before <= urgency => {}
            _ => self.put(key, urgency, now),
        }
    }

    fn take(&mut self, now: Instant) -> Option<(Key, Urgency)> {
        self.turns = self.turns.wrapping_add(1);
        let due = |place: &Place| place.time <= now;
        let fair = self.turns.is_multiple_of(FAIR_TURN);
        let (urgency, place) = if fair {
            self.oldest.values().next().copied().filter(|(_, place)| due(place))?
        } else {
            let head = |urgency: Urgency| {
                Some((urgency, *self.lane(urgency).keys().next().filter(|place| due(place))?))
            };
            [Urgency::Change, Urgency::Backlog, Urgency::Routine].into_iter().find_map(head)?
        };
        let key = self.leave(urgency, place)?;
        if !fair && !self.lane(urgency).is_empty() {
            self.rounds(urgency).now = place.round;
        }
        self.taken = Some(now);
        let urgency = self.begin(&key).map_or(Urgency::Routine, |(urgency, _)| urgency);
        Some((key, urgency))
    }

    fn take_out_of_turn(&mut self, key: &Key) -> bool {
        if self.entries.get(key).is_some_and(|entry| entry.running) {
            return false;
        }
        if let Some((urgency, place)) = self.begin(key) {
            self.leave(urgency, place);
        }
        true
    }

    /// From now on it is being worked on. Returns where it stood.
    fn begin(&mut self, key: &Key) -> Option<(Urgency, Place)> {
        let entry = self.entries.entry(key.clone()).or_default();
        entry.running = true;
        self.in_flight += 1;
        entry.place.take()
    }

    fn done(&mut self, key: &Key, next: Option<Instant>, now: Instant) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.running) else { return };
        entry.running = false;
        self.in_flight = self.in_flight.saturating_sub(1);
        match (entry.again.take(), next) {
            (Some(urgency), _) => self.put(key, urgency, now),
            (None, Some(time)) => self.put(key, Urgency::Routine, time),
            (None, None) => {
                self.entries.remove(key);
            }
        }
    }

    fn put(&mut self, key: &Key, urgency: Urgency, time: Instant) {
        self.arrivals = self.arrivals.wrapping_add(1);
        let old = self.entries.get_mut(key).and_then(|entry| entry.place.take());
        if let Some((before, old)) = old {
            self.leave(before, old);
        }
        // A check is due at its time and not before its turn: there are only as many as links, each once an interval.
        let round = match urgency {
            Urgency::Routine => 0,
            Urgency::Change | Urgency::Backlog => self.rounds(urgency).give(&key.namespace),
        };
        let place = Place { round, time, arrival: self.arrivals };
        self.entries.entry(key.clone()).or_default().place = Some((urgency, place));
        self.lane_mut(urgency).insert(place, key.clone());
        self.oldest.insert((time, place.arrival), (urgency, place));
    }

    /// Takes out whoever stands there.
    fn leave(&mut self, urgency: Urgency, place: Place) -> Option<Key> {
        self.oldest.remove(&(place.time, place.arrival));
        let lane = self.lane_mut(urgency);
        let key = lane.remove(&place);
        if lane.is_empty() {
            *self.rounds(urgency) = Rounds::default();
        }
        key
    }

    fn lane(&self, urgency: Urgency) -> &BTreeMap<Place, Key> {
        let [change, backlog, routine] = &self.lanes;
        of(urgency, change, backlog, routine)
    }

    fn lane_mut(&mut self, urgency: Urgency) -> &mut BTreeMap<Place, Key> {
        let [change, backlog, routine] = &mut self.lanes;
        of(urgency, change, backlog, routine)
    }

    fn rounds(&mut self, urgency: Urgency) -> &mut Rounds {
        let [change, backlog, routine] = &mut self.rounds;
        of(urgency, change, backlog, routine)
    }

    fn upcoming(&self) -> Option<Instant> {
        self.oldest.keys().next().map(|(time, _)| *time)
    }
}

impl Rounds {
    /// The next round in which the namespace has no place yet.
    fn give(&mut self, namespace: &str) -> u64 {
        if let Some(last) = self.last.get_mut(namespace) {
            *last = self.now.max(last.wrapping_add(1));
            return *last;
        }
        self.last.insert(namespace.to_owned(), self.now);
        self.now
    }
}

fn of<T>(urgency: Urgency, change: T, backlog: T, routine: T) -> T {
    match urgency {
        Urgency::Change => change,
        Urgency::Backlog => backlog,
        Urgency::Routine => routine,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "n".into(), name: name.into() }
    }

    fn take(queue: &Queue) -> Option<String> {
        queue.next().now_or_never().map(|(key, _)| key.name)
    }

    fn later(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_waited_longest_gets_every_eighth_turn_though_others_have_many_namespaces() {
        let queue = Queue::default();
        let of = |namespace: usize, name: &str| Key { namespace: format!("n{namespace}"), name: name.into() };
        for n in 0..10 {
            queue.wake(&of(1000, &format!("mine-{n}")), Urgency::Change);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        for namespace in 0..200 {
            queue.wake(&of(namespace, "theirs"), Urgency::Change);
        }
        let mut turns = 0;
        let mut mine = 0;
        while mine < 10 {
            tokio::time::advance(Duration::from_millis(1)).await;
            let (key, _) = queue.next().now_or_never().expect("a link that is due");
            turns += 1;
            mine += usize::from(key.namespace == "n1000");
            // Theirs is due again at once, in the next round.
            queue.done(&key, None);
            if key.namespace != "n1000" {
                queue.wake(&key, Urgency::Change);
            }
        }
        assert!(turns <= 8 * 10, "{turns} turns");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_stands_still_as_long_as_links_are_taken() {
        let queue = Queue::default();
        queue.wake(&key("first"), Urgency::Change);
        queue.wake(&key("second"), Urgency::Change);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(queue.overdue().as_secs(), 90);
        assert_eq!(take(&queue).as_deref(), Some("first"));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(queue.overdue().as_secs(), 7, "one was taken since");
        assert_eq!(take(&queue).as_deref(), Some("second"));
        assert_eq!(queue.overdue(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_taken_out_of_turn_is_not_taken_again_before_it_is_done() {
        let queue = Queue::default();
        for name in ["now", "new", "later"] {
            assert!(queue.take_out_of_turn(&key(name)));
            queue.done(&key(name), Some(later(if name == "now" { 0 } else { 10 })));
        }
        assert!(queue.take_out_of_turn(&key("later")) && !queue.take_out_of_turn(&key("later")));
        assert_eq!((queue.in_flight(), queue.depth()), (1, 2));
        queue.wake(&key("later"), Urgency::Change);
        assert_eq!(take(&queue).as_deref(), Some("now"));
        assert_eq!(take(&queue), None);
        queue.done(&key("later"), None);
        assert_eq!(take(&queue).as_deref(), Some("later"), "it was woken meanwhile");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(take(&queue).as_deref(), Some("new"));
        assert_eq!((queue.in_flight(), queue.depth()), (3, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_urgent_go_first_and_equals_in_the_order_of_arrival() {
        let queue = Queue::default();
        queue.wake(&key("check"), Urgency::Routine);
        queue.wake(&key("old"), Urgency::Backlog);
        queue.wake(&key("a"), Urgency::Change);
        queue.wake(&key("b"), Urgency::Change);
        let order: Vec<_> = std::iter::from_fn(|| take(&queue)).collect();
        assert_eq!(order, ["a", "b", "old", "check"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_is_not_starved_by_the_urgent() {
        let queue = Queue::default();
        queue.wake(&key("check"), Urgency::Routine);
        tokio::time::advance(Duration::from_secs(1)).await;
        for n in 0..20 {
            queue.wake(&key(&n.to_string()), Urgency::Change);
        }
        let order: Vec<_> = std::iter::from_fn(|| take(&queue)).collect();
        let turn = order.iter().position(|name| name == "check").unwrap();
        assert!(turn < 8, "{turn}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_all_that_another_namespace_has_changed() {
        for urgency in [Urgency::Change, Urgency::Backlog] {
            let queue = Queue::default();
            let wake = |namespace: &str, name: usize| {
                queue.wake(&Key { namespace: namespace.into(), name: name.to_string() }, urgency);
            };
            let take =
                || queue.next().now_or_never().map(|(key, _)| format!("{}{}", key.namespace, key.name));
            (0..1000).for_each(|n| wake("crowd", n));
            let first: Vec<_> = std::iter::from_fn(take).take(500).collect();
            assert_eq!(first.last().map(String::as_str), Some("crowd499"));
            wake("a", 0);
            wake("a", 1);
            wake("b", 0);
            let next: Vec<_> = std::iter::from_fn(take).take(6).collect();
            // The 504th turn is that of the one that has waited longest.
            assert_eq!(next, ["a0", "b0", "crowd500", "crowd501", "a1", "crowd502"]);
            assert_eq!(std::iter::from_fn(take).count(), 1000 - 503);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_link_is_never_worked_on_twice_at_once() {
        let queue = Queue::default();
        queue.wake(&key("a"), Urgency::Change);
        assert_eq!(take(&queue).as_deref(), Some("a"));
        queue.wake(&key("a"), Urgency::Change);
        queue.wake(&key("a"), Urgency::Routine);
        assert_eq!(take(&queue), None);
        assert_eq!(queue.in_flight(), 1);
        queue.done(&key("a"), Some(later(60)));
        assert_eq!(take(&queue).as_deref(), Some("a"), "woken meanwhile, so due at once");
        queue.done(&key("a"), None);
        assert_eq!((take(&queue), queue.depth(), queue.in_flight()), (None, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_comes_at_its_time_or_when_it_is_woken() {
        let queue = Queue::default();
        queue.wake(&key("a"), Urgency::Change);
        assert_eq!(take(&queue).as_deref(), Some("a"));
        queue.done(&key("a"), Some(later(60)));
        assert_eq!((take(&queue), queue.depth()), (None, 1));
        let before = Instant::now();
        assert_eq!(queue.next().await, (key("a"), Urgency::Routine));
        assert_eq!(before.elapsed().as_secs(), 60);
        queue.done(&key("a"), Some(later(60)));
        queue.wake(&key("a"), Urgency::Routine);
        assert_eq!(take(&queue).as_deref(), Some("a"));
        assert_eq!(queue.depth(), 0, "the later time is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_and_not_taken_is_overdue() {
        let queue = Queue::default();
        assert_eq!(queue.overdue(), Duration::ZERO);
        queue.wake(&key("a"), Urgency::Routine);
        tokio::time::advance(Duration::from_secs(7)).await;
        queue.wake(&key("a"), Urgency::Routine);
        assert_eq!(queue.overdue(), Duration::from_secs(7), "waking it again does not make it younger");
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_worker_is_woken() {
        let queue = std::sync::Arc::new(Queue::default());
        let waiter = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await.0.name }
        });
        tokio::task::yield_now().await;
        queue.wake(&key("a"), Urgency::Routine);
        assert_eq!(waiter.await.unwrap(), "a");
    }
}
