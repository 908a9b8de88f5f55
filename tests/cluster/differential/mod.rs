//! The API server in memory (`apiserver/`) against the real one: the same requests in the same order, and the same answers.
//!
//! Left out of the comparison is what has to differ or is not imitated: messages, times, managedFields, the version of a list, and the defaults of
//! kinds that are not ours. Uids and resource versions are compared by when they were seen first.

mod built_in;
mod requests;
mod side;

use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use migrationlink_apiserver::ApiServer;
use serde_json::{Value, json};
use tower::service_fn;

use crate::support::Tenant;
use requests::{Ask, Chance, MERGE, ask, fixed, link, links, random};
use side::Side;

/// Random requests after the fixed ones.
const RANDOM: usize = 400;
#[tokio::test]
async fn the_api_server_in_memory_answers_as_the_real_one() {
    let tenant = Tenant::new().await;
    let namespace = tenant.namespace.clone();
    let mut real = Side::new(tenant.client.clone());
    let mut memory = Side::new(in_memory());
    let seed: u64 = std::env::var("MIGRATIONLINK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("differential: MIGRATIONLINK_SEED={seed}");
    let mut chance = Chance(seed);
    let mut asks = fixed(&namespace);
    asks.extend((0..RANDOM).map(|_| random(&namespace, &mut chance)));
    for (number, ask) in asks.iter().enumerate() {
        let (one, other) = tokio::join!(real.ask(ask), memory.ask(ask));
        let events = |answer: &Value| answer.as_array().cloned().unwrap_or_default();
        for (one, other) in events(&one.1).iter().zip(&events(&other.1)) {
            assert_eq!(one, other, "an event, the real one left, request {number}");
        }
        assert_eq!(one, other, "request {number}, the real one left: {ask:#?}");
        assert!(!ask.is_watch() || !events(&one.1).is_empty(), "nothing is told to request {number}");
    }
}

fn in_memory() -> Client {
    let api = ApiServer::new(|| "2026-03-02T08:00:00Z".to_owned());
    Client::new(
        service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                Ok::<_, kube::Error>(api.serve(&Request::from_parts(head, body)))
            }
        }),
        "default",
    )
}

/// A test of the test: a difference is seen.
#[tokio::test]
async fn a_difference_is_noticed() {
    let (mut one, mut other) = (Side::new(in_memory()), Side::new(in_memory()));
    let made = ask(Method::POST, links("n"), link("one"));
    assert_eq!(one.ask(&made).await, other.ask(&made).await);
    let edit = |interval: &str| Ask {
        content_type: MERGE,
        ..ask(Method::PATCH, format!("{}/one", links("n")), json!({"spec": {"syncInterval": interval}}))
    };
    assert_ne!(one.ask(&edit("1m")).await, other.ask(&edit("2m")).await);
    let again = ask(Method::GET, format!("{}/one", links("n")), Value::Null);
    assert_ne!(one.ask(&again).await, other.ask(&again).await);
}
