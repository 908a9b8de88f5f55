mod mock;
mod trust;

use std::collections::HashSet;

use futures::future::join_all;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::remote::TransportErrorKind;
use mock::*;

#[tokio::test(start_paused = true)]
async fn a_first_call_asks_for_a_challenge_and_the_next_does_not() {
    let (client, mock) = mock_of(&Server::new("private-canary"));
    assert_eq!(link(&client).await.unwrap().state, None);
    assert_eq!(status(&client).await.unwrap().state.as_deref(), Some("SYNCED"));
    assert_eq!(status(&client).await.unwrap().state.as_deref(), Some("SYNCED"));

    let [asked, linked, polled, _] = mock.seen().try_into().ok().unwrap();
    assert_eq!((asked.method, asked.path.as_str(), asked.body), (Method::POST, LINK, None));
    assert!(!asked.headers.contains_key(AUTHORIZATION) && !asked.headers.contains_key(CONTENT_TYPE));
    assert_eq!((linked.method, linked.path.as_str()), (Method::POST, LINK));
    assert_eq!(linked.body.as_deref(), Some(r#"{"linkToken":"link-token-canary"}"#));
    assert_eq!(linked.headers[CONTENT_TYPE], "application/json");
    assert_eq!(linked.headers[ACCEPT], "application/json");
    assert_eq!(
        (linked.authorization["uri"].as_str(), linked.authorization["nc"].as_str()),
        (LINK, "00000001")
    );
    assert_eq!((polled.method, polled.path, polled.body), (Method::GET, format!("{LINK}/status"), None));
    let outcomes = mock.exchanges.lock().unwrap().clone();
    let expected = [
        (Operation::Challenge, Ok(401)),
        (Operation::Link, Ok(201)),
        (Operation::Status, Ok(200)),
        (Operation::Status, Ok(200)),
    ];
    assert_eq!(outcomes, expected);
}

#[tokio::test(start_paused = true)]
async fn a_link_is_removed_with_a_challenge_without_credentials_and_a_delete_without_a_body() {
    let (client, mock) = mock_of(&Server::new("private-canary"));
    unlink(&client).await.unwrap();
    unlink(&client).await.unwrap();
    let seen = mock.seen();
    assert!(
        seen.iter().all(|seen| seen.method == Method::DELETE && seen.path == LINK && seen.body.is_none())
    );
    assert!(seen.iter().all(|seen| !seen.headers.contains_key(CONTENT_TYPE)));
    let answered: Vec<bool> = seen.iter().map(|seen| seen.headers.contains_key(AUTHORIZATION)).collect();
    assert_eq!(answered, [false, true, true]);
    assert_eq!((mock.count(Operation::Challenge), mock.count(Operation::Unlink)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_cannot_be_removed_says_why() {
    let projects = ["5f0d1e2a3b4c5d6e7f800001", "5f0d1e2a3b4c5d6e7f800002"].map(str::to_owned).to_vec();
    let detail = format!("Organization {ORG} has live exports in {} and {}.", projects[0], projects[1]);
    let running = json!({ "errorCode": "CANNOT_DELETE", "detail": detail, "parameters": null }).to_string();
    for (refusal, class) in [
        (answer(404, r#"{"errorCode": "UNEXPECTED_ERROR"}"#), FailureClass::LinkNotFound),
        (answer(404, r#"{"errorCode": "ORG_NOT_FOUND"}"#), FailureClass::OrganizationNotFound),
        (answer(409, &running), FailureClass::LiveExportRunning { projects }),
        (answer(500, ""), FailureClass::ServerError),
    ] {
        let (client, _) = Mock::script(vec![nonce("a"), refusal]);
        let failure = unlink(&client).await.unwrap_err();
        assert_eq!((failure.class, failure.maybe_effective), (class, false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_nonce_from_the_cache_is_no_verdict() {
    let server = Server::new("private-canary");
    let (client, mock) = mock_of(&server);
    link(&client).await.unwrap();
    server.expire();
    link(&client).await.unwrap();
    // The challenge of the refusal was answered, no other one was asked for.
    assert_eq!((mock.count(Operation::Challenge), mock.count(Operation::Link)), (1, 3));
    link(&client).await.unwrap();
    assert_eq!(mock.seen().last().unwrap().authorization["nc"], "00000002");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_a_challenge_is_no_verdict_on_a_cached_nonce_either() {
    let bare = || answer(401, r#"{"errorCode": "USER_UNAUTHORIZED"}"#);
    let (client, mock) = Mock::script(vec![nonce("a"), synced(), bare(), nonce("b"), bare()]);
    status(&client).await.unwrap();
    let failure = status(&client).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Unauthorized);
    assert_eq!(failure.error_code.as_deref(), Some("USER_UNAUTHORIZED"));
    assert_eq!((mock.count(Operation::Challenge), mock.count(Operation::Status)), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn wrong_keys_are_refused_after_one_answer() {
    let (client, mock) = mock_of(&Server::new("another"));
    for calls in 1..3 {
        let failure = link(&client).await.unwrap_err();
        assert_eq!((failure.class, failure.http_status), (FailureClass::Unauthorized, Some(401)));
        assert!(!failure.maybe_effective);
        assert_eq!((mock.count(Operation::Challenge), mock.count(Operation::Link)), (calls, calls));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_fresh_nonce_is_answered_again_at_most_three_times_in_all() {
    let (client, mock) = Mock::script(vec![nonce("a"), stale("b"), synced()]);
    link(&client).await.unwrap();
    assert_eq!(mock.seen()[2].authorization["nonce"], "b");

    let (client, mock) = Mock::client(|n, _| Some(stale(&n.to_string())));
    let failure = link(&client).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::UnexpectedResponse(UnexpectedKind::StaleNonces));
    assert!(!failure.maybe_effective);
    assert_eq!((mock.count(Operation::Challenge), mock.count(Operation::Link)), (1, 3));

    // After a success on a cached nonce: three requests with the token and no challenge.
    let (client, mock) = Mock::client(|n, _| Some(if n == 1 { synced() } else { stale(&n.to_string()) }));
    link(&client).await.unwrap();
    link(&client).await.unwrap_err();
    assert_eq!((mock.count(Operation::Challenge), mock.count(Operation::Link)), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn op_is_tried_as_qop_and_then_ignored_for_good() {
    let op =
        |nonce: &str| challenge(&format!(r#"Digest realm="r", nonce="{nonce}", algorithm=MD5, op="auth""#));
    let (client, mock) = Mock::script(vec![op("a"), op("b"), synced(), synced(), op("c"), synced()]);
    for _ in 0..3 {
        link(&client).await.unwrap();
    }
    let seen = mock.seen();
    let with_qop: Vec<bool> = seen.iter().map(|seen| seen.authorization.contains_key("qop")).collect();
    assert_eq!(with_qop, [false, true, false, false, false, false]);
    assert_eq!(seen[5].authorization["nonce"], "c");

    // Wrong keys: both readings, then the verdict.
    let (client, mock) = Mock::client(move |n, _| Some(op(&n.to_string())));
    assert_eq!(link(&client).await.unwrap_err().class, FailureClass::Unauthorized);
    assert_eq!((mock.count(Operation::Challenge), mock.count(Operation::Link)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn many_at_once_ask_for_one_challenge_and_never_repeat_a_count() {
    let server = Server::new("private-canary");
    let (client, mock) = mock_of(&server);
    for round in 1..=2 {
        let results = join_all((0..64).map(|_| status(&client))).await;
        assert!(results.iter().all(Result::is_ok));
        // In the second round every nonce is refused, and each call answers the challenge that it got.
        let sent = if round == 1 { 64 } else { 64 + 128 };
        assert_eq!((mock.count(Operation::Challenge), mock.count(Operation::Status)), (1, sent));
        server.expire();
    }
    let seen = mock.seen();
    let answers: Vec<_> = seen.iter().filter(|seen| !seen.authorization.is_empty()).collect();
    let distinct: HashSet<_> =
        answers.iter().map(|seen| (&seen.authorization["nonce"], &seen.authorization["nc"])).collect();
    assert_eq!((answers.len(), distinct.len()), (192, 192));
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_a_challenge_share_a_failure_of_the_endpoint_only() {
    let (client, mock) = Mock::client(|_, _| Some(refused()));
    let results = join_all((0..10).map(|_| status(&client))).await;
    let failures: Vec<_> = results.into_iter().map(Result::unwrap_err).collect();
    assert!(failures.iter().all(|failure| matches!(failure.class, FailureClass::Connect { .. })));
    assert_eq!(failures.iter().filter(|failure| !failure.shared).count(), 1);
    assert_eq!(mock.count(Operation::Challenge), 1);
    status(&client).await.unwrap_err();
    assert_eq!(mock.count(Operation::Challenge), 2);

    let (client, mock) = Mock::client(|_, _| Some(answer(404, r#"{"errorCode": "ORG_NOT_FOUND"}"#)));
    let results = join_all((0..10).map(|_| status(&client))).await;
    assert!(
        results.into_iter().all(|result| result.unwrap_err().class == FailureClass::OrganizationNotFound)
    );
    assert_eq!(mock.count(Operation::Challenge), 10);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_gives_up_lets_the_next_one_ask() {
    let (client, mock) = Mock::client(|n, seen| match n {
        0 => None,
        _ if seen.authorization.is_empty() => Some(nonce("a")),
        _ => Some(synced()),
    });
    let first = tokio::time::timeout(Duration::from_secs(1), status(&client));
    let (first, second) = tokio::join!(first, status(&client));
    assert!(first.is_err() && second.is_ok());
    assert_eq!(mock.seen().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_after_30_s_and_knows_whether_the_token_was_sent() {
    for (silent_from, maybe_effective) in [(0, false), (1, true)] {
        let (client, mock) = Mock::client(move |n, _| (n < silent_from).then(|| nonce("a")));
        let began = Instant::now();
        let failures = tokio::join!(link(&client), link(&client));
        assert!((DEADLINE..DEADLINE + Duration::from_millis(10)).contains(&began.elapsed()));
        for failure in [failures.0.unwrap_err(), failures.1.unwrap_err()] {
            assert_eq!((failure.class, failure.maybe_effective), (FailureClass::Timeout, maybe_effective));
        }
        assert_eq!(mock.exchanges.lock().unwrap().last().unwrap().1, Err(TransportErrorKind::Timeout));
    }
    // The token had been refused before the silence.
    let (client, _) = Mock::client(|n, _| [nonce("a"), synced(), answer(401, "")].into_iter().nth(n));
    link(&client).await.unwrap();
    let failure = link(&client).await.unwrap_err();
    assert_eq!((failure.class, failure.maybe_effective), (FailureClass::Timeout, false));
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_the_caller_s_deadline_and_sends_nothing_after_it() {
    let in_1_s = || Instant::now() + Duration::from_secs(1);
    for silent_from in [0, 1] {
        let (client, _) = Mock::client(move |n, _| (n < silent_from).then(|| nonce("a")));
        let began = Instant::now();
        let failure = client.unlink(&organization(), &keys(1), in_1_s()).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Timeout);
        assert_eq!(began.elapsed().as_millis(), 1000);
    }

    // Passed before the call, and between the challenge and its answer.
    let (client, mock) = Mock::client(|_, _| Some(nonce("a")));
    let keys = keys(1);
    let late = client.link(&organization(), &keys, &TOKEN.into(), Instant::now()).await.unwrap_err();
    assert_eq!((late.class, late.maybe_effective), (FailureClass::Timeout, false));
    assert!(mock.seen().is_empty() && mock.exchanges.lock().unwrap().is_empty());
    let deadline = Instant::now() + Duration::from_millis(20);
    let late = client.link(&organization(), &keys, &TOKEN.into(), deadline).await.unwrap_err();
    assert_eq!((late.class, late.maybe_effective), (FailureClass::Timeout, false));
    assert!(mock.seen().iter().all(|seen| seen.authorization.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_challenge_keeps_to_his_own_deadline() {
    let (client, mock) = Mock::client(|n, seen| match n {
        0 => None,
        _ if seen.authorization.is_empty() => Some(nonce("a")),
        _ => Some(synced()),
    });
    let (organization, keys) = (organization(), keys(1));
    let within = |ms| client.status(&organization, &keys, None, Instant::now() + Duration::from_millis(ms));
    let began = Instant::now();
    let timed = async |ms| (within(ms).await.map_err(|failure| failure.class), began.elapsed().as_millis());
    let (first, shorter, longer) = tokio::join!(timed(2000), timed(1000), timed(3000));
    assert_eq!(shorter, (Err(FailureClass::Timeout), 1000));
    assert_eq!(first, (Err(FailureClass::Timeout), 2000));
    // The one who asked had no time left; that is no failure of the next, who asks again.
    assert_eq!(longer.0.unwrap().state.as_deref(), Some("SYNCED"));
    assert_eq!(mock.seen().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_challenge_s_own_answer_is_classified() {
    for (outcome, class) in [
        (
            answer(201, r#"{"status": "SYNCED"}"#),
            FailureClass::UnexpectedResponse(UnexpectedKind::ChallengeAccepted),
        ),
        (answer(401, ""), no_challenge()),
        (challenge(r#"Basic realm="MMS Public API""#), no_challenge()),
        (challenge("NTLM"), no_challenge()),
        (answer(400, "{}"), FailureClass::RequestRejected),
        (answer(405, r#"{"errorCode": "WRITES_NOT_ALLOWED_DURING_APP_UPGRADES"}"#), FailureClass::Upgrading),
        (answer(429, ""), FailureClass::RateLimited),
        (answer(503, ""), FailureClass::ServerError),
    ] {
        let (client, mock) = Mock::script(vec![outcome]);
        let failure = link(&client).await.unwrap_err();
        assert_eq!((failure.class, failure.maybe_effective), (class, false));
        assert!(mock.seen().iter().all(|seen| seen.authorization.is_empty() && seen.body.is_none()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_nonce_stays_with_its_origin_and_credential() {
    let (client, mock) = Mock::client(|_, seen| {
        Some(if seen.authorization.is_empty() { nonce(&seen.host) } else { synced() })
    });
    let elsewhere = Organization { base_url: "https://om.example.com".parse().unwrap(), ..organization() };
    for _ in 0..2 {
        client.status(&organization(), &keys(1), None, far()).await.unwrap();
        client.status(&organization(), &keys(2), None, far()).await.unwrap();
        client.status(&elsewhere, &keys(1), None, far()).await.unwrap();
    }
    assert_eq!((mock.count(Operation::Challenge), mock.count(Operation::Status)), (3, 6));
    for seen in mock.seen().iter().filter(|seen| !seen.authorization.is_empty()) {
        assert_eq!(seen.authorization["nonce"], seen.host);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_nonce_serves_once() {
    let sess = || challenge(r#"Digest realm="r", nonce="n", algorithm=MD5-sess, qop="auth""#);
    let (client, _) = Mock::script(vec![sess(), synced(), sess(), synced()]);
    status(&client).await.unwrap();
    status(&client).await.unwrap();
}

#[tokio::test]
async fn an_id_that_is_none_is_not_sent() {
    let (client, mock) = Mock::script(Vec::new());
    for id in ["", "..", "5f0d1e2a3b4c5d6e7f80123/", "5f0d1e2a3b4c5d6e7f8012345"] {
        let organization = Organization { org_id: id.to_owned(), ..organization() };
        let failure = client.status(&organization, &keys(1), None, far()).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::OrganizationNotFound);
    }
    assert!(mock.seen().is_empty());
}

#[test]
fn keys_are_not_printed() {
    assert!(!format!("{:?}", keys(1)).contains("canary"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the server answers: no panic, at most three requests with the token, none of them a challenge, and
    /// nothing secret in what comes out.
    #[test]
    fn a_hostile_server_gets_no_further(
        steps in proptest::collection::vec((100u16..600, "[ -~]{0,40}", 0usize..5), 12),
    ) {
        let steps: Vec<_> = steps.into_iter().map(|(status, text, shape)| match shape {
            0 => answer(status, &format!("{TOKEN} {text}")),
            1 => stale("n"),
            2 => nonce("m"),
            3 => challenge(&format!("Digest {text}")),
            _ => Err(TransportError::Broken),
        }).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (client, mock) = Mock::script(steps);
        if let Err(failure) = runtime.block_on(link(&client)) {
            prop_assert!(!format!("{failure} {failure:?}").contains("canary"), "{failure:?}");
        }
        let seen = mock.seen();
        prop_assert!(seen.iter().filter(|seen| seen.body.is_some()).count() <= MAX_SENDS);
        prop_assert!(seen.iter().all(|seen| seen.body.is_none() == seen.authorization.is_empty()));
    }
}
