//! The nonces that are known, per base URL, roots and credential. One nonce serves many requests, each with a count of its own
//! (RFC 7616 §3.4), which saves every other round trip.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use http::header::HeaderValue;
use tokio::time::Instant;

use super::credential::CredentialId;
use super::digest::{Hash, Manner, Op, Session};
use super::failure::Failure;
use super::organization::ApiKeys;
use super::roots::{Roots, RootsId};
use crate::endpoint::BaseUrl;

/// A generation of the cache ends after so many slots or so long; a slot lives for two generations without use.
const GENERATION_SLOTS: usize = 2048;
const GENERATION_TIME: Duration = Duration::from_mins(5);
/// How long a hash is remembered that a server asked for, or took, and a weaker one is not answered. It has an end: an
/// older version that is put in place again must not be locked out for good.
const STRONGEST_TIME: Duration = Duration::from_mins(30);

/// The cache. It holds challenges, no credential.
pub(super) struct Nonces(Mutex<Generations>);

type Key = (CredentialId, String, Option<RootsId>);

struct Generations {
    began: Instant,
    young: HashMap<Key, Arc<Slot>>,
    old: HashMap<Key, Arc<Slot>>,
}

/// The place of one credential at one base URL, reached with the same roots. The realm is the session's: a challenge with another replaces it.
pub(super) struct Slot {
    /// Held while a challenge is asked for: the others of this credential wait for it.
    pub(super) fetching: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

struct State {
    session: Option<Session>,
    /// Tells one session from the next.
    id: u64,
    op: Op,
    /// The strongest hash, and when it was last met with.
    strongest: Option<(Hash, Instant)>,
    /// The credential was accepted the last time that there was a verdict.
    proven: bool,
    /// Challenges asked for, and the failure that the last one of them ended in.
    fetches: u64,
    failure: Option<Failure>,
}

/// An answer to a challenge.
pub(super) struct Authorization {
    pub(super) header: HeaderValue,
    /// The session in the slot that it comes from.
    pub(super) session: Option<u64>,
    /// The challenge came for this very call: a refusal is a verdict.
    pub(super) fresh: bool,
    /// `op` was read as `qop`.
    pub(super) read_op: bool,
    /// How the server had asked.
    pub(super) manner: Manner,
}

impl Nonces {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Generations { began: Instant::now(), young: HashMap::new(), old: HashMap::new() }))
    }

    /// The base URL's path tells slots apart, too: a path that has asked for no credentials gets none, whatever else its server
    /// has asked for. So do roots: who trusts other ones talks to another server, perhaps.
    pub(super) fn slot(
        &self,
        credential: CredentialId,
        base_url: &BaseUrl,
        roots: Option<&Roots>,
    ) -> Arc<Slot> {
        let key = (credential, base_url.path().to_owned(), roots.map(Roots::id));
        let generations = &mut *lock(&self.0);
        if generations.young.len() >= GENERATION_SLOTS || generations.began.elapsed() >= GENERATION_TIME {
            generations.began = Instant::now();
            generations.old = std::mem::take(&mut generations.young);
        }
        let older = generations.old.remove(&key);
        let slot = || older.unwrap_or_else(|| Arc::new(Slot::new()));
        generations.young.entry(key).or_insert_with(slot).clone()
    }
}

impl Slot {
    fn new() -> Self {
        let state = State {
            session: None,
            id: 0,
            op: Op::IsQop,
            strongest: None,
            proven: false,
            fetches: 0,
            failure: None,
        };
        Self { fetching: tokio::sync::Mutex::new(()), state: Mutex::new(state) }
    }

    /// An answer with the nonce that is known, if one is.
    pub(super) fn answer(&self, keys: &ApiKeys, method: &Method, uri: &str) -> Option<Authorization> {
        let mut state = lock(&self.state);
        let id = state.id;
        let session = state.session.as_mut()?;
        if let Some(header) = session.answer(keys, method, uri) {
            return Some(Authorization {
                header,
                session: Some(id),
                fresh: false,
                read_op: session.read_op(),
                manner: session.manner(),
            });
        }
        state.session = None;
        None
    }

    /// An answer to a challenge that was just received, which is left for others to use unless there is one already:
    /// that one is as good and in use. A server that gives the same nonce to many gets one sequence of counts.
    pub(super) fn answer_fresh(
        &self,
        mut received: Session,
        keys: &ApiKeys,
        method: &Method,
        uri: &str,
    ) -> Option<Authorization> {
        let mut state = lock(&self.state);
        let id = state.id;
        let (read_op, manner) = (received.read_op(), received.manner());
        let (header, session) = match state.session.as_mut() {
            Some(known) if known.has_nonce_of(&received) => (known.answer(keys, method, uri)?, Some(id)),
            Some(_) => (received.answer(keys, method, uri)?, None),
            None => {
                let header = received.answer(keys, method, uri)?;
                let session = received.is_reusable().then_some(id + 1);
                if session.is_some() {
                    state.id += 1;
                    state.session = Some(received);
                }
                (header, session)
            }
        };
        Some(Authorization { header, session, fresh: true, read_op, manner })
    }

    /// Drops the session `id`, if it is still there.
    pub(super) fn forget(&self, id: Option<u64>) {
        let mut state = lock(&self.state);
        if id == Some(state.id) {
            state.session = None;
        }
    }

    /// Whether a challenge may be answered: its hash is not weaker than one remembered.
    pub(super) fn admits(&self, received: &Session) -> bool {
        lock(&self.state).meets(received.hash())
    }

    /// The server accepted the credential.
    pub(super) fn accepted(&self, manner: &Manner) {
        let mut state = lock(&self.state);
        state.proven = true;
        state.meets(manner.hash);
    }

    /// The server refused the credential.
    pub(super) fn refused(&self) {
        lock(&self.state).proven = false;
    }

    /// Whether the credential was good when it was last heard of.
    pub(super) fn proven(&self) -> bool {
        lock(&self.state).proven
    }

    /// How `op="auth"` is read here.
    pub(super) fn op(&self) -> Op {
        lock(&self.state).op
    }

    /// The server took an answer in the form of RFC 2069 after it had refused the other.
    pub(super) fn ignore_op(&self) {
        lock(&self.state).op = Op::IsIgnored;
    }

    /// How many challenges have been asked for.
    pub(super) fn fetches(&self) -> u64 {
        lock(&self.state).fetches
    }

    /// Another challenge was asked for.
    pub(super) fn fetched(&self, failure: Option<&Failure>) {
        let mut state = lock(&self.state);
        state.fetches += 1;
        state.failure = failure.filter(|failure| failure.concerns_the_endpoint()).cloned();
    }

    /// The failure of the challenge that was asked for while the caller waited.
    pub(super) fn failed_since(&self, fetches: u64) -> Option<Failure> {
        let state = lock(&self.state);
        let failure = state.failure.clone().filter(|_| state.fetches != fetches)?;
        Some(Failure { shared: true, ..failure })
    }
}

impl State {
    /// Takes note of a hash, unless it is weaker than the one remembered.
    fn meets(&mut self, hash: Hash) -> bool {
        let remembered = self.strongest.filter(|(_, met)| met.elapsed() < STRONGEST_TIME);
        let admitted = remembered.is_none_or(|(strongest, _)| hash >= strongest);
        if admitted {
            self.strongest = Some((hash, Instant::now()));
        }
        admitted
    }
}

/// A lock that a panic elsewhere does not spoil: what it guards is only a cache.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::CredentialIds;

    fn credential(ids: &CredentialIds, n: usize) -> CredentialId {
        let keys = ApiKeys { public: format!("public{n}").into(), private: "private".into() };
        ids.of(&"https://a".parse().unwrap(), &keys)
    }

    fn api() -> BaseUrl {
        "https://a/api".parse().unwrap()
    }

    #[tokio::test]
    async fn a_slot_belongs_to_one_credential_base_url_and_the_roots() {
        let (ids, nonces) = (CredentialIds::default(), Nonces::new());
        let slot = nonces.slot(credential(&ids, 1), &api(), None);
        assert!(Arc::ptr_eq(&slot, &nonces.slot(credential(&ids, 1), &api(), None)));
        assert!(!Arc::ptr_eq(&slot, &nonces.slot(credential(&ids, 2), &api(), None)));
        let other = "https://a/other".parse().unwrap();
        assert!(!Arc::ptr_eq(&slot, &nonces.slot(credential(&ids, 1), &other, None)));
        let roots = Roots::from(Vec::new());
        assert!(!Arc::ptr_eq(&slot, &nonces.slot(credential(&ids, 1), &api(), Some(&roots))));
    }

    #[tokio::test]
    async fn thousands_of_credentials_do_not_pile_up() {
        let (ids, nonces) = (CredentialIds::default(), Nonces::new());
        let busy = nonces.slot(credential(&ids, 0), &api(), None);
        for n in 1..3 * GENERATION_SLOTS {
            assert!(!Arc::ptr_eq(&busy, &nonces.slot(credential(&ids, n), &api(), None)));
            assert!(Arc::ptr_eq(&busy, &nonces.slot(credential(&ids, 0), &api(), None)));
        }
        let generations = lock(&nonces.0);
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION_SLOTS);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_uses_is_forgotten() {
        let (ids, nonces) = (CredentialIds::default(), Nonces::new());
        let idle = Arc::downgrade(&nonces.slot(credential(&ids, 1), &api(), None));
        let busy = nonces.slot(credential(&ids, 2), &api(), None);
        for _ in 0..5 {
            tokio::time::advance(Duration::from_mins(3)).await;
            assert!(Arc::ptr_eq(&busy, &nonces.slot(credential(&ids, 2), &api(), None)));
        }
        assert!(idle.upgrade().is_none());
    }
}
