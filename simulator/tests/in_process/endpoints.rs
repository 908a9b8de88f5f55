//! What the three endpoints answer, and what the journal says about it.

use std::time::Duration;

use migrationlink_simulator::{
    ApiKeys, Config, DigestOutcome, Envelope, ExistingLink, LinkAnswer, MissingLink, Refusal, UnlinkAnswer,
};
use serde_json::{Value, json};

use crate::client::{ORG, OTHER_ORG, path, start};

#[tokio::test]
async fn a_link_is_made_polled_and_removed() {
    let mut client = start(Config { synced_after: 2, ..Config::default() });
    let made = client.post("token-1").await;
    assert_eq!((made.status, made.state().as_str()), (201, "NOT_SYNCED"));
    assert_eq!(made.header("Content-Type"), "application/json");
    for expected in ["NOT_SYNCED", "NOT_SYNCED", "SYNCED", "SYNCED"] {
        let polled = client.status().await;
        assert_eq!((polled.status, polled.state().as_str()), (200, expected));
    }
    let removed = client.delete().await;
    assert_eq!((removed.status, removed.body.as_str()), (204, ""));
    assert_eq!(client.status().await.status, 404);
}

#[tokio::test]
async fn without_polls_to_wait_for_the_post_says_synced() {
    assert_eq!(start(Config::default()).post("token").await.state(), "SYNCED");
}

#[tokio::test]
async fn a_post_can_answer_with_the_source_organization() {
    let mut client = start(Config { link_answer: LinkAnswer::SourceOrganization, ..Config::default() });
    let made = client.post("token-1").await;
    assert_eq!(made.status, 200);
    assert_eq!(made.json()["sourceOrgId"], ORG);
    assert_eq!(made.json()["targetOrg"]["linkToken"], "token-1");
    assert_eq!(made.json().get("status"), None);
}

#[tokio::test]
async fn a_post_can_answer_without_a_body() {
    for status in [200, 202, 204] {
        let mut client = start(Config { link_answer: LinkAnswer::NoBody(status), ..Config::default() });
        let made = client.post("token-1").await;
        assert_eq!((made.status, made.body.as_str()), (status, ""));
        assert_eq!(client.simulator.link_token(ORG).as_deref(), Some("token-1"));
    }
}

#[tokio::test]
async fn successes_can_be_enveloped() {
    for (envelope, name) in [(Envelope::Content, "content"), (Envelope::Envelope, "envelope")] {
        let mut client = start(Config { envelope: Some(envelope), ..Config::default() });
        assert_eq!(client.post("token").await.json(), json!({"status": 201, name: {"status": "SYNCED"}}));
        assert_eq!(client.status().await.json(), json!({"status": 200, name: {"status": "SYNCED"}}));
    }
}

#[tokio::test]
async fn a_second_post_replaces_the_token_or_conflicts() {
    let mut client = start(Config { synced_after: 1, ..Config::default() });
    client.post("token-1").await;
    assert_eq!([client.status().await.state(), client.status().await.state()], ["NOT_SYNCED", "SYNCED"]);
    assert_eq!(client.post("token-2").await.state(), "NOT_SYNCED");
    assert_eq!(client.simulator.link_token(ORG).as_deref(), Some("token-2"));

    client.simulator.configure(|config| config.existing_link = ExistingLink::Conflict);
    assert_eq!(client.post("token-3").await.status, 409);
    assert_eq!(client.simulator.link_token(ORG).as_deref(), Some("token-2"));
}

#[tokio::test]
async fn a_missing_link_is_404_or_not_synced() {
    let mut client = start(Config::default());
    for answer in [client.status().await, client.delete().await] {
        assert_eq!((answer.status, answer.error_code().as_str()), (404, "UNEXPECTED_ERROR"));
        assert_eq!(answer.json()["parameters"], Value::Null);
    }
    client.simulator.configure(|config| config.missing_link = MissingLink::NotSynced);
    let polled = client.status().await;
    assert_eq!((polled.status, polled.state().as_str()), (200, "NOT_SYNCED"));
    assert_eq!(client.delete().await.status, 404);
}

#[tokio::test]
async fn a_delete_can_answer_202() {
    let mut client = start(Config { unlink_answer: UnlinkAnswer::Accepted, ..Config::default() });
    client.post("token").await;
    assert_eq!(client.delete().await.status, 202);
}

#[tokio::test]
async fn a_delete_waits_for_live_exports() {
    let mut client = start(Config::default());
    client.post("token").await;
    assert!(client.simulator.set_live_exports(ORG, ["p1".to_owned(), "p2".to_owned()]));
    let refused = client.delete().await;
    assert_eq!(refused.status, 409);
    assert_eq!(refused.error_code(), "CANNOT_DELETE_ORG_LINK_WITH_RUNNING_LIVE_EXPORT");
    assert_eq!(refused.json()["parameters"], json!(["p1", "p2"]));
    assert!(refused.json()["detail"].as_str().unwrap().contains("p1, p2"));
    client.simulator.set_live_exports(ORG, []);
    assert_eq!(client.delete().await.status, 204);
}

#[tokio::test]
async fn bad_posts_are_refused_and_change_nothing() {
    let mut client = start(Config::default());
    client.simulator.configure(|config| config.valid_tokens = Some(["good".to_owned()].into()));
    for (body, code) in [
        ("", "INVALID_JSON"),
        ("{", "INVALID_JSON"),
        (r#"{"linkToken":"good","orgId":"x"}"#, "INVALID_ATTRIBUTE"),
        (r#"{"linkToken":1}"#, "INVALID_ATTRIBUTE"),
        (r#"{"linkToken":""}"#, "INVALID_ATTRIBUTE"),
        (r#"{"linkToken":"secret-bad"}"#, "INVALID_ATTRIBUTE"),
        ("{}", "MISSING_ATTRIBUTE"),
    ] {
        let answer = client.call("POST", &path(ORG), body).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (400, code), "{body}");
        assert_eq!(answer.json()["error"], 400);
        assert_eq!(answer.json()["reason"], "Bad Request");
        assert!(!answer.body.contains("secret"));
    }
    assert_eq!(client.simulator.link_token(ORG), None);
    assert_eq!(client.post("good").await.status, 201);
}

#[tokio::test]
async fn organizations_that_there_are_not() {
    let mut client = start(Config::default());
    client.org_id = OTHER_ORG;
    let unknown = client.status().await;
    assert_eq!((unknown.status, unknown.error_code().as_str()), (404, "ORG_NOT_FOUND"));
    client.org_id = "malformed";
    let malformed = client.status().await;
    assert_eq!((malformed.status, malformed.error_code().as_str()), (404, "INVALID_ORG_ID"));
    let elsewhere = client.call("GET", "/api/public/v1.0/orgs", "").await;
    assert_eq!((elsewhere.status, elsewhere.error_code().as_str()), (404, "RESOURCE_NOT_FOUND"));
}

#[tokio::test]
async fn keys_act_for_their_own_organization_only() {
    let mut client = start(Config::default());
    client.simulator.add_organization(OTHER_ORG, [ApiKeys::new("other", "other")]);
    client.org_id = OTHER_ORG;
    let refused = client.post("token").await;
    assert_eq!((refused.status, refused.error_code().as_str()), (401, "UNEXPECTED_ERROR"));
    assert!(refused.headers.contains_key("WWW-Authenticate"));
    let entry = client.simulator.journal().pop().unwrap();
    assert_eq!((entry.digest, entry.refusal), (DigestOutcome::Rejected, Some(Refusal::OtherOrganization)));

    // The same public key with another private key is another pair.
    client.simulator.set_keys(OTHER_ORG, [ApiKeys::new("public", "other")]);
    assert_eq!(client.post("token").await.status, 401);
    client.simulator.set_keys(OTHER_ORG, [ApiKeys::new("old", "old"), client.keys.clone()]);
    assert_eq!(client.post("token").await.status, 201);
    assert!(!client.simulator.set_keys("nowhere", []));
}

#[tokio::test]
async fn things_happen_behind_the_back() {
    let mut client = start(Config::default());
    client.post("token").await;
    assert!(client.simulator.unlink_behind_the_back(ORG));
    assert_eq!(client.status().await.status, 404);
    assert!(client.simulator.link_behind_the_back(ORG, "theirs"));
    assert_eq!(client.status().await.state(), "SYNCED");
    assert!(client.simulator.set_synced_after(ORG, 1));
    assert_eq!([client.status().await.state(), client.status().await.state()], ["NOT_SYNCED", "SYNCED"]);
    assert_eq!(client.post("ours").await.state(), "NOT_SYNCED");
    assert!(!client.simulator.unlink_behind_the_back("nowhere"));
}

#[tokio::test(start_paused = true)]
async fn latency_is_paused_time() {
    let mut client = start(Config { latency: Duration::from_secs(3), ..Config::default() });
    let begin = tokio::time::Instant::now();
    client.post("token").await;
    let took = begin.elapsed();
    assert!((Duration::from_secs(6)..Duration::from_millis(6010)).contains(&took), "{took:?}");
    let journal = client.simulator.journal();
    assert_eq!((journal[0].at, journal[1].at.as_secs()), (Duration::ZERO, 3));
}

#[tokio::test]
async fn the_journal_tells_everything_and_hides_the_token() {
    let mut client = start(Config::default());
    client.post("hunter2").await;
    client.status().await;
    let journal = client.simulator.journal();
    let [challenge, post, get] = journal.as_slice() else { panic!("{journal:?}") };
    assert_eq!((challenge.number, post.number, get.number), (1, 2, 3));
    assert_eq!((challenge.method.as_str(), challenge.authorization), ("POST", false));
    assert_eq!((challenge.digest, challenge.status), (DigestOutcome::Challenge, Some(401)));
    assert_eq!((challenge.body_length, &challenge.link_token), (0, &None));
    assert_eq!((post.digest, post.status), (DigestOutcome::Accepted, Some(201)));
    assert_eq!((post.nonce, post.nc, get.nonce, get.nc), (Some(1), Some(1), Some(1), Some(2)));
    assert_eq!((post.body_length, post.link_token.as_deref()), (23, Some("hunter2")));
    assert_eq!((get.path.clone(), get.org_id.as_deref()), (format!("{}/status", path(ORG)), Some(ORG)));

    let json = serde_json::to_value(post).unwrap();
    assert_eq!(json["linkToken"], true);
    assert!(!format!("{json} {journal:?}").contains("hunter2"));
    client.simulator.clear_journal();
    client.status().await;
    assert_eq!(client.simulator.journal()[0].number, 4);
}
