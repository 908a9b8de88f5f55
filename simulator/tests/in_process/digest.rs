//! Digest sessions as clients see them: kept nonces, age, restarts, several backends.

use std::time::Duration;

use migrationlink_simulator::{
    AcceptedForm, Algorithm, ApiKeys, Balancing, Config, DigestOutcome, DigestPolicy, Preset, QopDirective,
    Refusal,
};

use crate::client::{ORG, path, start};

fn with(preset: Preset, change: impl FnOnce(&mut DigestPolicy)) -> Config {
    let mut digest = preset.policy();
    change(&mut digest);
    Config { digest, ..Config::default() }
}

#[tokio::test]
async fn every_preset_and_algorithm_accepts_another_implementation() {
    for preset in [Preset::Jetty9, Preset::Jetty12, Preset::Apache] {
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let mut client = start(with(preset, |digest| digest.algorithm = algorithm));
            assert_eq!(client.post("token").await.status, 201, "{preset:?} {algorithm:?}");
            // One nonce for every method and path.
            assert_eq!(client.status().await.status, 200);
            assert_eq!(client.delete().await.status, 204);
            let journal = client.simulator.journal();
            assert_eq!(
                journal.iter().map(|entry| entry.nc).collect::<Vec<_>>(),
                [None, Some(1), Some(2), Some(3)]
            );
        }
    }
}

#[tokio::test]
async fn every_form_of_qop_accepts_another_implementation() {
    for qop in [QopDirective::Absent, QopDirective::Op] {
        let mut client = start(with(Preset::Jetty9, |digest| {
            digest.qop = qop;
            digest.accepted_form = AcceptedForm::WithoutQop;
        }));
        assert_eq!(client.post("token").await.status, 201, "{qop:?}");
        assert_eq!(client.status().await.status, 200);
    }
    // Jetty accepts no answer without qop, however its challenge is spelt.
    let mut client = start(with(Preset::Jetty9, |digest| digest.qop = QopDirective::Op));
    assert_eq!(client.post("token").await.status, 401);
    assert_eq!(client.simulator.journal()[1].refusal, Some(Refusal::QopDiffers));
}

#[tokio::test]
async fn a_wrong_key_is_rejected_without_stale() {
    let mut client = start(Config::default());
    client.keys = ApiKeys::new("public", "wrong");
    let refused = client.post("token").await;
    assert_eq!((refused.status, refused.error_code().as_str()), (401, "UNEXPECTED_ERROR"));
    assert_eq!(refused.json()["detail"], "You are not authorized for this resource.");
    assert!(refused.header("WWW-Authenticate").ends_with("stale=false"));
}

#[tokio::test(start_paused = true)]
async fn an_old_nonce_is_stale_and_the_new_one_works() {
    let mut client = start(Config::default());
    assert_eq!(client.post("token").await.status, 201);
    tokio::time::advance(Duration::from_secs(61)).await;
    let stale = client.status().await;
    assert_eq!(stale.status, 401);
    assert!(stale.header("WWW-Authenticate").ends_with("stale=true"));
    assert_eq!(client.status().await.status, 200);
    let last = client.simulator.journal().pop().unwrap();
    assert_eq!((last.nonce, last.nc), (Some(2), Some(1)));
}

#[tokio::test]
async fn a_restarted_server_knows_no_nonce() {
    let mut client = start(Config::default());
    assert_eq!(client.post("token").await.status, 201);
    client.simulator.forget_nonces();
    assert_eq!(client.status().await.status, 401);
    let entry = client.simulator.journal().pop().unwrap();
    assert_eq!((entry.digest, entry.refusal), (DigestOutcome::Stale, Some(Refusal::NonceUnknown)));
    assert_eq!((entry.nonce, client.status().await.status), (None, 200));
}

#[tokio::test]
async fn a_kept_nonce_meets_the_wrong_backend() {
    let balancing = Balancing::Alternate { backends: 2, every: 2 };
    let mut client = start(Config { balancing, ..Config::default() });
    assert_eq!(client.post("token").await.status, 201);
    assert_eq!([client.status().await.status, client.status().await.status], [401, 200]);
    assert_eq!([client.status().await.status, client.status().await.status], [401, 200]);
    let journal = client.simulator.journal();
    assert_eq!(journal.iter().map(|entry| entry.backend).collect::<Vec<_>>(), [0, 0, 1, 1, 0, 0]);
}

#[tokio::test]
async fn requests_without_credentials_get_a_challenge_whatever_they_ask_for() {
    let mut client = start(Config::default());
    for method in ["POST", "GET", "DELETE", "PUT"] {
        assert_eq!(client.unauthenticated(method).await.status, 401);
    }
    let answer = client.send("GET", "/somewhere/else", "", None).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(client.simulator.journal()[4].org_id, None);
}

#[tokio::test]
async fn the_query_is_part_of_the_uri() {
    let mut client = start(Config::default());
    client.post("token").await;
    let target = format!("{}/status?pretty=true&envelope=false", path(ORG));
    assert_eq!(client.authenticated("GET", &target, "").await.status, 200);
    assert_eq!(client.simulator.journal().pop().unwrap().path, target);
}
