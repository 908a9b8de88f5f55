//! One POST or DELETE at a time for each organization: the one that has the slot decides again, and keeps it until the outcome is
//! recorded.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    /// In the order of arrival.
    waiting: VecDeque<Key>,
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
    pub fn take(&self, organization: &OrganizationKey, key: &Key) -> (Taken, Option<Key>) {
        let mut state = self.lock();
        if state.holders.get(key) == Some(organization) {
            return (Taken::Before, None);
        }
        let woken = state.free(key);
        if let Some(slot) = state.slots.get_mut(organization) {
            if !slot.waiting.contains(key) {
                slot.waiting.push_back(key.clone());
            }
            return (Taken::ByAnother, woken);
        }
        let slot = Slot { holder: key.clone(), waiting: VecDeque::new() };
        state.slots.insert(organization.clone(), slot);
        state.holders.insert(key.clone(), organization.clone());
        (Taken::Anew, woken)
    }

    /// Gives the link's slot, if it has one, to the link that has waited longest, which is returned: it has to be woken, and
    /// gives the slot on in its turn, whether it needed it or not.
    pub fn free(&self, key: &Key) -> Option<Key> {
        self.lock().free(key)
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
        // One that has another slot by now is about another organization.
        while let Some(next) = slot.waiting.pop_front() {
            if !self.holders.contains_key(&next) {
                slot.holder = next.clone();
                self.holders.insert(next.clone(), organization);
                return Some(next);
            }
        }
        self.slots.remove(&organization);
        None
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
        slots.take(&organization(id), &key(name)).0
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
        assert_eq!(slots.take(&organization("2"), &key("a")), (Taken::Anew, Some(key("b"))));
        assert_eq!(take(&slots, "1", "b"), Taken::Before);
        // One that waited for the first organization and has the second by now.
        assert_eq!(take(&slots, "1", "c"), Taken::ByAnother);
        assert_eq!(take(&slots, "3", "c"), Taken::Anew);
        assert_eq!(slots.free(&key("b")), None);
        assert_eq!(slots.free(&key("c")), None);
        assert_eq!(slots.free(&key("a")), None);
        assert!(slots.lock().slots.is_empty() && slots.lock().holders.is_empty());
    }
}
