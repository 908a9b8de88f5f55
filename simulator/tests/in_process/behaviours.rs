//! Every scripted behaviour, with and without its effect.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use axum::body::to_bytes;
use futures::StreamExt as _;
use migrationlink_simulator::{Answer, Behaviour, Config, ConnectionReset, DigestOutcome, Phase, RetryAfter};
use serde_json::json;

use crate::client::{Client, ORG, OTHER_ORG, path, start};

/// A client whose authenticated requests get this answer.
fn scripted(answer: Answer) -> Client {
    let client = start(Config::default());
    client.simulator.script(Behaviour::new(answer).in_phase(Phase::Authenticated));
    client
}

#[tokio::test]
async fn an_error_has_the_apis_form() {
    let mut client = scripted(Answer::Error {
        status: 402,
        error_code: "ACCOUNT_SUSPENDED".to_owned(),
        detail: "The account is suspended.".to_owned(),
        parameters: vec![json!("x"), json!(1)],
        retry_after: None,
    });
    let answer = client.post("token").await;
    assert_eq!(answer.status, 402);
    assert_eq!(
        answer.json(),
        json!({
            "badRequestDetail": null, "detail": "The account is suspended.", "error": 402,
            "errorCode": "ACCOUNT_SUSPENDED", "parameters": ["x", 1], "reason": "Payment Required",
        })
    );
    assert_eq!(client.simulator.link_token(ORG), None);
    let entry = client.simulator.journal().pop().unwrap();
    assert_eq!((entry.behaviour, entry.status), (Some("error"), Some(402)));
}

#[tokio::test]
async fn retry_after_has_its_three_forms() {
    let mut client = scripted(Answer::RateLimited { retry_after: Some(RetryAfter::Seconds(30)) });
    let answer = client.post("token").await;
    assert_eq!((answer.status, answer.error_code().as_str()), (429, "RATE_LIMITED"));
    assert_eq!(answer.header("Retry-After"), "30");

    let now = SystemTime::now();
    let answer =
        scripted(Answer::RateLimited { retry_after: Some(RetryAfter::DateIn(3600)) }).post("token").await;
    let date = httpdate::parse_http_date(answer.header("Retry-After")).unwrap();
    let ahead = date.duration_since(now).unwrap().as_secs();
    assert!((3598..=3610).contains(&ahead), "{ahead}");

    let soon = RetryAfter::Text("soon".to_owned());
    let answer = scripted(Answer::RateLimited { retry_after: Some(soon) }).post("token").await;
    assert_eq!(answer.header("Retry-After"), "soon");
    let answer = scripted(Answer::RateLimited { retry_after: None }).post("token").await;
    assert!(!answer.headers.contains_key("Retry-After"));
}

#[tokio::test]
async fn named_errors_have_their_codes() {
    let answer = scripted(Answer::Upgrading).post("token").await;
    assert_eq!(
        (answer.status, answer.error_code().as_str()),
        (405, "WRITES_NOT_ALLOWED_DURING_APP_UPGRADES")
    );
    let address = "203.0.113.7".to_owned();
    let answer = scripted(Answer::NotOnAccessList { address }).post("token").await;
    assert_eq!((answer.status, answer.error_code().as_str()), (403, "IP_ADDRESS_NOT_ON_ACCESS_LIST"));
    assert_eq!(answer.json()["parameters"], json!(["203.0.113.7"]));
    assert!(answer.json()["detail"].as_str().unwrap().contains("203.0.113.7"));
}

#[tokio::test]
async fn a_right_answer_can_be_refused() {
    for (stale, end) in [(true, "stale=true"), (false, "stale=false")] {
        let mut client = scripted(Answer::Unauthorized { stale });
        let answer = client.post("token").await;
        assert_eq!(answer.status, 401);
        assert!(answer.header("WWW-Authenticate").ends_with(end));
        let entry = client.simulator.journal().pop().unwrap();
        assert_eq!((entry.digest, entry.behaviour), (DigestOutcome::Accepted, Some("unauthorized")));
    }
}

#[tokio::test]
async fn answers_of_proxies() {
    let answer = scripted(Answer::Html { status: 502 }).post("token").await;
    assert_eq!((answer.status, answer.header("Content-Type")), (502, "text/html"));
    assert!(answer.body.starts_with("<html>"));

    let location = "https://elsewhere.example/".to_owned();
    let answer = scripted(Answer::Redirect { status: 307, location }).post("token").await;
    assert_eq!((answer.status, answer.header("Location")), (307, "https://elsewhere.example/"));

    let headers = BTreeMap::from([("WWW-Authenticate".to_owned(), "Basic realm=\"x\"".to_owned())]);
    let client = start(Config::default());
    client.simulator.script(Behaviour::new(Answer::Raw { status: 401, headers, body: "no".to_owned() }));
    let response = client.send("GET", &path(ORG), "", None).await;
    assert_eq!(response.headers()["WWW-Authenticate"], "Basic realm=\"x\"");
    assert_eq!(to_bytes(response.into_body(), 10).await.unwrap(), "no");

    let empty = Answer::Raw { status: 503, headers: BTreeMap::new(), body: String::new() };
    let answer = scripted(empty).post("token").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, ""));
    assert!(!answer.headers.contains_key("Content-Type"));
}

#[tokio::test]
async fn an_endless_body_does_not_end() {
    let mut client = scripted(Answer::EndlessBody { status: 200 });
    client.unauthenticated("GET").await;
    let response = client.unread("GET", &path(ORG), "").await;
    assert_eq!(response.status(), 200);
    assert!(to_bytes(response.into_body(), 10_000_000).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_comes_byte_by_byte() {
    let mut client = scripted(Answer::SlowBody { interval_ms: 1000 });
    let begin = tokio::time::Instant::now();
    let answer = client.post("token").await;
    assert_eq!((answer.status, answer.body.as_str()), (201, r#"{"status":"SYNCED"}"#));
    assert_eq!(begin.elapsed().as_secs(), answer.body.len() as u64);
}

#[tokio::test]
async fn a_truncated_body_breaks_off() {
    let mut client = scripted(Answer::TruncatedBody);
    client.unauthenticated("POST").await;
    let response = client.unread("POST", &path(ORG), r#"{"linkToken":"token"}"#).await;
    assert_eq!(response.headers()["Content-Length"], "19");
    let mut body = response.into_body().into_data_stream();
    assert_eq!(body.next().await.unwrap().unwrap().len(), 9);
    assert!(body.next().await.unwrap().is_err());
    assert_eq!(client.simulator.link_token(ORG).as_deref(), Some("token"));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_request_is_in_the_journal_without_a_status() {
    let mut client = scripted(Answer::Hang);
    assert!(tokio::time::timeout(Duration::from_hours(1), client.post("token")).await.is_err());
    let entry = client.simulator.journal().pop().unwrap();
    assert_eq!((entry.behaviour, entry.status), (Some("hang"), None));
    assert_eq!(client.simulator.link_token(ORG), None);
}

#[tokio::test]
async fn a_reset_is_marked_and_its_body_is_an_error() {
    for after_effect in [false, true] {
        let mut client = start(Config::default());
        let mut reset = Behaviour::new(Answer::Reset).in_phase(Phase::Authenticated).times(1);
        reset.after_effect = after_effect;
        client.simulator.script(reset);
        client.unauthenticated("POST").await;
        let response = client.unread("POST", &path(ORG), r#"{"linkToken":"token"}"#).await;
        assert_eq!(response.extensions().get(), Some(&ConnectionReset));
        assert!(to_bytes(response.into_body(), 10).await.is_err());
        assert_eq!(client.simulator.link_token(ORG).is_some(), after_effect);
        let entry = client.simulator.journal().pop().unwrap();
        assert_eq!((entry.behaviour, entry.status), (Some("reset"), None));
        assert_eq!(client.post("token").await.status, 201);
    }
}

#[tokio::test]
async fn an_error_can_come_after_the_effect() {
    let mut client = start(Config::default());
    let error = Behaviour::new(Answer::Html { status: 502 }).in_phase(Phase::Authenticated).after_effect();
    client.simulator.script(error);
    assert_eq!(client.post("token").await.status, 502);
    assert_eq!(client.simulator.link_token(ORG).as_deref(), Some("token"));
    client.simulator.clear_scripts();
    assert_eq!(client.delete().await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_effect_is_lost_with_its_client_and_an_early_one_is_not() {
    for after_effect in [false, true] {
        let mut client = start(Config::default());
        let mut slow = Behaviour::new(Answer::Normal).on_method("POST").delayed(Duration::from_mins(1));
        slow.phase = Phase::Authenticated;
        slow.after_effect = after_effect;
        client.simulator.script(slow);
        assert!(tokio::time::timeout(Duration::from_secs(30), client.post("token")).await.is_err());
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(client.simulator.link_token(ORG).is_some(), after_effect);
    }
}

#[tokio::test]
async fn a_behaviour_is_for_its_method_organization_and_phase_only() {
    let mut client = start(Config::default());
    client.simulator.add_organization(OTHER_ORG, [client.keys.clone()]);
    client
        .simulator
        .script(Behaviour::new(Answer::Upgrading).on_method("POST").on_organization(OTHER_ORG).times(1));
    assert_eq!(client.post("token").await.status, 201);
    client.org_id = OTHER_ORG;
    assert_eq!(client.status().await.status, 404);
    assert_eq!(client.post("token").await.status, 405);
    assert_eq!(client.post("token").await.status, 201);
    assert!(client.simulator.scripts().is_empty());

    client.simulator.script(Behaviour::new(Answer::Html { status: 503 }).in_phase(Phase::Challenge));
    assert_eq!(client.status().await.status, 200);
    assert_eq!(client.unauthenticated("GET").await.status, 503);
}
