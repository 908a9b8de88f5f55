//! One POST or DELETE at a time for each organization: the one that has the slot decides again, and keeps it until the outcome is
//! recorded.

use std::collections::{BTreeSet, HashMap};
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
    waiting: BTreeSet<Key>,
}

/// How it went to take a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was free.
    Anew,
    /// This link has it already.
    Before,
    /// Another link has it; this one is told when it is free.
    ByAnother,
}

impl Slots {
    /// Takes the slot of an organization for a link, or has the link wait for it.
    pub fn take(&self, organization: &OrganizationKey, key: &Key) -> Taken {
        let mut state = self.lock();
        if let Some(slot) = state.slots.get_mut(organization) {
            if slot.holder == *key {
                return Taken::Before;
            }
            slot.waiting.insert(key.clone());
            return Taken::ByAnother;
        }
        let slot = Slot { holder: key.clone(), waiting: BTreeSet::new() };
        state.slots.insert(organization.clone(), slot);
        state.holders.insert(key.clone(), organization.clone());
        Taken::Anew
    }

    /// Gives the link's slot back, if it has one. Returns the links that wait for it.
    pub fn free(&self, key: &Key) -> BTreeSet<Key> {
        let mut state = self.lock();
        let organization = state.holders.remove(key);
        organization
            .and_then(|organization| state.slots.remove(&organization))
            .map(|slot| slot.waiting)
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, so the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn an_organization_has_one_slot_and_those_that_wait_are_told() {
        let slots = Slots::default();
        assert_eq!(slots.take(&organization("1"), &key("a")), Taken::Anew);
        assert_eq!(slots.take(&organization("1"), &key("a")), Taken::Before);
        assert_eq!(slots.take(&organization("1"), &key("b")), Taken::ByAnother);
        assert_eq!(slots.take(&organization("2"), &key("c")), Taken::Anew);
        assert_eq!(slots.free(&key("b")), BTreeSet::new(), "who waits has none");
        assert_eq!(slots.free(&key("a")), BTreeSet::from([key("b")]));
        assert_eq!(slots.free(&key("a")), BTreeSet::new());
        assert_eq!(slots.take(&organization("1"), &key("b")), Taken::Anew);
    }
}
