//! The organizations: who may act for them, and the one link that each can have.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A pair of API keys of an organization, with the role Organization Owner.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiKeys {
    /// The public key, the username of the digest.
    pub public_key: String,
    /// The private key, the password of the digest.
    pub private_key: String,
}

/// What is known about one organization.
#[derive(Default)]
pub(crate) struct Organization {
    pub(crate) keys: Vec<ApiKeys>,
    pub(crate) link: Option<Link>,
    /// How many polls a new link answers NOT_SYNCED, where it is not the configured number.
    pub(crate) synced_after: Option<u32>,
    /// The projects with a running live export, which keep the link from being deleted.
    pub(crate) live_exports: Vec<String>,
}

/// The pairing with an Atlas organization.
pub(crate) struct Link {
    pub(crate) token: String,
    /// Polls that will still be answered NOT_SYNCED.
    pub(crate) polls_left: u32,
}

/// Every organization by its id.
#[derive(Default)]
pub(crate) struct Organizations(BTreeMap<String, Organization>);

/// What the control API shows of an organization: no key and no token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrganizationView {
    org_id: String,
    public_keys: Vec<String>,
    linked: bool,
    /// Polls until the link is SYNCED; absent without a link.
    polls_left: Option<u32>,
    live_exports: Vec<String>,
}

impl ApiKeys {
    /// A pair of keys.
    pub fn new(public_key: impl Into<String>, private_key: impl Into<String>) -> Self {
        Self { public_key: public_key.into(), private_key: private_key.into() }
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

impl Link {
    /// The API's word for the state of the link.
    pub(crate) fn status(&self) -> &'static str {
        if self.polls_left == 0 { "SYNCED" } else { "NOT_SYNCED" }
    }

    /// The state as a poll sees it, which brings SYNCED one poll nearer.
    pub(crate) fn poll(&mut self) -> &'static str {
        let status = self.status();
        self.polls_left = self.polls_left.saturating_sub(1);
        status
    }
}

impl Organizations {
    pub(crate) fn insert(&mut self, org_id: &str, organization: Organization) {
        self.0.insert(org_id.to_owned(), organization);
    }

    pub(crate) fn get(&self, org_id: &str) -> Option<&Organization> {
        self.0.get(org_id)
    }

    pub(crate) fn get_mut(&mut self, org_id: &str) -> Option<&mut Organization> {
        self.0.get_mut(org_id)
    }

    /// The keys with this public key: those of the organization first, then those of all others.
    pub(crate) fn candidates(&self, org_id: Option<&str>, public_key: &str) -> Vec<ApiKeys> {
        let matching = |organization: &Organization| -> Vec<ApiKeys> {
            organization.keys.iter().filter(|keys| keys.public_key == public_key).cloned().collect()
        };
        let own = org_id.and_then(|id| self.get(id)).map(matching).unwrap_or_default();
        if own.is_empty() { self.0.values().flat_map(matching).collect() } else { own }
    }

    pub(crate) fn view(&self) -> Vec<OrganizationView> {
        let view = |(org_id, organization): (&String, &Organization)| OrganizationView {
            org_id: org_id.clone(),
            public_keys: organization.keys.iter().map(|keys| keys.public_key.clone()).collect(),
            linked: organization.link.is_some(),
            polls_left: organization.link.as_ref().map(|link| link.polls_left),
            live_exports: organization.live_exports.clone(),
        };
        self.0.iter().map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_synced_after_its_polls() {
        let mut link = Link { token: "t".to_owned(), polls_left: 2 };
        assert_eq!(link.status(), "NOT_SYNCED");
        assert_eq!([link.poll(), link.poll(), link.poll()], ["NOT_SYNCED", "NOT_SYNCED", "SYNCED"]);
    }

    #[test]
    fn a_private_key_is_not_printed() {
        assert!(!format!("{:?}", ApiKeys::new("public", "hunter2")).contains("hunter2"));
    }
}
