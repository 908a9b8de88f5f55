//! The nonces of all backends: who issued which one when, and what it was used for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{AcceptedForm, DigestPolicy, Preset, Refusal, hex};

/// How many nonces are remembered in all; the oldest is forgotten first.
const REMEMBERED: usize = 100_000;

/// Issued nonces by backend and text: no backend knows another's.
#[derive(Default)]
pub(crate) struct Nonces {
    issued: u64,
    known: HashMap<(usize, String), Nonce>,
    order: VecDeque<(usize, String)>,
    random: RandomState,
}

struct Nonce {
    /// Its place among all nonces of the simulator, from 1.
    id: u64,
    issued: Instant,
    used: HashSet<u32>,
}

impl Nonces {
    /// A new nonce in the form of the preset's server.
    pub(crate) fn issue(&mut self, backend: usize, form: Preset, now: Instant) -> String {
        self.issued += 1;
        // Unlike in every simulator, so that a restart does not issue its predecessor's nonces again.
        let material = |part: u8| Sha256::digest(self.random.hash_one((self.issued, part)).to_be_bytes());
        let (one, other) = (material(1), material(2));
        let text = match form {
            // 24 bytes.
            Preset::Jetty9 => BASE64.encode(one.get(..24).unwrap_or_default()),
            // 64 characters.
            Preset::Jetty12 => BASE64.encode([one.as_slice(), other.get(..16).unwrap_or_default()].concat()),
            // A time of 8 bytes and a SHA-1: an equals sign in the middle.
            Preset::Apache => {
                let (time, hash) = (one.get(..8).unwrap_or_default(), other.get(..20).unwrap_or_default());
                format!("{}{}", BASE64.encode(time), hex(hash))
            }
        };
        let key = (backend, text.clone());
        self.order.push_back(key.clone());
        self.known.insert(key, Nonce { id: self.issued, issued: now, used: HashSet::new() });
        if self.order.len() > REMEMBERED {
            self.order.pop_front().and_then(|oldest| self.known.remove(&oldest));
        }
        text
    }

    /// The number of a nonce that `backend` issued.
    pub(super) fn id(&self, backend: usize, nonce: &str) -> Option<u64> {
        self.known.get(&(backend, nonce.to_owned())).map(|nonce| nonce.id)
    }

    /// Forgets every nonce, as a restarted server has.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
        self.order.clear();
    }

    /// Uses a nonce with `nc`, or without one for an answer in the form of RFC 2069.
    pub(super) fn use_up(
        &mut self,
        backend: usize,
        nonce: &str,
        nc: Option<u32>,
        policy: &DigestPolicy,
        now: Instant,
    ) -> Result<(), Refusal> {
        let known = self.known.get_mut(&(backend, nonce.to_owned())).ok_or(Refusal::NonceUnknown)?;
        if now.saturating_duration_since(known.issued) > policy.max_nonce_age {
            return Err(Refusal::NonceTooOld);
        }
        let Some(nc) = nc else {
            let allowed = policy.accepted_form != AcceptedForm::WithQop;
            return if allowed { Ok(()) } else { Err(Refusal::QopDiffers) };
        };
        if policy.max_nonce_count.is_some_and(|limit| nc >= limit) {
            return Err(Refusal::NonceUsedUp);
        }
        if policy.refuse_repeated_nc && !known.used.insert(nc) {
            return Err(Refusal::RepeatedNc);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_have_their_servers_form_and_never_repeat() {
        let mut nonces = Nonces::default();
        let now = Instant::now();
        let mut all = HashSet::new();
        for (form, length) in [(Preset::Jetty9, 32), (Preset::Jetty12, 64), (Preset::Apache, 52)] {
            for _ in 0..100 {
                let nonce = nonces.issue(0, form, now);
                assert_eq!(nonce.len(), length, "{nonce}");
                assert_eq!(form == Preset::Apache, nonce.contains('='), "{nonce}");
                assert!(all.insert(nonce));
            }
        }
        let restarted = Nonces::default().issue(0, Preset::Jetty9, now);
        assert!(all.insert(restarted));
    }

    #[test]
    fn memory_is_bounded() {
        let mut nonces = Nonces::default();
        let now = Instant::now();
        let first = nonces.issue(0, Preset::Jetty9, now);
        for _ in 0..REMEMBERED {
            nonces.issue(0, Preset::Jetty9, now);
        }
        assert_eq!(nonces.id(0, &first), None);
        assert_eq!((nonces.known.len(), nonces.order.len()), (REMEMBERED, REMEMBERED));
    }
}
