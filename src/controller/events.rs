//! Kubernetes events: sent beside the work, from a bounded queue at a low rate. A link never waits for one.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, sleep_until, timeout};

use crate::api::{MANAGER, MigrationLink};
use crate::decision::{Announcement, Link};
use crate::metrics::Metrics;

/// Events that may be sent at once, and that may wait.
const BURST: u32 = 50;
/// Time between two events once the burst is used up: 10 a second.
const SPACING: Duration = Duration::from_millis(100);
/// The longest that one event may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// The way in.
#[derive(Clone)]
pub struct Events {
    queue: Sender<(Event, ObjectReference)>,
    metrics: Arc<Metrics>,
}

impl Events {
    /// The way in, and the task that sends.
    pub fn new(client: Client, metrics: Arc<Metrics>) -> (Self, impl Future<Output = ()>) {
        let (queue, waiting) = mpsc::channel(BURST as usize);
        let reporter = Reporter { controller: MANAGER.into(), instance: None };
        let sending = send(Recorder::new(client, reporter), waiting, metrics.clone());
        (Self { queue, metrics }, sending)
    }

    /// Announces something about a link; gives it up if too many wait already.
    pub fn send(&self, link: &Link, announcement: Announcement) {
        let reference = ObjectReference {
            api_version: Some(MigrationLink::api_version(&()).into_owned()),
            kind: Some(MigrationLink::kind(&()).into_owned()),
            namespace: Some(link.namespace.clone()),
            name: Some(link.name.clone()),
            uid: Some(link.uid.clone()),
            resource_version: None,
            field_path: None,
        };
        let event = Event {
            type_: if announcement.warning { EventType::Warning } else { EventType::Normal },
            reason: announcement.reason,
            note: Some(announcement.note),
            action: announcement.action.into(),
            secondary: None,
        };
        if self.queue.try_send((event, reference)).is_err() {
            self.metrics.event_dropped();
        }
    }
}

/// Sends what comes, at the rate of a bucket with [`BURST`] tokens that gains one every [`SPACING`].
async fn send(recorder: Recorder, mut waiting: Receiver<(Event, ObjectReference)>, metrics: Arc<Metrics>) {
    // The time up to which the bucket is spent. A full bucket lies a whole burst behind the present.
    let now = Instant::now();
    let mut spent = now.checked_sub(SPACING * BURST).unwrap_or(now);
    while let Some((event, reference)) = waiting.recv().await {
        let now = Instant::now();
        spent = spent.max(now.checked_sub(SPACING * BURST).unwrap_or(spent)) + SPACING;
        sleep_until(spent).await;
        match timeout(DEADLINE, recorder.publish(&event, &reference)).await {
            Ok(Ok(())) => metrics.event_published(),
            Ok(Err(error)) => {
                metrics.event_dropped();
                let forbidden = matches!(&error, kube::Error::Api(status) if status.code == 403);
                tracing::warn!(
                    reason = event.reason,
                    forbidden,
                    "an event could not be written{}",
                    if forbidden {
                        ": the operator's role lacks create and patch on events.k8s.io"
                    } else {
                        ""
                    }
                );
            }
            Err(_) => {
                metrics.event_dropped();
                tracing::warn!(reason = event.reason, "an event could not be written within 10 s");
            }
        }
    }
}
