//! How the simulated service answers when nothing is scripted. Where the documentation leaves an answer open, it is
//! a choice here.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::digest::{DigestPolicy, Preset};

/// The settings of a simulator. The default is the documented service: Jetty 9.4's digest, 201 with a status to a
/// POST, SYNCED at once, no latency.
#[derive(Clone)]
pub struct Config {
    /// How digest authentication is done.
    pub digest: DigestPolicy,
    /// How many backends there are behind the address, and which one a request goes to.
    pub balancing: Balancing,
    /// Time from a request's arrival to its effect and answer, challenges included (tokio time).
    pub latency: Duration,
    /// How many polls of a new link answer NOT_SYNCED; with 0 the POST already answers SYNCED.
    pub synced_after: u32,
    /// What a successful POST answers.
    pub link_answer: LinkAnswer,
    /// What a POST does where there is a link already.
    pub existing_link: ExistingLink,
    /// What a GET answers where there is no link.
    pub missing_link: MissingLink,
    /// What a successful DELETE answers.
    pub unlink_answer: UnlinkAnswer,
    /// An envelope around every successful body.
    pub envelope: Option<Envelope>,
    /// The link tokens that Atlas gave out; `None`: every token that is not empty is one.
    pub valid_tokens: Option<BTreeSet<String>>,
}

/// The nodes behind the address. None of them knows the nonces of another; links and keys are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balancing {
    /// One backend.
    Single,
    /// Each backend in turn serves `every` requests. With 1 a challenge and its answer never meet, unless other
    /// requests come between them; with 2 a kept nonce meets the wrong backend every time.
    Alternate {
        /// How many backends there are.
        backends: usize,
        /// How many requests in a row one serves.
        every: usize,
    },
    /// Each connection goes to the next backend; without a socket (in-process) all requests go to the first.
    ByConnection {
        /// How many backends there are.
        backends: usize,
    },
}

/// The body and status of a successful POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkAnswer {
    /// 201 and `{"status": …}`, as the documentation says.
    Created,
    /// 200 and the source organization with `targetOrg.linkToken` echoed, as the vendor's specification said.
    SourceOrganization,
    /// This 2xx status without a body.
    NoBody(u16),
}

/// What a POST does where there is a link already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExistingLink {
    /// The new token replaces the old one, and the link is NOT_SYNCED again for its polls.
    Replace,
    /// 409; nothing changes.
    Conflict,
}

/// What a GET answers where there is no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingLink {
    /// 404 `UNEXPECTED_ERROR`.
    NotFound,
    /// 200 and `NOT_SYNCED`.
    NotSynced,
}

/// The status of a successful DELETE, which has no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnlinkAnswer {
    /// 204, as the documentation says.
    NoContent,
    /// 202.
    Accepted,
}

/// The name of an envelope's second field, `{"status": 201, "content": {…}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// `content`: Cloud Manager and current Ops Manager.
    Content,
    /// `envelope`: Ops Manager 5.0 and 6.0.
    Envelope,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            digest: Preset::Jetty9.policy(),
            balancing: Balancing::Single,
            latency: Duration::ZERO,
            synced_after: 0,
            link_answer: LinkAnswer::Created,
            existing_link: ExistingLink::Replace,
            missing_link: MissingLink::NotFound,
            unlink_answer: UnlinkAnswer::NoContent,
            envelope: None,
            valid_tokens: None,
        }
    }
}

impl Balancing {
    /// The backend of the `request`th request (from 0), which came on the `connection`th connection (from 0).
    pub(crate) fn backend(self, request: u64, connection: u64) -> usize {
        let (turn, backends) = match self {
            Self::Single => return 0,
            Self::Alternate { backends, every } => (request / (every.max(1) as u64), backends),
            Self::ByConnection { backends } => (connection, backends),
        };
        usize::try_from(turn % (backends.max(1) as u64)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_balanced() {
        let alternate = Balancing::Alternate { backends: 2, every: 2 };
        assert_eq!([0, 1, 2, 3, 4].map(|request| alternate.backend(request, 0)), [0, 0, 1, 1, 0]);
        let by_connection = Balancing::ByConnection { backends: 3 };
        assert_eq!([0, 1, 2, 3].map(|connection| by_connection.backend(7, connection)), [0, 1, 2, 0]);
        assert_eq!(Balancing::Single.backend(7, 7), 0);
    }
}
