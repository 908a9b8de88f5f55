//! Ten thousand links from one namespace, none of which can ever be linked.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use migrationlink_operator::api::{
    ConditionType, Conditions, MigrationLink, MigrationLinkSpec, SecretReference,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::measure::{Beside, Memory};
use super::server::{Reply, Server};
use crate::pacing::THOUSANDS;
use crate::support::{Cloud, ControlPlane, Tenant, link_spec};

/// All links of the crowd.
const CROWD: usize = 10_000;
/// The most that etcd takes in one transaction is 128.
const AT_ONCE: usize = 125;
/// So much more memory the whole crowd may take.
const MOST_MIB: usize = 64;

/// Three ways to be of no use: an origin that nobody allowed, a Secret that is not there, one that cannot be read as keys.
const REASONS: [&str; 3] = ["EndpointNotAllowed", "SecretNotFound", "InvalidSecret"];

fn spec(n: usize, forbidden: &Server, allowed: &Server) -> MigrationLinkSpec {
    let (server, secret) = match n % 3 {
        0 => (forbidden, "keys"),
        1 => (allowed, "missing"),
        _ => (allowed, "useless"),
    };
    let secret_ref = SecretReference { name: secret.to_owned() };
    MigrationLinkSpec { org_id: format!("{n:024x}"), secret_ref, ..link_spec(&server.base_url()) }
}

/// Puts the crowd into etcd, each link as the API server keeps the one that it was given: through the API server that takes it most of
/// a minute. Its watches tell of them as of all others.
async fn storm(tenant: &Tenant<'_>, spec: impl Fn(usize) -> MigrationLinkSpec) {
    let control_plane = tenant.control_plane;
    let etcd = |path: &str, file: &str| {
        let dir = control_plane.dir().display();
        let ask = format!(
            "curl -sS --fail --noproxy '*' --unix-socket client.sock:0 http://etcd/v3/kv/{path} -d @$f"
        );
        let output = control_plane.shell(&format!("cd '{dir}' && for f in {file}; do {ask} || exit 1; done"));
        assert!(output.success, "{output:?}");
        output.stdout
    };
    let key = |name: &str| {
        let namespace = &tenant.namespace;
        STANDARD.encode(format!("/registry/migrationlink.dev/migrationlinks/{namespace}/{name}"))
    };
    let first = MigrationLink::new("crowd-0", spec(0));
    let first = tenant.links().create(&PostParams::default(), &first).await.expect("a MigrationLink");
    let write = |name: String, content: Value| {
        fs::write(control_plane.dir().join(name), content.to_string()).expect("a file");
    };
    write("first.json".to_owned(), json!({"key": key("crowd-0")}));
    let kept: Value = serde_json::from_str(&etcd("range", "first.json")).expect("etcd answers in JSON");
    let kept = kept["kvs"][0]["value"].as_str().expect("the link is there");
    let kept: Value = serde_json::from_slice(&STANDARD.decode(kept).expect("base64")).expect("JSON");
    let uid = first.uid().expect("a uid");
    for from in (1..CROWD).step_by(AT_ONCE) {
        let puts = (from..CROWD.min(from + AT_ONCE)).map(|n| {
            let (mut link, name) = (kept.clone(), format!("crowd-{n}"));
            link["metadata"]["uid"] = format!("{}{n:012x}", &uid[..24]).into();
            link["metadata"]["name"] = name.as_str().into();
            link["spec"] = json!(spec(n));
            json!({"requestPut": {"key": key(&name), "value": STANDARD.encode(link.to_string())}})
        });
        write(format!("crowd-{from}.json"), json!({"success": puts.collect::<Vec<_>>()}));
    }
    etcd("txn", "crowd-*.json");
}

/// What is said of the crowd: how many links have each reason.
async fn said(tenant: &Tenant<'_>) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for link in tenant.links().list(&ListParams::default()).await.expect("links").items {
        let conditions = link.status.and_then(|status| status.conditions);
        let ready = conditions.as_ref().and_then(|conditions| conditions.of(ConditionType::Ready));
        *reasons.entry(ready.map_or("nothing", |ready| &ready.reason).to_owned()).or_default() += 1;
    }
    reasons
}

#[tokio::test]
async fn ten_thousand_links_of_one_tenant_delay_no_other() {
    let _alone = THOUSANDS.lock().await;
    let control_plane = ControlPlane::start();
    let (tenant, cloud) = (Tenant::on(&control_plane).await, Cloud::start().await);
    let other = Tenant::on(&control_plane).await;
    let (forbidden, allowed) =
        (Server::start(|_| Reply::Silence).await, Server::start(|_| Reply::Silence).await);
    for tenant in [&tenant, &other] {
        tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
        tenant.create_secret("useless", &[("publicKey", "canary"), ("clientSecret", "canary")]).await;
    }
    let operator = tenant
        .operator()
        .cluster_wide()
        .arg("--api-rate=0")
        .arg("--log-level=trace")
        .arg(format!("--allowed-origin={}", cloud.origin()))
        .arg(format!("--allowed-origin={}", allowed.origin()))
        .start()
        .await;
    let mut measured = Beside::new(&tenant, &cloud, &operator).await;
    let begin = Instant::now();
    storm(&other, |n| spec(n, &forbidden, &allowed)).await;
    println!("{CROWD} links were there after {:.1?}", begin.elapsed());
    let third = CROWD / 3;
    let wanted: BTreeMap<_, _> = REASONS
        .iter()
        .zip([CROWD - 2 * third, third, third])
        .map(|(reason, count)| ((*reason).to_owned(), count))
        .collect();
    let mut reasons = said(&other).await;
    while reasons != wanted {
        assert!(begin.elapsed() < Duration::from_mins(3), "{reasons:?}");
        measured.is_as_quick_until("beside the crowd", Instant::now() + Duration::from_secs(5)).await;
        reasons = said(&other).await;
    }
    println!("{CROWD} links were told their reason after {:.1?}: {reasons:?}", begin.elapsed());
    measured.is_unharmed(MOST_MIB).await;
    // Then it is quiet: what waits for a change is not tried before.
    let patches = operator.requests().count("patch", "migrationlinks/status");
    assert!((CROWD..CROWD + 1000).contains(&patches), "{patches}");
    sleep(Duration::from_secs(2)).await;
    measured.is_as_quick("afterwards", 10).await;
    let after = operator.requests().count("patch", "migrationlinks/status");
    assert_eq!(after, patches + 10, "only the neighbour's");
    assert_eq!((forbidden.connections(), allowed.connections()), (0, 0), "nobody was called");
    assert!(!operator.log().contains("canary"));
    println!("{}", Memory::of(&operator));
}
