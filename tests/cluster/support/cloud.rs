//! Cloud Manager for a test: the simulator on a loopback port, with one organization.

use std::net::Ipv4Addr;

use migrationlink_simulator::{ApiKeys, Config, DigestOutcome, Server, Simulator};
use tokio::net::TcpListener;

use super::ORG_ID;

/// The public key of the organization.
pub const PUBLIC_KEY: &str = "abcdefgh";
/// The private key of the organization.
pub const PRIVATE_KEY: &str = "7f0b3e52-5b7a-4d55-9c39-4f6d2b9c1a00";

/// A running simulator with the organization [`ORG_ID`]. It runs on the test's own runtime and ends with this.
pub struct Cloud {
    /// The simulator, to script and to look into.
    pub simulator: Simulator,
    scheme: &'static str,
    server: Server,
}

/// What was asked of the simulator since its journal was cleared, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Requests without an Authorization header.
    pub challenges: usize,
    /// Authenticated POSTs.
    pub posts: usize,
    /// Authenticated GETs.
    pub polls: usize,
    /// Authenticated requests of other methods.
    pub others: usize,
    /// Answers to a challenge that were not accepted: a nonce out of date, a wrong key.
    pub refused: usize,
}

impl Cloud {
    /// Listens on plain HTTP.
    pub async fn start() -> Self {
        let simulator = simulator();
        let server = simulator.serve_plain(listener().await).expect("the simulator listens");
        Self { simulator, scheme: "http", server }
    }

    /// Listens on HTTPS; `simulator.ca_pem()` is the root to trust.
    pub async fn start_tls() -> Self {
        let simulator = simulator();
        let server = simulator.serve_tls(listener().await).expect("the simulator listens");
        Self { simulator, scheme: "https", server }
    }

    /// The same Cloud Manager at another origin, on plain HTTP: what happens there holds back no call to this one.
    pub async fn at_another_origin(&self) -> Self {
        let simulator = self.simulator.clone();
        let server = simulator.serve_plain(listener().await).expect("the simulator listens");
        Self { simulator, scheme: "http", server }
    }

    /// What the operator's `--allowed-origin` takes.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.server.address())
    }

    /// What a link's `spec.baseUrl` takes.
    pub fn base_url(&self) -> String {
        format!("{}/api/public/v1.0", self.origin())
    }

    /// The keys of a Secret that is right: the organization's API keys and this link token.
    pub fn secret_keys(token: &str) -> [(&'static str, &str); 3] {
        [("publicKey", PUBLIC_KEY), ("privateKey", PRIVATE_KEY), ("linkToken", token)]
    }

    /// Adds another organization with the same API keys.
    pub fn add_organization(&self, org_id: &str) {
        self.simulator.add_organization(org_id, [ApiKeys::new(PUBLIC_KEY, PRIVATE_KEY)]);
    }

    /// What was asked since the journal was cleared (`simulator.clear_journal()`).
    pub fn calls(&self) -> Calls {
        let mut calls = Calls::default();
        for entry in self.simulator.journal() {
            *match (entry.digest, entry.method.as_str()) {
                (DigestOutcome::Challenge, _) => &mut calls.challenges,
                (DigestOutcome::Stale | DigestOutcome::Rejected, _) => &mut calls.refused,
                (DigestOutcome::Accepted, "POST") => &mut calls.posts,
                (DigestOutcome::Accepted, "GET") => &mut calls.polls,
                (DigestOutcome::Accepted, _) => &mut calls.others,
            } += 1;
        }
        calls
    }
}

fn simulator() -> Simulator {
    let simulator = Simulator::new(Config::default());
    simulator.add_organization(ORG_ID, [ApiKeys::new(PUBLIC_KEY, PRIVATE_KEY)]);
    simulator
}

async fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port")
}
