//! The program and its control API, driven as the README shows it.

// clippy.toml allows them in test functions, not in their helpers.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const PROGRAM: &str = env!("CARGO_BIN_EXE_migrationlink-simulator");
const ORG: &str = "5f0d1e2a3b4c5d6e7f801234";

struct Program {
    child: Child,
    listening: String,
    control: String,
}

impl Program {
    async fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = async |prefix: &str| {
            let line = timeout(Duration::from_secs(10), lines.next_line()).await.unwrap().unwrap().unwrap();
            line.strip_prefix(prefix).unwrap_or_else(|| panic!("{line}")).to_owned()
        };
        let (listening, control) = (line("listening ").await, line("control ").await);
        Self { child, listening, control }
    }

    /// Sends a signal, and returns the exit code and what was logged.
    async fn end(mut self, signal: &str) -> (Option<i32>, String) {
        let pid = self.child.id().unwrap();
        let kill = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).status().await;
        assert!(kill.unwrap().success());
        let status = timeout(Duration::from_secs(10), self.child.wait()).await.unwrap().unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
        (status.code(), log)
    }

    /// A call of the control API: status and body.
    async fn control(&self, method: &str, path: &str, body: Option<Value>) -> (String, Value) {
        let body = body.map(|body| body.to_string());
        let mut arguments = vec!["--request", method];
        if let Some(body) = &body {
            arguments.extend(["--json", body]);
        }
        let (status, text) = curl(&arguments, &format!("{}{path}", self.control)).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// A call of the public API with the given keys.
    async fn call(&self, method: &str, resource: &str, keys: &str, more: &[&str]) -> (String, String) {
        let url = format!("{}/api/public/v1.0/orgs/{ORG}/liveExport/migrationLink{resource}", self.listening);
        curl(&[&["--digest", "--user", keys, "--request", method], more].concat(), &url).await
    }
}

async fn curl(arguments: &[&str], url: &str) -> (String, String) {
    let output = Command::new("curl")
        .args(["--disable", "--silent", "--show-error", "--noproxy", "*", "--write-out", "\n%{http_code}"])
        .args(arguments)
        .arg(url)
        .output()
        .await
        .expect("this test needs curl: install it (Debian: apt-get install curl)");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

async fn run(arguments: &[&str]) -> Output {
    let running = Command::new(PROGRAM).args(arguments).kill_on_drop(true).output();
    timeout(Duration::from_secs(10), running).await.expect("the program should have ended").unwrap()
}

#[tokio::test]
async fn it_serves_over_tls_and_ends_on_sigterm() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("program").join("tls");
    let directory = directory.to_str().unwrap();
    let organization = format!("{ORG}:public:hunter2");
    let arguments = ["--tls-dir", directory, "--preset", "jetty12", "--organization", &organization];
    let program =
        Program::start(&[&arguments[..], &["--synced-after", "1", "--log-level", "trace"]].concat()).await;
    assert!(program.listening.starts_with("https://127.0.0.1:"));
    assert!(program.control.starts_with("http://127.0.0.1:"));

    let ca = format!("{directory}/ca.crt");
    let post = ["--cacert", &ca, "--json", r#"{"linkToken":"hunter3"}"#];
    let made = program.call("POST", "", "public:hunter2", &post).await;
    assert_eq!(made, ("201".to_owned(), r#"{"status":"NOT_SYNCED"}"#.to_owned()));
    let (code, log) = program.end("TERM").await;
    assert_eq!(code, Some(0));
    assert!(log.contains("migrationLink"), "{log}");
    assert!(!log.contains("hunter"), "{log}");
}

#[tokio::test]
async fn it_serves_plain_http_and_ends_on_sigint() {
    let program = Program::start(&[]).await;
    assert!(program.listening.starts_with("http://127.0.0.1:"));
    assert_eq!(program.end("INT").await.0, Some(0));
}

#[tokio::test]
async fn the_control_api_does_what_it_says() {
    let program = Program::start(&[]).await;
    let created = ("201".to_owned(), Value::Null);
    let done = ("204".to_owned(), Value::Null);
    let organization = json!({"orgId": ORG, "publicKey": "public", "privateKey": "one", "syncedAfter": 0});
    assert_eq!(program.control("POST", "/organizations", Some(organization)).await, created);

    let post = ["--json", r#"{"linkToken":"hunter3"}"#];
    assert_eq!(program.call("POST", "", "public:one", &post).await.0, "201");
    let keys = json!({"publicKey": "public", "privateKey": "two"});
    let at = |resource: &str| format!("/organizations/{ORG}/{resource}");
    assert_eq!(program.control("POST", &at("keys"), Some(keys)).await, done);
    assert_eq!(program.call("POST", "", "public:one", &post).await.0, "401");
    assert_eq!(program.call("POST", "", "public:two", &post).await.0, "201");

    assert_eq!(program.control("POST", &at("synced-after"), Some(json!({"polls": 1}))).await, done);
    assert_eq!(program.call("GET", "/status", "public:two", &[]).await.1, r#"{"status":"NOT_SYNCED"}"#);

    assert_eq!(program.control("POST", &at("live-export"), Some(json!({"projectIds": ["p1"]}))).await, done);
    assert_eq!(program.call("DELETE", "", "public:two", &[]).await.0, "409");

    let upgrading = json!({"method": "POST", "times": 2, "answer": {"kind": "upgrading"}});
    assert_eq!(program.control("POST", "/behaviours", Some(upgrading)).await, created);
    assert_eq!(program.call("POST", "", "public:two", &post).await.0, "405");
    let state = json!({
        "organizations": [{
            "orgId": ORG, "publicKeys": ["public"], "linked": true, "pollsLeft": 0, "liveExports": ["p1"],
        }],
        "behaviours": [{
            "method": "POST", "phase": "any", "times": 1, "delayMs": 0, "afterEffect": false,
            "answer": {"kind": "upgrading"},
        }],
    });
    assert_eq!(program.control("GET", "/state", None).await, ("200".to_owned(), state));
    assert_eq!(program.control("DELETE", "/behaviours", None).await, done);
    assert_eq!(program.call("POST", "", "public:two", &post).await.0, "201");

    assert_eq!(program.control("POST", &at("unlink"), None).await, done);
    assert_eq!(program.call("GET", "/status", "public:two", &[]).await.0, "404");

    let (_, journal) = program.control("GET", "/journal", None).await;
    let last = journal.as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["method"], &last["status"], &last["digest"]),
        (&json!("GET"), &json!(404), &json!("accepted"))
    );
    assert!(!journal.to_string().contains("hunter3"));
    assert_eq!(program.control("DELETE", "/journal", None).await, done);
    assert_eq!(program.control("GET", "/journal", None).await.1, json!([]));

    let nowhere = "/organizations/nowhere/unlink";
    assert_eq!(program.control("POST", nowhere, None).await.0, "404");
    let misspelt = json!({"answer": {"kind": "upgradin"}});
    assert_eq!(program.control("POST", "/behaviours", Some(misspelt)).await.0, "422");
}

#[tokio::test]
async fn bad_usage_is_refused_with_a_sentence() {
    for (arguments, sentence) in [
        (["--listen", "0.0.0.0:0"], "0.0.0.0:0 is not a loopback address; --allow-non-loopback permits it"),
        (["--control", "[::]:0"], "[::]:0 is not a loopback address"),
        (["--latency", "20"], "its unit is none of ms, s and m"),
        (["--organization", "5f:public"], "write ORGID:PUBLIC:PRIVATE"),
        (["--tls-name", "localhost"], "--tls-dir"),
    ] {
        let output = run(&arguments).await;
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(sentence), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn what_cannot_be_opened_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["--listen", &address]).await;
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with(&format!("error: cannot listen on {address}: ")), "{error}");

    let output = run(&["--tls-dir", "/dev/null/here"]).await;
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: /dev/null/here/ca.crt: "), "{error}");
}
