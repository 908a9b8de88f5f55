//! A response to a call, with any status and body.

use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use migrationlink_operator::remote::{Answer, Failure, FailureClass, MAX_BODY, Operation, UnexpectedKind};
use serde_json::{Map, Value};

use super::script::{Caller, ORG, USUAL, respond};

/// The longest state and error code, and how many projects are named.
const LONGEST: usize = 64;
const MOST_PROJECTS: usize = 10;

/// What the server knows, and might repeat: public key, private key, link token.
const SECRETS: (&str, &str, &str) =
    ("PUBLICCANARY", "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9", "TOKEN_CANARY_7F3E_5f0d1e2a3b4c5d6e7f8099aa");

/// The first line of the input is a method and a status, such as `POST 201` (`CHALLENGE` instead of a method: the request
/// before); the rest is the body.
pub fn response(input: &[u8]) {
    let end = input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len());
    let (line, body) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let operation = match line.first() {
        Some(b'P') => Operation::Link,
        Some(b'D') => Operation::Unlink,
        Some(b'C') => Operation::Challenge,
        _ => Operation::Status,
    };
    let digits = line.iter().filter(|byte| byte.is_ascii_digit()).take(3);
    let status = digits.fold(0, |status, digit| status * 10 + u16::from(digit - b'0')).clamp(100, 999);
    let seen = Seen::of(operation, status, body);
    match call(operation, status, body) {
        Ok(answer) => seen.check_answer(&answer),
        Err(failure) => {
            seen.check_class(&failure);
            seen.check_what_gets_out(&failure);
        }
    }
}

fn call(operation: Operation, status: u16, body: &[u8]) -> Result<Answer, Failure> {
    let body = body.to_vec();
    let caller = Caller::new(SECRETS, move |sent| {
        if operation == Operation::Challenge || sent.authorization.is_some() {
            respond(status, HeaderMap::new(), &body)
        } else {
            let asked = HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_static(USUAL))]);
            respond(401, asked, b"")
        }
    });
    caller.call(operation)
}

/// The response as the rules are about it, read by other means than the client's.
struct Seen {
    operation: Operation,
    http: u16,
    /// The status inside of an envelope under a 2xx, else that of HTTP.
    status: u16,
    /// The object inside of an envelope, else the whole one. None if it is none, or longer than is read.
    object: Option<Map<String, Value>>,
    blank: bool,
}

impl Seen {
    fn of(operation: Operation, http: u16, body: &[u8]) -> Self {
        let outer: Option<Map<String, Value>> =
            serde_json::from_slice(body).ok().filter(|_| body.len() <= MAX_BODY);
        let field = |name: &str| outer.as_ref().and_then(|outer| outer.get(name));
        let inner = ["content", "envelope"].into_iter().find_map(|name| field(name)?.as_object());
        let said = field("status").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok());
        let envelope = said.zip(inner);
        Self {
            operation,
            http,
            status: envelope.map(|(said, _)| said).filter(|_| http / 100 == 2).unwrap_or(http),
            object: envelope.map(|(_, inner)| inner.clone()).or(outer),
            blank: body.trim_ascii().is_empty(),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.object.as_ref()?.get(name)?.as_str()
    }

    /// Whether eight letters and digits in a row of a secret stand in the text. To remove a link no token is read.
    fn shows_a_secret(&self, text: &str) -> bool {
        let plain =
            |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
        let (text, (public, private, token)) = (plain(text), SECRETS);
        let token = if self.operation == Operation::Unlink { "" } else { token };
        [public, private, token].map(plain).iter().any(|secret| {
            secret.as_bytes().windows(8).any(|part| text.as_bytes().windows(8).any(|of| of == part))
        })
    }

    fn check_answer(&self, answer: &Answer) {
        assert!(self.status / 100 == 2 && self.http / 100 == 2 && self.operation != Operation::Challenge);
        assert!(self.operation != Operation::Status || answer.state.is_some());
        assert!(
            self.operation == Operation::Status || self.blank || self.object.is_some(),
            "a gateway's page"
        );
        if let Some(state) = &answer.state {
            assert_ne!(self.operation, Operation::Unlink);
            assert_eq!(self.text("status").map(str::trim), Some(state.as_str()));
            assert!((1..=LONGEST).contains(&state.len()));
            assert!(state.bytes().all(|b| b.is_ascii_alphanumeric() || b"_- ".contains(&b)), "{state:?}");
            let known = ["SYNCED", "NOT_SYNCED"].contains(&state.as_str());
            assert!(known || !self.shows_a_secret(state), "{state}");
        }
    }

    /// By the status first: no body makes another class of it than these.
    fn check_class(&self, failure: &Failure) {
        use FailureClass::{
            AccessListDenied, Forbidden, LinkExists, LinkNotFound, LiveExportRunning, OrganizationNotFound,
            RateLimited, RequestRejected, ServerError, TokenRejected, Unauthorized, UnexpectedResponse,
            Upgrading,
        };
        use UnexpectedKind::{ChallengeAccepted, NoChallenge, NoStatus, NotJson, Redirect, TooLarge};
        let (operation, class) = (self.operation, &failure.class);
        let code = self.text("errorCode").unwrap_or_default();
        let possible = match self.status {
            200..300 => match operation {
                Operation::Challenge => *class == UnexpectedResponse(ChallengeAccepted),
                Operation::Status => {
                    matches!(class, UnexpectedResponse(NoStatus | NotJson | TooLarge))
                }
                Operation::Link | Operation::Unlink => *class == UnexpectedResponse(NotJson),
            },
            ..400 => *class == UnexpectedResponse(Redirect),
            408 | 425 | 500.. => *class == ServerError,
            429 => *class == RateLimited,
            401 if self.http == 401 && operation == Operation::Challenge => {
                *class == UnexpectedResponse(NoChallenge)
            }
            _ if *class == RateLimited => code.contains("RATE_LIMITED"),
            401 => *class == Unauthorized,
            _ if self.object.is_none() => matches!(class, UnexpectedResponse(NotJson | TooLarge)),
            402 | 403 => matches!(class, Forbidden | AccessListDenied { .. }),
            // Taken for "no link", it would leave a link behind for good: the API itself must have said it.
            404 => match operation {
                Operation::Unlink if !is_code(code) => *class == RequestRejected,
                Operation::Unlink | Operation::Status => matches!(class, LinkNotFound | OrganizationNotFound),
                Operation::Link | Operation::Challenge => *class == OrganizationNotFound,
            },
            405 => matches!(class, Upgrading | RequestRejected),
            400 | 422 if operation == Operation::Link => *class == TokenRejected,
            409 if operation == Operation::Link => *class == LinkExists,
            409 if operation == Operation::Unlink => matches!(class, LiveExportRunning { .. }),
            _ => *class == RequestRejected,
        };
        // A state that repeats a secret is none.
        let echoed = *class == UnexpectedResponse(NoStatus) && failure.http_status.is_none();
        assert!(possible, "{operation:?} {} ({}): {class:?}", self.http, self.status);
        assert_eq!(failure.http_status, Some(self.http).filter(|_| !echoed));
        let perhaps = operation == Operation::Link && !(400..500).contains(&self.status);
        assert_eq!(failure.maybe_effective, perhaps, "{class:?}");
        assert_eq!((failure.retry_after, failure.shared), (None, false));
    }

    /// Of the body only what is known, each part in its form.
    fn check_what_gets_out(&self, failure: &Failure) {
        let told = format!("{failure} {failure:?}");
        assert!(told.len() < 1500 && told.bytes().all(|b| matches!(b, b' '..=b'~')), "{told:?}");
        if let Some(code) = &failure.error_code {
            assert_eq!(self.text("errorCode"), Some(code.as_str()));
            assert!(is_code(code), "{code:?}");
            assert!(!self.shows_a_secret(code), "{code}");
        }
        if let FailureClass::LiveExportRunning { projects } = &failure.class {
            assert!(projects.len() <= MOST_PROJECTS);
            for id in projects {
                assert!(id.len() == 24 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{id}");
                assert!(id != ORG && !self.shows_a_secret(id), "{id}");
                let named = |text: &str| text.to_ascii_lowercase().contains(id.as_str());
                assert!(self.object.as_ref().is_some_and(|object| object.values().any(|v| holds(v, &named))));
            }
        }
    }
}

/// Whether a text anywhere in the value is such a one.
fn holds(value: &Value, is: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => is(text),
        Value::Array(values) => values.iter().any(|value| holds(value, is)),
        _ => false,
    }
}

fn is_code(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
}
