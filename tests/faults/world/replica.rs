//! Processes of the operator, put together as the program does it, without its sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use migrationlink_operator::controller::{Controller, EndedEarly, Pacer, Pacing, Parts, Store, Surroundings};
use migrationlink_operator::decision::{Origins, SecretAccess, Settings};
use migrationlink_operator::leader::{self, Elector};
use migrationlink_operator::metrics::Metrics;
use migrationlink_operator::rate::Rate;
use migrationlink_operator::remote;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::life::Life;
use super::{World, clock};
use crate::border::cloud::Way;
use crate::border::kubernetes;

/// A place where a process runs; when it ends, another is started a second later.
pub struct Replica {
    stop: watch::Sender<u32>,
    /// The process that runs there.
    now: watch::Receiver<Option<Arc<Life>>>,
    task: JoinHandle<()>,
}

impl Replica {
    /// Keeps a process running, and calls it by this name.
    pub fn start(world: &World, name: &'static str) -> Self {
        let (stop, stops) = watch::channel(0);
        let (lives, now) = watch::channel(None);
        let world = world.clone();
        let task = tokio::task::spawn_local(async move {
            let number = AtomicU32::new(1);
            loop {
                let life = Life::new(format!("{name}-{}", number.fetch_add(1, Ordering::Relaxed)));
                lives.send_replace(Some(life.clone()));
                live(&world, &life, stops.clone()).await;
                life.end();
                world.border.ended(&life);
                sleep(Duration::from_secs(1)).await;
            }
        });
        Self { stop, now, task }
    }

    /// SIGTERM: the process that runs now ends in order.
    pub fn terminate(&self) {
        self.stop.send_modify(|stops| *stops += 1);
    }

    /// SIGKILL: the process that runs now is gone.
    pub fn kill(&self) {
        if let Some(life) = &*self.now.borrow() {
            life.crash();
        }
    }

    /// SIGTERM, and no other is started.
    pub async fn end(self) {
        self.terminate();
        // What it has to do takes less; a second later the next one would come.
        sleep(Duration::from_millis(900)).await;
        self.task.abort();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One process from its start to its end.
async fn live(world: &World, life: &Arc<Life>, mut stops: watch::Receiver<u32>) {
    stops.mark_unchanged();
    let stopped = async move { _ = stops.changed().await };
    tokio::select! {
        biased;
        () = life.crashed() => tracing::debug!(target: "border", "{} is killed", life.name),
        ended = process(world, life, stopped) => tracing::debug!(target: "border", "{} ends: {ended:?}", life.name),
    }
}

async fn process(
    world: &World,
    life: &Arc<Life>,
    stopped: impl Future<Output = ()>,
) -> Result<(), EndedEarly> {
    let store = Arc::new(Store::default());
    let pacing =
        Pacing { concurrency: 64, origin_concurrency: 32, api_rate: Rate::OFF, origin_rate: Rate::OFF };
    let pacer = Pacer::with_jitter(pacing, clock::half);
    let metrics = Arc::new(Metrics::new(store.clone(), pacer.clone()));
    let client = kubernetes::client(world, life);
    let (elector, claim) = Elector::new(leader::Options {
        client: client.clone(),
        namespace: "system".to_owned(),
        name: "operator".to_owned(),
        duration: world.lease,
        identity: life.name.clone(),
        metrics: metrics.clone(),
    });
    let controller = Controller::new(Parts {
        client,
        remote: remote::Client::new(
            Arc::new(Way { world: world.clone(), life: life.clone() }),
            metrics.clone(),
        ),
        store,
        pacer,
        metrics,
        claim,
        settings: Settings {
            allowed_origins: Origins(vec!["https://cloud.mongodb.com".parse().expect("an origin")]),
            sync_interval: Duration::from_mins(15),
            deletion_grace_period: Some(Duration::from_mins(10)),
            started_at: clock::now(),
        },
        secret_access: SecretAccess::Watch,
        namespaces: Vec::new(),
        concurrency: 8,
        surroundings: Surroundings { clock: clock::now, jitter: clock::half, decide: world.decide },
    });
    controller.run_elected(elector, stopped).await
}
