//! What the remote API says now: it is only asked, never told anything.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Method;
use http::header::AUTHORIZATION;
use tokio::time::Instant;

use super::findings::Finding;
use crate::api::Reason;
use crate::config::CheckConfig;
use crate::controller::explain;
use crate::decision::{Credentials, Link, Origins};
use crate::endpoint::BaseUrl;
use crate::remote::{
    Answer, ApiKeys, Client, Failure, FailureClass, HttpOptions, HttpTransport, Observer, Operation,
    Organization, ProxySettings, Request, Response, Roots, SetupError, Transport, TransportError,
    TransportErrorKind, USER_AGENT,
};

/// The longest that asking may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// The way to the remote API, set up as the operator does it.
pub struct Remote {
    transport: Arc<HttpTransport>,
    proxy: ProxySettings,
    ca_file: Option<PathBuf>,
}

/// Lets through what asks, and without `credentials` only what has none in it.
struct ReadOnly {
    transport: Arc<HttpTransport>,
    credentials: bool,
}

/// Keeps how each exchange ended.
#[derive(Default)]
struct Exchanges(Mutex<Vec<(Operation, Option<u16>)>>);

impl Remote {
    /// Sets it up, with the proxies of the environment.
    ///
    /// # Errors
    /// What is wrong with the file of certificates or with the proxies.
    pub fn new(config: &CheckConfig) -> Result<Self, Finding> {
        let ca_file = config.ca_file.clone();
        let file = ca_file.as_ref().map_or_else(String::new, |path| format!("--ca-file {}", path.display()));
        let extra_roots = ca_file.iter().map(std::fs::read).collect::<Result<_, _>>().map_err(|error| {
            Finding::problem(
                "ca",
                format!("{file} cannot be read: {error}"),
                "Name a file of certificates in PEM form",
            )
        })?;
        let proxy = ProxySettings::from_env();
        let options = HttpOptions { extra_roots, user_agent: USER_AGENT.to_owned(), proxy: proxy.clone() };
        let transport = HttpTransport::new(&options).map_err(|error| match error {
            SetupError::Certificate => Finding::problem(
                "ca",
                format!("{file} holds no certificate in PEM form, or one that cannot be read"),
                "Name a file of certificates in PEM form",
            ),
            SetupError::Proxy(variable) => {
                Finding::problem("proxy", error.to_string(), format!("Correct {variable} or unset it"))
            }
            error => Finding::problem("ca", error.to_string(), "Install the system's root certificates"),
        })?;
        Ok(Self { transport: Arc::new(transport), proxy, ca_file })
    }

    /// Looks at a link's server. Without credentials only how it asks for some is found out.
    pub async fn look(
        &self,
        link: &Link,
        base_url: &BaseUrl,
        credentials: Option<&Credentials>,
    ) -> Vec<Finding> {
        let mut findings = vec![self.proxy(base_url), self.ca(link, base_url)];
        if credentials.is_none() && link.spec.ca_ref.is_some() {
            let what = "The server is not asked: the certificates or the keys that it takes cannot be used";
            findings.push(Finding::warning("endpoint", what).with_fix("Mend these first"));
            return findings;
        }
        let roots = credentials.and_then(|credentials| credentials.ca.as_deref()).map(Roots::from_pem);
        let Ok(roots) = roots.transpose() else { return findings };
        let organization =
            Organization { base_url: base_url.clone(), org_id: link.spec.org_id.clone(), roots };
        // Without keys the answer to the challenge is never sent.
        let keys = credentials.map_or_else(
            || ApiKeys { public: "none".into(), private: "none".into() },
            |credentials| ApiKeys {
                public: credentials.public_key.clone(),
                private: credentials.private_key.clone(),
            },
        );
        let transport = ReadOnly { transport: self.transport.clone(), credentials: credentials.is_some() };
        let exchanges = Arc::new(Exchanges::default());
        let client = Client::new(Arc::new(transport), exchanges.clone());
        let answer = {
            let token = credentials.and_then(|credentials| credentials.link_token.as_ref());
            client.status(&organization, &keys, token, Instant::now() + DEADLINE).await
        };
        findings.extend(said(link, &organization, credentials.is_some(), &exchanges.take(), answer));
        findings
    }

    fn proxy(&self, base_url: &BaseUrl) -> Finding {
        match self.proxy.proxy_of(&base_url.join("")) {
            Ok(Some(proxy)) => Finding::ok("proxy", format!("Requests go through {proxy}")),
            Ok(None) => Finding::ok("proxy", "Requests go straight to the server: no proxy is set for it"),
            Err(error) => Finding::problem("proxy", error.to_string(), "Correct the variable or unset it"),
        }
    }

    fn ca(&self, link: &Link, base_url: &BaseUrl) -> Finding {
        if base_url.origin().as_str().starts_with("http:") {
            return Finding::warning("ca", "The base URL is http://: the link token travels unencrypted")
                .with_fix("Use https:// if the server has it");
        }
        let mut trusted = vec!["the system's root certificates".to_owned()];
        trusted.extend(self.ca_file.iter().map(|path| format!("--ca-file {}", path.display())));
        trusted.extend(link.spec.ca_ref.iter().map(|ca| format!("{} {} (spec.caRef)", ca.kind, ca.name)));
        Finding::ok("ca", format!("Trusted are {}", trusted.join(" and ")))
    }
}

/// Whether credentials may be sent to a link's server.
pub fn origin(base_url: &BaseUrl, allowed: &Origins) -> Result<Finding, Finding> {
    let origin = base_url.origin();
    if allowed.allow(origin) {
        return Ok(Finding::ok(
            "origin",
            format!("{origin} is on the allow-list (--allowed-origin) of this check"),
        ));
    }
    let message = format!(
        "Credentials may not be sent to {origin}, and nothing was asked of it. If they should be, an administrator starts \
         the operator with --allowed-origin={origin} (Helm: allowedOrigins). It replaces the default: \
         name every origin in use, and give this check the same."
    );
    Err(Finding::of("origin", Reason::EndpointNotAllowed, &message))
}

/// What came of asking.
fn said(
    link: &Link,
    organization: &Organization,
    with_credentials: bool,
    exchanges: &[(Operation, Option<u16>)],
    answer: Result<Answer, Failure>,
) -> Vec<Finding> {
    let origin = organization.base_url.origin();
    let explained = |check, failure: &Failure| {
        let explained = explain(organization, failure);
        Finding::of(check, explained.reason, &explained.message)
    };
    let mut findings = Vec::new();
    let Some(first) = exchanges.iter().find_map(|(_, status)| *status) else {
        return answer.err().map(|failure| explained("endpoint", &failure)).into_iter().collect();
    };
    let trusted = if origin.as_str().starts_with("https:") { ", and its certificate is trusted" } else { "" };
    findings.push(Finding::ok("endpoint", format!("{origin} answers (HTTP {first}){trusted}")));
    if !exchanges.iter().any(|(operation, _)| *operation == Operation::Status) {
        findings.extend(answer.err().map(|failure| explained("digest", &failure)));
        return findings;
    }
    findings.push(Finding::ok("digest", "It asks for HTTP Digest, as the API does"));
    if with_credentials {
        findings.push(match answer {
            Ok(Answer { state }) => has_state(link, &state.unwrap_or_default()),
            Err(Failure { class: FailureClass::LinkNotFound, .. }) => has_no_link(link),
            Err(failure) => explained("api", &failure),
        });
    }
    findings
}

fn accepted(link: &Link) -> bool {
    link.status.link.as_ref().is_some_and(|record| record.token_fingerprint.is_some())
}

fn has_state(link: &Link, state: &str) -> Finding {
    match (state, accepted(link)) {
        ("SYNCED", true) => Finding::ok("api", "The API key is right, and the API says SYNCED"),
        ("SYNCED", false) => Finding::warning(
            "api",
            "The API key is right, and the API says SYNCED: the organization has a link that was not made for this resource",
        )
        .with_fix("If the token is refused with LinkExists, remove that link, or take it over with adopt-existing"),
        (_, false) => Finding::ok("api", format!("The API key is right, and the API says {state}: no link is in force")),
        (_, true) => Finding::warning("api", format!("The API key is right, but the API says {state}"))
            .with_fix("Wait; if it lasts, make a new link token in Atlas and put it into the Secret"),
    }
}

fn has_no_link(link: &Link) -> Finding {
    if accepted(link) {
        return Finding::warning(
            "api",
            "The API key is right, but the API no longer knows a link of the organization",
        )
        .with_fix("With driftPolicy Relink the operator sends the token again; else set relink-at");
    }
    Finding::ok("api", "The API key is right, and the organization has no link yet")
}

impl Transport for ReadOnly {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        let asks = request.method == Method::GET;
        if !asks || (!self.credentials && request.headers.contains_key(AUTHORIZATION)) {
            return Box::pin(async { Err(TransportError::Broken) });
        }
        self.transport.send(request)
    }
}

impl Exchanges {
    fn take(&self) -> Vec<(Operation, Option<u16>)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Exchanges {
    fn exchange(&self, operation: Operation, outcome: Result<u16, TransportErrorKind>, _: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((operation, outcome.ok()));
    }
}
