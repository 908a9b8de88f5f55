//! The links of one organization, in the order in which they would hold it.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::state::newer;
use crate::controller::key::Key;
use crate::decision::Link;

/// The links of one organization: one, where nobody made a mistake, and thousands, where somebody wants to hurt. Nothing that is done
/// for one link looks through all of them.
#[derive(Debug, Default)]
pub(super) struct Organization {
    /// Who holds it first.
    links: BTreeSet<Sorted<Rank>>,
    /// Those that no call of this process has brought, the oldest version first. What only the watch told may be older than what the
    /// copy of before wrote; from a call on nobody else writes what it holds.
    told: BTreeSet<Sorted<Version>>,
    /// Those with an outcome that is not recorded, although others may write by now.
    pub(super) given_on: BTreeSet<Key>,
}

impl Organization {
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// A link that the watch tells of. Returns whether another resource holds the organization now.
    pub(super) fn insert(&mut self, link: &Arc<Link>) -> bool {
        self.changes_holder(|all| {
            all.links.insert(ranked(link));
            all.told.insert(told(link));
        })
    }

    /// A link that is gone. Returns whether it held the organization.
    pub(super) fn remove(&mut self, link: &Arc<Link>) -> bool {
        self.changes_holder(|all| {
            all.links.remove(&ranked(link));
            all.told.remove(&told(link));
        })
    }

    /// Another version of a link. Returns whether another resource holds the organization now.
    pub(super) fn replace(&mut self, before: &Arc<Link>, link: &Arc<Link>) -> bool {
        self.changes_holder(|all| {
            all.links.remove(&ranked(before));
            all.links.insert(ranked(link));
            if all.told.remove(&told(before)) {
                all.told.insert(told(link));
            }
        })
    }

    fn changes_holder(&mut self, change: impl FnOnce(&mut Self)) -> bool {
        let before = self.holder().cloned();
        change(self);
        before.as_deref().map(identity) != self.holder().map(|link| identity(link))
    }

    /// A call of this process has brought this version.
    pub(super) fn read(&mut self, link: &Arc<Link>) {
        self.told.remove(&told(link));
    }

    /// The one that holds it: that whose token was accepted first.
    pub(super) fn holder(&self) -> Option<&Arc<Link>> {
        self.links.first().map(|first| &first.link).filter(|link| held_since(link).is_some())
    }

    /// All of them.
    pub(super) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.links.iter().map(|ranked| &ranked.link)
    }

    /// Those that no call of this process has brought, and that are not newer than this version.
    pub(super) fn unread<'a>(&'a self, since: &'a str) -> impl Iterator<Item = &'a Arc<Link>> {
        let last = version(since);
        self.told
            .iter()
            .take_while(move |told| told.by <= last)
            .map(|told| &told.link)
            .filter(|link| !newer(&link.resource_version, since))
    }
}

/// The key of a link.
pub(super) fn key_of(link: &Link) -> Key {
    Key { namespace: link.namespace.clone(), name: link.name.clone() }
}

fn held_since(link: &Link) -> Option<Timestamp> {
    link.status.link.as_ref()?.held_since.as_ref().map(|time| time.0)
}

/// Which resource it is. What is not in the cluster yet may have no uid.
fn identity(link: &Link) -> (&str, &str, &str) {
    (&link.uid, &link.namespace, &link.name)
}

/// The order of those that hold the organization; those that were never accepted are the last.
type Rank = (bool, Option<Timestamp>, Timestamp);

fn ranked(link: &Arc<Link>) -> Sorted<Rank> {
    let since = held_since(link);
    Sorted { by: (since.is_none(), since, link.created), link: link.clone() }
}

/// The order of versions: the longer number is the larger one.
type Version = (usize, String);

fn version(version: &str) -> Version {
    (version.len(), version.to_owned())
}

fn told(link: &Arc<Link>) -> Sorted<Version> {
    Sorted { by: version(&link.resource_version), link: link.clone() }
}

/// A link in an order, and then by which resource it is.
#[derive(Debug)]
struct Sorted<T> {
    by: T,
    link: Arc<Link>,
}

impl<T: Ord> Ord for Sorted<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.by.cmp(&other.by).then_with(|| identity(&self.link).cmp(&identity(&other.link)))
    }
}

impl<T: Ord> PartialOrd for Sorted<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Sorted<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Ord> Eq for Sorted<T> {}
