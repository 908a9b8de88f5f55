//! What is sent back: bodies in the API's form, headers, and the answers that break off.

use std::convert::Infallible;
use std::io;
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::behaviour::RetryAfter;

/// Marks a response that stands for a reset connection: it is among the response's extensions.
///
/// The server sees it and resets the connection, so that a client on a socket never gets the response. Through
/// [`crate::Simulator::router`] there is no connection to reset: the response is a 502 whose body is a stream error,
/// and an in-process transport that wants a transport error looks for this mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionReset;

/// An answer with its body in memory.
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(HeaderName, String)>,
    body: Vec<u8>,
}

impl Reply {
    /// A status and nothing else.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// A status and a JSON body.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    /// A status and a body of the given type.
    pub(crate) fn text(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![(CONTENT_TYPE, content_type.to_owned())], body: body.into() }
    }

    /// A status and a body whose type is not told.
    pub(crate) fn raw(status: u16, body: String) -> Self {
        Self { body: body.into(), ..Self::empty(status) }
    }

    /// An error in the API's form.
    pub(crate) fn error(status: u16, error_code: &str, detail: &str, parameters: &[Value]) -> Self {
        let reason = StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Unknown");
        let parameters = if parameters.is_empty() { Value::Null } else { Value::from(parameters) };
        Self::json(
            status,
            &json!({
                "badRequestDetail": null,
                "detail": detail,
                "error": status,
                "errorCode": error_code,
                "parameters": parameters,
                "reason": reason,
            }),
        )
    }

    /// The 401 of every challenge and of every refused answer.
    pub(crate) fn challenge(challenge: String) -> Self {
        let mut reply =
            Self::error(401, "UNEXPECTED_ERROR", "You are not authorized for this resource.", &[]);
        reply.headers.push((WWW_AUTHENTICATE, challenge));
        reply
    }

    pub(crate) fn redirect(status: u16, location: String) -> Self {
        Self { headers: vec![(LOCATION, location)], ..Self::empty(status) }
    }

    /// Adds a header; a name that is none is left out.
    pub(crate) fn header(mut self, name: &str, value: String) -> Self {
        self.headers.extend(name.parse().ok().map(|name: HeaderName| (name, value)));
        self
    }

    pub(crate) fn retry_after(mut self, retry_after: Option<RetryAfter>) -> Self {
        let value = match retry_after {
            None => return self,
            Some(RetryAfter::Seconds(seconds)) => seconds.to_string(),
            Some(RetryAfter::DateIn(seconds)) => {
                let date = SystemTime::now().checked_add(Duration::from_secs(seconds));
                httpdate::fmt_http_date(date.unwrap_or(SystemTime::UNIX_EPOCH))
            }
            Some(RetryAfter::Text(text)) => text,
        };
        self.headers.push((RETRY_AFTER, value));
        self
    }

    pub(crate) fn into_response(mut self) -> Response<Body> {
        let body = std::mem::take(&mut self.body).into();
        self.with_body(body)
    }

    /// The same head, and the body byte by byte with `interval` before each.
    pub(crate) fn into_slow_response(mut self, interval: Duration) -> Response<Body> {
        let body = std::mem::take(&mut self.body);
        let bytes = stream::iter(body).then(move |byte| async move {
            tokio::time::sleep(interval).await;
            Ok::<_, Infallible>(Bytes::copy_from_slice(&[byte]))
        });
        self.with_body(Body::from_stream(bytes))
    }

    /// The same head with the length of the whole body, half of the body, and an error.
    pub(crate) fn into_truncated_response(mut self) -> Response<Body> {
        let mut body = std::mem::take(&mut self.body);
        self.headers.push((CONTENT_LENGTH, body.len().to_string()));
        body.truncate(body.len() / 2);
        let begin = stream::iter([Ok(Bytes::from(body))]);
        let end = stream::once(async {
            // Lets the server write what it has: it forgets that on an error.
            tokio::task::yield_now().await;
            Err(reset_error())
        });
        self.with_body(Body::from_stream(begin.chain(end)))
    }

    fn with_body(self, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = status_code(self.status);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

/// A JSON body that goes on for as long as it is read.
pub(crate) fn endless_response(status: u16) -> Response<Body> {
    let begin = stream::iter([Bytes::from_static(b"{\"status\":\"")]);
    let rest = stream::repeat(Bytes::from_static(&[b'x'; 16 * 1024]));
    let body = Body::from_stream(begin.chain(rest).map(Ok::<_, Infallible>));
    let head = Reply { headers: vec![(CONTENT_TYPE, "application/json".to_owned())], ..Reply::empty(status) };
    head.with_body(body)
}

/// What stands for a reset connection, see [`ConnectionReset`].
pub(crate) fn reset_response() -> Response<Body> {
    let body = Body::from_stream(stream::iter([Err::<Bytes, _>(reset_error())]));
    let mut response = Reply::empty(502).with_body(body);
    response.extensions_mut().insert(ConnectionReset);
    response
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn reset_error() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the simulator reset the connection")
}
