//! `check` where there is a cluster: by the administrator's kubeconfig and by the operator's own. It reads, it has the API server try a
//! manifest, and it writes nothing, neither there nor to the server.

mod rules;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use migrationlink_operator::api::MigrationLinkSpec;
use migrationlink_simulator::ApiKeys;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::{Cloud, ControlPlane, Operator, PRIVATE_KEY, Requests, Tenant, link_spec, user};

const TOKEN: &str = "ca9a41e5f0000000000000000000000000000000000000000000000000000001";
const WRONG_KEY: &str = "c0a1b2c3-5b7a-4d55-9c39-ca9a41e50002";
const OTHER_ORG: &str = "5f0d1e2a3b4c5d6e7f800002";

/// What a check said.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
}

impl Ended {
    /// The lines about this.
    fn lines(&self, of: &str) -> Vec<&str> {
        self.stdout.lines().filter(|line| line.contains(&format!(" {of}: "))).collect()
    }

    /// Checks that a line about this begins with this mark and has all these words.
    fn assert(&self, level: &str, of: &str, words: &[&str]) {
        let told = |line: &&str| line.starts_with(level) && words.iter().all(|word| line.contains(word));
        assert!(self.lines(of).iter().any(told), "{level} {of} {words:?}:\n{}", self.stdout);
    }

    fn problems(&self) -> usize {
        self.stdout.lines().filter(|line| line.starts_with("problem ")).count()
    }
}

async fn check(kubeconfig: &Path, args: &[&str], stdin: &str) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_migrationlink-operator"))
        .arg("check")
        .args(args)
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("piped").write_all(stdin.as_bytes()).await.expect("it reads its stdin");
    let output = child.wait_with_output().await.expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    for secret in [TOKEN, PRIVATE_KEY, WRONG_KEY] {
        assert!(!stdout.contains(secret) && !stderr.contains(secret), "{stdout}{stderr}");
    }
    assert_eq!(stderr, "");
    Ended { code: output.status.code(), stdout }
}

fn admin(control_plane: &ControlPlane) -> PathBuf {
    control_plane.dir().join("kubeconfig")
}

fn manifest(tenant: &Tenant<'_>, name: &str, spec: &MigrationLinkSpec) -> String {
    let manifest = json!({
        "apiVersion": "migrationlink.dev/v1alpha1", "kind": "MigrationLink",
        "metadata": {"name": name, "namespace": tenant.namespace}, "spec": spec,
    });
    format!("---\n{manifest}\n")
}

/// All that a check may have changed.
fn state(tenant: &Tenant<'_>) -> String {
    let shown = tenant.kubectl(&["get", "migrationlinks,secrets,configmaps,events", "-o", "yaml"], "");
    assert!(shown.success, "{shown:?}");
    shown.stdout
}

/// That what a user has asked since then cannot have changed anything: what is no reading is the dry run of a check.
fn assert_only_read(tenant: &Tenant<'_>, user: &str, earlier: &Requests) {
    let mut asked = Requests::of(tenant.control_plane, user).since(earlier).0;
    asked.retain(|request| request.namespace == tenant.namespace);
    assert!(!asked.is_empty());
    let writes = asked.iter().filter(|request| !matches!(request.verb.as_str(), "get" | "list" | "watch"));
    let writes: Vec<_> = writes.collect();
    assert!(writes.iter().all(|write| write.resource == "migrationlinks"), "{writes:?}");
    let log = fs::read_to_string(tenant.control_plane.dir().join("audit.log")).expect("the audit log");
    let lines = log.lines().filter(|line| line.contains("migrationlink-operator-check"));
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).expect("a line of the audit log"));
    let of_user = |line: &Value| {
        line["user"]["username"] == user && line["objectRef"]["namespace"] == tenant.namespace.as_str()
    };
    let tried: Vec<_> = lines.filter(of_user).collect();
    for line in &tried {
        let uri = line["requestURI"].as_str().expect("a URI");
        assert!(uri.contains("dryRun=All"), "{uri}");
    }
    assert_eq!(writes.len(), tried.len(), "{writes:?}");
}

struct Story<'a> {
    cloud: &'a Cloud,
    operator: Operator<'a>,
}

/// A link that is SYNCED, one that is Stalled for its key, and one whose Secret is missing; the operator has ended.
async fn story<'a>(tenant: &'a Tenant<'a>, cloud: &'a Cloud) -> Story<'a> {
    cloud.simulator.add_organization(OTHER_ORG, [ApiKeys::new("another", PRIVATE_KEY)]);
    let allowed = format!("--allowed-origin={}", cloud.origin());
    let mut operator = tenant.operator().arg(allowed).arg("--sync-interval=24h").start().await;
    tenant.create_secret("keys", &Cloud::secret_keys(TOKEN)).await;
    let mut wrong = Cloud::secret_keys(TOKEN);
    wrong[1].1 = WRONG_KEY;
    tenant.create_secret("wrong", &wrong).await;
    tenant.create_link("synced", link_spec(&cloud.base_url())).await;
    tenant.create_link("stalled", with_secret(cloud, "wrong")).await;
    tenant.create_link("secretless", with_secret(cloud, "nowhere")).await;
    tenant.wait_for_ready("synced", "True", "Synced").await;
    tenant.wait_for_ready("stalled", "False", "Unauthorized").await;
    tenant.wait_for_ready("secretless", "False", "SecretNotFound").await;
    assert_eq!(operator.stop().await, Some(0));
    cloud.simulator.clear_journal();
    Story { cloud, operator }
}

fn with_secret(cloud: &Cloud, secret: &str) -> MigrationLinkSpec {
    let mut spec = link_spec(&cloud.base_url());
    OTHER_ORG.clone_into(&mut spec.org_id);
    secret.clone_into(&mut spec.secret_ref.name);
    spec
}

#[tokio::test]
async fn a_synced_link_a_stalled_one_and_one_without_its_secret_are_told_and_nothing_is_written() {
    let (tenant, cloud) = (Tenant::new().await, Cloud::start().await);
    let Story { cloud, operator } = story(&tenant, &cloud).await;
    let (allowed, before) = (format!("--allowed-origin={}", cloud.origin()), state(&tenant));
    let admins_before = Requests::of(tenant.control_plane, "admin");
    let operators_before = operator.requests();
    for kubeconfig in [admin(tenant.control_plane), operator.kubeconfig()] {
        let of = async |name: &str| {
            check(&kubeconfig, &[&format!("{}/{name}", tenant.namespace), &allowed], "").await
        };
        let synced = of("synced").await;
        assert_eq!((synced.code, synced.problems()), (Some(0), 0), "{}", synced.stdout);
        synced.assert("ok", "status", &["Synced: The organization is linked with Atlas"]);
        synced.assert(
            "ok",
            "secret",
            &["Secret keys in the cluster has the keys linkToken, privateKey, publicKey"],
        );
        synced.assert("ok", "api", &["the API says SYNCED"]);
        synced.assert("ok", "next", &["do nothing before the next regular check"]);

        let stalled = of("stalled").await;
        assert_eq!((stalled.code, stalled.problems()), (Some(1), 2), "{}", stalled.stdout);
        let words = [
            "Unauthorized: Ready is False, Stalled since ",
            "refuses the API key",
            "To try now: kubectl annotate",
        ];
        stalled.assert("problem", "status", &words);
        stalled.assert("ok", "status", &["The next attempt is at ", "; 1 in a row have failed"]);
        stalled.assert("problem", "api", &["Unauthorized: ", "(HTTP 401", "Check three things"]);
        stalled.assert("ok", "next", &["wait until something changes, at most until "]);

        let secretless = of("secretless").await;
        assert_eq!((secretless.code, secretless.problems()), (Some(1), 1), "{}", secretless.stdout);
        secretless.assert("warning", "status", &["SecretNotFound: Ready is False, Reconciling since "]);
        secretless.assert("problem", "inputs", &["SecretNotFound: Secret nowhere is not there: Create it"]);
        secretless.assert("ok", "digest", &[]);
        assert_eq!(secretless.lines("api"), [""; 0], "{}", secretless.stdout);

        let none = of("none").await;
        assert_eq!(none.code, Some(1));
        none.assert("problem", "resource", &["There is no such MigrationLink"]);
    }
    let operators = operator.requests().since(&operators_before);
    assert!(
        operators.count("get", "migrationlinks") >= 4 && operators.count("get", "secrets") >= 3,
        "{operators:?}"
    );
    assert_only_read(&tenant, &user(&tenant.namespace), &operators_before);
    assert_only_read(&tenant, "admin", &admins_before);
    assert_eq!(state(&tenant), before);
    let journal = cloud.simulator.journal();
    assert!(!journal.is_empty() && journal.iter().all(|entry| entry.method == "GET"), "{journal:?}");
}

#[tokio::test]
async fn a_manifest_is_tried_by_the_api_server_and_not_kept() {
    let (tenant, cloud) = (Tenant::new().await, Cloud::start().await);
    let Story { cloud, operator } = story(&tenant, &cloud).await;
    let (allowed, before) = (format!("--allowed-origin={}", cloud.origin()), state(&tenant));
    let args = ["-f", "-", &allowed];
    let (admin, own) = (admin(tenant.control_plane), operator.kubeconfig());
    let admins_before = Requests::of(tenant.control_plane, "admin");
    let operators_before = operator.requests();

    // New: the administrator may create it, the operator may not.
    let mut spec = link_spec(&cloud.base_url());
    "5f0d1e2a3b4c5d6e7f800003".clone_into(&mut spec.org_id);
    cloud.add_organization(&spec.org_id);
    let new = manifest(&tenant, "new", &spec);
    let ended = check(&admin, &args, &new).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    ended.assert("ok", "manifest", &["the API server took it in a dry run, which keeps nothing"]);
    ended.assert("ok", "secret", &["Secret keys in the cluster has the keys"]);
    ended.assert("ok", "next", &["send the link token (POST): no token was accepted yet"]);
    let ended = check(&own, &args, &new).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    let words = ["by the schema and the rules of this program", "may neither create nor change"];
    ended.assert("ok", "manifest", &words);

    // Another organization's link has it already.
    let taken = manifest(&tenant, "new", &link_spec(&cloud.base_url()));
    let ended = check(&admin, &args, &taken).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    ended.assert(
        "problem",
        "duplicate",
        &["DuplicateOrganization: MigrationLink synced in this namespace holds"],
    );

    // A change of one that is there, by both.
    for kubeconfig in [&admin, &own] {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": tenant.namespace},
            "stringData": {"publicKey": "abcdefgh", "privateKey": PRIVATE_KEY, "linkToken": "another-token"},
        });
        let rotated =
            format!("{}---\n{secret}\n", manifest(&tenant, "synced", &link_spec(&cloud.base_url())));
        let ended = check(kubeconfig, &args, &rotated).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stdout);
        ended.assert("ok", "manifest", &["the API server took it in a dry run"]);
        ended.assert("ok", "secret", &["Secret keys in the file has the keys"]);
        ended.assert(
            "ok",
            "next",
            &["send the link token (POST): it is another token than the one that was accepted"],
        );

        let mut moved = link_spec(&cloud.base_url());
        OTHER_ORG.clone_into(&mut moved.org_id);
        let ended = check(kubeconfig, &args, &manifest(&tenant, "synced", &moved)).await;
        assert_eq!(ended.code, Some(1), "{}", ended.stdout);
        ended.assert(
            "problem",
            "manifest",
            &["spec.orgId is refused: orgId is immutable: delete this MigrationLink"],
        );
    }
    let elsewhere = new.replace(&tenant.namespace, "nowhere");
    let ended = check(&admin, &args, &elsewhere).await;
    ended.assert("ok", "manifest", &["does not have this namespace yet"]);
    assert_eq!(state(&tenant), before);
    assert_only_read(&tenant, &user(&tenant.namespace), &operators_before);
    assert_only_read(&tenant, "admin", &admins_before);
    let journal = cloud.simulator.journal();
    assert!(!journal.is_empty() && journal.iter().all(|entry| entry.method == "GET"), "{journal:?}");
}

#[tokio::test]
async fn what_may_not_be_read_is_said_of_the_one_who_asks() {
    let (tenant, cloud) = (Tenant::new().await, Cloud::start().await);
    let allowed = format!("--allowed-origin={}", cloud.origin());
    let builder = tenant.operator().arg(&allowed).arg("--secret-access=get");
    let operator = builder.without("get", "secrets").start().await;
    tenant.create_secret("keys", &Cloud::secret_keys(TOKEN)).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    tenant.wait_for_ready("link", "False", "SecretAccessDenied").await;
    let link = format!("{}/link", tenant.namespace);
    let ended = check(&operator.kubeconfig(), &[&link, &allowed], "").await;
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    ended.assert("problem", "status", &["SecretAccessDenied: "]);
    ended.assert(
        "problem",
        "secret",
        &["Secret keys may not be read with this kubeconfig: ", "get secrets in namespace"],
    );
    let ended = check(&admin(tenant.control_plane), &[&link, &allowed], "").await;
    ended.assert("ok", "secret", &["Secret keys in the cluster has the keys"]);
    ended.assert("ok", "api", &[]);
}
