//! The links that wait for a person, by whose success gives them a reason to try: nobody looks through those that it does not concern.

use std::collections::{BTreeSet, HashMap};

use super::Known;
use crate::api::Reason;
use crate::controller::key::Key;
use crate::decision::{Nudge, stalled_by};
use crate::endpoint::Origin;
use crate::remote::CredentialId;

/// A success at this origin: of these API keys, or of any.
pub(super) type Success = (Origin, Option<CredentialId>);

#[derive(Debug, Default)]
pub(super) struct Stalled {
    waiting: HashMap<Success, BTreeSet<Key>>,
    /// What each of them waits for.
    listed: HashMap<Key, Success>,
}

impl Stalled {
    /// A link waits for this from now on, or for none.
    pub(super) fn note(&mut self, key: &Key, success: Option<Success>) {
        if self.listed.get(key) == success.as_ref() {
            return;
        }
        if let Some(before) = self.listed.remove(key)
            && let Some(waiting) = self.waiting.get_mut(&before)
        {
            waiting.remove(key);
            if waiting.is_empty() {
                self.waiting.remove(&before);
            }
        }
        if let Some(success) = success {
            self.waiting.entry(success.clone()).or_default().insert(key.clone());
            self.listed.insert(key.clone(), success);
        }
    }

    /// These keys were accepted there: takes out those that have waited for it.
    pub(super) fn take(&mut self, origin: &Origin, credential: CredentialId) -> BTreeSet<Key> {
        let mut taken = BTreeSet::new();
        for whose in [None, Some(credential)] {
            taken.extend(self.waiting.remove(&(origin.clone(), whose)).unwrap_or_default());
        }
        for key in &taken {
            self.listed.remove(key);
        }
        taken
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.listed.is_empty()
    }
}

/// The success that gives a link a reason to try. None if it waits for nobody's, or has been given one for its reason already.
pub(super) fn awaited(known: &Known) -> Option<Success> {
    let reason = stalled_by(&known.link.status)?;
    if let Some(Nudge::Due(given) | Nudge::Spent(given)) = known.memory.nudge
        && given == reason
    {
        return None;
    }
    let whose = match reason {
        Reason::Unauthorized | Reason::AccessListDenied | Reason::Forbidden => Some(known.credential?),
        Reason::TlsVerificationFailed
        | Reason::EndpointUnavailable
        | Reason::UnexpectedResponse
        | Reason::ServiceUpgrading => None,
        _ => return None,
    };
    Some((known.organization.as_ref()?.0.clone(), whose))
}
