//! The real [`Transport`]: reqwest with rustls, which does nothing on its own: no redirect, retry, cookie,
//! compression or environment.

use std::error::Error;
use std::io;
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode};
use rustls::CertificateError;
use rustls::crypto::CryptoProvider;
use tokio::time::timeout;

use super::clients::Clients;
use super::proxy::{Proxies, ProxySettings};
use super::roots;
use super::transport::{
    Body, CertificateProblem, ConnectProblem, MAX_BODY, Request, Response, Transport, TransportError,
};

/// The usual user agent: name and version of the operator.
pub const USER_AGENT: &str = concat!("migrationlink-operator/", env!("CARGO_PKG_VERSION"));

/// How long a body may take once the status is there. Its loss is less than that of the whole answer.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How to reach the API.
#[derive(Clone, Default)]
pub struct HttpOptions {
    /// PEM bundles of root certificates that are trusted beside the system's.
    pub extra_roots: Vec<Vec<u8>>,
    /// What the server is told of us; empty: [`USER_AGENT`].
    pub user_agent: String,
    /// The proxies.
    pub proxy: ProxySettings,
}

/// Why no transport could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// An entry of [`HttpOptions::extra_roots`].
    #[error("a file of root certificates holds no certificate in PEM form, or one that cannot be read")]
    Certificate,
    /// A proxy variable.
    #[error("{0} is not the URL of an HTTP proxy (http://HOST:PORT or https://HOST:PORT)")]
    Proxy(&'static str),
    /// No process-wide rustls provider.
    #[error("no default crypto provider is installed")]
    NoCryptoProvider,
    /// What is left: no root certificates at all, or a user agent that is no header value.
    #[error(
        "TLS cannot be set up: are there root certificates? SSL_CERT_FILE names a file of them, --ca-file adds some"
    )]
    Tls,
}

/// Sends over the network.
pub struct HttpTransport {
    clients: Clients,
    proxies: Proxies,
    body_timeout: Duration,
}

impl HttpTransport {
    /// A transport. It reads the system's root certificates now, and again for each new [`super::Roots`]:
    /// `SSL_CERT_FILE`, `SSL_CERT_DIR`, or where distributions keep them.
    ///
    /// # Errors
    /// [`SetupError`] when the options or the system's certificates cannot be used.
    pub fn new(options: &HttpOptions) -> Result<Self, SetupError> {
        if CryptoProvider::get_default().is_none() {
            return Err(SetupError::NoCryptoProvider);
        }
        let mut extra = Vec::new();
        for pem in &options.extra_roots {
            extra.extend(roots::read(pem).map_err(|_| SetupError::Certificate)?);
        }
        let (proxies, routes) = Proxies::new(&options.proxy)?;
        let user_agent = if options.user_agent.is_empty() { USER_AGENT } else { &options.user_agent };
        let clients = Clients::new(user_agent, extra.into(), routes).map_err(|_| SetupError::Tls)?;
        Ok(Self { clients, proxies, body_timeout: BODY_TIMEOUT })
    }

    async fn exchange(&self, request: Request) -> Result<Response, TransportError> {
        let proxy = self.proxies.name(&request.url);
        let post = request.method == Method::POST;
        let client = self.clients.trusting(request.roots.as_ref()).await.ok_or_else(|| {
            TransportError::Connect { proxy: proxy.clone(), problem: ConnectProblem::Other }
        })?;
        let mut builder = client.request(request.method, request.url).headers(request.headers);
        builder = match request.body {
            Some(body) => builder.body(body),
            // Some servers want to read the length of nothing (RFC 9110 §8.6); hyper leaves it out.
            None if post => builder.header(CONTENT_LENGTH, 0),
            None => builder,
        };
        let mut response = builder.send().await.map_err(|error| problem(&error, proxy.clone()))?;
        let status = response.status();
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED && proxy.is_some() {
            return Err(TransportError::Connect { proxy, problem: ConnectProblem::Other });
        }
        let headers = std::mem::take(response.headers_mut());
        let body = timeout(self.body_timeout, read(response)).await.unwrap_or(Body::TimedOut);
        Ok(Response { status, headers, body })
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(self.exchange(request))
    }
}

/// Reads until the end or the cap; dropping the response closes its connection.
async fn read(mut response: reqwest::Response) -> Body {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => return Body::TooLarge,
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Body::Complete(body),
            Err(_) => return Body::Broken,
        }
    }
}

/// What an error of reqwest means, out of the chain of its sources. Its text is not used.
fn problem(error: &reqwest::Error, proxy: Option<String>) -> TransportError {
    if !error.is_connect() {
        // Also where TLS breaks: the handshake was over, and the request may have been sent.
        return if error.is_timeout() { TransportError::Timeout } else { TransportError::Broken };
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return match tls {
            rustls::Error::InvalidCertificate(problem) => {
                TransportError::CertificateNotTrusted(certificate_problem(problem))
            }
            _ => TransportError::TlsBrokenOff,
        };
    }
    let problem = match find::<io::Error>(error).map(io::Error::kind) {
        _ if error.is_timeout() => ConnectProblem::NoAnswer,
        _ if error.is_dns() => ConnectProblem::NameNotResolved,
        Some(io::ErrorKind::ConnectionRefused) => ConnectProblem::Refused,
        // TCP was there already. Through a proxy it cannot be told whose end it was.
        Some(
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe,
        ) if proxy.is_none() => return TransportError::TlsBrokenOff,
        _ => ConnectProblem::Other,
    };
    TransportError::Connect { proxy, problem }
}

fn certificate_problem(problem: &CertificateError) -> CertificateProblem {
    match problem {
        // A bad signature is that of another root of the same name, a CA that was made anew.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => CertificateProblem::UnknownIssuer,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => CertificateProblem::Expired,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateProblem::WrongName
        }
        _ => CertificateProblem::Other,
    }
}

/// The last error of this type in the chain. An `io::Error` is asked for what it wraps, which its `source` leaves out.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let inner = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
        None => error.source(),
    };
    inner.and_then(find).or_else(|| error.downcast_ref())
}

#[cfg(test)]
mod tests;
