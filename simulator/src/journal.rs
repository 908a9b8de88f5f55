//! The journal: every request in the order of arrival, for tests to assert on.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::digest::{DigestOutcome, Refusal};

/// How many entries are kept; the oldest goes first.
const KEPT: usize = 100_000;

/// One request. As JSON (control API) the time is in milliseconds and the link token only a bool.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its number, from 1; [`crate::Simulator::clear_journal`] does not start again.
    pub number: u64,
    /// When it arrived, counted from the start of the simulator (tokio time).
    #[serde(rename = "atMs", serialize_with = "as_millis")]
    pub at: Duration,
    /// The method.
    pub method: String,
    /// Path and query as sent.
    pub path: String,
    /// The organization in the path.
    pub org_id: Option<String>,
    /// The backend that served it, from 0.
    pub backend: usize,
    /// Whether there was an Authorization header.
    pub authorization: bool,
    /// What digest authentication made of it.
    pub digest: DigestOutcome,
    /// Why the Authorization header was not accepted.
    pub refusal: Option<Refusal>,
    /// The number of the nonce used, from 1 over all backends; absent if its backend does not know it.
    pub nonce: Option<u64>,
    /// The nc of the answer.
    pub nc: Option<u32>,
    /// Bytes in the request's body.
    pub body_length: usize,
    /// The link token in the request's body. It is in no log and no JSON.
    #[serde(serialize_with = "is_some")]
    pub link_token: Option<String>,
    /// The kind of the scripted behaviour that was applied.
    pub behaviour: Option<&'static str>,
    /// The status of the answer; absent while there is none, and for a reset and a hang for ever.
    pub status: Option<u16>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, method, path, digest, refusal, nonce, nc, behaviour, status, .. } = self;
        let token = if self.link_token.is_some() { " with a link token" } else { "" };
        write!(f, "{number}: {method} {path}{token}, {digest:?} {refusal:?}, nonce {nonce:?} nc {nc:?}")?;
        write!(f, ", {behaviour:?} -> {status:?}")
    }
}

/// All entries that were not cleared.
#[derive(Default)]
pub(crate) struct Journal(VecDeque<Entry>);

impl Journal {
    pub(crate) fn push(&mut self, entry: Entry) {
        self.0.push_back(entry);
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// Notes the status of an answer, if its entry is still there.
    pub(crate) fn answered(&mut self, number: u64, status: u16) {
        if let Ok(index) = self.0.binary_search_by_key(&number, |entry| entry.number)
            && let Some(entry) = self.0.get_mut(index)
        {
            entry.status = Some(status);
        }
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.iter().cloned().collect()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

fn as_millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

// Serde hands the field over by reference.
#[allow(clippy::ref_option)]
fn is_some<S: Serializer>(token: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(token.is_some())
}
