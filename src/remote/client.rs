//! A call: a nonce, an answer to it, and what the server says. At most 30 s, at most three requests in earnest.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::answer::Answer;
use super::credential::{CredentialId, CredentialIds};
use super::digest::{Op, Session};
use super::echo;
use super::failure::{Failure, FailureClass, UnexpectedKind, classify};
use super::nonces::{Authorization, Nonces, Slot};
use super::organization::{ApiKeys, Organization};
use super::transport::{Observer, Operation, Request, Response, Transport, TransportError};
use crate::endpoint::Origin;

/// How long a whole call may take, challenges and repetitions included.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often a call sends its real request: on a nonce that turns out to be stale, on the next one, and once more.
const MAX_SENDS: usize = 3;

/// The client. A clone shares everything with its original.
///
/// Each call ends by the deadline that it is given, and within 30 s in any case; after that it sends nothing.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    transport: Arc<dyn Transport>,
    observer: Arc<dyn Observer>,
    credentials: CredentialIds,
    nonces: Nonces,
}

/// One call on its way.
struct Call<'a> {
    operation: Operation,
    organization: &'a Organization,
    method: Method,
    url: Url,
    /// The path exactly as sent (RFC 7616 §3.4.3); there is no query.
    uri: String,
    keys: &'a ApiKeys,
    token: Option<&'a SecretString>,
    slot: Arc<Slot>,
    deadline: Instant,
}

impl Client {
    /// A client that sends through `transport` and tells `observer` of each exchange.
    pub fn new(transport: Arc<dyn Transport>, observer: Arc<dyn Observer>) -> Self {
        let credentials = CredentialIds::default();
        Self(Arc::new(Inner { transport, observer, credentials, nonces: Nonces::new() }))
    }

    /// What these keys are known by at this origin as long as the process lives.
    pub fn credential(&self, origin: &Origin, keys: &ApiKeys) -> CredentialId {
        self.0.credentials.of(origin, keys)
    }

    /// Links the organization: sends the link token. `POST …/liveExport/migrationLink` (api page, section 1). Every
    /// 2xx of the API is an acceptance, with a body or without; the page of a gateway is none.
    ///
    /// # Errors
    /// [`Failure`] says what happened, and whether the token may be in force although nobody said so.
    pub async fn link(
        &self,
        organization: &Organization,
        keys: &ApiKeys,
        token: &SecretString,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        self.call(Operation::Link, organization, keys, Some(token), deadline).await
    }

    /// Asks how the link is. `GET …/liveExport/migrationLink/status`. The answer always has a state. `token` is not sent: the
    /// server knows it, and what shows a part of it is not an answer.
    ///
    /// # Errors
    /// [`Failure`] says what happened.
    pub async fn status(
        &self,
        organization: &Organization,
        keys: &ApiKeys,
        token: Option<&SecretString>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        self.call(Operation::Status, organization, keys, token, deadline).await
    }

    /// Removes the organization's link. `DELETE …/liveExport/migrationLink`. Every 2xx of the API means that it is
    /// gone, with a body or without; the page of a gateway says nothing.
    ///
    /// # Errors
    /// [`Failure`] says what happened; [`FailureClass::LinkNotFound`] that there was no link.
    pub async fn unlink(
        &self,
        organization: &Organization,
        keys: &ApiKeys,
        deadline: Instant,
    ) -> Result<(), Failure> {
        self.call(Operation::Unlink, organization, keys, None, deadline).await.map(drop)
    }

    async fn call(
        &self,
        operation: Operation,
        organization: &Organization,
        keys: &ApiKeys,
        token: Option<&SecretString>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let id = &organization.org_id;
        if id.len() != 24 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Failure::new(FailureClass::OrganizationNotFound));
        }
        let (method, end) = match operation {
            Operation::Link => (Method::POST, ""),
            Operation::Unlink => (Method::DELETE, ""),
            Operation::Status | Operation::Challenge => (Method::GET, "/status"),
        };
        let url = organization.base_url.join(&format!("/orgs/{id}/liveExport/migrationLink{end}"));
        let call = Call {
            operation,
            organization,
            method,
            uri: url.path().to_owned(),
            url,
            keys,
            token,
            slot: self.0.nonces.slot(
                self.credential(organization.base_url.origin(), keys),
                &organization.base_url,
                organization.roots.as_ref(),
            ),
            deadline: deadline.min(Instant::now() + DEADLINE),
        };
        call.without_echo(self.exchange(&call).await)
    }

    /// Sends the real request until something other than "that nonce is too old" comes back.
    async fn exchange(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        let mut authorization = self.authorize(call).await?;
        let mut second_reading = false;
        let mut sends = 0;
        loop {
            sends += 1;
            let response = self.send(call, call.operation, Some(authorization.header)).await?;
            let now = SystemTime::now();
            if response.status != StatusCode::UNAUTHORIZED {
                if response.status.is_success() {
                    call.slot.accepted(&authorization.manner);
                    if second_reading {
                        call.slot.ignore_op();
                    }
                }
                return classify(call.operation, &response, now);
            }
            call.slot.forget(authorization.session);
            // A refusal of a nonce from the cache, or of a stale one, says nothing about the credentials; nor does that
            // of a backend which asks in another manner than the one whose challenge was answered.
            let next = Session::choose(&response.headers, call.slot.op());
            let of_another = |next: &Session| next.stale() || next.manner() != authorization.manner;
            let stale = !authorization.fresh || next.as_ref().is_some_and(of_another);
            // Credentials that were good a moment ago are not taken for bad at once.
            let doubtful = stale || (sends < MAX_SENDS && call.slot.proven());
            authorization = match next {
                _ if stale && sends >= MAX_SENDS => {
                    let class = FailureClass::UnexpectedResponse(UnexpectedKind::StaleNonces);
                    return Err(Failure::of(class, &response, now));
                }
                Some(session) if doubtful => call.answer(session)?,
                None if stale => self.authorize(call).await?,
                _ => {
                    let other = authorization.read_op.then_some(Op::IsIgnored).filter(|_| sends < MAX_SENDS);
                    let session = other.and_then(|op| Session::choose(&response.headers, op));
                    let Some(session) = session else {
                        call.slot.refused();
                        return classify(call.operation, &response, now);
                    };
                    second_reading = true;
                    call.answer(session)?
                }
            };
        }
    }

    /// An answer on the nonce that is known, else on a challenge asked for now. One call asks, the others of the same
    /// credential wait, and share a failure that would be theirs as well.
    async fn authorize(&self, call: &Call<'_>) -> Result<Authorization, Failure> {
        if let Some(authorization) = call.answer_known() {
            return Ok(authorization);
        }
        let fetches = call.slot.fetches();
        let _turn = timeout_at(call.deadline, call.slot.fetching.lock())
            .await
            .map_err(|_| Failure::new(FailureClass::Timeout))?;
        if let Some(authorization) = call.answer_known() {
            return Ok(authorization);
        }
        if let Some(failure) = call.slot.failed_since(fetches) {
            return Err(failure);
        }
        let challenge = self.challenge(call).await;
        call.slot.fetched(challenge.as_ref().err());
        call.answer(challenge?)
    }

    /// Asks for a challenge: the same method and path without credentials and without the token.
    async fn challenge(&self, call: &Call<'_>) -> Result<Session, Failure> {
        let response = self.send(call, Operation::Challenge, None).await?;
        let now = SystemTime::now();
        let no_challenge = Failure::of(no_challenge(), &response, now);
        if response.status != StatusCode::UNAUTHORIZED {
            // Even a 2xx is classified as a failure here.
            return classify(Operation::Challenge, &response, now).and(Err(no_challenge));
        }
        Session::choose(&response.headers, call.slot.op()).ok_or(no_challenge)
    }

    async fn send(
        &self,
        call: &Call<'_>,
        operation: Operation,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, Failure> {
        let began = Instant::now();
        if began >= call.deadline {
            return Err(Failure::new(FailureClass::Timeout));
        }
        let sending = self.0.transport.send(call.request(authorization));
        let result = timeout_at(call.deadline, sending).await.unwrap_or(Err(TransportError::Timeout));
        let outcome = result.as_ref().map(|response| response.status.as_u16()).map_err(TransportError::kind);
        self.0.observer.exchange(operation, outcome, began.elapsed());
        result.map_err(|error| Failure::transport(operation, error))
    }
}

impl Call<'_> {
    fn answer_known(&self) -> Option<Authorization> {
        self.slot.answer(self.keys, &self.method, &self.uri)
    }

    /// The result, without what shows a part of a secret: a server that echoes what it was sent, or knows.
    fn without_echo(&self, result: Result<Answer, Failure>) -> Result<Answer, Failure> {
        let mut failure = match result {
            Ok(Answer { state: Some(state) }) if !is_known(&state) && self.is_echo(&state) => {
                if self.operation == Operation::Link {
                    return Ok(Answer { state: None });
                }
                return Err(Failure::new(FailureClass::UnexpectedResponse(UnexpectedKind::NoStatus)));
            }
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        failure.error_code = failure.error_code.filter(|code| !self.is_echo(code));
        if let FailureClass::LiveExportRunning { projects } = &mut failure.class {
            // The organization stands beside its projects, perhaps.
            projects.retain(|id| !id.eq_ignore_ascii_case(&self.organization.org_id) && !self.is_echo(id));
        }
        Err(failure)
    }

    fn is_echo(&self, text: &str) -> bool {
        let secrets = [Some(&self.keys.public), Some(&self.keys.private), self.token];
        secrets.into_iter().flatten().any(|secret| echo::shows(text, secret.expose_secret()))
    }

    /// Answers a challenge that was just received.
    fn answer(&self, session: Session) -> Result<Authorization, Failure> {
        if !self.slot.admits(&session) {
            let class = FailureClass::UnexpectedResponse(UnexpectedKind::WeakerDigest);
            let http_status = Some(StatusCode::UNAUTHORIZED.as_u16());
            return Err(Failure { http_status, ..Failure::new(class) });
        }
        let answer = self.slot.answer_fresh(session, self.keys, &self.method, &self.uri);
        answer.ok_or_else(|| Failure::new(no_challenge()))
    }

    /// The request; without authorization it is the one for a challenge and has no body.
    fn request(&self, authorization: Option<HeaderValue>) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let token = self.token.filter(|_| authorization.is_some() && self.operation == Operation::Link);
        if token.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        Request {
            method: self.method.clone(),
            url: self.url.clone(),
            headers,
            body: token.and_then(body),
            roots: self.organization.roots.clone(),
        }
    }
}

/// The body of the POST, written once and in one place, which the HTTP library takes over. A text can always be
/// written as JSON, so there always is one.
fn body(token: &SecretString) -> Option<Vec<u8>> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        link_token: &'a str,
    }
    let link_token = token.expose_secret();
    // Room for a token whose every second character is escaped; a Vec that grows leaves a copy behind.
    let mut body = Vec::with_capacity(2 * link_token.len() + 32);
    serde_json::to_writer(&mut body, &Body { link_token }).ok()?;
    Some(body)
}

/// The states that the API is known for.
fn is_known(state: &str) -> bool {
    matches!(state, "SYNCED" | "NOT_SYNCED")
}

fn no_challenge() -> FailureClass {
    FailureClass::UnexpectedResponse(UnexpectedKind::NoChallenge)
}

#[cfg(test)]
mod tests;
