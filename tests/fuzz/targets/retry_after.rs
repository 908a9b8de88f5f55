//! `Retry-After`, whatever stands in it.

use std::time::{Duration, SystemTime};

use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use migrationlink_operator::remote::{Failure, FailureClass, Operation};

use super::script::{Caller, USUAL, respond};

const LONGEST: Duration = Duration::from_hours(6);

/// The input is the value of the header. It comes with the challenge, with a limit and with a failing server.
pub fn retry_after(input: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(input) else { return };
    for (operation, status, class) in [
        (Operation::Challenge, 429, FailureClass::RateLimited),
        (Operation::Link, 429, FailureClass::RateLimited),
        (Operation::Unlink, 503, FailureClass::ServerError),
        (Operation::Status, 401, FailureClass::Unauthorized),
    ] {
        let before = SystemTime::now();
        let failure = failure(operation, status, &value);
        let after = SystemTime::now();
        assert_eq!((failure.class, failure.http_status), (class, Some(status)));
        assert!(failure.retry_after.is_none_or(|wait| wait <= LONGEST));
        match expected(input) {
            None => assert_eq!(failure.retry_after, None),
            Some(Asked::For(wait)) => assert_eq!(failure.retry_after, Some(wait.min(LONGEST))),
            Some(Asked::Until(time)) => {
                let wait = failure.retry_after.expect("a date is read");
                let from = |now| time.duration_since(now).unwrap_or_default().min(LONGEST);
                assert!((from(after)..=from(before)).contains(&wait), "{wait:?}");
            }
        }
    }
}

enum Asked {
    For(Duration),
    Until(SystemTime),
}

/// By the grammar of RFC 9110 §10.2.3: digits, or a date.
fn expected(value: &[u8]) -> Option<Asked> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = text
            .bytes()
            .fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
        return Some(Asked::For(Duration::from_secs(seconds)));
    }
    httpdate::parse_http_date(text).ok().map(Asked::Until)
}

fn failure(operation: Operation, status: u16, value: &HeaderValue) -> Failure {
    let of = |name: HeaderName, value: HeaderValue| HeaderMap::from_iter([(name, value)]);
    let refusal = of(RETRY_AFTER, value.clone());
    let caller = Caller::new(("public", "private-canary", "token-canary"), move |sent| {
        if operation == Operation::Challenge || sent.authorization.is_some() {
            respond(status, refusal.clone(), b"{}")
        } else {
            respond(401, of(WWW_AUTHENTICATE, HeaderValue::from_static(USUAL)), b"")
        }
    });
    caller.call(operation).expect_err("the server refuses everything")
}
