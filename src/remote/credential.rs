//! A credential as everything here knows it that outlives a call: by a hash, not by its keys.

use std::hash::{BuildHasher, RandomState};

use secrecy::ExposeSecret;

use super::organization::ApiKeys;
use crate::endpoint::Origin;

/// One credential at one origin: a hash of the origin and both keys under a secret that ends with the process. Whoever
/// knows no more than somebody's public key cannot meet their id, and so neither uses up their rate nor their nonces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId(u64);

/// Gives out the ids; those of two are different.
#[derive(Debug, Default)]
pub struct CredentialIds(RandomState);

impl CredentialIds {
    /// The id of these keys at this origin.
    pub fn of(&self, origin: &Origin, keys: &ApiKeys) -> CredentialId {
        let keys = (keys.public.expose_secret(), keys.private.expose_secret());
        CredentialId(self.0.hash_one((origin, keys)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_belongs_to_one_origin_and_both_keys() {
        let ids = CredentialIds::default();
        let id = |origin: &str, public: &str, private: &str| {
            let keys = ApiKeys { public: public.into(), private: private.into() };
            ids.of(&origin.parse().unwrap(), &keys)
        };
        let mine = id("https://a", "public", "private");
        assert_eq!(mine, id("https://a", "public", "private"));
        for other in [
            id("https://a:8443", "public", "private"),
            id("https://a", "public2", "private"),
            id("https://a", "public", "guess"),
            id("https://a", "publicp", "rivate"),
        ] {
            assert_ne!(mine, other);
        }
    }
}
