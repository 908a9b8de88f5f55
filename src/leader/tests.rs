//! Elections over an API server in memory, in paused time.

mod election;
mod rules;
mod troubles;
mod weather;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::fake::{FakeApi, Fate};
use super::{AtEnd, Claim, Elector, Options};
use crate::metrics::Metrics;

const DURATION: Duration = Duration::from_secs(15);
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);
/// Two steps of a program are no time at all; tokio's clock goes in milliseconds.
const AT_ONCE: Duration = Duration::from_millis(5);

/// A candidate at work.
struct Candidate {
    claim: Claim,
    metrics: Arc<Metrics>,
    stop: Option<oneshot::Sender<AtEnd>>,
    running: JoinHandle<()>,
}

fn elector(client: Client, identity: &str) -> (Elector, Claim, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new((), ()));
    let (elector, claim) = Elector::new(Options {
        client,
        namespace: "operators".to_owned(),
        name: "migrationlink-operator".to_owned(),
        duration: DURATION,
        identity: identity.to_owned(),
        metrics: metrics.clone(),
    });
    (elector, claim, metrics)
}

impl Candidate {
    fn start(client: Client, identity: &str) -> Self {
        let (elector, claim, metrics) = elector(client, identity);
        Self::run(elector, claim, metrics)
    }

    fn run(elector: Elector, claim: Claim, metrics: Arc<Metrics>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(elector.run(async move { stopped.await.unwrap_or(AtEnd::Release) }));
        Self { claim, metrics, stop: Some(stop), running }
    }

    /// Through a way on which nothing goes wrong.
    fn sound(api: &FakeApi, identity: &str) -> Self {
        Self::start(api.client(|_| Fate::Served), identity)
    }

    /// How long it takes until it may write.
    async fn acquires(&self) -> Duration {
        let begin = Instant::now();
        timeout(Duration::from_mins(2), self.claim.acquired())
            .await
            .expect("it may write within two minutes");
        assert!(self.claim.holds());
        begin.elapsed()
    }

    /// Tells it to give the lease back, and waits until it has ended.
    async fn stop(mut self) {
        drop(self.stop.take());
        self.running.await.unwrap();
        assert!(!self.claim.holds());
    }

    /// Tells it to leave the lease as it is, and waits until it has ended.
    async fn leave(mut self) {
        let stop = self.stop.take().expect("it runs");
        stop.send(AtEnd::LetExpire).expect("it listens");
        self.running.await.unwrap();
        assert!(!self.claim.holds());
    }

    /// As SIGKILL does.
    fn kill(self) {
        self.running.abort();
    }

    fn leads(&self) -> bool {
        self.metrics.encode().unwrap().contains("migrationlink_leader 1\n")
    }
}

/// A way to the API server that can be cut.
#[derive(Clone)]
struct Way(Arc<Mutex<Fate>>);

impl Way {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Fate::Served)))
    }

    fn client(&self, api: &FakeApi) -> Client {
        let way = self.0.clone();
        api.client(move |_| *way.lock().unwrap())
    }

    fn set(&self, fate: Fate) {
        *self.0.lock().unwrap() = fate;
    }
}
