//! curl as the client, over plain HTTP and TLS: its digest and its TLS are others' work, too.

// clippy.toml allows them in test functions, not in their helpers.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::Output;

use migrationlink_simulator::{
    Algorithm, Answer, ApiKeys, Behaviour, Config, DigestOutcome, Phase, Preset, Refusal, Server,
    ServerCertificate, Simulator,
};
use tokio::net::TcpListener;
use tokio::process::Command;

const ORG: &str = "5f0d1e2a3b4c5d6e7f801234";
const KEYS: [&str; 3] = ["--digest", "--user", "public:private"];
const JSON: [&str; 2] = ["--header", "Content-Type: application/json"];
/// curl's exit codes.
const TLS_HANDSHAKE_FAILED: i32 = 35;
const RECEIVE_FAILED: i32 = 56;
const CERTIFICATE_NOT_TRUSTED: i32 = 60;

fn simulator(preset: Preset, algorithm: Algorithm) -> Simulator {
    let mut digest = preset.policy();
    digest.algorithm = algorithm;
    let simulator = Simulator::new(Config { digest, ..Config::default() });
    simulator.add_organization(ORG, [ApiKeys::new("public", "private")]);
    simulator
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Writes the CA's certificate where curl can read it.
fn ca_file(simulator: &Simulator, name: &str) -> String {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.crt"));
    std::fs::write(&file, simulator.ca_pem().unwrap()).unwrap();
    file.into_os_string().into_string().unwrap()
}

fn url(scheme: &str, server: &Server, resource: &str) -> String {
    let port = server.address().port();
    format!("{scheme}://localhost:{port}/api/public/v1.0/orgs/{ORG}/liveExport/migrationLink{resource}")
}

/// Runs curl; the status of the last answer is the last line of its output.
async fn curl<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Output {
    let always = ["--disable", "--silent", "--show-error", "--noproxy", "*", "--write-out", "\n%{http_code}"];
    Command::new("curl")
        .args(always)
        .args(arguments)
        .output()
        .await
        .expect("this test needs curl: install it (Debian: apt-get install curl)")
}

/// Body and status of a call that must succeed as far as curl is concerned.
async fn call<'a>(arguments: impl IntoIterator<Item = &'a str>) -> (String, String) {
    let output = curl(arguments).await;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

async fn fails_with<'a>(arguments: impl IntoIterator<Item = &'a str>, code: i32) {
    let output = curl(arguments).await;
    assert_eq!(output.status.code(), Some(code), "{output:?}");
}

/// POST, GET and DELETE, with one challenge each, as curl does it.
async fn whole_life(simulator: &Simulator, link: &str, more: &[&str]) {
    let arguments = |last: &[&'static str]| [&KEYS[..], &JSON, more, last].concat();
    let status = format!("{link}/status");
    let post = [arguments(&["--data", r#"{"linkToken":"token-1"}"#]), vec![link]].concat();
    assert_eq!(call(post).await, ("201".to_owned(), r#"{"status":"SYNCED"}"#.to_owned()));
    let get = [arguments(&[]), vec![&status]].concat();
    assert_eq!(call(get).await, ("200".to_owned(), r#"{"status":"SYNCED"}"#.to_owned()));
    let delete = [arguments(&["--request", "DELETE"]), vec![link]].concat();
    assert_eq!(call(delete).await, ("204".to_owned(), String::new()));

    let journal = simulator.journal();
    let outcomes: Vec<_> = journal.iter().map(|entry| entry.digest).collect();
    assert_eq!(outcomes, [DigestOutcome::Challenge, DigestOutcome::Accepted].repeat(3), "{journal:?}");
    let tokens: Vec<_> = journal.iter().filter_map(|entry| entry.link_token.as_deref()).collect();
    assert_eq!(tokens, ["token-1"]);
}

#[tokio::test]
async fn every_preset_and_algorithm_over_plain_http_and_tls() {
    for preset in [Preset::Jetty9, Preset::Jetty12, Preset::Apache] {
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let plain = simulator(preset, algorithm);
            let server = plain.serve_plain(listener().await).unwrap();
            whole_life(&plain, &url("http", &server, ""), &[]).await;

            let tls = simulator(preset, algorithm);
            let server = tls.serve_tls(listener().await).unwrap();
            let ca = ca_file(&tls, &format!("{preset:?}-{algorithm:?}"));
            whole_life(&tls, &url("https", &server, ""), &["--cacert", &ca]).await;
        }
    }
}

#[tokio::test]
async fn a_stale_nonce_is_answered_anew() {
    let simulator = simulator(Preset::Jetty9, Algorithm::Sha256);
    simulator.link_behind_the_back(ORG, "token");
    simulator
        .script(Behaviour::new(Answer::Unauthorized { stale: true }).in_phase(Phase::Authenticated).times(1));
    let server = simulator.serve_plain(listener().await).unwrap();
    let status = url("http", &server, "/status");
    assert_eq!(call([&KEYS[..], &[&status]].concat()).await.0, "200");
    assert_eq!(simulator.journal().len(), 3);
}

#[tokio::test]
async fn wrong_keys_and_wrong_content_are_refused() {
    let simulator = simulator(Preset::Jetty9, Algorithm::Md5);
    let server = simulator.serve_plain(listener().await).unwrap();
    let link = url("http", &server, "");
    let wrong_key = ["--digest", "--user", "public:wrong", &link];
    assert_eq!(call(wrong_key).await.0, "401");
    assert_eq!(simulator.journal()[1].refusal, Some(Refusal::ResponseDiffers));
    assert_eq!(call(["--basic", "--user", "public:private", &link]).await.0, "401");
    // curl's own content type is that of a form.
    let form = [&KEYS[..], &["--data", r#"{"linkToken":"token-1"}"#, &link]].concat();
    assert_eq!(call(form).await.0, "415");
}

#[tokio::test]
async fn certificates_that_must_not_be_trusted() {
    let simulator = simulator(Preset::Jetty9, Algorithm::Md5);
    let ca = ca_file(&simulator, "untrusted");
    let good = ServerCertificate::default();
    for certificate in [
        ServerCertificate { names: vec!["elsewhere.example".to_owned()], ..good.clone() },
        ServerCertificate { expired: true, ..good.clone() },
        ServerCertificate { unknown_ca: true, ..good },
    ] {
        let server = simulator.serve_tls_with(listener().await, &certificate).unwrap();
        let link = url("https", &server, "");
        fails_with(["--cacert", &ca, &link], CERTIFICATE_NOT_TRUSTED).await;
    }
    assert!(simulator.journal().is_empty());
}

#[tokio::test]
async fn a_tls_handshake_is_broken_off() {
    let simulator = simulator(Preset::Jetty9, Algorithm::Md5);
    simulator.script(Behaviour::new(Answer::BreakTlsHandshake).times(1));
    let ca = ca_file(&simulator, "handshake");
    let server = simulator.serve_tls(listener().await).unwrap();
    let link = url("https", &server, "");
    fails_with(["--cacert", &ca, &link], TLS_HANDSHAKE_FAILED).await;
    assert_eq!(call(["--cacert", &ca, &link]).await.0, "401");
}

#[tokio::test]
async fn a_connection_is_reset_under_tls_too() {
    let simulator = simulator(Preset::Jetty9, Algorithm::Md5);
    // Every time: curl repeats a request once whose kept connection broke before the answer.
    simulator.script(Behaviour::new(Answer::Reset).in_phase(Phase::Authenticated).after_effect());
    let ca = ca_file(&simulator, "reset");
    let server = simulator.serve_tls(listener().await).unwrap();
    let link = url("https", &server, "");
    let body = ["--data", r#"{"linkToken":"token-1"}"#, "--cacert", &ca, &link];
    fails_with([&KEYS[..], &JSON, &body].concat(), RECEIVE_FAILED).await;
    assert_eq!(simulator.link_token(ORG).as_deref(), Some("token-1"));
}
