//! The way to the API server.

use std::io;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use kube::Client;
use migrationlink_apiserver::{Answer, ApiServer};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tower::service_fn;

use super::watch::Passed;
use super::{Fault, Kind, Phase, Point, SILENCE, SLOW, WAY};
use crate::oracle::{self, Moment};
use crate::world::World;
use crate::world::life::Life;

/// A client of the process with this life.
pub fn client(world: &World, life: &Arc<Life>) -> Client {
    let (world, life) = (world.clone(), life.clone());
    let service = service_fn(move |request: Request<kube::client::Body>| {
        let (world, life) = (world.clone(), life.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.map_err(io::Error::other)?;
            cross(&world, &life, Request::from_parts(head, body)).await
        }
    });
    Client::new(service, "default")
}

async fn cross(world: &World, life: &Arc<Life>, request: Request<Bytes>) -> io::Result<Response<Passed>> {
    life.gone().await;
    let kind = kind(&request);
    oracle::may_write(world, life, kind, Moment::Sent);
    oracle::sends(world, &request);
    let (crossing, point) = world.border.cross(kind);
    tracing::debug!(target: "border", "{} sends {crossing}{}", life.name, told(point.as_ref()));
    let at = |phase| point.filter(|point| point.phase == phase);
    if let Some(point) = at(Phase::Before) {
        world.border.met(point);
        if let Some(answer) = fail(life, point.fault).await {
            return answer.map(|answer| answer.map(|body| Passed::new(body, life.clone(), None)));
        }
    }
    let slow = at(Phase::Before).is_some_and(|point| point.fault == Fault::Slow);
    let older = at(Phase::Effect).filter(|point| point.fault == Fault::Older);
    if let Some((late, point)) = older.and_then(|point| Some((world.api.serve_late(&request)?, point))) {
        world.border.met(point);
        sleep(2 * WAY).await;
        return Ok(late.map(|body| Passed::new(body, life.clone(), None)));
    }
    let response = serve(world, life, request, kind, slow).await;
    if let Some(point) = at(Phase::Effect).filter(|point| point.fault != Fault::Older) {
        world.border.met(point);
        match point.fault {
            Fault::Slow => sleep(SLOW).await,
            Fault::Cut => return Ok(response.map(|body| Passed::cut(body, life.clone()))),
            fault => {
                if let Some(answer) = fail(life, fault).await {
                    return answer.map(|answer| answer.map(|body| Passed::new(body, life.clone(), None)));
                }
            }
        }
    }
    let mut of_events = None;
    if let Some(point) = at(Phase::Answer) {
        if kind.is_watch() {
            of_events = Some((world.clone(), point));
        } else {
            world.border.met(point);
            life.crash_soon();
        }
    }
    Ok(response.map(|body| Passed::new(body, life.clone(), of_events)))
}

/// What is on its way arrives, whether or not anybody waits for the answer.
async fn serve(
    world: &World,
    life: &Arc<Life>,
    request: Request<Bytes>,
    kind: Kind,
    slow: bool,
) -> Response<Answer> {
    let (answer, answered) = oneshot::channel();
    let (world, life) = (world.clone(), life.clone());
    tokio::spawn(async move {
        sleep(if slow { SLOW } else { WAY }).await;
        let response = oracle::serve(&world, &life, &request, kind);
        let _ = answer.send(response);
    });
    let response = answered.await.expect("an answer");
    sleep(WAY).await;
    response
}

/// What comes instead of an answer; None where the request only takes longer.
async fn fail(life: &Arc<Life>, fault: Fault) -> Option<io::Result<Response<Answer>>> {
    match fault {
        Fault::Crash => {
            life.crash();
            life.gone().await;
            None
        }
        Fault::Timeout => {
            sleep(SILENCE).await;
            Some(Err(io::ErrorKind::TimedOut.into()))
        }
        Fault::Reset => {
            sleep(WAY).await;
            Some(Err(io::ErrorKind::ConnectionReset.into()))
        }
        Fault::Status(code) => {
            sleep(WAY).await;
            Some(Ok(Answer::refusal(code)))
        }
        Fault::Slow | Fault::Cut | Fault::Older | Fault::Twice | Fault::Swapped => None,
    }
}

fn told(point: Option<&Point>) -> String {
    point.map_or_else(String::new, |point| format!(", which meets {point}"))
}

fn kind(request: &Request<Bytes>) -> Kind {
    let path = request.uri().path();
    let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let parts: Vec<&str> = path.split('/').collect();
    let plurals = ["migrationlinks", "secrets", "configmaps", "leases", "events"];
    let at = parts.iter().position(|part| plurals.contains(part)).expect("a kind that is served");
    let named = parts.len() > at + 1;
    match (request.method(), parts[at], named) {
        (&Method::GET, "migrationlinks", false) if watch => Kind::WatchLinks,
        (&Method::GET, "secrets", false) if watch => Kind::WatchSecrets,
        (&Method::GET, "configmaps", false) if watch => Kind::WatchConfigMaps,
        (&Method::GET, "leases", false) => Kind::WatchLease,
        (&Method::GET, "migrationlinks", false) => Kind::ListLinks,
        (&Method::GET, "secrets", false) => Kind::ListSecrets,
        (&Method::GET, "configmaps", false) => Kind::ListConfigMaps,
        (&Method::GET, "migrationlinks", true) => Kind::GetLink,
        (&Method::GET, "secrets", true) => Kind::GetSecret,
        (&Method::GET, "configmaps", true) => Kind::GetConfigMap,
        (&Method::GET, "leases", true) => Kind::GetLease,
        (&Method::POST, "leases", _) => Kind::CreateLease,
        (&Method::PUT, "leases", _) => Kind::UpdateLease,
        (_, "events", _) => Kind::Event,
        (&Method::PATCH, "migrationlinks", true) if parts.len() > at + 2 => Kind::Status,
        (&Method::PATCH, "migrationlinks", true) => Kind::Finalizer,
        (method, ..) => panic!("the operator sent {method} {path}"),
    }
}

/// A request of a person, which nothing happens to.
pub fn ask(api: &ApiServer, method: Method, path: &str, content_type: &str, body: &Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).header("Content-Type", content_type);
    let response = api.serve(&request.body(body.to_string().into()).expect("a request"));
    let code = response.status().as_u16();
    let Answer::Whole(Some(bytes)) = response.into_body() else { panic!("a whole answer") };
    (code, serde_json::from_slice(&bytes).expect("JSON"))
}
