//! One request from arrival to answer: journal, digest, script, effect.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderName, Request, Response};
use tokio::time::Instant;

use crate::api::{self, Content, Operation};
use crate::behaviour::{Answer, Behaviour, Phase};
use crate::digest::{self, DigestOutcome, Refusal, Verdict};
use crate::journal::Entry;
use crate::reply::{self, Reply};
use crate::simulator::{Simulator, State};

/// Longer bodies are refused unread; a link token has no kilobyte.
const MAX_BODY: usize = 1024 * 1024;

/// The connection that a request came on, among its extensions; absent in-process.
#[derive(Clone, Copy)]
pub(crate) struct ConnectionNumber(pub(crate) u64);

/// What is known about a request once it has arrived.
struct Arrived {
    number: u64,
    backend: usize,
    org_id: Option<String>,
    operation: Operation,
    content_type: Option<String>,
    body: Bytes,
    outcome: DigestOutcome,
    behaviour: Option<Behaviour>,
    latency: Duration,
}

/// Answers a request of the public API.
pub(crate) async fn exchange(simulator: Simulator, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return Reply::empty(413).into_response();
    };
    let arrived = arrive(&mut simulator.state(), Request::from_parts(head, body));

    let Behaviour { answer, delay_ms, after_effect, .. } =
        arrived.behaviour.clone().unwrap_or_else(|| Behaviour::new(Answer::Normal));

    let mut normal = after_effect.then(|| carry_out(&mut simulator.state(), &arrived));
    let wait = arrived.latency.saturating_add(Duration::from_millis(delay_ms));
    // A sleep of nothing would last until the next millisecond.
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    if answer.needs_effect() && normal.is_none() {
        normal = Some(carry_out(&mut simulator.state(), &arrived));
    }
    let response = respond(&simulator, &arrived, answer, normal).await;
    if response.extensions().get::<reply::ConnectionReset>().is_none() {
        simulator.state().journal.answered(arrived.number, response.status().as_u16());
    }
    response
}

/// Verifies the digest, picks the scripted behaviour and writes the journal.
fn arrive(state: &mut State, request: Request<Bytes>) -> Arrived {
    let now = Instant::now();
    let method = request.method().as_str();
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let (org_id, operation) = api::route(method, request.uri().path());
    let header =
        |name: HeaderName| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
    let authorization = header(AUTHORIZATION);

    state.requests += 1;
    let connection = request.extensions().get().map_or(0, |&ConnectionNumber(number)| number);
    let backend = state.config.balancing.backend(state.requests - 1, connection);
    let exchange = digest::Exchange { method, target, authorization, backend, now };
    let mut verdict = digest::verify(&state.config.digest, &mut state.nonces, &exchange, |public_key| {
        state.organizations.candidates(org_id, public_key)
    });
    refuse_other_organization(&mut verdict, state, org_id);

    let phase = match verdict.outcome {
        DigestOutcome::Challenge => Phase::Challenge,
        DigestOutcome::Accepted => Phase::Authenticated,
        DigestOutcome::Stale | DigestOutcome::Rejected => Phase::Any,
    };
    let behaviour = state.script.next(method, org_id, phase);
    let behaviour_kind = behaviour.as_ref().map(|behaviour| behaviour.answer.kind());
    tracing::debug!(
        number = state.requests, method, target, outcome = ?verdict.outcome, behaviour = behaviour_kind,
        "request"
    );
    state.journal.push(Entry {
        number: state.requests,
        at: now.saturating_duration_since(state.started),
        method: method.to_owned(),
        path: target.to_owned(),
        org_id: org_id.map(str::to_owned),
        backend,
        authorization: authorization.is_some(),
        digest: verdict.outcome,
        refusal: verdict.refusal,
        nonce: verdict.nonce,
        nc: verdict.nc,
        body_length: request.body().len(),
        link_token: api::link_token(request.body()),
        behaviour: behaviour_kind,
        status: None,
    });
    Arrived {
        number: state.requests,
        backend,
        org_id: org_id.map(str::to_owned),
        operation,
        content_type: header(CONTENT_TYPE).map(str::to_owned),
        outcome: verdict.outcome,
        behaviour,
        latency: state.config.latency,
        body: request.into_body(),
    }
}

/// Keys act for their own organization only. (An unknown organization is answered 404, by the endpoint.)
fn refuse_other_organization(verdict: &mut Verdict, state: &State, org_id: Option<&str>) {
    let (Some(keys), Some(organization)) = (&verdict.keys, org_id.and_then(|id| state.organizations.get(id)))
    else {
        return;
    };
    if !organization.keys.contains(keys) {
        verdict.outcome = DigestOutcome::Rejected;
        verdict.refusal = Some(Refusal::OtherOrganization);
    }
}

/// The answer that is due without a script, and its effect.
fn carry_out(state: &mut State, arrived: &Arrived) -> Reply {
    if arrived.outcome != DigestOutcome::Accepted {
        return challenge(state, arrived.backend, arrived.outcome == DigestOutcome::Stale);
    }
    let content = Content { content_type: arrived.content_type.as_deref(), bytes: &arrived.body };
    let org_id = arrived.org_id.as_deref();
    api::carry_out(&state.config, &mut state.organizations, org_id, arrived.operation, &content)
}

fn challenge(simulated: &mut State, backend: usize, stale: bool) -> Reply {
    let policy = &simulated.config.digest;
    let nonce = simulated.nonces.issue(backend, policy.form, Instant::now());
    Reply::challenge(policy.challenge(&nonce, stale))
}

/// Turns what is due, or what is scripted instead, into a response.
async fn respond(
    simulator: &Simulator,
    arrived: &Arrived,
    answer: Answer,
    normal: Option<Reply>,
) -> Response<Body> {
    let normal = normal.unwrap_or_else(|| Reply::empty(500));
    let reply = match answer {
        Answer::Normal => normal,
        Answer::Error { status, error_code, detail, parameters, retry_after } => {
            Reply::error(status, &error_code, &detail, &parameters).retry_after(retry_after)
        }
        Answer::RateLimited { retry_after } => {
            let detail = "Resource /orgs is limited to 10 requests every 1 minutes.";
            let parameters = ["/orgs".into(), 10.into(), 1.into()];
            Reply::error(429, "RATE_LIMITED", detail, &parameters).retry_after(retry_after)
        }
        Answer::Upgrading => {
            let detail =
                "Create, update and delete endpoints are disabled while the system is being upgraded.";
            Reply::error(405, "WRITES_NOT_ALLOWED_DURING_APP_UPGRADES", detail, &[])
        }
        Answer::NotOnAccessList { address } => {
            let detail = format!("IP address {address} is not allowed to access this resource.");
            Reply::error(403, "IP_ADDRESS_NOT_ON_ACCESS_LIST", &detail, &[address.into()])
        }
        Answer::Unauthorized { stale } => challenge(&mut simulator.state(), arrived.backend, stale),
        Answer::Html { status } => {
            let page = format!("<html><head><title>{status}</title></head><body>{status}</body></html>\n");
            Reply::text(status, "text/html", page)
        }
        Answer::Redirect { status, location } => Reply::redirect(status, location),
        Answer::Raw { status, headers, body } => headers
            .into_iter()
            .fold(Reply::raw(status, body), |reply, (name, value)| reply.header(&name, value)),
        Answer::EndlessBody { status } => return reply::endless_response(status),
        Answer::SlowBody { interval_ms } => {
            return normal.into_slow_response(Duration::from_millis(interval_ms));
        }
        Answer::TruncatedBody => return normal.into_truncated_response(),
        Answer::Hang => std::future::pending().await,
        Answer::Reset | Answer::BreakTlsHandshake => return reply::reset_response(),
    };
    reply.into_response()
}
