//! A transport out of a script, and a digest server in earnest.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Mutex;

use futures::future::BoxFuture;
use http::header::WWW_AUTHENTICATE;
use sha2::{Digest, Sha256};

use super::*;
use crate::remote::{Body, ConnectProblem, TransportErrorKind};

pub(super) const ORG: &str = "5f0d1e2a3b4c5d6e7f801234";
pub(super) const LINK: &str = "/api/public/v1.0/orgs/5f0d1e2a3b4c5d6e7f801234/liveExport/migrationLink";
pub(super) const TOKEN: &str = "link-token-canary";

pub(super) type Outcome = Result<Response, TransportError>;
type Handler = Box<dyn Fn(usize, &Seen) -> Option<Outcome> + Send + Sync>;

/// What the mock saw of a request.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) authorization: HashMap<String, String>,
    pub(super) body: Option<String>,
}

/// A transport that answers by a function of the request and its number, after 20 ms; `None` is never.
pub(super) struct Mock {
    handler: Handler,
    seen: Mutex<Vec<Seen>>,
    pub(super) exchanges: Mutex<Vec<(Operation, Result<u16, TransportErrorKind>)>>,
}

impl Mock {
    pub(super) fn client(
        handler: impl Fn(usize, &Seen) -> Option<Outcome> + Send + Sync + 'static,
    ) -> (Client, Arc<Self>) {
        let mock = Arc::new(Self {
            handler: Box::new(handler),
            seen: Mutex::default(),
            exchanges: Mutex::default(),
        });
        (Client::new(mock.clone(), mock.clone()), mock)
    }

    /// Answers from a list; the list's end is the end of the test.
    pub(super) fn script(steps: Vec<Outcome>) -> (Client, Arc<Self>) {
        let steps = Mutex::new(steps.into_iter());
        Self::client(move |_, _| Some(steps.lock().unwrap().next().expect("one request too many")))
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn count(&self, operation: Operation) -> usize {
        self.exchanges.lock().unwrap().iter().filter(|(seen, _)| *seen == operation).count()
    }
}

impl Transport for Mock {
    fn send(&self, request: Request) -> BoxFuture<'_, Outcome> {
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let authorization = request.headers.get(AUTHORIZATION);
        assert!(authorization.is_none_or(HeaderValue::is_sensitive));
        let seen = Seen {
            method: request.method,
            host: request.url.host_str().unwrap().to_owned(),
            path: request.url.path().to_owned(),
            authorization: authorization.map(|value| parameters(&text(value))).unwrap_or_default(),
            headers: request.headers,
            body: request.body.map(|body| String::from_utf8(body).unwrap()),
        };
        let number = {
            let mut all = self.seen.lock().unwrap();
            all.push(seen.clone());
            all.len() - 1
        };
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            match (self.handler)(number, &seen) {
                Some(outcome) => outcome,
                None => std::future::pending().await,
            }
        })
    }
}

impl Observer for Mock {
    fn exchange(&self, operation: Operation, outcome: Result<u16, TransportErrorKind>, elapsed: Duration) {
        assert!(elapsed >= Duration::from_millis(20));
        self.exchanges.lock().unwrap().push((operation, outcome));
    }
}

fn parameters(authorization: &str) -> HashMap<String, String> {
    let list = authorization.strip_prefix("Digest ").unwrap();
    list.split(", ")
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

#[expect(clippy::unnecessary_wraps, reason = "a step of a script")]
pub(super) fn answer(status: u16, body: &str) -> Outcome {
    let status = StatusCode::from_u16(status).unwrap();
    Ok(Response { status, headers: HeaderMap::new(), body: Body::Complete(body.as_bytes().to_vec()) })
}

pub(super) fn synced() -> Outcome {
    answer(200, r#"{"status": "SYNCED"}"#)
}

pub(super) fn challenge(text: &str) -> Outcome {
    let mut response = answer(401, r#"{"error": 401, "errorCode": "UNEXPECTED_ERROR"}"#)?;
    response.headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(text).unwrap());
    Ok(response)
}

pub(super) fn nonce(nonce: &str) -> Outcome {
    challenge(&format!(
        r#"Digest realm="MMS Public API", domain="", nonce="{nonce}", algorithm=MD5, qop="auth", stale=false"#
    ))
}

pub(super) fn stale(nonce: &str) -> Outcome {
    challenge(&format!(
        r#"Digest realm="MMS Public API", nonce="{nonce}", algorithm=MD5, qop="auth", stale=true"#
    ))
}

pub(super) fn refused() -> Outcome {
    Err(TransportError::Connect { proxy: None, problem: ConnectProblem::Refused })
}

pub(super) fn organization() -> Organization {
    let base_url = "https://cloud.example.com/api/public/v1.0".parse().unwrap();
    Organization { base_url, org_id: ORG.to_owned(), roots: None }
}

pub(super) fn keys(n: u32) -> ApiKeys {
    ApiKeys { public: format!("public{n}").into(), private: "private-canary".into() }
}

pub(super) async fn link(client: &Client) -> Result<Answer, Failure> {
    client.link(&organization(), &keys(1), &TOKEN.into(), far()).await
}

pub(super) async fn status(client: &Client) -> Result<Answer, Failure> {
    client.status(&organization(), &keys(1), None, far()).await
}

pub(super) async fn unlink(client: &Client) -> Result<(), Failure> {
    client.unlink(&organization(), &keys(1), far()).await
}

/// A deadline that does not matter beside the client's own.
pub(super) fn far() -> Instant {
    Instant::now() + 10 * DEADLINE
}

/// A server in earnest: SHA-256, each nonce count once, a nonce only as long as `nonce` says so.
pub(super) struct Server {
    nonce: Mutex<u32>,
    used: Mutex<HashSet<(String, String)>>,
    private: &'static str,
}

impl Server {
    pub(super) fn new(private: &'static str) -> Arc<Self> {
        Arc::new(Self { nonce: Mutex::new(1), used: Mutex::default(), private })
    }

    pub(super) fn expire(&self) {
        *self.nonce.lock().unwrap() += 1;
    }

    pub(super) fn serve(&self, seen: &Seen) -> Outcome {
        let nonce = self.nonce.lock().unwrap().to_string();
        let field = |name: &str| seen.authorization.get(name).cloned().unwrap_or_default();
        let hash = |text: String| {
            Sha256::digest(text).iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            })
        };
        let a1 = hash(format!("public1:a realm:{}", self.private));
        let a2 = hash(format!("{}:{}", seen.method, seen.path));
        let expected = hash(format!("{a1}:{nonce}:{}:{}:auth:{a2}", field("nc"), field("cnonce")));
        if field("response") == expected && self.used.lock().unwrap().insert((nonce.clone(), field("nc"))) {
            return match seen.method {
                Method::POST => answer(201, ""),
                Method::DELETE => answer(204, ""),
                _ => synced(),
            };
        }
        // As Jetty 12 does it: a nonce that it does not know looks like a wrong password.
        challenge(&format!(
            r#"Digest realm="a realm", nonce="{nonce}", algorithm=SHA-256, qop="auth", stale=false"#
        ))
    }
}

pub(super) fn mock_of(server: &Arc<Server>) -> (Client, Arc<Mock>) {
    let server = server.clone();
    Mock::client(move |_, seen| Some(server.serve(seen)))
}
