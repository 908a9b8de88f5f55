//! What a server is not believed, and what it is not given.

use super::*;

fn sha_256(nonce: &str) -> Outcome {
    challenge(&format!(r#"Digest realm="MMS Public API", nonce="{nonce}", algorithm=SHA-256, qop="auth""#))
}

fn weaker() -> FailureClass {
    FailureClass::UnexpectedResponse(UnexpectedKind::WeakerDigest)
}

#[tokio::test(start_paused = true)]
async fn a_state_that_echoes_a_secret_is_none() {
    for (state, known) in [
        ("SYNCED", true),
        ("FUTURE_WORD", true),
        ("link-token-canary", false),
        ("link-token", false),
        ("x link-token-canary", false),
        ("PRIVATE CANARY", false),
    ] {
        let said = || answer(201, &format!(r#"{{"status": "{state}"}}"#));
        let (client, _) = Mock::script(vec![nonce("a"), said()]);
        assert_eq!(link(&client).await.unwrap().state.is_some(), known, "{state}");
    }
    let said = answer(200, r#"{"status": "private-canary"}"#);
    let (client, _) = Mock::script(vec![nonce("a"), said]);
    let failure = status(&client).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::UnexpectedResponse(UnexpectedKind::NoStatus));
}

/// Keys that happen to hold it must not make a link look broken.
#[tokio::test(start_paused = true)]
async fn the_api_s_own_words_are_no_echo() {
    let (client, _) = Mock::script(vec![nonce("a"), synced()]);
    let keys = ApiKeys { public: "synced".into(), private: "not_synced".into() };
    let answer = client.status(&organization(), &keys, None, far()).await.unwrap();
    assert_eq!(answer.state.as_deref(), Some("SYNCED"));
}

#[tokio::test(start_paused = true)]
async fn an_error_code_or_project_that_echoes_a_secret_is_dropped() {
    for (code, kept) in [
        ("INVALID_ATTRIBUTE", true),
        ("LINK_TOKEN_CANARY", false),
        ("BAD_LINKTOKENCANARY", false),
        ("NO_KEY_PUBLIC1", false),
        ("PRIVATE_CANARY", false),
    ] {
        let body = format!(r#"{{"errorCode": "{code}"}}"#);
        // In the refusal of the token, and in that of the challenge.
        for steps in [vec![nonce("a"), answer(400, &body)], vec![answer(400, &body)]] {
            let (client, _) = Mock::script(steps);
            let failure = link(&client).await.unwrap_err();
            assert_eq!(failure.error_code.is_some(), kept, "{failure}");
        }
    }

    // A GET and a DELETE do not send the token, and it is not known to them.
    let project = "5f0d1e2a3b4c5d6e7f800001";
    let keys = ApiKeys { public: "public1".into(), private: "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9".into() };
    let body = json!({ "errorCode": "X", "parameters": [project, "0a1b2c3d4e5f60718293a4b5"] }).to_string();
    let (client, _) = Mock::script(vec![nonce("a"), answer(409, &body)]);
    let failure = client.unlink(&organization(), &keys, far()).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::LiveExportRunning { projects: vec![project.to_owned()] });
}

#[tokio::test(start_paused = true)]
async fn a_weaker_digest_than_before_is_not_answered_for_a_while() {
    let (client, mock) = Mock::client(|n, seen| match (n, seen.authorization.is_empty()) {
        (0, _) => Some(sha_256("strong")),
        // The nonce of the strong challenge, then challenges that are weak, asked for or not.
        (1, _) => Some(synced()),
        (_, false) if seen.authorization["nonce"] == "weak" => Some(synced()),
        _ => Some(nonce("weak")),
    });
    status(&client).await.unwrap();
    for minutes in [0, 29] {
        tokio::time::advance(Duration::from_mins(minutes)).await;
        let failure = link(&client).await.unwrap_err();
        assert_eq!((failure.class, failure.http_status), (weaker(), Some(401)));
        assert!(!failure.maybe_effective);
    }
    let answered = |nonce| mock.seen().iter().any(|seen| seen.authorization.get("nonce") == Some(&nonce));
    assert!(!answered("weak".to_owned()));
    // Others are asked for other credentials.
    client.status(&organization(), &keys(2), None, far()).await.unwrap();

    // An older version was put in place again.
    tokio::time::advance(Duration::from_mins(2)).await;
    link(&client).await.unwrap();
    assert!(answered("weak".to_owned()));
}

/// A path that is not the API's gets no token with the nonce that the API gave, and what it says is no effect.
#[tokio::test(start_paused = true)]
async fn another_path_of_the_same_origin_is_sent_nothing_before_it_has_asked_itself() {
    let (client, mock) = Mock::client(|n, seen| match n {
        0 => Some(nonce("of-the-api")),
        _ if seen.path == format!("{LINK}/status") => Some(synced()),
        _ => Some(answer(302, "")),
    });
    status(&client).await.unwrap();
    let base_url = "https://cloud.example.com/login".parse().unwrap();
    let elsewhere = Organization { base_url, ..organization() };
    let failure = client.link(&elsewhere, &keys(1), &TOKEN.into(), far()).await.unwrap_err();
    assert!(!failure.maybe_effective, "{failure:?}");
    let seen = mock.seen();
    let there: Vec<_> = seen.iter().filter(|seen| seen.path.starts_with("/login")).collect();
    assert_eq!(there.len(), 1);
    assert!(there[0].authorization.is_empty() && there[0].body.is_none());
}

/// A fleet in the middle of an upgrade: the answer to the older's challenge meets the newer.
#[tokio::test(start_paused = true)]
async fn a_refusal_by_a_backend_of_another_kind_is_no_verdict() {
    let (client, mock) = Mock::script(vec![nonce("old"), sha_256("new"), synced()]);
    status(&client).await.unwrap();
    assert_eq!(mock.seen()[2].authorization["nonce"], "new");

    // And the other way round.
    let (client, mock) = Mock::script(vec![sha_256("new"), nonce("old")]);
    assert_eq!(status(&client).await.unwrap_err().class, weaker());
    assert_eq!(mock.seen().len(), 2);

    let (client, mock) =
        Mock::client(|n, _| Some(challenge(&format!(r#"Digest realm="{n}", nonce="n", qop="auth""#))));
    let failure = link(&client).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::UnexpectedResponse(UnexpectedKind::StaleNonces));
    assert_eq!(mock.count(Operation::Link), 3);
}

#[tokio::test(start_paused = true)]
async fn keys_that_were_good_are_refused_only_by_three_answers() {
    let (client, _) = Mock::script(vec![nonce("a"), synced(), nonce("b"), nonce("c"), synced()]);
    status(&client).await.unwrap();
    status(&client).await.unwrap();

    let (client, mock) = Mock::client(|n, _| Some(if n == 1 { synced() } else { nonce(&n.to_string()) }));
    status(&client).await.unwrap();
    for refusals in [3, 4, 5] {
        assert_eq!(status(&client).await.unwrap_err().class, FailureClass::Unauthorized);
        assert_eq!(mock.count(Operation::Status), 1 + refusals);
    }
}

/// Two backends with nonces of their own, in strict turn, as Jetty 12 does it (an unknown nonce is not called stale): a
/// challenge and its answer never meet. Nobody can tell that from wrong keys, and it is taken for them.
#[tokio::test(start_paused = true)]
async fn backends_in_strict_turn_that_share_no_nonces_look_like_wrong_keys() {
    let backends = [Server::new("private-canary"), Server::new("private-canary")];
    backends[1].expire();
    let (client, mock) = Mock::client(move |n, seen| Some(backends[n % 2].serve(seen)));
    assert_eq!(link(&client).await.unwrap_err().class, FailureClass::Unauthorized);
    assert_eq!((mock.count(Operation::Challenge), mock.count(Operation::Link)), (1, 1));
}
