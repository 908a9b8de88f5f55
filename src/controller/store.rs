//! What the process knows of the links: the newest version of each, what it remembers of it, and which objects they
//! refer to.
//!
//! Watch events and the answers to our own patches both come in here, and the newer version stays: a decision always
//! sees its own writes, and a watch event that only brings them back changes nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::key::Key;
use crate::api::{ConditionType, Conditions};
use crate::decision::{Attempt, InputReference, Link, Memory, Version};
use crate::metrics;

/// Everything that is known of one link.
#[derive(Clone, Debug)]
pub struct Known {
    /// The newest version of the resource.
    pub link: Arc<Link>,
    /// What is remembered and not published.
    pub memory: Memory,
    /// A call that was answered and is not recorded yet.
    pub answered: Option<Arc<Attempt>>,
    /// Attempts at the Kubernetes API that failed in a row.
    pub kubernetes_failures: i32,
}

/// The links and the objects that they refer to.
#[derive(Debug, Default)]
pub struct Store {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    links: HashMap<Key, Known>,
    inputs: HashMap<Input, Referred>,
}

type Input = (String, InputReference);

/// An object that links refer to. Other objects of the cluster are not kept.
#[derive(Debug)]
struct Referred {
    version: Version,
    links: BTreeSet<String>,
}

impl Store {
    /// Takes in a version of a resource. True if it says something new: an older version, one that is known already (our
    /// own patch comes back), and one that differs only in what no decision looks at, do not.
    pub fn apply(&self, link: Link) -> bool {
        let key = Key { namespace: link.namespace.clone(), name: link.name.clone() };
        let mut state = self.lock();
        let (changed, before) = match state.links.get_mut(&key) {
            Some(known) if !newer(&link.resource_version, &known.link.resource_version) => return false,
            Some(known) if known.link.uid == link.uid => {
                let before = known.link.references();
                let changed = !same_to_a_decision(&known.link, &link);
                known.link = Arc::new(link);
                (changed, before)
            }
            _ => {
                let before = state.links.insert(key.clone(), Known::new(link));
                (true, before.map(|known| known.link.references()).unwrap_or_default())
            }
        };
        state.refer(&key, before);
        changed
    }

    /// The resource is gone. True if it was known.
    pub fn remove(&self, key: &Key, uid: &str) -> bool {
        let mut state = self.lock();
        if state.links.get(key).is_none_or(|known| known.link.uid != uid) {
            return false;
        }
        state.forget(key);
        true
    }

    /// A complete list has been taken in: what is not in it is gone. `within`: the namespace that was listed, None for all.
    pub fn retain(&self, listed: &HashSet<Key>, within: Option<&str>) {
        let mut state = self.lock();
        let gone: Vec<Key> = state
            .links
            .keys()
            .filter(|key| within.is_none_or(|namespace| namespace == key.namespace) && !listed.contains(key))
            .cloned()
            .collect();
        for key in gone {
            state.forget(&key);
        }
    }

    /// What is known of a link.
    pub fn get(&self, key: &Key) -> Option<Known> {
        self.lock().links.get(key).cloned()
    }

    /// Changes what is remembered of a link, if it is still the same resource.
    pub fn remember(&self, key: &Key, uid: &str, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.lock().links.get_mut(key).filter(|known| known.link.uid == uid) {
            change(known);
        }
    }

    /// What is known of the versions of a link's inputs.
    pub fn versions(&self, link: &Link) -> Vec<(InputReference, Version)> {
        let state = self.lock();
        link.references()
            .into_iter()
            .map(|reference| {
                let input = (link.namespace.clone(), reference);
                let version =
                    state.inputs.get(&input).map_or(Version::Unknown, |referred| referred.version.clone());
                (input.1, version)
            })
            .collect()
    }

    /// Takes in the version of an object. Returns the links that refer to it, if that is news.
    pub fn observe_input(&self, namespace: &str, reference: InputReference, version: Version) -> Vec<Key> {
        let mut state = self.lock();
        let Some(referred) = state.inputs.get_mut(&(namespace.to_owned(), reference)) else {
            return Vec::new();
        };
        if !is_news(&referred.version, &version) {
            return Vec::new();
        }
        referred.version = version;
        referred
            .links
            .iter()
            .map(|name| Key { namespace: namespace.to_owned(), name: name.clone() })
            .collect()
    }

    /// The object with this uid is gone. Returns the links that refer to it.
    pub fn input_gone(&self, namespace: &str, reference: InputReference, uid: &str) -> Vec<Key> {
        let known = {
            let state = self.lock();
            state
                .inputs
                .get(&(namespace.to_owned(), reference.clone()))
                .map(|referred| referred.version.clone())
        };
        match known {
            Some(Version::Present { uid: known, .. }) if known != uid => Vec::new(),
            _ => self.observe_input(namespace, reference, Version::Missing),
        }
    }

    /// The objects that links refer to. `within`: those of one namespace, None for all.
    pub fn inputs(&self, within: Option<&str>) -> HashSet<(String, InputReference)> {
        let state = self.lock();
        let inside = |input: &&Input| within.is_none_or(|namespace| namespace == input.0);
        state.inputs.keys().filter(inside).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, so the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn new(link: Link) -> Self {
        Self { link: Arc::new(link), memory: Memory::default(), answered: None, kubernetes_failures: 0 }
    }
}

impl State {
    fn forget(&mut self, key: &Key) {
        if let Some(known) = self.links.remove(key) {
            self.refer(key, known.link.references());
        }
    }

    /// Notes what a link refers to, where it referred to `before`. What nobody refers to any more is forgotten.
    fn refer(&mut self, key: &Key, before: Vec<InputReference>) {
        let now = self.links.get(key).map(|known| known.link.references()).unwrap_or_default();
        for reference in before.into_iter().filter(|reference| !now.contains(reference)) {
            let input = (key.namespace.clone(), reference);
            if let Some(referred) = self.inputs.get_mut(&input) {
                referred.links.remove(&key.name);
                if referred.links.is_empty() {
                    self.inputs.remove(&input);
                }
            }
        }
        for reference in now {
            let referred = self
                .inputs
                .entry((key.namespace.clone(), reference))
                .or_insert_with(|| Referred { version: Version::Unknown, links: BTreeSet::new() });
            referred.links.insert(key.name.clone());
        }
    }
}

impl metrics::Links for Arc<Store> {
    fn for_each(&self, visit: &mut dyn FnMut(metrics::Link<'_>)) {
        for known in self.lock().links.values() {
            let conditions = known.link.status.conditions.as_ref();
            let shown = conditions
                .and_then(|all| all.of(ConditionType::Suspended).or_else(|| all.of(ConditionType::Ready)));
            visit(metrics::Link {
                namespace: &known.link.namespace,
                name: &known.link.name,
                reason: shown.map_or("Unobserved", |condition| condition.reason.as_str()),
                ready: conditions.is_some_and(|all| all.is_true(ConditionType::Ready)),
            });
        }
    }
}

/// Whether one resourceVersion is newer than another. They are numbers that grow (KEP-5504); where a server gives
/// something else, what comes later counts as newer.
fn newer(this: &str, that: &str) -> bool {
    match (this.parse::<u64>(), that.parse::<u64>()) {
        (Ok(this), Ok(that)) => this > that,
        _ => this != that,
    }
}

fn same_to_a_decision(old: &Link, new: &Link) -> bool {
    let mut old = old.clone();
    old.resource_version.clone_from(&new.resource_version);
    old == *new
}

fn is_news(known: &Version, version: &Version) -> bool {
    match (known, version) {
        (
            Version::Present { uid: known_uid, resource_version: known },
            Version::Present { uid, resource_version },
        ) if known_uid == uid => newer(resource_version, known),
        _ => known != version,
    }
}
