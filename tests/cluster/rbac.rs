//! The rights that are shipped: enough for everything that the operator does, each one needed, and what is missing is said.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use migrationlink_operator::api::{ConditionType, Conditions};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{
    Cloud, ControlPlane, ORG_ID, Operator, Requests, Rights, Tenant, eventually, link_spec, user,
};

const RECONCILE_AT: &str = "migrationlink.dev/reconcile-at";

#[tokio::test]
async fn the_shipped_role_of_one_namespace_is_enough_and_used_to_the_full() {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start().await;
    let copy = || tenant.operator().arg(format!("--allowed-origin={}", cloud.origin()));
    let copies = [copy().start().await, copy().start().await];
    let requests = story(&tenant, &cloud, copies).await;
    for request in &requests.0 {
        assert_eq!(request.namespace, tenant.namespace, "{request:?}");
    }
    assert_eq!(used(&requests), granted(&Rights::namespaced(&tenant.namespace)));
    only_the_status_is_the_operators(&tenant).await;

    let elsewhere = Tenant::new().await;
    for (namespace, verb, group, resource, allowed) in [
        (&tenant.namespace, "get", "", "secrets", true),
        (&tenant.namespace, "update", "", "secrets", false),
        (&tenant.namespace, "delete", "", "secrets", false),
        (&tenant.namespace, "patch", "migrationlink.dev", "migrationlinks", false),
        (&tenant.namespace, "delete", "migrationlink.dev", "migrationlinks", false),
        (&tenant.namespace, "get", "", "configmaps", false),
        (&tenant.namespace, "create", "coordination.k8s.io", "leases", true),
        // Of any name.
        (&tenant.namespace, "update", "coordination.k8s.io", "leases", false),
        (&tenant.namespace, "delete", "coordination.k8s.io", "leases", false),
        (&elsewhere.namespace, "create", "coordination.k8s.io", "leases", false),
        (&elsewhere.namespace, "get", "", "secrets", false),
        (&elsewhere.namespace, "list", "", "secrets", false),
        (&elsewhere.namespace, "list", "migrationlink.dev", "migrationlinks", false),
        (&elsewhere.namespace, "create", "events.k8s.io", "events", false),
    ] {
        let may = may(&tenant, Some(namespace), verb, group, resource).await;
        assert_eq!(may, allowed, "{verb} {resource} in {namespace}");
    }
    for (verb, group, resource) in [
        ("list", "", "secrets"),
        ("list", "", "namespaces"),
        ("get", "apiextensions.k8s.io", "customresourcedefinitions"),
    ] {
        assert!(!may(&tenant, None, verb, group, resource).await, "{verb} {resource} everywhere");
    }
}

#[tokio::test]
async fn the_shipped_cluster_role_is_enough_and_used_to_the_full() {
    let control_plane = ControlPlane::start();
    let tenant = Tenant::on(&control_plane).await;
    let cloud = Cloud::start().await;
    let origin = format!("--allowed-origin={}", cloud.origin());
    let copy = || tenant.operator().cluster_wide().arg(&origin);
    let copies = [copy().start().await, copy().start().await];
    let requests = story(&tenant, &cloud, copies).await;
    assert_eq!(used(&requests), granted(&Rights::cluster_wide()));
    only_the_status_is_the_operators(&tenant).await;
}

/// Both files give the same rights, and each of them is taken away in a test below.
#[test]
fn the_shipped_files_differ_only_in_their_scope() {
    let rights = Rights::namespaced("payments").granted();
    assert_eq!(rights, Rights::cluster_wide().granted());
    let resources: BTreeSet<_> = rights.iter().map(|(_, resource, _)| resource.as_str()).collect();
    let expected = ["events", "leases", "migrationlinks", "migrationlinks/status", "secrets"];
    assert_eq!(resources, BTreeSet::from(expected));
}

#[tokio::test]
async fn each_right_on_links_is_needed_named_when_it_is_missing_and_taken_up_when_it_is_given() {
    each("migrationlinks", async |verb| match verb {
        "list" | "watch" => links_unwatched(verb).await,
        "get" => conflict_unread().await,
        _ => panic!("no test takes {verb} away"),
    })
    .await;
}

#[tokio::test]
async fn each_right_on_secrets_is_needed_named_when_it_is_missing_and_taken_up_when_it_is_given() {
    each("secrets", async |verb| match verb {
        "list" | "watch" => secrets_unwatched(verb).await,
        "get" => secret_unread().await,
        _ => panic!("no test takes {verb} away"),
    })
    .await;
}

#[tokio::test]
async fn each_right_on_events_is_needed_named_when_it_is_missing_and_taken_up_when_it_is_given() {
    each("events", async |verb| match verb {
        "create" | "patch" => events_unwritten(verb).await,
        _ => panic!("no test takes {verb} away"),
    })
    .await;
}

#[tokio::test]
async fn each_right_on_the_lease_is_needed_named_when_it_is_missing_and_taken_up_when_it_is_given() {
    each("leases", async |verb| match verb {
        "get" | "create" | "update" => lease_untaken(verb).await,
        "watch" => lease_unwatched().await,
        _ => panic!("no test takes {verb} away"),
    })
    .await;
}

/// Record first: what was answered is kept for as long as it cannot be written, and nothing is sent again.
#[tokio::test]
async fn without_the_right_to_write_the_status_the_answer_of_one_post_is_kept_until_it_can_be_recorded() {
    each("migrationlinks/status", async |verb| assert_eq!(verb, "patch")).await;
    let tenant = Tenant::new().await;
    let cloud = Cloud::start().await;
    let operator = start_without(&tenant, &cloud, "patch", "migrationlinks/status").await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    says(&operator, "the operator's role lacks patch on migrationlinks/status").await;
    eventually("it goes on trying", async || {
        let refused = operator.requests().count("patch", "migrationlinks/status");
        if refused >= 3 { Ok(()) } else { Err(format!("{refused} refused")) }
    })
    .await;
    let tries = operator.requests().count("patch", "migrationlinks/status");
    assert!(tries < 10, "{tries} tries within seconds");
    assert_eq!(cloud.calls().posts, 1);
    let status = tenant.link("link").await.status.expect("the default of the CRD");
    assert_eq!((status.observed_generation, status.conditions), (Some(-1), None));
    assert_eq!(operator.probe("/livez").await.0, 200);

    give_back(&tenant).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    let calls = cloud.calls();
    assert_eq!((calls.posts, calls.polls, calls.others), (1, 0, 0), "{calls:?}");
}

/// Without `list` or `watch` on links.
async fn links_unwatched(verb: &str) {
    let tenant = Tenant::new().await;
    let mut operator = tenant.operator().without(verb, "migrationlinks").spawn().await;
    let sentence =
        format!("the operator's role lacks {verb} on migrationlinks in namespace {}", tenant.namespace);
    says(&operator, &sentence).await;
    eventually("it is not ready", async || match operator.probe("/readyz").await {
        (503, why) if why.contains("migrationlinks in namespace") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    eventually("it goes on trying", async || {
        let refused = operator.requests().count(verb, "migrationlinks");
        if refused >= 3 { Ok(()) } else { Err(format!("{refused} refused")) }
    })
    .await;
    let log = operator.log();
    assert_eq!(log.matches(&sentence).count(), 1, "said once: {log}");
    assert!(!log.contains("works"), "{log}");
    assert_eq!(operator.probe("/livez").await.0, 200);
    tenant.create_link("link", link_spec("https://om.example.com")).await;

    give_back(&tenant).await;
    tenant.wait_for_ready("link", "False", "EndpointNotAllowed").await;
    operator.wait_until_ready().await;
}

/// Without `get` on links: of use only after a conflict.
async fn conflict_unread() {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start().await;
    let operator = start_without(&tenant, &cloud, "get", "migrationlinks").await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    conflict(&tenant, &operator).await;
    says(&operator, "the operator's role lacks get on migrationlinks").await;
    give_back(&tenant).await;
    acknowledged(&tenant, "after all").await;
}

/// Without `list` or `watch` on Secrets: links work, changes of Secrets are not noticed.
async fn secrets_unwatched(verb: &str) {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start().await;
    let mut operator = start_without(&tenant, &cloud, verb, "secrets").await;
    says(
        &operator,
        &format!("the operator's role lacks {verb} on secrets in namespace {}", tenant.namespace),
    )
    .await;
    assert!(operator.log().contains("--secret-access=get"));
    let (status, why) = operator.probe("/readyz").await;
    assert!(status == 503 && why.contains("secrets in namespace"), "{status} {why}");
    // Nobody wakes it when the Secret appears: it is looked for at the slow pace.
    tenant.create_link("early", link_spec(&cloud.base_url())).await;
    let early = tenant.wait_for_ready("early", "False", "SecretNotFound").await;
    assert!(early.status.unwrap().next_attempt_time.is_some());
    tenant.links().delete("early", &DeleteParams::default()).await.unwrap();
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    tenant.edit_secret("keys", &[("linkToken", "the-next-token")]).await;

    give_back(&tenant).await;
    eventually("the rotation is noticed", async || match cloud.calls() {
        calls if calls.posts == 2 => Ok(()),
        calls => Err(format!("{calls:?}")),
    })
    .await;
    operator.wait_until_ready().await;
}

/// The operator is told to watch two namespaces and may see only one.
#[tokio::test]
async fn a_namespace_that_is_forbidden_stops_no_other() {
    let (tenant, forbidden) = (Tenant::new().await, Tenant::new().await);
    let cloud = Cloud::start().await;
    let operator = tenant
        .operator()
        .arg(format!("--watch-namespace={}", forbidden.namespace))
        .arg(format!("--allowed-origin={}", cloud.origin()))
        .spawn()
        .await;
    says(&operator, &format!("migrationlinks in namespace {}", forbidden.namespace)).await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    assert_eq!(operator.probe("/readyz").await.0, 503);
}

/// Without `get` on Secrets.
async fn secret_unread() {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start().await;
    let operator = start_without(&tenant, &cloud, "get", "secrets").await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    let link = tenant.wait_for_ready("link", "False", "SecretAccessDenied").await;
    let conditions = link.status.unwrap().conditions.unwrap();
    assert!(conditions.is_true(ConditionType::Stalled));
    let message = conditions.of(ConditionType::Ready).unwrap().message.clone();
    for part in ["Secret keys", "RoleBinding", &tenant.namespace, RECONCILE_AT] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(operator.requests().count("get", "secrets"), 1, "tried again at the slow pace only");
    assert_eq!(cloud.simulator.journal(), []);

    give_back(&tenant).await;
    // As the message says.
    tenant.annotate_link("link", RECONCILE_AT, "now").await;
    tenant.wait_for_ready("link", "True", "Synced").await;
}

/// Without `create` or `patch` on events: they are counted as lost, and nothing else suffers.
async fn events_unwritten(verb: &str) {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start().await;
    let operator = start_without(&tenant, &cloud, verb, "events").await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    same_event_twice(&tenant).await;
    says(&operator, "the operator's role lacks create and patch on events.k8s.io").await;
    let lost = "migrationlink_events_dropped_total ";
    eventually("the lost event is counted", async || {
        let metrics = operator.metrics().await;
        let line = metrics.lines().find(|line| line.starts_with(lost)).unwrap_or_default().to_owned();
        if line.trim_start_matches(lost).parse::<u32>().is_ok_and(|count| count > 0) {
            Ok(())
        } else {
            Err(line)
        }
    })
    .await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.wait_for_ready("link", "True", "Synced").await;

    give_back(&tenant).await;
    tenant.delete_secret("keys").await;
    tenant.wait_for_ready("link", "False", "SecretNotFound").await;
    same_event_twice(&tenant).await;
    eventually("the event and its repetition are there", async || {
        let events = tenant.events("link").await;
        let repeated = events.iter().any(|event| {
            event.reason.as_deref() == Some("SecretNotFound")
                && event.series.as_ref().is_some_and(|series| series.count >= 2)
        });
        if repeated { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
}

/// Without `get`, `create` or `update` on leases: it does nothing, and does not end either.
async fn lease_untaken(verb: &str) {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start().await;
    let origin = format!("--allowed-origin={}", cloud.origin());
    let mut operator =
        tenant.operator().arg(origin).arg("--lease-duration=5s").without(verb, "leases").spawn().await;
    let sentence = format!("the operator's role lacks {verb} on leases (see deploy/rbac.yaml)");
    says(&operator, &sentence).await;
    eventually("it is not ready", async || match operator.probe("/readyz").await {
        (503, why) if why.contains(&sentence) && why.contains(&tenant.namespace) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    eventually("it goes on trying", async || {
        let refused = operator.requests().count(verb, "leases");
        if refused >= 5 { Ok(()) } else { Err(format!("{refused} refused")) }
    })
    .await;
    assert_eq!(operator.log().matches(&sentence).count(), 1, "said once: {}", operator.log());
    assert_eq!(operator.probe("/livez").await.0, 200);
    assert!(!operator.leads().await);
    assert!(operator.requests().counts().is_empty() && cloud.simulator.journal().is_empty());

    give_back(&tenant).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    operator.wait_until_ready().await;
}

/// Without `watch` on leases: who waits for its turn reads the lease again and again.
async fn lease_unwatched() {
    let tenant = Tenant::new().await;
    let copy = || tenant.operator().arg("--lease-duration=5s").without("watch", "leases");
    let mut first = copy().start().await;
    first.wait_until_it_leads().await;
    let second = copy().start().await;
    says(&second, "the operator's role lacks watch on leases (see deploy/rbac.yaml)").await;
    let reads = || second.requests().count("get", "leases");
    let before = reads();
    eventually("it is read again and again", async || match reads() - before {
        again if again >= 3 => Ok(()),
        again => Err(format!("{again} times")),
    })
    .await;
    give_back(&tenant).await;
    eventually("it is not read any more", async || {
        let before = reads();
        sleep(Duration::from_secs(2)).await;
        if reads() == before { Ok(()) } else { Err("it is".to_owned()) }
    })
    .await;
    assert_eq!(first.stop().await, Some(0));
    second.wait_until_it_leads().await;
}

/// Everything that takes a right: a link that comes before its Secret, a bad Secret, the same event twice, a first sync, a rotation, a
/// conflict, another copy that takes over, and the end of the watches. No request of it is refused.
async fn story(tenant: &Tenant<'_>, cloud: &Cloud, copies: [Operator<'_>; 2]) -> Requests {
    let [mut operator, mut second] = copies;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    same_event_twice(tenant).await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    tenant.edit_secret("keys", &[("linkToken", "the-next-token")]).await;
    eventually("the rotation", async || match cloud.calls() {
        calls if calls.posts == 2 => Ok(()),
        calls => Err(format!("{calls:?}")),
    })
    .await;
    assert_eq!(cloud.simulator.link_token(ORG_ID).as_deref(), Some("the-next-token"));
    conflict(tenant, &operator).await;
    acknowledged(tenant, "after all").await;
    eventually("the repeated event", async || {
        let requests = operator.requests();
        if requests.count("patch", "events") > 0 { Ok(()) } else { Err(format!("{requests:?}")) }
    })
    .await;
    assert_eq!(operator.stop().await, Some(0));
    second.wait_until_it_leads().await;
    assert_eq!(second.stop().await, Some(0));
    eventually("the watches are in the audit log", async || {
        let requests = operator.requests();
        let ended = ["leases", "migrationlinks", "secrets"].iter().all(|of| requests.count("watch", of) > 0);
        if ended { Ok(()) } else { Err(format!("{requests:?}")) }
    })
    .await;
    let requests = operator.requests();
    for request in &requests.0 {
        assert!(!matches!(request.code, 401 | 403), "{request:?}");
    }
    requests
}

/// From no Secret to a bad one and back: `SecretNotFound` two times.
async fn same_event_twice(tenant: &Tenant<'_>) {
    tenant.wait_for_ready("link", "False", "SecretNotFound").await;
    tenant.create_secret("keys", &[("publicKey", "abcdefgh")]).await;
    tenant.wait_for_ready("link", "False", "InvalidSecret").await;
    tenant.delete_secret("keys").await;
    tenant.wait_for_ready("link", "False", "SecretNotFound").await;
}

/// Edits the link without a pause, each time so that the operator has something to write, until an edit falls between the operator's
/// look at the link and its write: it then reads the link again.
async fn conflict(tenant: &Tenant<'_>, operator: &Operator<'_>) {
    let links = tenant.links();
    let edits = join_all((0..2).map(|editor| {
        let links = links.clone();
        async move {
            for number in 0_u32.. {
                let value = format!("{editor}-{number}");
                let patch = json!({"metadata": {"annotations": {RECONCILE_AT: value}}});
                // Two at a time may get in each other's way.
                let _ = links.patch("link", &PatchParams::default(), &Patch::Merge(&patch)).await;
            }
        }
    }));
    let met = eventually("a conflict", async || match operator.requests().count("get", "migrationlinks") {
        0 => Err("none yet".to_owned()),
        _ => Ok(()),
    });
    tokio::select! {
        _ = edits => unreachable!("it edits for ever"),
        () = met => {}
    }
    let requests = operator.requests();
    assert!(requests.0.iter().any(|request| request.code == 409), "a link is read only after a conflict");
}

/// Asks for a check, and waits until it was made.
async fn acknowledged(tenant: &Tenant<'_>, value: &str) {
    tenant.annotate_link("link", RECONCILE_AT, value).await;
    tenant
        .wait_for("link", "the wish is acknowledged", |link| {
            let handled = link.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_deref());
            handled == Some(value)
        })
        .await;
}

/// What the operator owns of a link is its status.
async fn only_the_status_is_the_operators(tenant: &Tenant<'_>) {
    let link = tenant.raw_links().get("link").await.expect("the link");
    let owned: Vec<_> = link.metadata.managed_fields.into_iter().flatten().collect();
    let mut fields = Vec::new();
    for entry in owned.iter().filter(|entry| entry.manager.as_deref() == Some("migrationlink-operator")) {
        assert_eq!(entry.operation.as_deref(), Some("Apply"), "{entry:?}");
        assert_eq!(entry.subresource.as_deref(), Some("status"), "{entry:?}");
        let Some(Value::Object(own)) = entry.fields_v1.as_ref().map(|fields| &fields.0) else {
            panic!("{entry:?}")
        };
        fields.extend(own.keys().cloned());
    }
    assert_eq!(fields, ["f:status"], "{owned:?}");
}

/// Runs the test of each verb that is shipped for this resource, side by side.
async fn each(resource: &str, test: impl AsyncFn(&str)) {
    let rights = Rights::namespaced("payments").granted();
    let verbs = rights.iter().filter(|right| right.1 == resource).map(|right| right.2.as_str());
    let ran = join_all(verbs.map(|verb| test(verb))).await;
    assert!(!ran.is_empty(), "{resource} is not in the shipped role");
}

async fn start_without<'a>(
    tenant: &'a Tenant<'a>,
    cloud: &Cloud,
    verb: &str,
    resource: &str,
) -> Operator<'a> {
    let origin = format!("--allowed-origin={}", cloud.origin());
    tenant.operator().arg(origin).without(verb, resource).spawn().await
}

/// Gives all the shipped rights.
async fn give_back(tenant: &Tenant<'_>) {
    Rights::namespaced(&tenant.namespace).grant(&tenant.client).await;
}

async fn says(operator: &Operator<'_>, sentence: &str) {
    eventually(&format!("the log says: {sentence}"), async || {
        let log = operator.log();
        if log.contains(sentence) { Ok(()) } else { Err(log) }
    })
    .await;
}

/// Resource and verb of each right that is given.
fn granted(rights: &Rights) -> BTreeSet<(String, String)> {
    rights.granted().into_iter().map(|(_, resource, verb)| (resource, verb)).collect()
}

/// Resource and verb of each right that was used.
fn used(requests: &Requests) -> BTreeSet<(String, String)> {
    requests.0.iter().map(|request| (request.resource.clone(), request.verb.clone())).collect()
}

/// What `kubectl auth can-i` asks, about the operator of this tenant.
async fn may(
    tenant: &Tenant<'_>,
    namespace: Option<&String>,
    verb: &str,
    group: &str,
    resource: &str,
) -> bool {
    let text = |text: &str| Some(text.to_owned());
    let attributes = ResourceAttributes {
        group: text(group),
        resource: text(resource),
        verb: text(verb),
        namespace: namespace.cloned(),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(user(&tenant.namespace)),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = Api::all(tenant.client.clone()).create(&PostParams::default(), &review).await;
    answer.expect("an access review").status.expect("an answer").allowed
}
