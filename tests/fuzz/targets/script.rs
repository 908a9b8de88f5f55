//! A server in the same process, and the calls that are made to it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderMap};
use http::{Method, StatusCode};
use migrationlink_operator::remote::{
    Answer, ApiKeys, Body, Client, Failure, Observer, Operation, Organization, Request, Response, Transport,
    TransportError, TransportErrorKind,
};
use secrecy::SecretString;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

pub const ORG: &str = "5f0d1e2a3b4c5d6e7f801234";
pub const LINK: &str = "/api/public/v1.0/orgs/5f0d1e2a3b4c5d6e7f801234/liveExport/migrationLink";

/// What the vendor's servers ask (api page, section 3).
pub const USUAL: &str = r#"Digest realm="MMS Public API", domain="", nonce="Kb3v/+1Yc9QwJx5tqkXlZw1nLgU7e0ab=", algorithm=MD5, qop="auth", stale=false"#;

/// A request as it arrived.
pub struct Sent {
    pub method: Method,
    pub path: String,
    pub authorization: Option<String>,
}

type Serve<'a> = Box<dyn FnMut(&Sent) -> Response + Send + 'a>;

/// A server that answers at once. It also holds what is true of every request of ours, whatever the server says.
struct Server(Mutex<Serve<'static>>);

/// The client's end, and whose calls it makes.
pub struct Caller {
    client: Client,
    organization: Organization,
    keys: ApiKeys,
    token: SecretString,
}

impl Caller {
    pub fn new(
        (public, private, token): (&str, &str, &str),
        serve: impl FnMut(&Sent) -> Response + Send + 'static,
    ) -> Self {
        let server = Arc::new(Server(Mutex::new(Box::new(serve))));
        let base_url = "https://cloud.mongodb.com/api/public/v1.0".parse().unwrap();
        Self {
            client: Client::new(server.clone(), server),
            organization: Organization { base_url, org_id: ORG.to_owned(), roots: None },
            keys: ApiKeys { public: public.into(), private: private.into() },
            token: token.into(),
        }
    }

    /// One call. The answer to a DELETE has no state.
    pub fn call(&self, operation: Operation) -> Result<Answer, Failure> {
        let (of, keys) = (&self.organization, &self.keys);
        run(async {
            let deadline = Instant::now() + Duration::from_secs(30);
            match operation {
                Operation::Link | Operation::Challenge => {
                    self.client.link(of, keys, &self.token, deadline).await
                }
                Operation::Status => self.client.status(of, keys, Some(&self.token), deadline).await,
                Operation::Unlink => {
                    self.client.unlink(of, keys, deadline).await.map(|()| Answer { state: None })
                }
            }
        })
    }
}

impl Transport for Server {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        let authorization = request.headers.get(AUTHORIZATION);
        assert!(authorization.is_none_or(http::HeaderValue::is_sensitive));
        assert_eq!(request.url.origin().ascii_serialization(), "https://cloud.mongodb.com");
        let end = if request.method == Method::GET { "/status" } else { "" };
        assert_eq!(request.url.path(), format!("{LINK}{end}"));
        assert_eq!((request.url.query(), request.url.fragment()), (None, None));
        let with_token = request.method == Method::POST && authorization.is_some();
        assert_eq!(
            request.body.is_some(),
            with_token,
            "the token travels only with an answer to a challenge"
        );
        let sent = Sent {
            method: request.method,
            path: request.url.path().to_owned(),
            // A header value that is not visible ASCII fails here.
            authorization: authorization.map(|value| value.to_str().unwrap().to_owned()),
        };
        let response = self.0.lock().unwrap_or_else(PoisonError::into_inner)(&sent);
        Box::pin(async { Ok(response) })
    }
}

impl Observer for Server {
    fn exchange(&self, _: Operation, _: Result<u16, TransportErrorKind>, _: Duration) {}
}

pub fn respond(status: u16, headers: HeaderMap, body: &[u8]) -> Response {
    let body = match body.len() {
        ..=migrationlink_operator::remote::MAX_BODY => Body::Complete(body.to_vec()),
        _ => Body::TooLarge,
    };
    Response { status: StatusCode::from_u16(status).unwrap(), headers, body }
}

/// A word that begins like this and that the input does not hold: what is found of it elsewhere came from us.
pub fn absent(input: &[u8], beginning: &str) -> String {
    // Each of them takes a place of its own in the input.
    (0..=input.len())
        .map(|n| format!("{beginning}-{n}"))
        .find(|word| !input.windows(word.len()).any(|part| part == word.as_bytes()))
        .unwrap()
}

fn run<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}
