//! Thousands of links from one namespace, none of which can ever be linked.

use std::collections::{BTreeMap, BTreeSet};
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

use super::measure::{Beside, Memory, Times};
use super::server::{Reply, Server};
use crate::pacing::THOUSANDS;
use crate::support::{Cloud, ControlPlane, Operator, Tenant, eventually, link_spec};

/// Links of the crowd. They come all at once, faster than through any API server, and for each of them API server and operator have a
/// status to write, on the two cores of the machine that everything else runs on.
const CROWD: usize = 10_000;
/// So much more memory the whole crowd may take.
const MOST_MIB: usize = 64;

/// Four ways to be of no use: an origin that nobody allowed, a Secret that is not there, one that cannot be read as keys, and the
/// organization that the neighbour holds.
const REASONS: [&str; 6] = [
    "EndpointNotAllowed",
    "SecretNotFound",
    "InvalidSecret",
    "EndpointNotAllowed",
    "DuplicateOrganization",
    "DuplicateOrganization",
];

fn spec(n: usize, forbidden: &str, allowed: &str, neighbour: &MigrationLinkSpec) -> MigrationLinkSpec {
    let (url, org_id) = match REASONS[n % REASONS.len()] {
        "EndpointNotAllowed" => (forbidden, format!("{n:024x}")),
        "DuplicateOrganization" => (neighbour.base_url.as_str(), neighbour.org_id.clone()),
        _ => (allowed, format!("{n:024x}")),
    };
    let secret_ref = SecretReference { name: ["keys", "missing", "useless"][n % 3].to_owned() };
    MigrationLinkSpec { org_id, secret_ref, ..link_spec(url) }
}

/// Puts the crowd into etcd, each link as the API server keeps the one that it was given: through the API server that takes it most of
/// a minute. Its watches tell of them as of all others.
async fn storm(tenant: &Tenant<'_>, crowd: usize, spec: impl Fn(usize) -> MigrationLinkSpec) {
    let control_plane = tenant.control_plane;
    let dir = control_plane.dir();
    // A request for each: what is written in one transaction has one version, which no two objects of the API server have.
    let etcd = |requests: Vec<(&str, Value)>| {
        let one = |(path, body): (&str, Value)| {
            format!(
                "unix-socket = \"client.sock:0\"\nnoproxy = \"*\"\nsilent\nfail\nurl = \"http://etcd/v3/kv/{path}\"\ndata = {:?}\n",
                body.to_string()
            )
        };
        let config: Vec<_> = requests.into_iter().map(one).collect();
        fs::write(dir.join("crowd.curl"), config.join("next\n")).expect("a file");
        let output = control_plane.shell(&format!("cd '{}' && curl -K crowd.curl", dir.display()));
        assert!(output.success, "{output:?}");
        output.stdout
    };
    let key = |name: &str| {
        let namespace = &tenant.namespace;
        STANDARD.encode(format!("/registry/migrationlink.dev/migrationlinks/{namespace}/{name}"))
    };
    let first = MigrationLink::new("crowd-0", spec(0));
    let first = tenant.links().create(&PostParams::default(), &first).await.expect("a MigrationLink");
    let kept = etcd(vec![("range", json!({"key": key("crowd-0")}))]);
    let kept: Value = serde_json::from_str(&kept).expect("etcd answers in JSON");
    let kept = kept["kvs"][0]["value"].as_str().expect("the link is there");
    let kept: Value = serde_json::from_slice(&STANDARD.decode(kept).expect("base64")).expect("JSON");
    let uid = first.uid().expect("a uid");
    let put = |n: usize| {
        let (mut link, name) = (kept.clone(), format!("crowd-{n}"));
        link["metadata"]["uid"] = format!("{}{n:012x}", &uid[..24]).into();
        link["metadata"]["name"] = name.as_str().into();
        link["spec"] = json!(spec(n));
        // Some may have been told something by now, but not these.
        link.as_object_mut().expect("an object").remove("status");
        ("put", json!({"key": key(&name), "value": STANDARD.encode(link.to_string())}))
    };
    etcd((1..crowd).map(put).collect());
}

/// The links that the operator knows of, by its metrics.
async fn known(operator: &Operator<'_>) -> usize {
    let metrics = operator.metrics().await;
    let lines = metrics.lines().filter(|line| line.starts_with("migrationlink_links{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
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
async fn thousands_of_links_of_one_tenant_delay_no_other() {
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
        .arg(format!("--allowed-origin={}", cloud.origin()))
        .arg(format!("--allowed-origin={}", allowed.origin()))
        .start()
        .await;
    let mut measured = Beside::new(&tenant, &cloud, &operator).await;
    let begin = Instant::now();
    let (urls, neighbour) =
        ([&forbidden, &allowed].map(Server::base_url), tenant.link("neighbour").await.spec);
    cloud.simulator.clear_journal();
    storm(&other, CROWD, |n| spec(n, &urls[0], &urls[1], &neighbour)).await;
    println!("{CROWD} links were there after {:.1?}", begin.elapsed());
    // What comes on a watch comes in its order: until the API server has told of all of them, it has not told of the neighbour's wish.
    eventually("the watch has told of them", async || match known(&operator).await {
        links if links > CROWD => Ok(()),
        links => Err(format!("{links}")),
    })
    .await;
    println!("the operator knew of them after {:.1?}", begin.elapsed());
    let mut wanted = BTreeMap::new();
    for n in 0..CROWD {
        *wanted.entry(REASONS[n % REASONS.len()].to_owned()).or_default() += 1;
    }
    let (mut reasons, mut beside) = (BTreeMap::new(), Times::default());
    while reasons != wanted {
        assert!(begin.elapsed() < Duration::from_mins(5), "{reasons:?}");
        // To look at all of them takes the API server many seconds while it writes to them.
        let times = measured.checks_until(Instant::now() + Duration::from_secs(3)).await;
        reasons = said(&other).await;
        // What was measured when all was over says nothing.
        if reasons != wanted {
            beside = beside.and(times);
        }
    }
    println!("{CROWD} links were told their reason after {:.1?}: {reasons:?}", begin.elapsed());
    assert!(!beside.longest().is_zero(), "it was over too soon");
    measured.was_as_quick("beside the crowd", &beside);
    measured.is_unharmed(MOST_MIB).await;
    // Then it is quiet: what waits for a change is not tried before.
    let patches = operator.requests().count("patch", "migrationlinks/status");
    assert!((CROWD..CROWD + 2000).contains(&patches), "{patches}");
    sleep(Duration::from_secs(2)).await;
    measured.is_as_quick("afterwards", 10).await;
    let after = operator.requests().count("patch", "migrationlinks/status");
    assert_eq!(after, patches + 10, "only the neighbour's");
    assert_eq!((forbidden.connections(), allowed.connections()), (0, 0), "nobody was called");
    let methods: BTreeSet<_> = cloud.simulator.journal().into_iter().map(|entry| entry.method).collect();
    assert_eq!(methods, BTreeSet::from(["GET".to_owned()]), "the neighbour's checks, and nothing else");
    assert!(!operator.log().contains("canary"));
    println!("{}", Memory::of(&operator));
}
