//! The way to Cloud Manager: the simulator without a socket.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use axum::body::{Body as AxumBody, to_bytes};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use migrationlink_operator::remote::{Body, ConnectProblem, Request, Response, Transport, TransportError};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tower::ServiceExt as _;

use super::{Border, Fault, Kind, Phase, Point, SLOW, WAY};
use crate::oracle::{self, Moment};
use crate::world::life::Life;
use crate::world::{ORG, World};

/// The transport of the process with this life.
pub struct Way {
    pub world: World,
    pub life: Arc<Life>,
}

type Sent = Result<Response, TransportError>;

impl Transport for Way {
    fn send(&self, request: Request) -> BoxFuture<'_, Sent> {
        Box::pin(self.cross(request))
    }
}

impl Way {
    async fn cross(&self, request: Request) -> Sent {
        let (world, life) = (&self.world, &self.life);
        life.gone().await;
        let kind = kind(&request);
        oracle::may_write(world, life, kind, Moment::Sent);
        let (crossing, point) = world.border.cross(kind);
        let point = point.filter(|point| !self.contradicts_itself(point, &request));
        tracing::debug!(target: "border", "{} sends {crossing}{}", life.name, point.map_or_else(String::new, |p| format!(", which meets {p}")));
        oracle::may_call(world);
        let posting = Posting::begin(world, life, kind);
        let at = |phase| point.filter(|point| point.phase == phase);
        if let Some(point) = at(Phase::Before) {
            world.border.met(point);
            if kind == Kind::Post && point.fault != Fault::Slow {
                world.border.sent();
            }
            match point.fault {
                Fault::Reset => {
                    let problem = ConnectProblem::Refused;
                    return Err(TransportError::Connect { proxy: None, problem });
                }
                // The server's own refusal: what it says to a request without an answer to a challenge.
                Fault::Status(401) => return self.serve(without_credentials(request), false).await,
                Fault::Slow => {}
                fault => return self.fail(fault).await,
            }
        }
        let slow = at(Phase::Before).is_some_and(|point| point.fault == Fault::Slow);
        let mut response = self.serve(request, slow).await?;
        match at(Phase::Effect) {
            None => {}
            Some(point) => {
                world.border.met(point);
                match point.fault {
                    Fault::Slow => sleep(SLOW).await,
                    Fault::Cut => response.body = Body::Broken,
                    Fault::Reset => return Err(TransportError::Broken),
                    fault => return self.fail(fault).await,
                }
            }
        }
        if let Some(point) = at(Phase::Answer) {
            world.border.met(point);
            life.crash_soon();
        }
        drop(posting);
        Ok(response)
    }

    /// Whether the server would refuse a token although it has replaced the link of another one before. Taken for granted is that the
    /// API does one or the other: which, nobody has written down, and the operator takes the refusal to say whose link is there.
    fn contradicts_itself(&self, point: &Point, request: &Request) -> bool {
        point.crossing.kind == Kind::Post
            && point.fault == Fault::Status(409)
            && self.world.border.replaced()
            && replaces(&self.world, request)
    }

    /// What is on its way arrives, whether or not anybody waits for the answer.
    async fn serve(&self, request: Request, slow: bool) -> Sent {
        let (answer, answered) = oneshot::channel();
        let (world, life) = (self.world.clone(), self.life.clone());
        tokio::spawn(async move {
            sleep(if slow { SLOW } else { WAY }).await;
            let _ = answer.send(exchange(&world, &life, request).await);
        });
        let response = answered.await.expect("an answer");
        sleep(WAY).await;
        Ok(response)
    }

    async fn fail(&self, fault: Fault) -> Sent {
        match fault {
            Fault::Crash => {
                self.life.crash();
                pending().await
            }
            // The caller has a deadline of its own.
            Fault::Timeout => pending().await,
            Fault::Status(code) => {
                sleep(WAY).await;
                Ok(refusal(code))
            }
            fault => panic!("{fault:?} is dealt with before"),
        }
    }
}

/// A POST under way.
struct Posting(Option<Border>);

impl Posting {
    fn begin(world: &World, life: &Arc<Life>, kind: Kind) -> Self {
        let posts = kind == Kind::Post;
        if posts {
            world.border.posts_now(life);
        }
        Self(posts.then(|| world.border.clone()))
    }
}

impl Drop for Posting {
    fn drop(&mut self) {
        if let Some(border) = &self.0 {
            border.answered();
        }
    }
}

fn kind(request: &Request) -> Kind {
    match (request.headers.contains_key("authorization"), &request.method) {
        (false, _) => Kind::Challenge,
        (true, &Method::POST) => Kind::Post,
        (true, &Method::DELETE) => Kind::Delete,
        _ => Kind::Poll,
    }
}

fn without_credentials(mut request: Request) -> Request {
    request.headers.remove("authorization");
    request
}

/// Whether the request sends a token where the link of another one is.
fn replaces(world: &World, request: &Request) -> bool {
    let body: Value =
        request.body.as_deref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
    let sent = body["linkToken"].as_str();
    sent.is_some() && world.cloud.link_token(ORG).is_some_and(|there| Some(there.as_str()) != sent)
}

async fn exchange(world: &World, life: &Life, request: Request) -> Response {
    let posts = request.method == Method::POST;
    let replaces = replaces(world, &request);
    oracle::may_write(world, life, kind(&request), Moment::Effect);
    let mut sent = http::Request::builder().method(request.method).uri(request.url.path());
    for (name, value) in &request.headers {
        sent = sent.header(name, value);
    }
    let sent = sent.body(AxumBody::from(request.body.unwrap_or_default())).expect("a request");
    let answered: Result<_, Infallible> = world.cloud.router().oneshot(sent).await;
    let (head, body) = answered.unwrap_or_else(|never| match never {}).into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    if posts && head.status != StatusCode::UNAUTHORIZED {
        world.border.sent();
    }
    if posts && head.status.is_success() {
        world.border.posted(life, replaces);
        oracle::note_token(world);
    }
    Response { status: head.status, headers: head.headers, body: Body::Complete(body.to_vec()) }
}

/// What the API, or a gateway before it, answers instead.
fn refusal(code: u16) -> Response {
    let status = StatusCode::from_u16(code).expect("a status");
    let mut headers = HeaderMap::new();
    let body = match code {
        404 | 503 => format!("<html><body>{code}</body></html>").into_bytes(),
        _ => {
            headers.insert("content-type", HeaderValue::from_static("application/json"));
            let error_code = if code == 429 { "RATE_LIMITED" } else { "UNEXPECTED_ERROR" };
            json!({"error": code, "errorCode": error_code, "detail": "as the test wants it"})
                .to_string()
                .into()
        }
    };
    if code == 429 {
        headers.insert("retry-after", HeaderValue::from_static("7"));
    }
    Response { status, headers, body: Body::Complete(body) }
}
