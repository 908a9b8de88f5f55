//! What one run of the model is about.

use migrationlink_operator::api::{DeletionPolicy, DriftPolicy};

/// How often something may happen that nobody wants, or that a person does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// A Secret gets another token.
    pub rotations: u8,
    /// The spec is edited in a way that no rule looks at.
    pub edits: u8,
    /// A resource is deleted.
    pub deletions: u8,
    /// The link is removed at the API, behind everybody's back.
    pub removals: u8,
    /// The process at work ends in the middle, and the other one goes on.
    pub crashes: u8,
    /// The process at work loses its claim without knowing it, and the other one goes on.
    pub claims: u8,
    /// The answer to a call is lost; a request may still take effect later.
    pub timeouts: u8,
    /// A call fails before it is sent.
    pub refusals: u8,
    /// A patch fails, with its effect or without.
    pub patches: u8,
    /// Twenty minutes pass.
    pub passes: u8,
    /// The watch of the copy that waits stops telling of one link.
    pub lags: u8,
    /// The nonce that the process knows expires.
    pub nonces: u8,
}

/// A run.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub name: &'static str,
    /// One or two links of one organization.
    pub links: usize,
    /// Whether both use one Secret.
    pub shared: bool,
    pub deletion: DeletionPolicy,
    pub drift: DriftPolicy,
    /// Whether a 2xx to POST says the state.
    pub answers_state: bool,
    /// Whether a POST is refused (409) while there is a link.
    pub refuses_second: bool,
    /// Whether somebody else made a link before.
    pub foreign: bool,
    /// Whether nonces are looked at.
    pub nonces: bool,
    pub budget: Budget,
}

impl Config {
    /// Two links with a Secret each, and nothing that happens to them.
    pub const fn quiet(name: &'static str) -> Self {
        Self {
            name,
            links: 2,
            shared: false,
            deletion: DeletionPolicy::Retain,
            drift: DriftPolicy::Relink,
            answers_state: true,
            refuses_second: false,
            foreign: false,
            nonces: false,
            budget: Budget {
                rotations: 0,
                edits: 0,
                deletions: 0,
                removals: 0,
                crashes: 0,
                claims: 0,
                timeouts: 0,
                refusals: 0,
                patches: 0,
                passes: 0,
                lags: 0,
                nonces: 0,
            },
        }
    }

    /// Which Secret a link refers to.
    pub fn secret_of(&self, link: usize) -> usize {
        if self.shared { 0 } else { link }
    }
}
