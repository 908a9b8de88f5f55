//! One POST or DELETE at a time for each organization: the one that has the slot decides again, and keeps it until the outcome is
//! recorded. Of those that wait the namespaces take turns: nobody waits for all that another tenant has made for the same organization.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::key::Key;
use crate::endpoint::Origin;

/// An organization at a server.
pub type OrganizationKey = (Origin, String);

/// The organizations that are being written to.
#[derive(Debug, Default)]
pub struct Slots {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<OrganizationKey, Slot>,
    holders: HashMap<Key, OrganizationKey>,
}

#[derive(Debug)]
struct Slot {
    holder: Key,
    /// All that wait.
    waiting: HashMap<Key, Wait>,
    /// Those of each namespace, in the order of arrival.
    rows: HashMap<String, VecDeque<Key>>,
    /// The namespaces of which one waits, in the order of their turns; that of the holder comes last when the slot is free.
    turns: VecDeque<String>,
}

#[derive(Debug)]
struct Wait {
    since: Instant,
    /// Whether it has been said that this one waits for long.
    said: bool,
}

/// How it went to take a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was free.
    Anew,
    /// This link has it already.
    Before,
    /// Another link has it; this one gets it in its turn.
    ByAnother,
}

impl Slots {
    /// Takes the slot of an organization for a link, or has the link wait for it. A link has one slot: of another organization
    /// that a resource of the same name was about it is given back, and whoever gets that is returned, too, to be woken.
    pub fn take(&self, organization: &OrganizationKey, key: &Key, now: Instant) -> (Taken, Option<Key>) {
        let mut state = self.lock();
        if state.holders.get(key) == Some(organization) {
            return (Taken::Before, None);
        }
        let woken = state.free(key);
        if let Some(slot) = state.slots.get_mut(organization) {
            slot.wait(key, now);
            return (Taken::ByAnother, woken);
        }
        state.slots.insert(organization.clone(), Slot::new(key));
        state.holders.insert(key.clone(), organization.clone());
        (Taken::Anew, woken)
    }

    /// Gives the link's slot, if it has one, to the link whose turn it is, which is returned: it has to be woken, and gives the
    /// slot on in its turn, whether it needed it or not.
    pub fn free(&self, key: &Key) -> Option<Key> {
        self.lock().free(key)
    }

    /// Who has the slot that a link has been waiting for for so long: said once.
    pub fn overdue(
        &self,
        organization: &OrganizationKey,
        key: &Key,
        patience: Duration,
        now: Instant,
    ) -> Option<Key> {
        let mut state = self.lock();
        let slot = state.slots.get_mut(organization)?;
        let wait = slot.waiting.get_mut(key)?;
        if wait.said || now.saturating_duration_since(wait.since) < patience {
            return None;
        }
        wait.said = true;
        Some(slot.holder.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, so the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn free(&mut self, key: &Key) -> Option<Key> {
        let organization = self.holders.remove(key)?;
        let slot = self.slots.get_mut(&organization)?;
        // Its namespace has had its turn.
        if slot.rows.contains_key(&key.namespace) {
            slot.turns.push_back(key.namespace.clone());
        }
        while let Some(next) = slot.next() {
            // One that has another slot by now is about another organization.
            if !self.holders.contains_key(&next) {
                slot.holder = next.clone();
                self.holders.insert(next.clone(), organization);
                return Some(next);
            }
            if slot.rows.contains_key(&next.namespace) {
                slot.turns.push_front(next.namespace);
            }
        }
        self.slots.remove(&organization);
        None
    }
}

impl Slot {
    fn new(holder: &Key) -> Self {
        Self { holder: holder.clone(), waiting: HashMap::new(), rows: HashMap::new(), turns: VecDeque::new() }
    }

    fn wait(&mut self, key: &Key, now: Instant) {
        if self.waiting.contains_key(key) {
            return;
        }
        self.waiting.insert(key.clone(), Wait { since: now, said: false });
        if !self.rows.contains_key(&key.namespace) && self.holder.namespace != key.namespace {
            self.turns.push_back(key.namespace.clone());
        }
        self.rows.entry(key.namespace.clone()).or_default().push_back(key.clone());
    }

    /// Takes out the one whose turn it is. Its namespace has no turn from then on.
    fn next(&mut self) -> Option<Key> {
        let namespace = self.turns.pop_front()?;
        let row = self.rows.get_mut(&namespace)?;
        let next = row.pop_front()?;
        if row.is_empty() {
            self.rows.remove(&namespace);
        }
        self.waiting.remove(&next);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "n".into(), name: name.into() }
    }

    fn organization(id: &str) -> OrganizationKey {
        ("https://a".parse().unwrap(), id.to_owned())
    }

    fn take(slots: &Slots, id: &str, name: &str) -> Taken {
        slots.take(&organization(id), &key(name), Instant::now()).0
    }

    fn of(namespace: &str, name: usize) -> Key {
        Key { namespace: namespace.into(), name: name.to_string() }
    }

    #[test]
    fn an_organization_has_one_slot_that_goes_from_one_to_the_next() {
        let slots = Slots::default();
        assert_eq!(take(&slots, "1", "a"), Taken::Anew);
        assert_eq!(take(&slots, "1", "a"), Taken::Before);
        assert_eq!(take(&slots, "1", "z"), Taken::ByAnother);
        assert_eq!(take(&slots, "1", "b"), Taken::ByAnother);
        assert_eq!(take(&slots, "1", "z"), Taken::ByAnother, "it waits once");
        assert_eq!(take(&slots, "2", "c"), Taken::Anew);
        assert_eq!(slots.free(&key("b")), None, "who waits has none");
        assert_eq!(slots.free(&key("a")), Some(key("z")), "one is woken, not all");
        assert_eq!(take(&slots, "1", "a"), Taken::ByAnother);
        assert_eq!(take(&slots, "1", "z"), Taken::Before);
        assert_eq!(slots.free(&key("z")), Some(key("b")));
        assert_eq!(slots.free(&key("b")), Some(key("a")));
        assert_eq!(slots.free(&key("a")), None);
        assert_eq!(take(&slots, "1", "b"), Taken::Anew);
    }

    #[test]
    fn a_resource_that_is_created_again_for_another_organization_keeps_no_slot_of_the_first() {
        let slots = Slots::default();
        assert_eq!(take(&slots, "1", "a"), Taken::Anew);
        assert_eq!(take(&slots, "1", "b"), Taken::ByAnother);
        assert_eq!(slots.take(&organization("2"), &key("a"), Instant::now()), (Taken::Anew, Some(key("b"))));
        assert_eq!(take(&slots, "1", "b"), Taken::Before);
        // One that waited for the first organization and has the second by now.
        assert_eq!(take(&slots, "1", "c"), Taken::ByAnother);
        assert_eq!(take(&slots, "3", "c"), Taken::Anew);
        assert_eq!(slots.free(&key("b")), None);
        assert_eq!(slots.free(&key("c")), None);
        assert_eq!(slots.free(&key("a")), None);
        assert!(slots.lock().slots.is_empty() && slots.lock().holders.is_empty());
    }

    #[test]
    fn namespaces_take_turns() {
        let slots = Slots::default();
        let (organization, now) = (organization("1"), Instant::now());
        let arrive = |key: &Key| slots.take(&organization, key, now).0;
        for name in 0..1000 {
            arrive(&of("crowd", name));
        }
        arrive(&of("victim", 0));
        arrive(&of("victim", 1));
        arrive(&of("third", 0));
        let mut turns = Vec::new();
        let mut holder = of("crowd", 0);
        while let Some(next) = slots.free(&holder) {
            turns.push(next.clone());
            holder = next;
        }
        let first = [
            of("victim", 0),
            of("third", 0),
            of("crowd", 1),
            of("victim", 1),
            of("crowd", 2),
            of("crowd", 3),
        ];
        assert_eq!(turns[..6], first, "whose namespace has had no turn goes first");
        assert_eq!(turns.len(), 1002, "nobody is forgotten");
        assert!(slots.lock().slots.is_empty() && slots.lock().holders.is_empty());
    }

    #[test]
    fn who_has_another_slot_by_now_takes_no_turn_from_its_namespace() {
        let slots = Slots::default();
        let (first, second, now) = (organization("1"), organization("2"), Instant::now());
        for name in 0..3 {
            slots.take(&first, &of("a", name), now);
            slots.take(&first, &of("b", name), now);
        }
        assert_eq!(slots.take(&second, &of("b", 0), now).0, Taken::Anew);
        assert_eq!(slots.free(&of("a", 0)), Some(of("b", 1)));
        assert_eq!(slots.free(&of("b", 1)), Some(of("a", 1)));
    }

    /// One crowd that waits, and asks again and again, is quadratic if anything looks through it.
    #[test]
    fn thousands_wait_as_cheaply_as_a_few() {
        const CROWD: usize = 20_000;
        let begin = Instant::now();
        let (slots, organization) = (Slots::default(), organization("1"));
        for _ in 0..3 {
            for name in 0..=CROWD {
                slots.take(&organization, &of("crowd", name), begin);
            }
        }
        let mut holder = of("crowd", 0);
        for _ in 0..CROWD {
            holder = slots.free(&holder).unwrap();
        }
        assert_eq!((holder.name, begin.elapsed() < Duration::from_secs(20)), (CROWD.to_string(), true));
    }

    #[test]
    fn that_a_link_waits_for_long_is_said_once() {
        let (slots, organization, since) = (Slots::default(), organization("1"), Instant::now());
        let (patience, second) = (Duration::from_mins(1), Duration::from_secs(1));
        for name in ["a", "b"] {
            slots.take(&organization, &key(name), since);
        }
        // Asking again does not begin the wait anew.
        slots.take(&organization, &key("b"), since + patience - second);
        let overdue = |name: &str, now| slots.overdue(&organization, &key(name), patience, now);
        assert_eq!(overdue("b", since + patience - second), None);
        assert_eq!(overdue("a", since + patience), None, "it has the slot");
        assert_eq!(overdue("b", since + patience), Some(key("a")));
        assert_eq!(overdue("b", since + patience * 2), None);
    }
}
