//! The API server's part in an election, in memory, with all that can go wrong on the way to it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use hyper::{Method, Request, Response, StatusCode};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;
use tower::service_fn;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is done and answered.
    Served,
    /// It is done, and the answer comes after so long.
    Slow(Duration),
    /// It is done, and the answer never comes.
    Unanswered,
    /// It is done after so long, and never answered.
    Late(Duration),
    /// It never arrives.
    Lost,
    /// It is refused with this status.
    Refused(u16),
}

/// An API server with one lease.
#[derive(Clone, Default)]
pub struct FakeApi(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lease: Option<Lease>,
    version: u64,
    /// Every change as a watch tells it.
    history: Vec<(u64, Bytes)>,
    watches: Vec<UnboundedSender<Bytes>>,
    requests: Vec<&'static str>,
}

impl FakeApi {
    /// A client whose requests have the fate that is asked for with their verb.
    pub fn client(&self, fate: impl FnMut(&'static str) -> Fate + Send + 'static) -> Client {
        let (api, fate) = (self.clone(), Arc::new(Mutex::new(fate)));
        let service = service_fn(move |request: Request<kube::client::Body>| {
            let (api, fate) = (api.clone(), fate.clone());
            async move {
                let verb = verb(&request);
                api.0.lock().unwrap().requests.push(verb);
                let fate = fate.lock().unwrap()(verb);
                match fate {
                    Fate::Served => return Ok::<_, Infallible>(api.serve(verb, request).await),
                    Fate::Refused(code) => return Ok(failure(code)),
                    Fate::Slow(time) => {
                        let answer = api.serve(verb, request).await;
                        sleep(time).await;
                        return Ok(answer);
                    }
                    Fate::Unanswered => drop(api.serve(verb, request).await),
                    Fate::Late(time) => {
                        // Whoever asked gives up meanwhile; the request goes its own way.
                        tokio::spawn(async move {
                            sleep(time).await;
                            api.serve(verb, request).await
                        });
                    }
                    Fate::Lost => {}
                }
                pending().await
            }
        });
        Client::new(service, "default")
    }

    /// The lease as it is.
    pub fn lease(&self) -> Option<Lease> {
        self.0.lock().unwrap().lease.clone()
    }

    /// Who holds it.
    pub fn holder(&self) -> Option<String> {
        self.lease()?.spec?.holder_identity
    }

    /// A person's or another program's write; None deletes it.
    pub fn put(&self, lease: Option<Lease>) {
        self.0.lock().unwrap().put(lease);
    }

    /// The verbs that were asked for since this was called last.
    pub fn requests(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap().requests)
    }

    async fn serve(&self, verb: &'static str, request: Request<kube::client::Body>) -> Response<Answer> {
        let since = since(&request);
        let body = request.into_body().collect_bytes().await.unwrap();
        let mut state = self.0.lock().unwrap();
        match verb {
            "get" => match &state.lease {
                Some(lease) => success(lease),
                None => failure(404),
            },
            "watch" => {
                let (watch, changes) = unbounded_channel();
                for (_, change) in state.history.iter().filter(|(version, _)| *version > since) {
                    watch.send(change.clone()).unwrap();
                }
                state.watches.push(watch);
                Response::new(Answer::Watch(changes))
            }
            verb => {
                let sent: Lease = serde_json::from_slice(&body).unwrap();
                let seconds = sent.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
                assert!(seconds.is_none_or(|seconds| seconds > 0), "the API server refuses {sent:?}");
                let version = sent.metadata.resource_version.clone();
                assert!(verb == "create" || version.is_some(), "a write over whatever is there");
                let current = state.lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
                match (verb, current) {
                    ("create", None) => {}
                    ("update", None) => return failure(404),
                    ("update", current) if current == version => {}
                    _ => return failure(409),
                }
                state.put(Some(sent));
                success(state.lease.as_ref().unwrap())
            }
        }
    }
}

impl State {
    fn put(&mut self, lease: Option<Lease>) {
        self.version += 1;
        let (kind, told) = match (&self.lease, lease) {
            (Some(before), None) => ("DELETED", before.clone()),
            (before, Some(mut lease)) => {
                lease.metadata.resource_version = Some(self.version.to_string());
                (if before.is_some() { "MODIFIED" } else { "ADDED" }, lease)
            }
            (None, None) => return,
        };
        self.lease = (kind != "DELETED").then(|| told.clone());
        let change = format!("{}\n", json!({"type": kind, "object": told}));
        let change = Bytes::from(change);
        self.history.push((self.version, change.clone()));
        self.watches.retain(|watch| watch.send(change.clone()).is_ok());
    }
}

fn verb(request: &Request<kube::client::Body>) -> &'static str {
    match *request.method() {
        Method::POST => "create",
        Method::PUT => "update",
        _ if request.uri().query().is_some_and(|query| query.contains("watch=true")) => "watch",
        _ => "get",
    }
}

fn since(request: &Request<kube::client::Body>) -> u64 {
    let query = request.uri().query().unwrap_or_default();
    let version = query.split('&').find_map(|part| part.strip_prefix("resourceVersion="));
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn success(lease: &Lease) -> Response<Answer> {
    Response::new(Answer::Whole(serde_json::to_vec(lease).map(Bytes::from).ok()))
}

fn failure(code: u16) -> Response<Answer> {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "refused", "reason": reason, "code": code,
    });
    let mut response = Response::new(Answer::Whole(Some(status.to_string().into())));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

/// The body of an answer.
pub enum Answer {
    /// At once.
    Whole(Option<Bytes>),
    /// Line by line.
    Watch(UnboundedReceiver<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Watch(changes) => changes.poll_recv(context),
        };
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// The fates of a row of requests, and then always the same.
pub fn fates(row: impl Into<VecDeque<Fate>>, then: Fate) -> impl FnMut(&'static str) -> Fate + Send {
    let mut row = row.into();
    move |_| row.pop_front().unwrap_or(then)
}
