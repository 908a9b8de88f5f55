//! Every reason that `Ready` can have, what stands beside it, and how soon it is tried again.

use std::fmt;
use std::str::FromStr;

/// Why a link is, or is not, ready. The words are part of the API: dashboards and scripts read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The API accepted the token and says SYNCED.
    Synced,
    /// Accepted, but the API says NOT_SYNCED or a word that we do not know.
    NotSynced,
    /// A link that was there is gone.
    LinkLost,
    /// No connection, no answer in time, or a server error.
    EndpointUnavailable,
    /// The server's certificate is not trusted.
    TlsVerificationFailed,
    /// Too many requests for this API key.
    RateLimited,
    /// The server takes no writes while it is upgraded.
    ServiceUpgrading,
    /// The API keys were refused.
    Unauthorized,
    /// The operator's address is not on the organization's access list.
    AccessListDenied,
    /// The keys are right but may not do this.
    Forbidden,
    /// There is no such organization there.
    OrganizationNotFound,
    /// The link token was refused.
    TokenRejected,
    /// Another link is in force that this resource did not make.
    LinkExists,
    /// The request was refused for another cause.
    RequestRejected,
    /// The answer is not one of this API.
    UnexpectedResponse,
    /// The Secret is not there.
    SecretNotFound,
    /// The Secret lacks something, or holds it in a wrong form.
    InvalidSecret,
    /// The API server does not let the operator read the Secret.
    SecretAccessDenied,
    /// The object that `caRef` names is not there.
    CANotFound,
    /// Its key is missing, or holds no certificates.
    InvalidCA,
    /// The base URL's origin is not one that credentials may be sent to.
    EndpointNotAllowed,
    /// Another `MigrationLink` holds the organization.
    DuplicateOrganization,
    /// The spec cannot be used although the API server let it in.
    InvalidSpec,
    /// The resource is being deleted, and its link cannot be removed.
    DeletionBlocked,
    /// The same, because a live export runs.
    LiveExportRunning,
    /// `spec.suspend` or the annotation `paused`.
    Suspended,
}

/// The condition that stands beside a `Ready` that is not True (kstatus).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Nothing: the link is ready, or nothing is attempted.
    Nothing,
    /// `Reconciling`: it may pass by itself.
    Reconciling,
    /// `Stalled`: a person must act.
    Stalled,
}

/// How soon it is tried again without anybody's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At the next regular check.
    Check,
    /// 5 s, doubling to the check interval.
    Settle,
    /// 2 s, doubling to 10 min, half of it jittered.
    BackOff,
    /// 1 min, doubling to 1 h.
    Slow,
    /// At once: the next rule acts on it.
    AtOnce,
    /// Only a change of what was refused: nothing to try before.
    OnChange,
    /// 1 min, doubling to 10 min: what runs there takes its time.
    LiveExport,
    /// That of the cause, which the condition beside `Ready` has for its reason.
    AsCause,
}

impl Reason {
    /// All of them, in the order of the documentation's table.
    pub const ALL: [Self; 26] = [
        Self::Synced,
        Self::NotSynced,
        Self::LinkLost,
        Self::EndpointUnavailable,
        Self::TlsVerificationFailed,
        Self::RateLimited,
        Self::ServiceUpgrading,
        Self::Unauthorized,
        Self::AccessListDenied,
        Self::Forbidden,
        Self::OrganizationNotFound,
        Self::TokenRejected,
        Self::LinkExists,
        Self::RequestRejected,
        Self::UnexpectedResponse,
        Self::SecretNotFound,
        Self::InvalidSecret,
        Self::SecretAccessDenied,
        Self::CANotFound,
        Self::InvalidCA,
        Self::EndpointNotAllowed,
        Self::DuplicateOrganization,
        Self::InvalidSpec,
        Self::DeletionBlocked,
        Self::LiveExportRunning,
        Self::Suspended,
    ];

    /// The word as it stands in conditions and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "Synced",
            Self::NotSynced => "NotSynced",
            Self::LinkLost => "LinkLost",
            Self::EndpointUnavailable => "EndpointUnavailable",
            Self::TlsVerificationFailed => "TlsVerificationFailed",
            Self::RateLimited => "RateLimited",
            Self::ServiceUpgrading => "ServiceUpgrading",
            Self::Unauthorized => "Unauthorized",
            Self::AccessListDenied => "AccessListDenied",
            Self::Forbidden => "Forbidden",
            Self::OrganizationNotFound => "OrganizationNotFound",
            Self::TokenRejected => "TokenRejected",
            Self::LinkExists => "LinkExists",
            Self::RequestRejected => "RequestRejected",
            Self::UnexpectedResponse => "UnexpectedResponse",
            Self::SecretNotFound => "SecretNotFound",
            Self::InvalidSecret => "InvalidSecret",
            Self::SecretAccessDenied => "SecretAccessDenied",
            Self::CANotFound => "CANotFound",
            Self::InvalidCA => "InvalidCA",
            Self::EndpointNotAllowed => "EndpointNotAllowed",
            Self::DuplicateOrganization => "DuplicateOrganization",
            Self::InvalidSpec => "InvalidSpec",
            Self::DeletionBlocked => "DeletionBlocked",
            Self::LiveExportRunning => "LiveExportRunning",
            Self::Suspended => "Suspended",
        }
    }

    /// What stands beside `Ready`. `LinkLost` with the drift policy `Report` is Stalled, and `DeletionBlocked` stands beside
    /// what its cause stands beside.
    pub const fn beside(self) -> Beside {
        match self {
            Self::Synced | Self::Suspended => Beside::Nothing,
            Self::NotSynced
            | Self::LinkLost
            | Self::EndpointUnavailable
            | Self::RateLimited
            | Self::ServiceUpgrading
            | Self::UnexpectedResponse
            | Self::SecretNotFound
            | Self::CANotFound
            | Self::LiveExportRunning => Beside::Reconciling,
            Self::TlsVerificationFailed
            | Self::Unauthorized
            | Self::AccessListDenied
            | Self::Forbidden
            | Self::OrganizationNotFound
            | Self::TokenRejected
            | Self::LinkExists
            | Self::RequestRejected
            | Self::InvalidSecret
            | Self::SecretAccessDenied
            | Self::InvalidCA
            | Self::EndpointNotAllowed
            | Self::DuplicateOrganization
            | Self::InvalidSpec
            | Self::DeletionBlocked => Beside::Stalled,
        }
    }

    /// How soon it is tried again.
    pub const fn pace(self) -> Pace {
        match self {
            Self::Synced => Pace::Check,
            Self::NotSynced => Pace::Settle,
            Self::LinkLost => Pace::AtOnce,
            Self::EndpointUnavailable
            | Self::RateLimited
            | Self::ServiceUpgrading
            | Self::UnexpectedResponse => Pace::BackOff,
            Self::TlsVerificationFailed
            | Self::Unauthorized
            | Self::AccessListDenied
            | Self::Forbidden
            | Self::OrganizationNotFound
            | Self::TokenRejected
            | Self::LinkExists
            | Self::RequestRejected
            | Self::SecretAccessDenied => Pace::Slow,
            Self::SecretNotFound
            | Self::InvalidSecret
            | Self::CANotFound
            | Self::InvalidCA
            | Self::EndpointNotAllowed
            | Self::DuplicateOrganization
            | Self::InvalidSpec
            | Self::Suspended => Pace::OnChange,
            Self::LiveExportRunning => Pace::LiveExport,
            Self::DeletionBlocked => Pace::AsCause,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word is none of ours: somebody else wrote it, or another version of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a reason that this version of the operator gives")]
pub struct UnknownReason;

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word).ok_or(UnknownReason)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_word_is_there_once_and_read_back() {
        let words: HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
    }

    #[test]
    fn what_needs_a_person_is_stalled_and_what_passes_is_not() {
        for reason in Reason::ALL {
            match reason.pace() {
                Pace::Slow => assert_eq!(reason.beside(), Beside::Stalled, "{reason}"),
                Pace::BackOff | Pace::Settle | Pace::AtOnce | Pace::LiveExport => {
                    assert_eq!(reason.beside(), Beside::Reconciling, "{reason}");
                }
                Pace::Check | Pace::OnChange | Pace::AsCause => {}
            }
        }
    }
}
