//! What is sent back.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use hyper::header::CONTENT_TYPE;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Sleep, sleep};

/// The body of an answer.
pub enum Answer {
    /// All of it at once.
    Whole(Option<Bytes>),
    /// The events of a watch, a line each, until its time is over.
    Watch(UnboundedReceiver<Bytes>, Pin<Box<Sleep>>),
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid(&'static str),
    BadRequest(&'static str),
    NotAllowed,
}

impl Refusal {
    /// The `Status` object that tells of it.
    pub(crate) fn status(&self) -> Value {
        let (code, reason, message) = match self {
            Self::NotFound => (404, "NotFound", "not found"),
            Self::AlreadyExists => (409, "AlreadyExists", "it is there already"),
            Self::Conflict => (
                409,
                "Conflict",
                "the object has been modified; please apply your changes to the latest version",
            ),
            Self::Gone => (410, "Expired", "too old resource version"),
            Self::Invalid(what) => (422, "Invalid", *what),
            Self::BadRequest(what) => (400, "BadRequest", *what),
            Self::NotAllowed => (405, "MethodNotAllowed", "the server does not allow this method"),
        };
        status(code, reason, message)
    }
}

/// A failure as the API server words it.
fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

/// The `Status` object of a refusal with this code.
pub fn failure(code: u16) -> Value {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    status(code, reason, "refused")
}

impl Answer {
    /// A refusal, as an API server or what stands before it gives it: to stand in for an answer.
    pub fn refusal(code: u16) -> Response<Self> {
        whole(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &failure(code))
    }

    pub(crate) fn watch(events: UnboundedReceiver<Bytes>, time: Duration) -> Response<Self> {
        response(StatusCode::OK, Self::Watch(events, Box::pin(sleep(time))))
    }
}

pub(crate) fn answer(result: Result<(StatusCode, Value), Refusal>) -> Response<Answer> {
    match result {
        Ok((code, object)) => whole(code, &object),
        Err(refusal) => {
            let status = refusal.status();
            let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
            whole(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &status)
        }
    }
}

fn whole(code: StatusCode, object: &Value) -> Response<Answer> {
    response(code, Answer::Whole(Some(object.to_string().into())))
}

fn response(code: StatusCode, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
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
            Self::Watch(events, end) => match events.poll_recv(context) {
                Poll::Pending => end.as_mut().poll(context).map(|()| None),
                event @ Poll::Ready(_) => event,
            },
        };
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
