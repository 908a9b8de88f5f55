//! Several copies of the operator: one works, and another takes over when it stops, crashes, stands still or is cut off.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use migrationlink_operator::api::MigrationLinkSpec;
use migrationlink_simulator::{Answer, Behaviour, Phase};
use tokio::time::{Instant, sleep};

use crate::support::{Cloud, ControlPlane, ORG_ID, Operator, Tenant, eventually, link_spec};

/// Of the lease: as short as it may be.
const DURATION: Duration = Duration::from_secs(5);
/// So long after its last renewal a copy may still write.
const RENEW_DEADLINE: Duration = Duration::from_millis(3334);
/// Between two attempts.
const RETRY: Duration = Duration::from_millis(667);
/// For processes that share a busy machine with others.
const SLACK: Duration = Duration::from_secs(2);

async fn copy<'a>(tenant: &'a Tenant<'a>, cloud: &Cloud) -> Operator<'a> {
    let origin = format!("--allowed-origin={}", cloud.origin());
    tenant.operator().arg(origin).arg("--sync-interval=24h").arg("--lease-duration=5s").start().await
}

/// Two copies, of which the first works.
async fn copies<'a>(tenant: &'a Tenant<'a>, cloud: &Cloud) -> [Operator<'a>; 2] {
    let first = copy(tenant, cloud).await;
    first.wait_until_it_leads().await;
    [first, copy(tenant, cloud).await]
}

async fn lease(tenant: &Tenant<'_>) -> LeaseSpec {
    let leases: Api<Lease> = Api::namespaced(tenant.client.clone(), &tenant.namespace);
    leases.get("migrationlink-operator").await.expect("the lease").spec.expect("a spec")
}

/// How long after `time` the lease was taken by who holds it now.
async fn taken_after(tenant: &Tenant<'_>, time: Timestamp) -> Duration {
    let acquired = lease(tenant).await.acquire_time.expect("a time").0;
    Duration::try_from(acquired.duration_since(time)).expect("it was taken later")
}

async fn create_link(tenant: &Tenant<'_>, cloud: &Cloud, name: &str, number: u32) {
    let org_id = format!("{number:024x}");
    cloud.add_organization(&org_id);
    tenant.create_link(name, MigrationLinkSpec { org_id, ..link_spec(&cloud.base_url()) }).await;
}

/// A link whose POST is not answered for so long.
async fn post_under_way(tenant: &Tenant<'_>, cloud: &Cloud, delay: Duration) {
    let slow = Behaviour::new(Answer::Normal).on_method("POST").in_phase(Phase::Authenticated).times(1);
    cloud.simulator.script(slow.after_effect().delayed(delay));
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    eventually("the POST is under way", async || match cloud.calls().posts {
        0 => Err(format!("{:?}", cloud.simulator.journal())),
        _ => Ok(()),
    })
    .await;
}

async fn wait_until_idle(operator: &Operator<'_>) {
    eventually("it has nothing more to do", async || {
        let before = operator.requests().counts();
        sleep(RETRY * 2).await;
        if operator.requests().counts() == before { Ok(()) } else { Err(format!("{before:?}")) }
    })
    .await;
}

fn ended_for_want_of_a_renewal(operator: &Operator<'_>) {
    let log = operator.log();
    let last = log.lines().last().unwrap_or_default();
    let line: serde_json::Value = serde_json::from_str(last).expect("a line of the log");
    assert_eq!(line["level"], "ERROR", "{log}");
    let error = line["error"].as_str().expect("a sentence");
    assert!(error.contains("could not be renewed for 3 s") && error.contains("this one ends"), "{error}");
}

#[tokio::test]
async fn a_copy_that_waits_is_ready_does_nothing_and_takes_over_at_once_when_the_other_one_stops() {
    let (tenant, cloud) = (Tenant::new().await, Cloud::start().await);
    let [mut first, second] = copies(&tenant, &cloud).await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    create_link(&tenant, &cloud, "before", 1).await;
    tenant.wait_for_ready("before", "True", "Synced").await;
    // Longer than a lease lasts.
    sleep(DURATION + RETRY).await;
    assert!(first.leads().await && !second.leads().await);
    for path in ["/readyz", "/livez"] {
        assert_eq!(second.probe(path).await.0, 200, "{path}");
    }
    let metrics = second.metrics().await;
    assert!(metrics.contains("migrationlink_ready{"), "its watches are warm: {metrics}");
    for series in ["migrationlink_reconciles_total{", "migrationlink_api_requests_total{"] {
        assert!(!metrics.contains(series), "{metrics}");
    }
    let holder = lease(&tenant).await.holder_identity;

    let stopped = Timestamp::now();
    assert_eq!(first.stop().await, Some(0));
    second.wait_until_it_leads().await;
    let after = taken_after(&tenant, stopped).await;
    assert!(after < Duration::from_secs(1), "{after:?}");
    let now = lease(&tenant).await;
    assert_ne!(now.holder_identity, holder);
    assert_eq!((now.lease_transitions, now.lease_duration_seconds), (Some(1), Some(5)));
    create_link(&tenant, &cloud, "after", 2).await;
    tenant.wait_for_ready("after", "True", "Synced").await;
    let calls = cloud.calls();
    assert_eq!((calls.posts, calls.polls), (2, 0), "one for each link");
}

#[tokio::test]
async fn after_a_crash_the_other_copy_takes_over_when_the_lease_has_expired() {
    let (tenant, cloud) = (Tenant::new().await, Cloud::start().await);
    let [mut first, second] = copies(&tenant, &cloud).await;
    post_under_way(&tenant, &cloud, Duration::from_secs(20)).await;
    let killed = Timestamp::now();
    first.kill().await;
    second.wait_until_it_leads().await;
    let after = taken_after(&tenant, killed).await;
    assert!(after + RETRY + SLACK >= DURATION && after <= DURATION + RETRY * 2 + SLACK, "{after:?}");
    tenant.wait_for_ready("link", "True", "Synced").await;
    // Nobody knows how the first one ended.
    assert_eq!(cloud.calls().posts, 2);
}

#[tokio::test]
async fn a_copy_that_stood_still_for_longer_than_its_lease_writes_nothing_more_and_ends() {
    let (tenant, cloud) = (Tenant::new().await, Cloud::start().await);
    let [mut first, second] = copies(&tenant, &cloud).await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    tenant.wait_for_ready("link", "True", "Synced").await;

    first.signal("STOP").await;
    // What waits for it when it wakes up.
    tenant.edit_secret("keys", &[("linkToken", "another-link-token")]).await;
    create_link(&tenant, &cloud, "new", 1).await;
    second.wait_until_it_leads().await;
    tenant.wait_for_ready("new", "True", "Synced").await;
    eventually("the rotated token is sent", async || match cloud.simulator.link_token(ORG_ID) {
        Some(token) if token == "another-link-token" => Ok(()),
        _ => Err(format!("{:?}", cloud.calls())),
    })
    .await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    tenant.annotate_link("link", "migrationlink.dev/paused", "true").await;
    tenant.annotate_link("new", "migrationlink.dev/paused", "true").await;
    wait_until_idle(&second).await;

    let before = (cloud.calls(), second.requests().counts());
    first.signal("CONT").await;
    assert_eq!(first.wait().await, Some(1));
    ended_for_want_of_a_renewal(&first);
    assert_eq!((cloud.calls(), second.requests().counts()), before);
    assert!(second.leads().await);
}

/// The answer to its call comes while it is frozen, and lies there when it wakes up.
#[tokio::test]
async fn a_copy_that_was_frozen_during_a_call_neither_records_nor_repeats_it() {
    let (tenant, cloud) = (Tenant::new().await, Cloud::start().await);
    let [mut first, second] = copies(&tenant, &cloud).await;
    post_under_way(&tenant, &cloud, Duration::from_secs(2)).await;
    first.signal("STOP").await;
    // More that it might send.
    create_link(&tenant, &cloud, "new", 1).await;
    second.wait_until_it_leads().await;
    for link in ["link", "new"] {
        tenant.wait_for_ready(link, "True", "Synced").await;
    }
    let calls = cloud.calls();
    // Nobody knew what came of the first one.
    assert_eq!(calls.posts, 3);
    eventually("the first POST was answered, too", async || {
        let journal = cloud.simulator.journal();
        if journal.iter().all(|entry| entry.status.is_some()) { Ok(()) } else { Err(format!("{journal:?}")) }
    })
    .await;
    wait_until_idle(&second).await;

    let before = second.requests().counts();
    assert_eq!(before["patch migrationlinks/status"], 2, "{before:?}");
    first.signal("CONT").await;
    assert_eq!(first.wait().await, Some(1));
    ended_for_want_of_a_renewal(&first);
    assert_eq!(second.requests().counts(), before);
    assert_eq!(cloud.calls(), calls);
    assert!(second.leads().await);
}

#[tokio::test]
async fn a_copy_whose_api_server_hangs_ends_before_another_may_write_and_sends_nothing_more() {
    let control_plane = ControlPlane::start();
    let (tenant, cloud) = (Tenant::on(&control_plane).await, Cloud::start().await);
    let [mut first, second] = copies(&tenant, &cloud).await;
    post_under_way(&tenant, &cloud, Duration::from_secs(20)).await;
    let begin = Instant::now();
    control_plane.signal_api_server("STOP");
    assert_eq!(first.wait().await, Some(1));
    let after = begin.elapsed();
    assert!(after + RETRY + SLACK >= RENEW_DEADLINE && after <= RENEW_DEADLINE + SLACK, "{after:?}");
    ended_for_want_of_a_renewal(&first);
    let calls = cloud.calls();
    assert_eq!(calls.posts, 1);
    // The lease has expired by now, and nobody can take it.
    sleep(DURATION.saturating_sub(begin.elapsed()) + RETRY).await;
    assert!(!second.leads().await);
    assert_eq!(second.probe("/livez").await.0, 200);
    assert_eq!(cloud.calls(), calls);

    control_plane.signal_api_server("CONT");
    second.wait_until_it_leads().await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    assert_eq!(cloud.calls().posts, 2);
}

#[tokio::test]
async fn without_an_election_there_is_no_lease() {
    let (tenant, cloud) = (Tenant::new().await, Cloud::start().await);
    let origin = format!("--allowed-origin={}", cloud.origin());
    let operator = tenant.operator().arg(origin).arg("--leader-elect=false").start().await;
    assert!(operator.leads().await);
    create_link(&tenant, &cloud, "link", 1).await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    let requests = operator.requests();
    assert_eq!(requests.besides_the_lease().count(), requests.0.len());
}
