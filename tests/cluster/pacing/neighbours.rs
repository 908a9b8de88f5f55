//! Something that hangs takes slots until its deadline. The others go on in the rest.

use std::net::Ipv4Addr;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use migrationlink_simulator::{Answer, Behaviour};
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{
    PROMPT, all_ready, another, cloud, create_links, operator, tenant, time_of_new, wait_until_held,
};
use crate::support::{Cloud, Operator, Tenant, eventually, link_spec};

/// Links at the origin that hangs: more than the default of `--origin-concurrency`.
const STUCK: usize = 40;
const AT_ONE_ORIGIN: usize = 32;
/// Links beside them.
const OTHERS: usize = 5;

/// Creates links at another origin beside those that hang, and measures each.
async fn others_are_prompt(tenant: &Tenant<'_>, cloud: &Cloud) {
    let mut longest = Duration::ZERO;
    for n in 0..OTHERS {
        let took = time_of_new(tenant, &format!("other-{n}"), another(cloud, 1_000 + n)).await;
        assert!(took <= PROMPT, "{took:?}");
        longest = longest.max(took);
    }
    println!("{OTHERS} links SYNCED one after the other, each within {longest:.2?}");
}

async fn wait_until_under_way(operator: &Operator<'_>, passes: usize) {
    eventually(&format!("{passes} passes hang"), async || {
        let metrics = operator.metrics().await;
        let running =
            metrics.lines().find_map(|line| line.strip_prefix("migrationlink_reconciles_in_flight "));
        if running == Some(&passes.to_string()) { Ok(()) } else { Err(format!("{running:?}")) }
    })
    .await;
}

/// The first call gets the nonce, so that each of the others has its own slow answer.
#[tokio::test]
async fn a_slow_origin_holds_up_no_link_of_another() {
    let (tenant, slow) = (tenant().await, cloud().await);
    let good = cloud().await;
    let operator = operator(&tenant, &[&slow, &good]).start().await;
    tenant.create_link("first", another(&slow, STUCK)).await;
    tenant.wait_for_ready("first", "True", "Synced").await;
    slow.simulator.script(Behaviour::new(Answer::Normal).delayed(Duration::from_secs(29)));
    slow.simulator.clear_journal();
    let before = operator.requests();
    create_links(&tenant, (0..STUCK).map(|n| (format!("slow-{n}"), another(&slow, n)))).await;
    wait_until_held(&operator, "turn", STUCK - AT_ONE_ORIGIN).await;
    wait_until_under_way(&operator, AT_ONE_ORIGIN).await;
    others_are_prompt(&tenant, &good).await;
    let calls = slow.calls();
    assert_eq!((calls.posts, calls.challenges), (AT_ONE_ORIGIN, 0));
    let written = operator.requests().since(&before).count("patch", "migrationlinks/status");
    assert_eq!(written, OTHERS, "nothing is said of those that wait");
}

/// Two origins would have all places if each took as many as it may alone.
#[tokio::test]
async fn exchanges_that_hang_at_two_origins_hold_up_no_link_of_a_third() {
    let (tenant, good) = (tenant().await, cloud().await);
    let (silent, mute) = (cloud().await, cloud().await);
    for cloud in [&silent, &mute] {
        cloud.simulator.script(Behaviour::new(Answer::Hang));
    }
    let operator = operator(&tenant, &[&silent, &mute, &good]).start().await;
    create_links(&tenant, (0..STUCK).map(|n| (format!("silent-{n}"), another(&silent, n)))).await;
    wait_until_under_way(&operator, AT_ONE_ORIGIN).await;
    create_links(&tenant, (0..STUCK).map(|n| (format!("mute-{n}"), another(&mute, STUCK + n)))).await;
    // Half of what the first has left.
    wait_until_under_way(&operator, AT_ONE_ORIGIN + AT_ONE_ORIGIN / 2).await;
    others_are_prompt(&tenant, &good).await;
}

/// A port where connections are not answered, since too many wait there already.
async fn full_port() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    let listener = socket.listen(1).expect("it listens");
    let address = listener.local_addr().expect("an address");
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        waiting.push(stream.expect("a connection"));
    }
    (listener, waiting)
}

#[tokio::test]
async fn a_connection_that_hangs_holds_up_no_link_of_another_origin() {
    let (tenant, good) = (tenant().await, cloud().await);
    let (listener, _waiting) = full_port().await;
    let away = format!("http://{}", listener.local_addr().expect("an address"));
    let operator = operator(&tenant, &[&good]).arg(format!("--allowed-origin={away}")).start().await;
    let spec = |n| {
        let mut spec = link_spec(&format!("{away}/api/public/v1.0"));
        spec.org_id = super::org_id(n);
        spec
    };
    create_links(&tenant, (0..STUCK).map(|n| (format!("away-{n}"), spec(n)))).await;
    wait_until_under_way(&operator, AT_ONE_ORIGIN).await;
    others_are_prompt(&tenant, &good).await;
    // Each connection ends at its deadline, and five in a row are enough.
    wait_until_held(&operator, "unavailable", STUCK - 1).await;
}

/// An admission webhook that never answers stands before the statuses of some links.
#[tokio::test]
async fn a_write_to_the_api_server_that_hangs_holds_up_no_other_link_and_no_call_is_made_twice_for_it() {
    let (tenant, cloud) = (tenant().await, cloud().await);
    let webhook = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = webhook.local_addr().expect("an address");
    let name = format!("{}.test", tenant.namespace);
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": "statuses.hang.test",
            "clientConfig": {"url": format!("https://{address}/")},
            "rules": [{
                "apiGroups": ["migrationlink.dev"], "apiVersions": ["*"],
                "resources": ["migrationlinks/status"], "operations": ["UPDATE"],
            }],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": tenant.namespace}},
            "objectSelector": {"matchLabels": {"hangs": "yes"}},
            "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 30,
        }],
    });
    let applied = tenant.kubectl(&["apply", "-f", "-"], &configuration.to_string());
    assert!(applied.success, "{applied:?}");
    create_links(&tenant, (0..STUCK).map(|n| (format!("stuck-{n}"), another(&cloud, n)))).await;
    let labelled = tenant.kubectl(&["label", "migrationlinks", "--all", "hangs=yes"], "");
    assert!(labelled.success, "{labelled:?}");
    let links = tenant.links();
    eventually("the webhook is asked", async || {
        let try_it = PatchParams { dry_run: true, ..PatchParams::default() };
        let nothing = Patch::Merge(json!({"status": {"state": "NOT_SYNCED"}}));
        let patched = timeout(Duration::from_millis(500), links.patch_status("stuck-0", &try_it, &nothing));
        patched.await.map_or(Ok(()), |patched| Err(format!("{patched:?}")))
    })
    .await;
    let operator = operator(&tenant, &[&cloud]).start().await;
    wait_until_under_way(&operator, STUCK).await;
    others_are_prompt(&tenant, &cloud).await;

    let deleted = tenant.kubectl(&["delete", "validatingwebhookconfiguration", &name], "");
    assert!(deleted.success, "{deleted:?}");
    all_ready(&tenant, Duration::from_mins(1)).await;
    let calls = cloud.calls();
    assert_eq!((calls.posts, calls.polls), (STUCK + OTHERS, 0), "an outcome is kept until it is recorded");
}
