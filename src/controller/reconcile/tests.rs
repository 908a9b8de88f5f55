//! Who keeps an organization's slot, and what becomes of an outcome that cannot be recorded in time.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use hyper::Request;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::PostParams;
use migrationlink_apiserver::{Answer, ApiServer};
use serde_json::json;
use tower::service_fn;

use super::*;
use crate::api::{LinkRecord, MigrationLink};
use crate::controller::pacing::Pacing;
use crate::controller::slots::OrganizationKey;
use crate::decision::{Attempt, Call, Fingerprints, Origins, Outcome};
use crate::rate::Rate;
use crate::remote::{Transport, TransportError};

const ORG_ID: &str = "5f0d1e2a3b4c5d6e7f801234";

/// Nothing is ever called here.
struct Uncalled;

impl Transport for Uncalled {
    fn send(
        &self,
        _: crate::remote::Request,
    ) -> BoxFuture<'_, Result<crate::remote::Response, TransportError>> {
        panic!("a call")
    }
}

/// The links `late` and `other` of one organization, and an API server that may refuse to write the status.
struct World {
    context: Context,
    refuses: Arc<AtomicBool>,
}

impl World {
    async fn new() -> Self {
        let server = ApiServer::new(|| "2026-03-02T08:00:00Z".to_owned());
        let refuses = Arc::new(AtomicBool::new(true));
        let service = {
            let refuses = refuses.clone();
            service_fn(move |request: Request<kube::client::Body>| {
                let (server, refuses) = (server.clone(), refuses.clone());
                async move {
                    let (head, body) = request.into_parts();
                    let status = head.method == "PATCH" && head.uri.path().ends_with("/status");
                    if status && refuses.load(Ordering::Relaxed) {
                        // "etcdserver: request is too large"
                        return Ok::<_, Infallible>(Answer::refusal(500));
                    }
                    let body = body.collect_bytes().await.unwrap();
                    Ok(server.serve(&Request::from_parts(head, body)))
                }
            })
        };
        let client = kube::Client::new(service, "default");
        let store = Arc::new(Store::default());
        let pacer = Pacer::new(Pacing {
            concurrency: 64,
            origin_concurrency: 32,
            api_rate: Rate::OFF,
            origin_rate: Rate::OFF,
        });
        let metrics = Arc::new(Metrics::new(store.clone(), pacer.clone()));
        let claim = Claim::always();
        let context = Context {
            store,
            queue: Arc::default(),
            kubernetes: Kubernetes::new(client.clone(), metrics.clone(), claim.clone()),
            remote: Client::new(Arc::new(Uncalled), metrics.clone()),
            pacer,
            slots: Slots::default(),
            events: Events::new(client.clone(), metrics.clone()).0,
            metrics,
            claim,
            settings: Settings {
                allowed_origins: Origins(vec!["https://cloud.mongodb.com".parse().unwrap()]),
                sync_interval: Duration::from_mins(15),
                deletion_grace_period: None,
                started_at: Timestamp::now(),
            },
            secrets: Vec::new(),
            config_maps: Vec::new(),
            surroundings: Surroundings::default(),
            stopping: AtomicBool::new(false),
        };
        for name in ["late", "other"] {
            let link = json!({
                "apiVersion": "migrationlink.dev/v1alpha1",
                "kind": "MigrationLink",
                "metadata": {"namespace": "n", "name": name},
                "spec": {"orgId": ORG_ID, "secretRef": {"name": "keys"}},
            });
            let link: MigrationLink = serde_json::from_value(link).unwrap();
            let links: Api<MigrationLink> = Api::namespaced(client.clone(), "n");
            let link = links.create(&PostParams::default(), &link).await.unwrap();
            context.store.apply(Link::observe(link).unwrap());
        }
        Self { context, refuses }
    }

    fn link(&self, name: &str) -> Arc<Link> {
        self.context.store.get(&key(name)).unwrap().link
    }

    /// The link's POST was accepted so long ago.
    fn accepted(&self, name: &str, ago: Duration) {
        let at = Timestamp::now().checked_sub(ago).unwrap();
        let attempt = Attempt {
            call: Call::Link,
            at,
            generation: 1,
            reconcile_at: None,
            relink_at: None,
            inputs: Vec::new(),
            fingerprints: Fingerprints { token: "token".to_owned(), keys: "keys".to_owned() },
            outcome: Outcome::Accepted(Some("SYNCED".to_owned())),
        };
        let uid = self.link(name).uid.clone();
        self.context.store.remember(&key(name), &uid, |known| known.answered = Some(Arc::new(attempt)));
    }

    fn outcome(&self, name: &str) -> Option<Outcome> {
        Some(self.context.store.get(&key(name)).unwrap().answered?.outcome.clone())
    }

    fn take(&self, name: &str) -> Taken {
        self.context.slots.take(&organization(), &key(name), Instant::now()).0
    }

    /// Somebody else has written to the link: it holds the organization.
    fn hold(&self, name: &str) {
        let link = self.link(name);
        let mut link = Link { resource_version: format!("{}0", link.resource_version), ..(*link).clone() };
        let held_since = Some(Time(Timestamp::now()));
        link.status.link = Some(LinkRecord { held_since, ..LinkRecord::default() });
        self.context.store.apply(link);
    }

    async fn pass(&self, name: &str) -> Done {
        reconcile(&self.context, &key(name), Urgency::Change).await
    }

    /// `late` has given its slot on to `other`.
    async fn given_on() -> Self {
        let world = Self::new().await;
        assert_eq!((world.take("late"), world.take("other")), (Taken::Anew, Taken::ByAnother));
        world.accepted("late", RECORD_PATIENCE);
        assert!(matches!(world.pass("late").await, Done::Failed { .. }));
        world
    }
}

fn key(name: &str) -> Key {
    Key { namespace: "n".into(), name: name.into() }
}

fn organization() -> OrganizationKey {
    ("https://cloud.mongodb.com".parse().unwrap(), ORG_ID.to_owned())
}

#[tokio::test]
async fn an_outcome_that_cannot_be_recorded_keeps_the_slot_for_a_minute() {
    let world = World::new().await;
    assert_eq!((world.take("late"), world.take("other")), (Taken::Anew, Taken::ByAnother));
    world.accepted("late", RECORD_PATIENCE / 2);
    assert!(matches!(world.pass("late").await, Done::Failed { .. }));
    assert_eq!(world.take("other"), Taken::ByAnother);
    world.accepted("late", RECORD_PATIENCE);
    assert!(matches!(world.pass("late").await, Done::Failed { .. }));
    assert_eq!(world.take("other"), Taken::Before, "it was given on");
    // The other one writes now: this is no time to record anything, and its own call is not made again.
    let known = world.outcome("late");
    assert!(matches!(known, Some(Outcome::Accepted(_))));
    assert!(matches!(world.pass("late").await, Done::Until(Some(_))));
    assert_eq!(world.outcome("late"), known);
}

#[tokio::test]
async fn who_holds_the_organization_keeps_the_slot() {
    let world = World::new().await;
    world.hold("late");
    assert_eq!((world.take("late"), world.take("other")), (Taken::Anew, Taken::ByAnother));
    world.accepted("late", RECORD_PATIENCE * 10);
    assert!(matches!(world.pass("late").await, Done::Failed { .. }));
    assert_eq!(world.take("other"), Taken::ByAnother, "it may not write anyway");
}

#[tokio::test]
async fn an_outcome_that_comes_late_is_recorded_if_nobody_has_written_since() {
    let world = World::given_on().await;
    assert_eq!(world.context.slots.free(&key("other")), None);
    world.refuses.store(false, Ordering::Relaxed);
    world.pass("late").await;
    assert_eq!(world.outcome("late"), None);
    assert!(world.context.store.holds(&key("late")));
    assert_eq!(world.take("other"), Taken::Anew, "the slot is free");
}

#[tokio::test]
async fn an_outcome_that_comes_late_is_dropped_if_another_link_holds_the_organization() {
    let world = World::given_on().await;
    assert!(matches!(world.pass("late").await, Done::Until(Some(_))), "it waits for its turn");
    world.hold("other");
    assert_eq!(world.context.slots.free(&key("other")), Some(key("late")));
    world.refuses.store(false, Ordering::Relaxed);
    world.pass("late").await;
    assert_eq!(world.outcome("late"), None);
    assert_eq!(world.link("late").status.link, None, "it never held it");
    assert!(world.context.store.holds(&key("other")));
    assert_eq!(world.take("other"), Taken::Anew, "the slot is free");
}

#[tokio::test]
async fn an_outcome_after_which_another_link_was_written_is_not_trusted() {
    let world = World::given_on().await;
    // As after a call for the other one, which may not be recorded either.
    world.context.store.overtake(&key("other"));
    world.context.slots.free(&key("other"));
    world.refuses.store(false, Ordering::Relaxed);
    world.pass("late").await;
    assert_eq!(world.outcome("late"), None);
    let record = world.link("late").status.link.clone().unwrap();
    assert_eq!((record.sent.as_deref(), record.held_since), (Some("token"), None), "it is to be sent again");
}
