//! One HTTP exchange, as a trait: reqwest behind it in the program, a server in the same process in tests.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use super::roots::Roots;

/// The largest body that is read; of a larger one nothing is used.
pub const MAX_BODY: usize = 64 * 1024;

/// Sends one request and brings back its answer. It follows no redirect, repeats nothing and keeps no cookie.
pub trait Transport: Send + Sync {
    /// One exchange. The caller bounds it in time by dropping it.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>>;
}

/// A request. It has no `Debug`: the body may hold a link token.
pub struct Request {
    /// `GET`, `POST` or `DELETE`.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// All headers but those of the connection. `Authorization` is marked as sensitive.
    pub headers: HeaderMap,
    /// The body, absent from a challenge request.
    pub body: Option<Vec<u8>>,
    /// Roots that are trusted for this request alone. Its connection serves no request with other ones.
    pub roots: Option<Roots>,
}

/// The answer to a [`Request`]. It has no `Debug`: the body may echo a link token.
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// What could be read of the body. A status is worth something even when its body is lost.
    pub body: Body,
}

/// The body of a [`Response`].
pub enum Body {
    /// All of it.
    Complete(Vec<u8>),
    /// It was longer than [`MAX_BODY`].
    TooLarge,
    /// The connection broke in the middle of it.
    Broken,
    /// It did not arrive in time.
    TimedOut,
}

/// Why an exchange brought no status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportError {
    /// No connection; nothing was sent.
    Connect {
        /// The proxy on the way, `scheme://host:port` without user info.
        proxy: Option<String>,
        /// What went wrong.
        problem: ConnectProblem,
    },
    /// The TLS handshake ended without a connection; nothing was sent.
    TlsBrokenOff,
    /// The server's certificate is not to be trusted; nothing was sent.
    CertificateNotTrusted(CertificateProblem),
    /// No answer in time.
    Timeout,
    /// The connection broke, or what came was not HTTP.
    Broken,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectProblem {
    /// The host name has no address.
    NameNotResolved,
    /// Nobody listens there.
    Refused,
    /// Nobody answered in time.
    NoAnswer,
    /// Anything else, a proxy's refusal included.
    Other,
}

/// Why a certificate is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateProblem {
    /// No known root has signed it.
    UnknownIssuer,
    /// Expired, or not valid yet.
    Expired,
    /// For another host name.
    WrongName,
    /// Anything else.
    Other,
}

/// A [`TransportError`] as a short word for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportErrorKind {
    /// No connection.
    Connect,
    /// A broken handshake.
    Tls,
    /// A certificate that is not trusted.
    Certificate,
    /// No answer in time.
    Timeout,
    /// A broken connection.
    Broken,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Asks for a nonce; carries no body and no credentials.
    Challenge,
    /// Sends the link token.
    Link,
    /// Asks for the state of the link.
    Status,
    /// Removes the link.
    Unlink,
}

/// Is told of every HTTP exchange, challenges and repetitions included.
pub trait Observer: Send + Sync {
    /// One exchange ended with an HTTP status, or without.
    fn exchange(&self, operation: Operation, outcome: Result<u16, TransportErrorKind>, elapsed: Duration);
}

impl TransportError {
    /// The kind, for metrics.
    pub fn kind(&self) -> TransportErrorKind {
        match self {
            Self::Connect { .. } => TransportErrorKind::Connect,
            Self::TlsBrokenOff => TransportErrorKind::Tls,
            Self::CertificateNotTrusted(_) => TransportErrorKind::Certificate,
            Self::Timeout => TransportErrorKind::Timeout,
            Self::Broken => TransportErrorKind::Broken,
        }
    }
}

impl TransportErrorKind {
    /// As a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
        }
    }
}

impl Operation {
    /// As a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Challenge => "challenge",
            Self::Link => "link",
            Self::Status => "status",
            Self::Unlink => "unlink",
        }
    }
}

impl fmt::Display for ConnectProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameNotResolved => "the host name is not known",
            Self::Refused => "the connection was refused",
            Self::NoAnswer => "nobody answered in time",
            Self::Other => "no connection could be made",
        })
    }
}

impl fmt::Display for CertificateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownIssuer => "its issuer is not known",
            Self::Expired => "it has expired or is not valid yet",
            Self::WrongName => "it is for another host name",
            Self::Other => "it cannot be verified",
        })
    }
}
