use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::FailureClass::*;
use super::*;

const OPERATIONS: [Operation; 4] =
    [Operation::Challenge, Operation::Link, Operation::Status, Operation::Unlink];

fn response(status: u16, body: Body) -> Response {
    Response { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body }
}

fn json_error(status: u16, code: &str) -> Response {
    let body = format!(r#"{{"error": {status}, "errorCode": "{code}", "detail": "d", "parameters": null}}"#);
    response(status, Body::Complete(body.into_bytes()))
}

fn text(status: u16, body: &str) -> Response {
    response(status, Body::Complete(body.as_bytes().to_vec()))
}

fn failure(operation: Operation, response: &Response) -> Failure {
    classify(operation, response, SystemTime::UNIX_EPOCH).unwrap_err()
}

/// A live export is running, nobody says where.
fn in_use() -> FailureClass {
    LiveExportRunning { projects: Vec::new() }
}

fn unexpected(kind: UnexpectedKind) -> FailureClass {
    UnexpectedResponse(kind)
}

/// Status, code, and the class for a challenge, a POST, a GET and a DELETE.
#[test]
fn the_failure_table() {
    for (status, code, challenge, post, get, delete) in [
        (400, "INVALID_ATTRIBUTE", RequestRejected, TokenRejected, RequestRejected, RequestRejected),
        (422, "VALIDATION_ERROR", RequestRejected, TokenRejected, RequestRejected, RequestRejected),
        (400, "INVITATIONS_RATE_LIMITED_IP", RateLimited, RateLimited, RateLimited, RateLimited),
        (401, "USER_UNAUTHORIZED", Unauthorized, Unauthorized, Unauthorized, Unauthorized),
        (402, "ACCOUNT_SUSPENDED", Forbidden, Forbidden, Forbidden, Forbidden),
        (403, "FEATURE_UNSUPPORTED", Forbidden, Forbidden, Forbidden, Forbidden),
        (
            404,
            "ORG_NOT_FOUND",
            OrganizationNotFound,
            OrganizationNotFound,
            OrganizationNotFound,
            OrganizationNotFound,
        ),
        (
            404,
            "INVALID_ORG_ID",
            OrganizationNotFound,
            OrganizationNotFound,
            OrganizationNotFound,
            OrganizationNotFound,
        ),
        (
            404,
            "NOT_ATLAS_ORG",
            OrganizationNotFound,
            OrganizationNotFound,
            OrganizationNotFound,
            OrganizationNotFound,
        ),
        (
            404,
            "EXPECTED_NON_ATLAS_ORG",
            OrganizationNotFound,
            OrganizationNotFound,
            OrganizationNotFound,
            OrganizationNotFound,
        ),
        (
            404,
            "RESOURCE_NOT_FOUND",
            OrganizationNotFound,
            OrganizationNotFound,
            OrganizationNotFound,
            OrganizationNotFound,
        ),
        (404, "UNEXPECTED_ERROR", OrganizationNotFound, OrganizationNotFound, LinkNotFound, LinkNotFound),
        (405, "WRITES_NOT_ALLOWED_DURING_APP_UPGRADES", Upgrading, Upgrading, Upgrading, Upgrading),
        (405, "METHOD_NOT_ALLOWED", RequestRejected, RequestRejected, RequestRejected, RequestRejected),
        (406, "X", RequestRejected, RequestRejected, RequestRejected, RequestRejected),
        (408, "X", ServerError, ServerError, ServerError, ServerError),
        (409, "X", RequestRejected, LinkExists, RequestRejected, in_use()),
        (410, "VERSION_GONE", RequestRejected, RequestRejected, RequestRejected, RequestRejected),
        (425, "X", ServerError, ServerError, ServerError, ServerError),
        (429, "RATE_LIMITED", RateLimited, RateLimited, RateLimited, RateLimited),
        (500, "UNEXPECTED_ERROR", ServerError, ServerError, ServerError, ServerError),
        (503, "SERVICE_UNAVAILABLE", ServerError, ServerError, ServerError, ServerError),
    ] {
        for (operation, class) in OPERATIONS.into_iter().zip([challenge, post, get, delete]) {
            let failure = failure(operation, &json_error(status, code));
            assert_eq!(failure.class, class, "{operation:?} {status} {code}");
            assert_eq!(failure.http_status, Some(status));
            assert_eq!(failure.error_code.as_deref(), Some(code));
            assert_eq!(failure.maybe_effective, operation == Operation::Link && status >= 500, "{status}");
        }
    }
}

#[test]
fn an_access_list_names_the_address_it_refuses() {
    for code in [
        "IP_ADDRESS_NOT_ON_ACCESS_LIST",
        "IP_ADDRESS_NOT_ON_WHITELIST",
        "RESOURCE_REQUIRES_ACCESS_LIST",
        "ORG_REQUIRES_WHITELIST",
    ] {
        let body = format!(r#"{{"errorCode": "{code}", "parameters": ["203.0.113.7"]}}"#);
        let failure = failure(Operation::Link, &text(403, &body));
        assert_eq!(failure.class, AccessListDenied { address: Some([203, 0, 113, 7].into()) });
        assert!(failure.to_string().ends_with(&format!("203.0.113.7 (HTTP 403, {code})")), "{failure}");
    }
    assert_eq!(
        failure(Operation::Link, &json_error(403, "ORG_REQUIRES_ACCESS_LIST")).class,
        AccessListDenied { address: None }
    );
}

#[test]
fn what_a_proxy_answers_is_not_taken_for_the_word_of_the_api() {
    for body in ["", "<html>no such page</html>", "null", "[]"] {
        for operation in OPERATIONS {
            for status in [400, 402, 403, 404, 405, 409, 410, 422] {
                let failure = failure(operation, &text(status, body));
                assert_eq!(failure.class, unexpected(UnexpectedKind::NotJson), "{status} {body}");
                assert!(!failure.maybe_effective);
            }
            for (status, class) in
                [(401, Unauthorized), (429, RateLimited), (502, ServerError), (408, ServerError)]
            {
                assert_eq!(failure(operation, &text(status, body)).class, class, "{status} {body}");
            }
        }
    }
    for (body, class) in [
        (Body::TooLarge, unexpected(UnexpectedKind::TooLarge)),
        (Body::Broken, Broken),
        (Body::TimedOut, Timeout),
    ] {
        let response = response(404, body);
        assert_eq!(failure(Operation::Status, &response).class, class);
        let response = Response { status: StatusCode::BAD_GATEWAY, ..response };
        assert_eq!(failure(Operation::Status, &response).class, ServerError);
    }
}

#[test]
fn a_redirect_is_not_followed_and_leaves_a_post_in_doubt() {
    for status in [301, 302, 303, 304, 307, 308] {
        for operation in OPERATIONS {
            let failure = failure(operation, &text(status, r#"{"status": "SYNCED"}"#));
            assert_eq!(failure.class, unexpected(UnexpectedKind::Redirect));
            assert_eq!(failure.maybe_effective, operation == Operation::Link);
        }
    }
}

#[test]
fn every_2xx_of_the_api_accepts_a_token() {
    let state = |response| classify(Operation::Link, &response, SystemTime::UNIX_EPOCH).unwrap().state;
    assert_eq!(state(text(201, r#"{"status": "NOT_SYNCED"}"#)).as_deref(), Some("NOT_SYNCED"));
    assert_eq!(state(text(200, r#"{"status": 200, "content": {"status": "SYNCED"}}"#)).unwrap(), "SYNCED");
    for body in ["", " \n", "{}", r#"{"sourceOrgId": "1", "targetOrg": {"linkToken": "t"}}"#] {
        assert_eq!(state(text(200, body)), None, "{body}");
    }
    for body in [Body::Broken, Body::TimedOut] {
        assert_eq!(state(response(204, body)), None);
    }
}

#[test]
fn every_2xx_of_the_api_removes_a_link() {
    for (status, body) in [(204, ""), (202, ""), (200, "{}"), (200, r#"{"status": "SYNCED"}"#)] {
        let answer = classify(Operation::Unlink, &text(status, body), SystemTime::UNIX_EPOCH);
        assert_eq!(answer, Ok(Answer { state: None }), "{status} {body}");
    }
    for body in [Body::Broken, Body::TimedOut] {
        assert!(classify(Operation::Unlink, &response(200, body), SystemTime::UNIX_EPOCH).is_ok());
    }
}

/// The page of a login or of a gateway comes with a 200 often enough.
#[test]
fn a_2xx_that_is_not_of_the_api_proves_nothing() {
    for operation in [Operation::Link, Operation::Unlink] {
        for response in
            [text(200, "<html>"), text(201, "ok"), text(200, "[1]"), response(200, Body::TooLarge)]
        {
            let failure = failure(operation, &response);
            assert_eq!(failure.class, unexpected(UnexpectedKind::NotJson));
            assert_eq!(failure.maybe_effective, operation == Operation::Link);
        }
    }
}

#[test]
fn a_404_of_a_gateway_does_not_say_that_there_is_no_link_to_remove() {
    for body in [r#"{"message": "no Route matched with those values"}"#, "{}", r#"{"errorCode": "no route"}"#]
    {
        assert_eq!(failure(Operation::Unlink, &text(404, body)).class, RequestRejected, "{body}");
    }
}

#[test]
fn a_running_live_export_names_its_projects() {
    let (one, two) = ("5f0d1e2a3b4c5d6e7f800001", "5f0d1e2a3b4c5d6e7f800002");
    let code = "CANNOT_DELETE_ORG_LINK_WITH_RUNNING_LIVE_EXPORT";
    let many: Vec<String> = (0..20).map(|n| format!("{n:024x}")).collect();
    for (parameters, detail, expected) in [
        (json!([one, two]), String::new(), vec![one, two]),
        (json!([[one, two], 7, null]), format!("other {}", two.replace('2', "3")), vec![one, two]),
        (json!([format!("[{one}, {two}]"), one]), String::new(), vec![one, two]),
        (json!([one.to_uppercase()]), String::new(), vec![one]),
        (json!({ "projects": [one] }), format!("Projects {two}, {one} and {two}."), vec![two, one]),
        (Value::Null, format!("Projects {two},{one}."), vec![two, one]),
        (json!([format!("{one}0"), "5f0d1e2a3b4c5d6e7f80000z", "<b>"]), "a b".to_owned(), vec![]),
        (json!(many), String::new(), many.iter().take(10).map(String::as_str).collect()),
    ] {
        let body = json!({ "error": 409, "errorCode": code, "detail": detail, "parameters": parameters })
            .to_string();
        let running = LiveExportRunning { projects: expected.into_iter().map(str::to_owned).collect() };
        assert_eq!(failure(Operation::Unlink, &text(409, &body)).class, running, "{body}");
        let enveloped = format!(r#"{{"status": 409, "content": {body}}}"#);
        assert_eq!(failure(Operation::Unlink, &text(200, &enveloped)).class, running, "{body}");
        // Elsewhere a 409 is something else.
        assert_eq!(failure(Operation::Link, &text(409, &body)).class, LinkExists);
    }
    let newer = "CANNOT_DELETE_ORG_ACTIVE_LIVE_MIGRATION_ATLAS_ORG_LINK";
    assert_eq!(failure(Operation::Unlink, &json_error(409, newer)).class, in_use());
    assert_eq!(failure(Operation::Unlink, &json_error(409, "RATE_LIMITED")).class, RateLimited);
}

#[test]
fn a_2xx_to_get_must_say_the_state() {
    let ok = classify(Operation::Status, &text(200, r#"{"status": "PAUSED"}"#), SystemTime::UNIX_EPOCH);
    assert_eq!(ok.unwrap().state.as_deref(), Some("PAUSED"));
    for (body, class) in [
        (Body::Complete(b"{}".to_vec()), unexpected(UnexpectedKind::NoStatus)),
        (Body::Complete(Vec::new()), unexpected(UnexpectedKind::NotJson)),
        (Body::TooLarge, unexpected(UnexpectedKind::TooLarge)),
        (Body::Broken, Broken),
        (Body::TimedOut, Timeout),
    ] {
        let failure = failure(Operation::Status, &response(200, body));
        assert_eq!((failure.class, failure.maybe_effective), (class, false));
    }
}

#[test]
fn an_envelope_that_says_an_error_is_one() {
    let body = r#"{"status": 404, "content": {"errorCode": "ORG_NOT_FOUND"}}"#;
    for operation in [Operation::Link, Operation::Status, Operation::Unlink] {
        let failure = failure(operation, &text(200, body));
        assert_eq!(failure.class, OrganizationNotFound);
        assert_eq!(failure.error_code.as_deref(), Some("ORG_NOT_FOUND"));
        assert!(!failure.maybe_effective);
    }
    let failure = failure(Operation::Link, &text(200, r#"{"status": 500, "envelope": {}}"#));
    assert_eq!((failure.class, failure.maybe_effective), (ServerError, true));
}

#[test]
fn a_2xx_to_a_challenge_is_no_success() {
    let failure = failure(Operation::Challenge, &text(200, r#"{"status": "SYNCED"}"#));
    assert_eq!(failure.class, unexpected(UnexpectedKind::ChallengeAccepted));
}

#[test]
fn retry_after_is_read_with_every_failure() {
    let mut response = json_error(503, "SERVICE_UNAVAILABLE");
    response.headers.insert(RETRY_AFTER, HeaderValue::from_static("17"));
    assert_eq!(failure(Operation::Status, &response).retry_after, Some(Duration::from_secs(17)));
    response.headers.insert(RETRY_AFTER, HeaderValue::from_static("Thu, 01 Jan 1970 00:01:00 GMT"));
    assert_eq!(failure(Operation::Status, &response).retry_after, Some(Duration::from_mins(1)));
    response.headers.insert(RETRY_AFTER, HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(failure(Operation::Status, &response).retry_after, None);
}

#[test]
fn only_what_was_sent_can_have_had_an_effect() {
    let connect = TransportError::Connect { proxy: None, problem: ConnectProblem::Refused };
    let certificate = TransportError::CertificateNotTrusted(CertificateProblem::Expired);
    for (error, doubtful) in [
        (connect, false),
        (TransportError::TlsBrokenOff, false),
        (certificate, false),
        (TransportError::Timeout, true),
        (TransportError::Broken, true),
    ] {
        assert_eq!(Failure::transport(Operation::Link, error.clone()).maybe_effective, doubtful, "{error:?}");
        assert!(!Failure::transport(Operation::Challenge, error.clone()).maybe_effective);
        // About the token only: a DELETE is simply sent again.
        assert!(!Failure::transport(Operation::Unlink, error.clone()).maybe_effective);
        assert!(!Failure::transport(Operation::Status, error).maybe_effective);
    }
}

#[test]
fn a_failure_reads_well() {
    let connect = TransportError::Connect {
        proxy: Some("http://proxy:3128".to_owned()),
        problem: ConnectProblem::Refused,
    };
    assert_eq!(
        Failure::transport(Operation::Link, connect).to_string(),
        "no connection through the proxy http://proxy:3128: the connection was refused"
    );
    assert_eq!(
        failure(Operation::Link, &json_error(409, "X_1")).to_string(),
        "the organization has a link already (HTTP 409, X_1)"
    );
}

proptest! {
    /// Whatever a server writes around and into the fields, none of its text comes out.
    #[test]
    fn no_text_of_a_body_is_in_a_failure(
        status in 100u16..1000,
        before in ".{0,20}",
        field in "(detail|reason|error|errorCode|parameters|badRequestDetail|x)",
        shape in 0usize..6,
    ) {
        let canary = "canary-5f0d";
        let body = match shape {
            0 => format!("{before}{canary}"),
            1 => format!(r#"{{"{field}": "{canary}"}}"#),
            2 => format!(r#"{{"errorCode": "A_B", "{field}": ["{canary}", "1.2.3.4 {canary}"]}}"#),
            3 => format!(r#"{{"status": {status}, "content": {{"{field}": "{canary}"}}}}"#),
            4 => format!(r#"{{"{field}": {{"status": "{canary}"}}}}"#),
            _ => format!("<html>{canary}</html>{before}"),
        };
        for operation in OPERATIONS {
            match classify(operation, &text(status, &body), SystemTime::now()) {
                Err(failure) => prop_assert!(!format!("{failure} {failure:?}").contains("canary"), "{failure:?}"),
                Ok(answer) => prop_assert_eq!(answer.state, None),
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(status in 100u16..1000, body: Vec<u8>) {
        for operation in OPERATIONS {
            let _ = classify(operation, &response(status, Body::Complete(body.clone())), SystemTime::now());
        }
    }
}
