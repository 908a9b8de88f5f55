//! What the operator runs in: an API server, a Cloud Manager, processes that come and go, and a clock that stands still until everybody
//! waits.

pub mod clock;
pub mod life;
pub mod log;
pub mod replica;
pub mod user;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use migrationlink_apiserver::ApiServer;
use migrationlink_operator::decision::{Step, View};
use migrationlink_simulator::{ApiKeys, Config, Simulator};

use crate::border::Border;

pub const ORG: &str = "5f0d1e2a3b4c5d6e7f801234";
/// A word that is in every secret: the keys and the tokens.
pub const CANARY: &str = "canary";
pub const PUBLIC_KEY: &str = "public-canary-kx";
pub const PRIVATE_KEY: &str = "private-canary-kx";

/// See above. Clones share everything.
#[derive(Clone)]
pub struct World {
    pub api: ApiServer,
    pub cloud: Simulator,
    pub border: Border,
    /// Every token that the API ever had in force.
    pub accepted: Arc<Mutex<BTreeSet<String>>>,
    /// How long a holder of the lease that says nothing keeps it.
    pub lease: Duration,
    /// The rules: the real ones, or some with a mistake in them.
    pub decide: fn(&View<'_>) -> Step,
}

impl World {
    /// A world with one organization and nothing else. Its time begins now.
    pub fn new(config: Config, decide: fn(&View<'_>) -> Step) -> Self {
        clock::begin();
        let cloud = Simulator::new(config);
        cloud.add_organization(ORG, [ApiKeys::new(PUBLIC_KEY, PRIVATE_KEY)]);
        Self {
            api: ApiServer::new(clock::text),
            cloud,
            border: Border::default(),
            accepted: Arc::default(),
            lease: Duration::from_mins(1),
            decide,
        }
    }
}
