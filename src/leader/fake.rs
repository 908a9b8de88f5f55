//! The API server's part in an election, in memory, with all that can go wrong on the way to it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use migrationlink_apiserver::{Answer, ApiServer};
use tokio::time::sleep;
use tower::service_fn;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/operators/leases";
const NAME: &str = "migrationlink-operator";

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
#[derive(Clone)]
pub struct FakeApi {
    server: ApiServer,
    requests: Arc<Mutex<Vec<&'static str>>>,
}

impl Default for FakeApi {
    fn default() -> Self {
        Self { server: ApiServer::new(|| "2026-03-02T08:00:00Z".to_owned()), requests: Arc::default() }
    }
}

impl FakeApi {
    /// A client whose requests have the fate that is asked for with their verb.
    pub fn client(&self, fate: impl FnMut(&'static str) -> Fate + Send + 'static) -> Client {
        let (api, fate) = (self.clone(), Arc::new(Mutex::new(fate)));
        let service = service_fn(move |request: Request<kube::client::Body>| {
            let (api, fate) = (api.clone(), fate.clone());
            async move {
                let verb = verb(&request);
                api.requests.lock().unwrap().push(verb);
                let fate = fate.lock().unwrap()(verb);
                match fate {
                    Fate::Served => return Ok::<_, Infallible>(api.serve(verb, request).await),
                    Fate::Refused(code) => return Ok(Answer::refusal(code)),
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
        let lease = self.server.object("leases", "operators", NAME)?;
        Some(serde_json::from_value(lease).unwrap())
    }

    /// Who holds it.
    pub fn holder(&self) -> Option<String> {
        self.lease()?.spec?.holder_identity
    }

    /// A person's or another program's write; None deletes it.
    pub fn put(&self, lease: Option<Lease>) {
        let there = self.lease();
        let one = format!("{LEASES}/{NAME}");
        let (method, path) = match (&lease, &there) {
            (Some(_), Some(_)) => (Method::PUT, one.as_str()),
            (Some(_), None) => (Method::POST, LEASES),
            (None, _) => (Method::DELETE, one.as_str()),
        };
        let body = lease.map_or_else(Vec::new, |mut lease| {
            lease.metadata.uid = there.as_ref().and_then(|there| there.metadata.uid.clone());
            lease.metadata.resource_version = there.and_then(|there| there.metadata.resource_version);
            serde_json::to_vec(&lease).unwrap()
        });
        let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
        let answer = self.server.serve(&request);
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// The verbs that were asked for since this was called last.
    pub fn requests(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    async fn serve(&self, verb: &'static str, request: Request<kube::client::Body>) -> Response<Answer> {
        let (head, body) = request.into_parts();
        let body: Bytes = body.collect_bytes().await.unwrap();
        if matches!(verb, "create" | "update") {
            let sent: Lease = serde_json::from_slice(&body).unwrap();
            let seconds = sent.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
            assert!(seconds.is_none_or(|seconds| seconds > 0), "the API server refuses {sent:?}");
            let version = sent.metadata.resource_version;
            assert!(verb == "create" || version.is_some(), "a write over whatever is there");
        }
        self.server.serve(&Request::from_parts(head, body))
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

/// The fates of a row of requests, and then always the same.
pub fn fates(row: impl Into<VecDeque<Fate>>, then: Fate) -> impl FnMut(&'static str) -> Fate + Send {
    let mut row = row.into();
    move |_| row.pop_front().unwrap_or(then)
}
