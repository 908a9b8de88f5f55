//! Two copies of the operator in a namespace of their own, and the Cloud Manager that they call.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use migrationlink_simulator::{Answer, Behaviour, DigestOutcome, Phase};
use tokio::time::Instant;

use super::chronicle::Chronicle;
use super::oracle::{Death, Post};
use crate::support::{Cloud, Front, Operator, Tenant};

/// Time from a POST's or DELETE's arrival to its answer.
pub const CALL: Duration = Duration::from_millis(200);
/// Time that a write of a status is held before it reaches the API server, and its answer on the way back.
pub const WRITE: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(100)];

/// A namespace with all that two copies work on.
pub struct Pair<'a> {
    pub tenant: &'a Tenant<'a>,
    pub cloud: Cloud,
    pub chronicle: Chronicle,
    /// Whether its copies work on one link at a time, so that a kill hits one POST at most.
    pub one_at_a_time: bool,
    front: Front,
    epoch: Instant,
    /// Every end of a process.
    pub deaths: RefCell<Vec<Death>>,
    /// How many of them nobody wanted: the machine was too busy to renew the lease.
    pub by_themselves: Cell<usize>,
    /// How often a copy ended because it was told to.
    pub stops: Cell<usize>,
    /// Whether the last kill is over.
    pub over: Cell<bool>,
}

impl<'a> Pair<'a> {
    /// Prepares it; no copy runs yet.
    pub async fn new(tenant: &'a Tenant<'a>, one_at_a_time: bool) -> Self {
        let cloud = Cloud::start().await;
        // The journal counts from the same moment.
        let epoch = Instant::now();
        cloud.simulator.configure(|config| {
            config.digest.max_nonce_count = None;
            config.digest.max_nonce_age = Duration::from_hours(1);
        });
        let front = Front::start(tenant.control_plane).await;
        front.slow_writes(WRITE);
        let chronicle = Chronicle::begin(tenant, epoch).await;
        Self {
            tenant,
            cloud,
            chronicle,
            one_at_a_time,
            front,
            epoch,
            deaths: RefCell::default(),
            by_themselves: Cell::default(),
            stops: Cell::default(),
            over: Cell::default(),
        }
    }

    /// Makes the writes for an organization slow: their effect comes at once and the answer late, or both come late.
    pub fn slow_calls(&self, org_id: &str, effect_at_once: bool) {
        for method in ["POST", "DELETE"] {
            let slow = Behaviour::new(Answer::Normal).on_method(method).in_phase(Phase::Authenticated);
            let slow = slow.on_organization(org_id).delayed(CALL);
            self.cloud.simulator.script(if effect_at_once { slow.after_effect() } else { slow });
        }
    }

    /// A copy, which listens.
    pub async fn start(&self) -> Operator<'a> {
        let origin = format!("--allowed-origin={}", self.cloud.origin());
        let mut operator = self.tenant.operator().behind(&self.front.url()).arg(origin);
        if self.one_at_a_time {
            operator = operator.arg("--concurrency=1");
        }
        operator.arg("--sync-interval=24h").arg("--lease-duration=5s").spawn().await
    }

    /// The time since the beginning.
    pub fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// When nothing was wrong any more.
    pub fn undisturbed_since(&self) -> Duration {
        self.deaths.borrow().last().map_or(Duration::ZERO, |death| death.until)
    }

    /// The POSTs for this organization that had the right credentials.
    pub fn posts(&self, org_id: &str) -> Vec<Post> {
        let mut journal = self.cloud.simulator.journal();
        journal.retain(|entry| entry.org_id.as_deref() == Some(org_id));
        journal.retain(|entry| entry.method == "POST" && entry.digest == DigestOutcome::Accepted);
        let post = |token, at, nonce| Post { at, token, nonce };
        journal
            .into_iter()
            .map(|entry| post(entry.link_token.unwrap_or_default(), entry.at, entry.nonce))
            .collect()
    }
}
