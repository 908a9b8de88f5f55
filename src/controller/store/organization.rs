//! The links of one organization, in the order in which they would hold it.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::state::newer;
use crate::controller::key::Key;
use crate::decision::Link;

/// The links of one organization: one, where nobody made a mistake, and thousands, where somebody wants to hurt. Nothing that is done
/// for one link looks through all of them.
#[derive(Debug, Default)]
pub(super) struct Organization {
    /// Who holds it first.
    links: BTreeSet<Ranked>,
    /// Those that no call of this process has brought, the oldest version first. What only the watch told may be older than what the
    /// copy of before wrote; from a call on nobody else writes what it holds.
    told: BTreeSet<Told>,
    /// Those with an outcome that is not recorded, although others may write by now.
    pub(super) given_on: BTreeSet<Key>,
}

impl Organization {
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// A link that the watch tells of.
    pub(super) fn insert(&mut self, link: &Arc<Link>) {
        self.links.insert(Ranked(link.clone()));
        self.told.insert(Told(link.clone()));
    }

    pub(super) fn remove(&mut self, link: &Arc<Link>) {
        self.links.remove(&Ranked(link.clone()));
        self.told.remove(&Told(link.clone()));
    }

    /// Another version of a link.
    pub(super) fn replace(&mut self, before: &Arc<Link>, link: &Arc<Link>) {
        self.links.remove(&Ranked(before.clone()));
        self.links.insert(Ranked(link.clone()));
        if self.told.remove(&Told(before.clone())) {
            self.told.insert(Told(link.clone()));
        }
    }

    /// A call of this process has brought this version.
    pub(super) fn read(&mut self, link: &Arc<Link>) {
        self.told.remove(&Told(link.clone()));
    }

    /// The one that holds it: that whose token was accepted first.
    pub(super) fn holder(&self) -> Option<&Arc<Link>> {
        self.links.first().map(|ranked| &ranked.0).filter(|link| is_accepted(link))
    }

    /// All of them.
    pub(super) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.links.iter().map(|ranked| &ranked.0)
    }

    /// Those that no call of this process has brought, and that are not newer than this version.
    pub(super) fn unread<'a>(&'a self, since: &'a str) -> impl Iterator<Item = &'a Arc<Link>> {
        let links = self.told.iter().map(|told| &told.0);
        links
            .take_while(|link| version(&link.resource_version) <= version(since))
            .filter(|link| !newer(&link.resource_version, since))
    }
}

/// The key of a link.
pub(super) fn key_of(link: &Link) -> Key {
    Key { namespace: link.namespace.clone(), name: link.name.clone() }
}

fn is_accepted(link: &Link) -> bool {
    link.status.link.as_ref().is_some_and(|record| record.held_since.is_some())
}

/// A link in the order of those that hold the organization; those that were never accepted are the last.
#[derive(Debug)]
struct Ranked(Arc<Link>);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let held_since = |link: &Link| link.status.link.as_ref()?.held_since.as_ref().map(|time| time.0);
        let (this, that) = (&*self.0, &*other.0);
        let accepted = is_accepted(that).cmp(&is_accepted(this));
        accepted
            .then_with(|| held_since(this).cmp(&held_since(that)))
            .then_with(|| this.created.cmp(&that.created))
            .then_with(|| same_order(this, that))
    }
}

/// A link in the order of versions.
#[derive(Debug)]
struct Told(Arc<Link>);

impl Ord for Told {
    fn cmp(&self, other: &Self) -> Ordering {
        let (this, that) = (&*self.0, &*other.0);
        version(&this.resource_version)
            .cmp(&version(&that.resource_version))
            .then_with(|| same_order(this, that))
    }
}

/// By uid. What is not in the cluster yet may have none.
fn same_order(this: &Link, that: &Link) -> Ordering {
    (&this.uid, &this.namespace, &this.name).cmp(&(&that.uid, &that.namespace, &that.name))
}

/// The longer number is the larger one.
fn version(version: &str) -> (usize, &str) {
    (version.len(), version)
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

impl PartialOrd for Told {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Told {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Told {}
