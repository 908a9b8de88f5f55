//! What the process knows of the links: the newest version of each, what it remembers of it, and which objects they
//! refer to.
//!
//! Watch events and the answers to our own patches both come in here, and the newer version stays: a decision always
//! sees its own writes, and a watch event that only brings them back changes nothing.

mod organization;
mod stalled;
mod state;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::jiff::Timestamp;
use tokio::sync::watch;

use super::key::Key;
use super::slots::OrganizationKey;
use crate::api::{ConditionType, Conditions, InputKind};
use crate::decision::{Attempt, Holder, InputReference, Link, Memory, Nudge, Version, stalled_by};
use crate::endpoint::Origin;
use crate::metrics;
use crate::remote::CredentialId;
use organization::key_of;
use state::{Input, State, same_object};

/// Everything that is known of one link.
#[derive(Clone, Debug)]
pub struct Known {
    /// The newest version of the resource.
    pub link: Arc<Link>,
    /// The organization that it is about, at its server; None if the base URL cannot be used.
    pub organization: Option<Arc<OrganizationKey>>,
    /// What is remembered and not published.
    pub memory: Memory,
    /// A call that was answered and is not recorded yet.
    pub answered: Option<Arc<Attempt>>,
    /// It could not be recorded for so long that others of the organization may have written since.
    pub given_on: bool,
    /// Attempts at the Kubernetes API that failed in a row.
    pub kubernetes_failures: i32,
    /// The API keys that it was last seen with.
    pub credential: Option<CredentialId>,
}

/// The links and the objects that they refer to.
#[derive(Debug, Default)]
pub struct Store {
    state: Mutex<State>,
    /// Whether a link refers to a ConfigMap, or did.
    config_maps: watch::Sender<bool>,
}

/// What a version of a resource means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether it says something new of the link.
    pub news: bool,
    /// Other links of the same organization, which are to be decided again.
    pub others: Vec<Key>,
}

impl Store {
    /// Takes in a version of a resource. An older version, one that is known already (our own patch comes back), and one that
    /// differs only in what no decision looks at, say nothing new.
    pub fn apply(&self, link: Link) -> Applied {
        let key = key_of(&link);
        if link.uses_config_map() && !*self.config_maps.borrow() {
            self.config_maps.send_replace(true);
        }
        self.lock().apply(&key, link)
    }

    /// Takes in the answer to a call of ours. A link that is gone by now stays gone: only the watch brings new ones. Returns
    /// other links that are to be decided again.
    pub fn update(&self, link: Link) -> Vec<Key> {
        let key = key_of(&link);
        let mut state = self.lock();
        if !state.links.contains_key(&key) {
            return Vec::new();
        }
        let uid = link.uid.clone();
        let others = state.apply(&key, link).others;
        state.read(&key, &uid);
        others
    }

    /// A call of ours has shown that a link cannot be read: it is taken for what the watch told.
    pub fn found_unreadable(&self, key: &Key, uid: &str) {
        self.lock().read(key, uid);
    }

    /// The watch tells that the resource is gone. Returns other links that are to be decided again; None if it was not known.
    pub fn remove(&self, key: &Key, uid: &str) -> Option<Vec<Key>> {
        let mut state = self.lock();
        if state.gone.get(key).is_some_and(|gone| gone == uid) {
            state.gone.remove(key);
        }
        state.remove(key, uid)
    }

    /// A call of ours has shown that the resource is gone, before the watch tells it. Returns other links that are to be
    /// decided again.
    pub fn found_gone(&self, key: &Key, uid: &str) -> Vec<Key> {
        let mut state = self.lock();
        let others = state.remove(key, uid);
        if others.is_some() {
            state.gone.insert(key.clone(), uid.to_owned());
        }
        others.unwrap_or_default()
    }

    /// A complete list has been taken in: what is not in it is gone. `within`: the namespace that was listed, None for all.
    /// Returns the links that are gone, and others that are to be decided again.
    pub fn retain(&self, listed: &HashSet<Key>, within: Option<&str>) -> Vec<Key> {
        let mut state = self.lock();
        let not_listed =
            |key: &Key| within.is_none_or(|namespace| namespace == key.namespace) && !listed.contains(key);
        state.gone.retain(|key, _| !not_listed(key));
        let gone: Vec<Key> = state.links.keys().filter(|key| not_listed(key)).cloned().collect();
        let changed: Vec<_> = gone.iter().filter_map(|key| state.forget(key)).collect();
        let mut woken = state.members(changed, None);
        woken.extend(gone);
        woken
    }

    /// The other resource that holds the link's organization: that whose token was accepted first.
    pub fn holder(&self, key: &Key) -> Option<Holder> {
        let holder = self.lock().holder_of(key)?;
        (key_of(&holder) != *key)
            .then(|| Holder { namespace: holder.namespace.clone(), name: holder.name.clone() })
    }

    /// Whether it is this link that holds its organization.
    pub fn holds(&self, key: &Key) -> bool {
        let holder = self.lock().holder_of(key);
        holder.is_some_and(|holder| key_of(&holder) == *key)
    }

    /// The links of this one's organization, itself among them, that another copy of the operator may have changed without this
    /// process knowing, with their uids: those that only the watch has told of, which may be late, and that are known from before
    /// `since` only, the version with which the claim to write began. Nobody else writes since then.
    pub fn unread(&self, key: &Key, since: &str) -> Vec<(Key, String)> {
        let state = self.lock();
        let organization = state.links.get(key).and_then(|known| known.organization.as_ref());
        let organization = organization.and_then(|organization| state.organizations.get(organization));
        let unread = organization.into_iter().flat_map(|organization| organization.unread(since));
        unread.map(|link| (key_of(link), link.uid.clone())).collect()
    }

    /// Others of the organization may write from now on, although what a call for this link was answered is not recorded.
    pub fn give_on(&self, key: &Key, uid: &str) {
        self.lock().give_on(key, uid);
    }

    /// A call for this link may have changed the organization's link: what is not recorded of others need not be in force any more.
    pub fn overtake(&self, key: &Key) {
        self.lock().overtake(key);
    }

    /// The API accepted these keys at this origin: the links there that wait for a person because of the origin or of the
    /// same keys have a reason to try, once for each reason. Returns them.
    pub fn nudge(&self, origin: &Origin, credential: CredentialId) -> Vec<Key> {
        let mut state = self.lock();
        let nudged = state.stalled.take(origin, credential);
        for key in &nudged {
            if let Some(known) = state.links.get_mut(key) {
                known.memory.nudge = stalled_by(&known.link.status).map(Nudge::Due);
            }
        }
        nudged.into_iter().collect()
    }

    /// Returns as soon as a link refers to a ConfigMap.
    pub async fn until_config_maps(&self) {
        // The sender lives as long as `self`.
        let _ = self.config_maps.subscribe().wait_for(|wanted| *wanted).await;
    }

    /// What is known of a link.
    pub fn get(&self, key: &Key) -> Option<Known> {
        self.lock().links.get(key).cloned()
    }

    /// The links of which a call was answered after that time, and that is not recorded yet; the last one first.
    pub fn unrecorded(&self, after: Timestamp) -> Vec<Key> {
        let state = self.lock();
        let answered = |(key, known): (&Key, &Known)| Some((known.answered.as_ref()?.at, key.clone()));
        let mut answered: Vec<_> =
            state.links.iter().filter_map(answered).filter(|(at, _)| *at > after).collect();
        answered.sort_by(|(one, _), (other, _)| other.cmp(one));
        answered.into_iter().map(|(_, key)| key).collect()
    }

    /// Changes what is remembered of a link, if it is still the same resource.
    pub fn remember(&self, key: &Key, uid: &str, change: impl FnOnce(&mut Known)) {
        let mut state = self.lock();
        if let Some(known) = state.links.get_mut(key).filter(|known| known.link.uid == uid) {
            change(known);
            state.note_stalled(key);
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

    /// Takes in the version of an object that a watch tells. Returns the links that refer to it, if that is news.
    pub fn observe_input(&self, namespace: &str, reference: InputReference, version: Version) -> Vec<Key> {
        self.lock().observe_input(&(namespace.to_owned(), reference), version)
    }

    /// Takes in the version of an object that a read brought; `before` is what was known when the read began. What the watch
    /// has told since then may be newer. Returns the links that refer to the object, if the version is news: the watch will
    /// not tell it again.
    pub fn observe_read(
        &self,
        namespace: &str,
        reference: InputReference,
        before: &Version,
        version: Version,
    ) -> Vec<Key> {
        let input = (namespace.to_owned(), reference);
        let mut state = self.lock();
        let Some(known) = state.inputs.get(&input).map(|referred| &referred.version) else {
            return Vec::new();
        };
        if known != before && !same_object(known, &version) {
            return Vec::new();
        }
        state.observe_input(&input, version)
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

    /// The objects of one kind that links refer to. `within`: those of one namespace, None for all.
    pub fn inputs(&self, kind: InputKind, within: Option<&str>) -> HashSet<(String, InputReference)> {
        let state = self.lock();
        let inside =
            |input: &&Input| input.1.kind == kind && within.is_none_or(|namespace| namespace == input.0);
        state.inputs.keys().filter(inside).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, so the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn new(link: Link) -> Self {
        let organization = link.base_url().map(|base| (base.origin().clone(), link.spec.org_id.clone()));
        Self {
            link: Arc::new(link),
            organization: organization.map(Arc::new),
            memory: Memory::default(),
            answered: None,
            given_on: false,
            kubernetes_failures: 0,
            credential: None,
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

#[cfg(test)]
mod tests;
