//! The indexes behind the store, each kept right by whatever changes a link.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Applied, Known};
use crate::controller::key::Key;
use crate::controller::slots::OrganizationKey;
use crate::decision::{InputReference, Link, Version, stalled_by};
use crate::endpoint::Origin;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) links: HashMap<Key, Known>,
    pub(super) inputs: HashMap<Input, Referred>,
    /// The links of each organization: one, where nobody made a mistake.
    pub(super) organizations: HashMap<Arc<OrganizationKey>, BTreeSet<Key>>,
    /// The links of each origin that wait for a person.
    pub(super) stalled: HashMap<Origin, BTreeSet<Key>>,
    /// Uids of links that the API server said are gone, until the watch tells it, too: a late event brings none back.
    pub(super) gone: HashMap<Key, String>,
}

/// An object by its namespace, kind and name.
pub(super) type Input = (String, InputReference);

/// An object that links refer to. Other objects of the cluster are not kept.
#[derive(Debug)]
pub(super) struct Referred {
    pub(super) version: Version,
    pub(super) links: BTreeSet<String>,
}

impl State {
    pub(super) fn apply(&mut self, key: &Key, link: Link) -> Applied {
        if self.gone.get(key).is_some_and(|gone| *gone == link.uid) {
            return Applied::default();
        }
        let mut others = Vec::new();
        let (news, before) = match self.links.get_mut(key) {
            Some(known) if !newer(&link.resource_version, &known.link.resource_version) => {
                return Applied::default();
            }
            Some(known) if known.link.uid == link.uid => {
                let before = known.link.references();
                let news = !same_to_a_decision(&known.link, &link);
                let held = known.rank().map(|rank| rank.0);
                known.link = Arc::new(link);
                if known.rank().map(|rank| rank.0) != held {
                    others = self.rivals(key);
                }
                (news, before)
            }
            _ => {
                let before = self.links.get(key).map(|known| known.link.references()).unwrap_or_default();
                others = self.leave(key);
                let known = Known::new(link);
                if let Some(organization) = &known.organization {
                    self.organizations.entry(organization.clone()).or_default().insert(key.clone());
                }
                let holds = known.rank().is_some();
                self.links.insert(key.clone(), known);
                if holds {
                    others.extend(self.rivals(key));
                }
                (true, before)
            }
        };
        self.refer(key, before);
        self.note_stalled(key);
        Applied { news, others }
    }

    /// Keeps the list of those that wait for a person.
    fn note_stalled(&mut self, key: &Key) {
        let Some(known) = self.links.get(key) else { return };
        let Some(organization) = &known.organization else { return };
        if stalled_by(&known.link.status).is_some() {
            self.stalled.entry(organization.0.clone()).or_default().insert(key.clone());
        } else {
            let organization = organization.clone();
            self.unlist(&organization.0, key);
        }
    }

    /// Takes a link out of the list of those that wait for a person.
    fn unlist(&mut self, origin: &Origin, key: &Key) {
        if let Some(stalled) = self.stalled.get_mut(origin)
            && stalled.remove(key)
            && stalled.is_empty()
        {
            self.stalled.remove(origin);
        }
    }

    /// The other links of the same organization.
    pub(super) fn rivals(&self, key: &Key) -> Vec<Key> {
        let organization = self.links.get(key).and_then(|known| known.organization.as_ref());
        let all = organization.and_then(|organization| self.organizations.get(organization));
        all.into_iter().flatten().filter(|other| *other != key).cloned().collect()
    }

    /// Takes a link out of its organization. Returns those that are left there, if it was the one that might have held it.
    fn leave(&mut self, key: &Key) -> Vec<Key> {
        let rivals = self.rivals(key);
        let Some(known) = self.links.get(key) else { return Vec::new() };
        let held = known.rank().is_some();
        if let Some(organization) = known.organization.clone()
            && let Some(all) = self.organizations.get_mut(&organization)
        {
            all.remove(key);
            if all.is_empty() {
                self.organizations.remove(&organization);
            }
            self.unlist(&organization.0, key);
        }
        if held { rivals } else { Vec::new() }
    }

    pub(super) fn observe_input(&mut self, input: &Input, version: Version) -> Vec<Key> {
        let Some(referred) = self.inputs.get_mut(input).filter(|known| is_news(&known.version, &version))
        else {
            return Vec::new();
        };
        referred.version = version;
        referred.links.iter().map(|name| Key { namespace: input.0.clone(), name: name.clone() }).collect()
    }

    pub(super) fn remove(&mut self, key: &Key, uid: &str) -> Option<Vec<Key>> {
        let known = self.links.get(key).is_some_and(|known| known.link.uid == uid);
        known.then(|| self.forget(key))
    }

    /// Forgets a link. Returns other links that are to be decided again.
    pub(super) fn forget(&mut self, key: &Key) -> Vec<Key> {
        let others = self.leave(key);
        if let Some(known) = self.links.remove(key) {
            self.refer(key, known.link.references());
        }
        others
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

/// Whether one resourceVersion is newer than another. They are numbers that grow (KEP-5504); where a server gives
/// something else, what comes later counts as newer.
pub(super) fn newer(this: &str, that: &str) -> bool {
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

pub(super) fn same_object(this: &Version, that: &Version) -> bool {
    match (this, that) {
        (Version::Present { uid: this, .. }, Version::Present { uid: that, .. }) => this == that,
        _ => false,
    }
}
