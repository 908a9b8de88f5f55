//! Links beside others: many at once, one that cannot be read, and several with the same Secret.

use std::fs;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams, PostParams};
use migrationlink_operator::api::{ConditionType, Conditions, MigrationLink, MigrationLinkSpec};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::{Cloud, ControlPlane, Operator, Tenant, eventually, link_spec};

const CRD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/migrationlinks.yaml");

/// The `number`th organization and the spec of its link.
fn another(cloud: &Cloud, number: usize) -> MigrationLinkSpec {
    let org_id = format!("{number:024x}");
    cloud.add_organization(&org_id);
    MigrationLinkSpec { org_id, ..link_spec(&cloud.base_url()) }
}

#[tokio::test]
async fn three_hundred_links_at_once_take_eight_slots_and_one_write_each() {
    let (tenant, cloud) = (Tenant::new().await, Cloud::start().await);
    cloud.simulator.configure(|config| {
        config.latency = Duration::from_millis(20);
        config.digest.max_nonce_count = None;
        config.digest.max_nonce_age = Duration::from_hours(1);
    });
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    for number in 0..300 {
        tenant.create_link(&format!("link-{number}"), another(&cloud, number)).await;
    }
    let operator = tenant
        .operator()
        .arg(format!("--allowed-origin={}", cloud.origin()))
        .arg("--sync-interval=24h")
        .arg("--concurrency=8")
        .arg("--api-rate=0")
        .arg("--origin-rate=0")
        .start()
        .await;

    let begin = Instant::now();
    let mut most = 0;
    while cloud.calls().posts < 300 {
        assert!(begin.elapsed() < Duration::from_mins(2), "{:?}", cloud.calls());
        let journal = cloud.simulator.journal();
        most = most.max(journal.iter().filter(|entry| entry.status.is_none()).count());
        sleep(Duration::from_millis(5)).await;
    }
    eventually("all are SYNCED", async || {
        let links = tenant.links().list(&ListParams::default()).await.expect("links").items;
        let ready = |link: &&MigrationLink| {
            let conditions = link.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.is_some_and(|conditions| conditions.is_true(ConditionType::Ready))
        };
        let ready = links.iter().filter(ready).count();
        if ready == 300 { Ok(()) } else { Err(format!("{ready}")) }
    })
    .await;
    assert!((2..=8).contains(&most), "{most} at the same time");
    let calls = cloud.calls();
    assert_eq!((calls.challenges, calls.posts, calls.polls, calls.refused), (1, 300, 0, 0));
    eventually("each was read for and written once", async || {
        let mut asked = operator.requests().counts();
        // As many as the rate lets through.
        asked.remove("create events");
        let wanted = [("get secrets", 300), ("patch migrationlinks/status", 300)];
        let wanted = wanted.map(|(request, count)| (request.to_owned(), count)).into();
        if asked == wanted { Ok(()) } else { Err(format!("{asked:?}")) }
    })
    .await;
}

/// Installs the CRD as an older or newer one might be: with a spec that the program cannot read.
pub fn loosen_crd(control_plane: &ControlPlane) {
    let text = fs::read_to_string(CRD).expect("the shipped CRD");
    let mut crd: Value = serde_saphyr::from_str(&text).expect("the shipped CRD is YAML");
    let spec = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec").expect("a schema");
    *spec = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let applied = control_plane.kubectl(&["apply", "-f", "-"], &crd.to_string());
    assert!(applied.success, "{applied:?}");
}

async fn undecodable(operator: &Operator<'_>, count: usize) {
    eventually(&format!("{count} versions were logged and counted"), async || {
        let log = operator.log();
        let lines =
            log.lines().filter(|line| line.contains("cannot be read") && line.contains("bad")).count();
        let metrics = operator.metrics().await;
        let counter = metrics
            .lines()
            .find_map(|line| line.strip_prefix("migrationlink_undecodable_resources_total "))
            .unwrap_or("0")
            .to_owned();
        let found = (lines.to_string(), counter);
        if found == (count.to_string(), count.to_string()) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_link_that_cannot_be_read_stops_nobody_and_can_be_mended() {
    let control_plane = ControlPlane::start();
    loosen_crd(&control_plane);
    let (tenant, cloud) = (Tenant::on(&control_plane).await, Cloud::start().await);
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    let bad: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "migrationlink.dev/v1alpha1",
        "kind": "MigrationLink",
        "metadata": {"name": "bad"},
        "spec": {"orgId": 5, "baseUrl": cloud.base_url(), "secretRef": {"name": "keys"}},
    }))
    .expect("an object");
    // The new schema is in force a moment after it was accepted.
    eventually("the bad link is let in", async || {
        let created = tenant.raw_links().create(&PostParams::default(), &bad).await;
        created.map(|link| link.name_any()).map_err(|error| error.to_string())
    })
    .await;
    tenant.create_link("before", another(&cloud, 1)).await;
    let operator = tenant.operator().arg(format!("--allowed-origin={}", cloud.origin())).start().await;
    tenant.wait_for_ready("before", "True", "Synced").await;
    undecodable(&operator, 1).await;
    tenant.create_link("behind", another(&cloud, 2)).await;
    tenant.wait_for_ready("behind", "True", "Synced").await;

    let labelled = tenant.kubectl(&["label", "migrationlink", "bad", "note=still-bad"], "");
    assert!(labelled.success, "{labelled:?}");
    undecodable(&operator, 2).await;
    assert_eq!(operator.probe("/livez").await.0, 200);

    let org_id = another(&cloud, 3).org_id;
    let mend = json!({"spec": {"orgId": org_id}}).to_string();
    let mended = tenant.kubectl(&["patch", "migrationlink", "bad", "--type=merge", "-p", &mend], "");
    assert!(mended.success, "{mended:?}");
    tenant.wait_for_ready("bad", "True", "Synced").await;
    undecodable(&operator, 2).await;
}

/// Without the watch the operator sees a new Secret only now and then; one link that reads it tells the others.
#[tokio::test]
async fn what_one_link_reads_of_a_secret_wakes_the_others_that_wait_for_it() {
    let (tenant, cloud) = (Tenant::new().await, Cloud::start().await);
    let _operator = tenant
        .operator()
        .arg(format!("--allowed-origin={}", cloud.origin()))
        .without("watch", "secrets")
        .spawn()
        .await;
    tenant.create_link("waiting", another(&cloud, 1)).await;
    tenant.wait_for_ready("waiting", "False", "SecretNotFound").await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("new", another(&cloud, 2)).await;
    tenant.wait_for_ready("new", "True", "Synced").await;
    tenant.wait_for_ready("waiting", "True", "Synced").await;
}
