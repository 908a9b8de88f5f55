//! `check` as a person or a pipeline runs it where there is no cluster: the real program, manifests, and the simulator for a server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

mod refused;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use migrationlink_simulator::{ApiKeys, Config, DigestOutcome, Server, Simulator};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::Command;

const DOCS: &str = include_str!("../../docs/check.md");
const ORG_ID: &str = "5f0d1e2a3b4c5d6e7f801234";
// Nothing else in a manifest or a finding looks like these.
const PUBLIC_KEY: &str = "kanarypk";
const PRIVATE_KEY: &str = "c0a1b2c3-5b7a-4d55-9c39-ca9a41e50001";
const WRONG_KEY: &str = "c0a1b2c3-5b7a-4d55-9c39-ca9a41e50002";
const TOKEN: &str = "ca9a41e5f0000000000000000000000000000000000000000000000000000001";

/// A simulated Cloud Manager with the organization [`ORG_ID`].
struct Cloud {
    simulator: Simulator,
    server: Server,
    scheme: &'static str,
}

impl Cloud {
    async fn start() -> Self {
        let simulator = simulator();
        let server = simulator.serve_plain(listener().await).unwrap();
        Self { simulator, server, scheme: "http" }
    }

    async fn start_tls() -> Self {
        let simulator = simulator();
        let server = simulator.serve_tls(listener().await).unwrap();
        Self { simulator, server, scheme: "https" }
    }

    fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.server.address())
    }

    fn allowed(&self) -> String {
        format!("--allowed-origin={}", self.origin())
    }

    /// A MigrationLink for it, with these further fields of its spec.
    fn link(&self, fields: &str) -> String {
        link(&format!("{}/api/public/v1.0", self.origin()), fields)
    }

    /// That it was only asked, and whether an answer to its challenge was among that.
    fn only_asked(&self) -> bool {
        let journal = self.simulator.journal();
        assert!(journal.iter().all(|entry| entry.method == "GET"), "{journal:?}");
        journal.iter().any(|entry| entry.digest != DigestOutcome::Challenge)
    }
}

fn simulator() -> Simulator {
    let simulator = Simulator::new(Config::default());
    simulator.add_organization(ORG_ID, [ApiKeys::new(PUBLIC_KEY, PRIVATE_KEY)]);
    simulator
}

async fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

fn link(base_url: &str, fields: &str) -> String {
    format!(
        "apiVersion: migrationlink.dev/v1alpha1\nkind: MigrationLink\nmetadata: {{name: payments, namespace: payments}}\n\
         spec:\n  orgId: {ORG_ID}\n  baseUrl: {base_url}\n  secretRef: {{name: keys}}\n{fields}---\n"
    )
}

fn secret(private_key: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys, namespace: payments}}\n\
         stringData: {{publicKey: {PUBLIC_KEY}, privateKey: {private_key}, linkToken: {TOKEN}}}\n---\n"
    )
}

#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// The one line about this.
    fn line(&self, of: &str) -> &str {
        let lines: Vec<_> = self.stdout.lines().filter(|line| line.contains(&format!(" {of}: "))).collect();
        let [line] = lines.as_slice() else { panic!("{of}: {self:?}") };
        line
    }

    /// The lines that are problems.
    fn problems(&self) -> Vec<&str> {
        self.stdout.lines().filter(|line| line.starts_with("problem ")).collect()
    }
}

/// Runs it with nothing of this environment, and sees to it that it shows no secret in either form.
async fn check(args: &[&str], env: &[(&str, &str)], stdin: &str) -> Ended {
    let json = run(&[args, &["-o", "json"]].concat(), env, stdin).await;
    let text = run(args, env, stdin).await;
    assert_eq!(json.code, text.code, "{json:?} {text:?}");
    if text.code != Some(2) {
        let object: Value = serde_json::from_str(&json.stdout).expect("JSON");
        assert_eq!(object["ok"], Value::Bool(text.code == Some(0)), "{object}");
        assert_eq!(object["findings"].as_array().unwrap().len(), text.stdout.lines().count(), "{object}");
        for finding in object["findings"].as_array().unwrap() {
            let word = finding["check"].as_str().unwrap();
            assert!(DOCS.contains(&format!("`{word}`")), "docs/check.md does not know {word}");
            let problem = finding["level"] == "problem";
            assert!(!problem || finding["fix"].is_string(), "what to do? {finding}");
        }
        assert_eq!(text.stderr, "");
    }
    text
}

async fn run(args: &[&str], env: &[(&str, &str)], stdin: &str) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_migrationlink-operator"))
        .arg("check")
        .args(args)
        .env_clear()
        .env("HOME", dir())
        .env("KUBECONFIG", "/nowhere/kubeconfig")
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // It may end before it has read anything.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes()).await;
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let ended =
        Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
    for secret in [PUBLIC_KEY, PRIVATE_KEY, WRONG_KEY, TOKEN, "hunter2", "ca9a41e5"] {
        assert!(!ended.stdout.contains(secret) && !ended.stderr.contains(secret), "{secret}: {ended:?}");
    }
    ended
}

/// A folder for this test program's files.
fn dir() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("check");
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn file(name: &str, content: &str) -> String {
    let path = dir().join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_link_and_its_secret_in_one_file_are_checked_without_a_cluster() {
    let cloud = Cloud::start_tls().await;
    let ca = file("ca.pem", &cloud.simulator.ca_pem().unwrap());
    let manifests = cloud.link("") + &secret(PRIVATE_KEY);
    let ended = check(&["-f", "-", &cloud.allowed(), "--ca-file", &ca], &[], &manifests).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let origin = cloud.origin();
    for (of, words) in [
        (
            "manifest",
            "by the schema and the rules of this program; the API server did not try it (no way to the Kubernetes API",
        ),
        ("secret", "Secret keys in the file has the keys linkToken, privateKey, publicKey"),
        ("inputs", "Everything that a call needs is there"),
        ("origin", &format!("{origin} is on the allow-list")),
        ("proxy", "no proxy is set"),
        ("ca", &format!("the system's root certificates and --ca-file {ca}")),
        ("endpoint", &format!("{origin} answers (HTTP 401), and its certificate is trusted")),
        ("digest", "HTTP Digest"),
        ("api", "The API key is right, and the organization has no link yet"),
        ("next", "The operator would send the link token (POST): no token was accepted yet"),
    ] {
        let line = ended.line(of);
        assert!(line.starts_with("ok      payments/payments ") && line.contains(words), "{line}");
    }
    assert!(ended.stdout.starts_with("ok      file: MigrationLinks: 1, Secrets: 1, "), "{}", ended.stdout);
    assert!(cloud.only_asked());
}

#[tokio::test]
async fn a_wrong_key_is_said_in_the_words_of_the_status_with_what_to_do() {
    let cloud = Cloud::start().await;
    let manifests = cloud.link("") + &secret(WRONG_KEY);
    let ended = check(&["-f", "-", &cloud.allowed()], &[], &manifests).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let [problem] = ended.problems()[..] else { panic!("{ended:?}") };
    assert!(problem.contains(" api: Unauthorized: ") && problem.contains("(HTTP 401"), "{problem}");
    assert!(problem.contains(": Check three things: the public and private key"), "{problem}");
    assert!(
        ended.line("ca").starts_with("warning ") && ended.line("ca").contains("unencrypted"),
        "{ended:?}"
    );
    assert!(cloud.only_asked());
}

#[tokio::test]
async fn an_origin_that_is_not_allowed_is_not_even_asked() {
    let cloud = Cloud::start().await;
    let manifests = cloud.link("") + &secret(PRIVATE_KEY);
    for (args, env) in [
        (&["-f", "-"][..], &[][..]),
        (&["-f", "-"], &[("MIGRATIONLINK_ALLOWED_ORIGIN", "https://om.example.com")]),
    ] {
        let ended = check(args, env, &manifests).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let [problem] = ended.problems()[..] else { panic!("{ended:?}") };
        assert!(problem.contains(" origin: EndpointNotAllowed: "), "{problem}");
        assert!(problem.contains(&cloud.allowed()), "{problem}");
        assert!(
            ended.line("next").contains("say Ready=False, EndpointNotAllowed in the status"),
            "{ended:?}"
        );
    }
    assert_eq!(cloud.simulator.journal(), []);
    // The variable works the other way round, too.
    let ended = check(&["-f", "-"], &[("MIGRATIONLINK_ALLOWED_ORIGIN", &cloud.origin())], &manifests).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_or_trusted_is_explained() {
    let cloud = Cloud::start_tls().await;
    let manifests = cloud.link("") + &secret(PRIVATE_KEY);
    let allowed = cloud.allowed();
    let args = ["-f", "-", &allowed];
    let untrusted = check(&args, &[], &manifests).await;
    let [problem] = untrusted.problems()[..] else { panic!("{untrusted:?}") };
    assert!(problem.contains(" endpoint: TlsVerificationFailed: "), "{problem}");
    assert!(problem.contains("its issuer is not known"), "{problem}");

    let closed = listener().await.local_addr().unwrap();
    let proxy = format!("http://somebody:hunter2@{closed}");
    let ended = check(&args, &[("HTTPS_PROXY", &proxy)], &manifests).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(
        ended.line("proxy"),
        format!("ok      payments/payments proxy: Requests go through http://{closed}")
    );
    let [problem] = ended.problems()[..] else { panic!("{ended:?}") };
    assert!(problem.contains(" endpoint: EndpointUnavailable: "), "{problem}");
    assert!(
        problem.contains(&format!("through the proxy http://{closed}: the connection was refused")),
        "{problem}"
    );
    assert_eq!(cloud.simulator.journal(), []);
}

#[tokio::test]
async fn without_usable_keys_the_server_is_asked_for_its_challenge_only() {
    let cloud = Cloud::start().await;
    let allowed = cloud.allowed();
    let args = ["-f", "-", &allowed];
    let no_keys = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys, namespace: payments}\nstringData: {publicKey: x, hunter2: other}\n";
    let elsewhere = secret(PRIVATE_KEY).replace("namespace: payments", "namespace: other");
    for (manifests, of, words) in [
        (cloud.link(""), "secret", "is not in the file, and there is no cluster to read it from"),
        (cloud.link("") + &elsewhere, "secret", "of namespace payments is not in the file"),
        (
            cloud.link("") + no_keys,
            "inputs",
            "InvalidSecret: Secret keys cannot be used: its keys privateKey, linkToken are missing",
        ),
    ] {
        let ended = check(&args, &[], &manifests).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let [problem] = ended.problems()[..] else { panic!("{ended:?}") };
        assert_eq!(problem, ended.line(of));
        assert!(problem.contains(words), "{problem}");
        assert!(ended.line("digest").starts_with("ok "), "{ended:?}");
        assert!(!ended.stdout.contains(" api: "), "{ended:?}");
        assert!(!cloud.only_asked(), "no credentials are sent");
    }
}

#[tokio::test]
async fn keys_without_a_token_are_tried_all_the_same() {
    let cloud = Cloud::start().await;
    let manifests = cloud.link("") + &secret(PRIVATE_KEY).replace(&format!(", linkToken: {TOKEN}"), "");
    let ended = check(&["-f", "-", &cloud.allowed()], &[], &manifests).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended
            .line("inputs")
            .contains("InvalidSecret: Secret keys cannot be used: its key linkToken is missing")
    );
    assert!(ended.line("api").starts_with("ok "), "{ended:?}");
    assert!(ended.line("next").contains("say Ready=False, InvalidSecret in the status"), "{ended:?}");
}

#[tokio::test]
async fn token_and_certificates_from_other_objects_of_other_files_are_found() {
    let cloud = Cloud::start_tls().await;
    let pem = cloud.simulator.ca_pem().unwrap();
    let fields = "  linkTokenSecretRef: {name: atlas, key: token}\n  caRef: {kind: ConfigMap, name: om-ca}\n  deletionPolicy: Delete\n";
    let keys = secret(PRIVATE_KEY).replace(&format!(", linkToken: {TOKEN}"), "");
    let atlas = format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: atlas, namespace: payments}}, stringData: {{token: {TOKEN}}}}}\n"
    );
    let lines = pem.replace('\n', "\n    ");
    let config_map = format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: om-ca, namespace: payments}}\ndata:\n  ca.crt: |\n    {lines}"
    );
    let (link, secrets) =
        (file("link.yaml", &cloud.link(fields)), file("secrets.yaml", &format!("{keys}{atlas}{config_map}")));
    let ended = check(&["-f", &link, "-f", &secrets, &cloud.allowed()], &[], "").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("secret: Secret atlas in the file has the keys token\n"), "{ended:?}");
    assert!(
        ended.line("configmap").ends_with("ConfigMap om-ca in the file has the keys ca.crt"),
        "{ended:?}"
    );
    assert!(ended.line("ca").ends_with("and ConfigMap om-ca (spec.caRef)"), "{ended:?}");
    assert!(ended.line("api").starts_with("ok "), "{ended:?}");
    let next = "add the finalizer migrationlink.dev/unlink, then send the link token (POST)";
    assert!(ended.line("next").contains(next), "{ended:?}");
    assert!(cloud.only_asked());

    let invalid = keys + &atlas + &config_map.replace("-----BEGIN CERTIFICATE-----", "no certificate");
    let secrets = file("invalid-ca.yaml", &invalid);
    let ended = check(&["-f", &link, "-f", &secrets, &cloud.allowed()], &[], "").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.line("inputs").contains("InvalidCA: ConfigMap om-ca"), "{ended:?}");
}

#[tokio::test]
async fn a_link_that_is_there_already_and_one_that_is_suspended_are_told() {
    let cloud = Cloud::start().await;
    let allowed = cloud.allowed();
    let args = ["-f", "-", &allowed];
    let suspended = check(&args, &[], &(cloud.link("  suspend: true\n") + &secret(PRIVATE_KEY))).await;
    assert_eq!(suspended.code, Some(0), "{suspended:?}");
    assert!(suspended.line("next").contains("say Suspended=True, Suspended in the status"), "{suspended:?}");

    let two = cloud.link("")
        + &cloud.link("  orgID: x\n").replace("name: payments,", "name: other,")
        + &secret(PRIVATE_KEY);
    let ended = check(&args, &[], &two).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for name in ["payments", "other"] {
        assert!(ended.stdout.contains(&format!("ok      payments/{name} api: ")), "{ended:?}");
    }
    let unknown =
        "warning payments/other manifest: spec.orgID is no field of a MigrationLink and is not kept: ";
    assert!(ended.stdout.contains(unknown), "{ended:?}");
}
