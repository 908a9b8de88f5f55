//! The indexes behind the store, each kept right by whatever changes a link.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::organization::{Organization, key_of};
use super::stalled::{Stalled, awaited};
use super::{Applied, Known};
use crate::api::Reason;
use crate::controller::key::Key;
use crate::controller::slots::OrganizationKey;
use crate::decision::{Attempt, Call, CallFailure, InputReference, Link, Outcome, Version};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) links: HashMap<Key, Known>,
    pub(super) inputs: HashMap<Input, Referred>,
    /// The links of each organization.
    pub(super) organizations: HashMap<Arc<OrganizationKey>, Organization>,
    /// The links that wait for a person.
    pub(super) stalled: Stalled,
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
        // Of a resource that is created again, there may be two.
        let mut changed = Vec::new();
        let (news, before) = match self.links.get_mut(key) {
            Some(known) if !newer(&link.resource_version, &known.link.resource_version) => {
                return Applied::default();
            }
            Some(known) if known.link.uid == link.uid => {
                let before = known.link.references();
                let news = !same_to_a_decision(&known.link, &link);
                let old = std::mem::replace(&mut known.link, Arc::new(link));
                if let Some(name) = &known.organization
                    && let Some(organization) = self.organizations.get_mut(name)
                    && organization.replace(&old, &known.link)
                {
                    changed.push(name.clone());
                }
                (news, before)
            }
            _ => {
                let before = self.links.get(key).map(|known| known.link.references()).unwrap_or_default();
                changed.extend(self.leave(key));
                let known = Known::new(link);
                if let Some(name) = &known.organization
                    && self.organizations.entry(name.clone()).or_default().insert(&known.link)
                {
                    changed.push(name.clone());
                }
                self.links.insert(key.clone(), known);
                (true, before)
            }
        };
        self.refer(key, before);
        self.note_stalled(key);
        Applied { news, others: self.members(changed, Some(key)) }
    }

    /// Keeps the list of those that wait for a person.
    pub(super) fn note_stalled(&mut self, key: &Key) {
        let success = self.links.get(key).and_then(awaited);
        self.stalled.note(key, success);
    }

    /// The link that holds this one's organization.
    pub(super) fn holder_of(&self, key: &Key) -> Option<Arc<Link>> {
        let name = self.links.get(key)?.organization.as_ref()?;
        self.organizations.get(name)?.holder().cloned()
    }

    /// The links of organizations that have another holder by now, but for that through which it came.
    pub(super) fn members(
        &self,
        organizations: impl IntoIterator<Item = Arc<OrganizationKey>>,
        except: Option<&Key>,
    ) -> Vec<Key> {
        let all = organizations.into_iter().collect::<BTreeSet<_>>();
        let all = all.iter().filter_map(|name| self.organizations.get(name));
        all.flat_map(Organization::links).map(|link| key_of(link)).filter(|key| Some(key) != except).collect()
    }

    /// Takes a link out of its organization. Returns that if the link was the one that held it.
    fn leave(&mut self, key: &Key) -> Option<Arc<OrganizationKey>> {
        let Known { link, organization: Some(name), .. } = self.links.get(key)? else { return None };
        let (link, name) = (link.clone(), name.clone());
        self.stalled.note(key, None);
        let organization = self.organizations.get_mut(&name)?;
        let held = organization.remove(&link);
        organization.given_on.remove(key);
        if organization.is_empty() {
            self.organizations.remove(&name);
        }
        held.then_some(name)
    }

    pub(super) fn give_on(&mut self, key: &Key, uid: &str) {
        if let Some(known) = self.links.get_mut(key).filter(|known| known.link.uid == uid)
            && let Some(name) = &known.organization
            && let Some(organization) = self.organizations.get_mut(name)
        {
            known.given_on = true;
            organization.given_on.insert(key.clone());
        }
    }

    pub(super) fn overtake(&mut self, key: &Key) {
        let Some(name) = self.links.get(key).and_then(|known| known.organization.as_ref()) else { return };
        let Some(organization) = self.organizations.get_mut(name) else { return };
        for other in std::mem::take(&mut organization.given_on) {
            if other != *key
                && let Some(known) = self.links.get_mut(&other).filter(|known| known.given_on)
                && let Some(attempt) = &known.answered
            {
                known.answered = Some(Arc::new(overtaken(attempt)));
            }
        }
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
        known.then(|| {
            let changed = self.forget(key);
            self.members(changed, Some(key))
        })
    }

    /// Forgets a link. Returns its organization if the link held it: all others there are to be decided again.
    pub(super) fn forget(&mut self, key: &Key) -> Option<Arc<OrganizationKey>> {
        let changed = self.leave(key);
        if let Some(known) = self.links.remove(key) {
            self.refer(key, known.link.references());
        }
        changed
    }

    /// A call of this process has brought what is known of a link.
    pub(super) fn read(&mut self, key: &Key, uid: &str) {
        if let Some(known) = self.links.get(key).filter(|known| known.link.uid == uid)
            && let Some(name) = &known.organization
            && let Some(organization) = self.organizations.get_mut(name)
        {
            organization.read(&known.link);
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

/// What a POST was answered after which somebody else has written: its token may be in force, or another one. As after an answer that
/// nobody saw, the token is sent again once this is recorded.
fn overtaken(attempt: &Attempt) -> Attempt {
    let outcome = match (&attempt.call, &attempt.outcome) {
        (Call::Link, Outcome::Accepted(_)) | (Call::Adopt, Outcome::State(_)) => {
            Outcome::Failed(CallFailure {
                reason: Reason::EndpointUnavailable,
                message: "The link token was accepted, but that could not be recorded here before another MigrationLink \
                          wrote to the same organization. It is sent again by itself."
                    .to_owned(),
                retry_after: None,
                maybe_effective: true,
            })
        }
        _ => return attempt.clone(),
    };
    Attempt { call: Call::Link, outcome, ..attempt.clone() }
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
