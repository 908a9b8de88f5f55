//! The command line of the real program: what it prints, where, and the exit code. Nothing here needs an API server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_migrationlink-operator");
/// Flags of an operator that opens no port, so that tests do not get in each other's way.
const QUIET: [&str; 2] = ["--health-probe-bind-address=0", "--metrics-bind-address=0"];
/// Where a pod has its ServiceAccount.
const POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The program with nothing of this environment but what is given here, in an empty home.
fn program(args: &[&str], env: &[(&str, &OsStr)]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).env_clear().env("HOME", dir("home")).envs(env.iter().copied()).stdin(Stdio::null());
    command
}

/// Runs it to its end.
fn run(args: &[&str], env: &[(&str, &str)]) -> Ended {
    run_os(args, &env.iter().map(|(name, value)| (*name, OsStr::new(value))).collect::<Vec<_>>())
}

fn run_os(args: &[&str], env: &[(&str, &OsStr)]) -> Ended {
    let output = program(args, env).output().expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A folder for this test program's files.
fn dir(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
    fs::create_dir_all(&dir).expect("a folder");
    dir
}

/// Bad usage: exit code 2, and on standard error one line with all these words before the hint at --help.
fn assert_usage(ended: &Ended, words: &[&str]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
    let sentence = ended.stderr.lines().next().unwrap_or_default();
    assert!(sentence.starts_with("error: "), "{ended:?}");
    for word in words {
        assert!(ended.stderr.split("\n\n").next().unwrap().contains(word), "{word}: {ended:?}");
    }
    assert!(words.iter().any(|word| sentence.contains(word)), "{ended:?}");
}

/// A failure: exit code 1, and the last line of the log, an error, with all these words.
fn assert_failure(ended: &Ended, words: &[&str]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    let line: serde_json::Value =
        serde_json::from_str(ended.stderr.lines().last().unwrap()).expect("a line of the log");
    assert_eq!(line["level"], "ERROR", "{ended:?}");
    let error = line["error"].as_str().expect("a sentence");
    for word in words {
        assert!(error.contains(word), "{word}: {ended:?}");
    }
}

#[test]
fn a_bad_flag_is_one_sentence_that_names_it_and_exit_code_2() {
    for (args, words) in [
        (&["--concurrency=0"][..], &["--concurrency", "0 is not in 1..=65535"][..]),
        (&["run", "--concurrency=many"], &["--concurrency", "many"]),
        (&["--sync-interval=15"], &["--sync-interval", "write a duration such as 90s, 15m or 1h30m"]),
        (&["--allowed-origin=om.example.com"], &["--allowed-origin", "it is not a URL"]),
        (&["--watch-namespace=Payments"], &["--watch-namespace", "at most 63 characters"]),
        (&["--secret-access=list"], &["--secret-access", "list", "watch, get"]),
        (&["--leader-elect"], &["--leader-elect", "a value is required"]),
        (&["--leader-elect=no"], &["--leader-elect", "true, false"]),
        (&["--lease-namespace=Payments"], &["--lease-namespace", "at most 63 characters"]),
        (&["--lease-name=a/b"], &["--lease-name", "at most 253 characters"]),
        (&["--lease-duration=1s"], &["--lease-duration", "it must be from 5s to 5m"]),
        (&["--log-level=loud"], &["--log-level", "debug or trace"]),
        (&["--log-format=xml"], &["--log-format", "json, text"]),
        (&["--metrics-bind-address=8080"], &["--metrics-bind-address", ":PORT"]),
        (&["--concurency=1"], &["--concurency"]),
        (&["--ca-file"], &["--ca-file"]),
        (&["walk"], &["walk"]),
        (&["crd", "--concurrency=1"], &["--concurrency"]),
    ] {
        assert_usage(&run(args, &[]), words);
    }
}

#[test]
fn a_bad_variable_is_one_sentence_that_names_it_and_exit_code_2() {
    for (variable, value, word) in [
        ("MIGRATIONLINK_CONCURRENCY", "many", "many"),
        ("MIGRATIONLINK_SYNC_INTERVAL", "5s", "it must be from 1m to 24h"),
        ("MIGRATIONLINK_ALLOWED_ORIGIN", "https://om/api", "it has a path"),
        ("MIGRATIONLINK_WATCH_NAMESPACE", "a,,b", "at most 63 characters"),
        ("MIGRATIONLINK_HEALTH_PROBE_BIND_ADDRESS", "localhost:1", ":PORT"),
    ] {
        assert_usage(&run(&[], &[(variable, value)]), &[variable, word]);
    }
    let not_utf8 = OsStr::from_bytes(b"\xff\xfe");
    let variable = "MIGRATIONLINK_LOG_LEVEL";
    assert_usage(&run_os(&[], &[(variable, not_utf8)]), &[variable, "UTF-8"]);
}

#[test]
fn without_a_cluster_it_ends_with_a_sentence_and_exit_code_1() {
    if Path::new(POD).exists() {
        eprintln!("not tried: this machine is a pod, so there is a way to a cluster");
        return;
    }
    assert_failure(&run(&QUIET, &[]), &["no way to the Kubernetes API", "kubeconfig", "service account"]);
    let broken = dir("kubeconfig").join("broken");
    fs::write(&broken, "clusters: 5").unwrap();
    for path in [Path::new("/nowhere/kubeconfig"), &broken] {
        let ended = run_os(&QUIET, &[("KUBECONFIG", path.as_os_str())]);
        assert_failure(&ended, &["no way to the Kubernetes API"]);
    }
}

/// A kubeconfig that leads to nobody.
fn kubeconfig(name: &str, context: &str) -> PathBuf {
    let path = dir("kubeconfig-context").join(name);
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:1'}}}}]\n\
         users: [{{name: u, user: {{token: t}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u{context}}}}}]\n"
    );
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_lease_without_a_namespace_is_refused_with_the_flags_that_help() {
    for context in ["", ", namespace: ''"] {
        let path = kubeconfig("none", context);
        let ended = run_os(&QUIET, &[("KUBECONFIG", path.as_os_str())]);
        assert_failure(&ended, &["--lease-namespace", "--leader-elect=false", "no namespace"]);
    }
}

/// It says where it looks for the lease as soon as it finds that there is nobody to ask.
#[test]
fn the_lease_is_looked_for_in_the_namespace_of_the_flag_or_of_the_kubeconfigs_context() {
    let (none, some) = (kubeconfig("without", ""), kubeconfig("with", ", namespace: of-the-context"));
    for (flags, kubeconfig, lease) in [
        (&[][..], &some, Some("of-the-context/migrationlink-operator")),
        (&["--lease-namespace=of-the-flag", "--lease-name=other"], &some, Some("of-the-flag/other")),
        (&["--lease-namespace=of-the-flag"], &none, Some("of-the-flag/migrationlink-operator")),
        (&["--leader-elect=false"], &none, None),
    ] {
        let mut child = program(&[&QUIET, flags].concat(), &[("KUBECONFIG", kubeconfig.as_os_str())])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        // The watches are begun beside the election.
        let wanted = if lease.is_some() { "the lease cannot be read" } else { "cannot be reached" };
        let line = lines.find(|line| line.contains(wanted));
        child.kill().expect("it runs");
        child.wait().expect("it has ended");
        let line: serde_json::Value =
            serde_json::from_str(&line.expect("it says so")).expect("a line of the log");
        assert_eq!(line["lease"].as_str(), lease, "{line}");
    }
}

/// The parser's own error shows the lines around the mistake.
#[test]
fn a_line_of_a_broken_kubeconfig_is_never_shown() {
    let broken = dir("kubeconfig-canary").join("broken");
    let text = "apiVersion: v1\nkind: Config\nusers:\n- name: u\n  user:\n    token: canary-token\n    client-key-data canary-key\n";
    fs::write(&broken, text).unwrap();
    let ended = run_os(&QUIET, &[("KUBECONFIG", broken.as_os_str())]);
    assert_failure(&ended, &["no way to the Kubernetes API", "kubeconfig"]);
    assert!(!ended.stderr.contains("canary") && !ended.stdout.contains("canary"), "{}", ended.stderr);
}

/// It would read like an API server that is away.
#[test]
fn a_token_file_that_ends_in_a_newline_is_named() {
    let dir = dir("token-file");
    fs::write(dir.join("token"), "canary-token\n").unwrap();
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: c\n  cluster: {server: 'https://127.0.0.1:1'}\n\
                users:\n- name: u\n  user: {tokenFile: token}\ncontexts:\n- name: c\n  context: {cluster: c, user: u}\n";
    let kubeconfig = dir.join("kubeconfig");
    fs::write(&kubeconfig, text).unwrap();
    let ended = run_os(&QUIET, &[("KUBECONFIG", kubeconfig.as_os_str())]);
    assert_failure(&ended, &[dir.join("token").to_str().unwrap(), "newline"]);
    assert!(!ended.stderr.contains("canary"), "{}", ended.stderr);
}

#[test]
fn a_ca_file_that_cannot_be_used_is_named() {
    let dir = dir("ca");
    let file = |name: &str, content: &[u8]| {
        let path = dir.join(name);
        fs::write(&path, content).unwrap();
        path
    };
    for path in [
        dir.join("missing.pem"),
        dir.clone(),
        file("empty.pem", b""),
        file("text.pem", b"not a certificate\n"),
        file("der.pem", &[0x30, 0x82, 0xff, 0x00]),
        file("broken.pem", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
    ] {
        let path = path.to_str().unwrap();
        let ended = run(&[&format!("--ca-file={path}"), QUIET[0], QUIET[1]], &[]);
        assert_failure(&ended, &["--ca-file", path]);
        let ended = run(&QUIET, &[("MIGRATIONLINK_CA_FILE", path)]);
        assert_failure(&ended, &["--ca-file", path]);
    }
}

#[test]
fn a_port_in_use_is_named_with_its_flag() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let flags = ["--health-probe-bind-address", "--metrics-bind-address"];
    for (flag, other) in [(flags[0], flags[1]), (flags[1], flags[0])] {
        let ended = run(&[&format!("{flag}={address}"), &format!("{other}=0")], &[]);
        assert_failure(&ended, &[&format!("{flag} {address}")]);
    }
}

#[test]
fn the_crd_is_printed_as_it_is_shipped() {
    let shipped =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/crds/migrationlinks.yaml")).unwrap();
    // What would be wrong for the operator does not keep the CRD from being printed.
    let ended = run(&["crd"], &[("MIGRATIONLINK_CONCURRENCY", "many"), ("HTTPS_PROXY", "://")]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout == shipped, "run 'make generate'");
}

/// As in `migrationlink-operator crd | head -1`, where head is sooner at its end.
#[test]
fn printing_into_a_closed_pipe_is_no_failure() {
    for args in [&["crd"][..], &["--help"], &["--version"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = program(args, &[]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), stderr.as_ref()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn the_help_lists_every_flag_with_its_variable() {
    let flags = [
        "allowed-origin",
        "watch-namespace",
        "secret-access",
        "concurrency",
        "origin-concurrency",
        "api-rate",
        "origin-rate",
        "sync-interval",
        "deletion-grace-period",
        "leader-elect",
        "lease-namespace",
        "lease-name",
        "lease-duration",
        "health-probe-bind-address",
        "metrics-bind-address",
        "ca-file",
        "log-format",
        "log-level",
    ];
    for args in [&["--help"][..], &["run", "--help"]] {
        let ended = run(args, &[]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let listed = ended.stdout.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
        let listed: Vec<_> = listed.filter_map(|line| line.split([' ', '=']).next()).collect();
        assert_eq!(listed, flags, "{}", ended.stdout);
        for flag in flags {
            let variable = format!("MIGRATIONLINK_{}", flag.to_uppercase().replace('-', "_"));
            assert!(ended.stdout.contains(&format!("[env: {variable}]")), "{variable}: {}", ended.stdout);
        }
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let ended = run(&["--version"], &[]);
    let version = concat!("migrationlink-operator ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), version, ""));
}

#[test]
fn a_proxy_that_cannot_be_used_is_named_by_its_variable_and_never_shown() {
    for variable in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy"] {
        for value in [
            "socks5://user:hunter2@proxy.example.com:1080",
            "http://user:hunter2@proxy.example.com:port",
            "http://user:hunter2 @proxy.example.com",
        ] {
            let ended = run(&[QUIET[0], QUIET[1], "--log-level=trace"], &[(variable, value)]);
            assert_failure(&ended, &[&variable.to_uppercase(), "http://HOST:PORT"]);
            for part in ["hunter2", "user:", "proxy.example.com"] {
                assert!(!ended.stderr.contains(part), "{ended:?}");
            }
        }
    }
}

#[test]
fn the_user_info_of_a_proxy_is_never_shown() {
    // It ends for another reason: the file of certificates is read before the proxies matter, the port after.
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    for variable in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"] {
        let flag = format!("--metrics-bind-address={address}");
        let env = [(variable, "http://user:hunter2@proxy.example.com:3128"), ("NO_PROXY", "om.example.com")];
        let ended = run(&[QUIET[0], &flag, "--log-level=trace"], &env);
        assert_failure(&ended, &["--metrics-bind-address"]);
        assert!(!ended.stderr.contains("hunter2") && !ended.stderr.contains("user:"), "{ended:?}");
    }
}
