//! Each of the shipped rights is needed, named when it is missing, and taken up when it is given.

use futures::future::join_all;
use kube::api::DeleteParams;
use migrationlink_operator::api::{ConditionType, Conditions, DeletionPolicy, FINALIZER, MigrationLinkSpec};

use super::{RECONCILE_AT, acknowledged, conflict, same_event_twice, says, with_ca};
use crate::support::{Cloud, ControlPlane, Operator, Rights, Tenant, eventually, link_spec};

#[tokio::test]
async fn each_right_on_links_is_needed_named_when_it_is_missing_and_taken_up_when_it_is_given() {
    each("migrationlinks", async |verb| match verb {
        "list" | "watch" => links_unwatched(verb).await,
        "get" => conflict_unread().await,
        "patch" => finalizer_unwritten().await,
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
async fn each_right_on_config_maps_is_needed_named_when_it_is_missing_and_taken_up_when_it_is_given() {
    each("configmaps", async |verb| match verb {
        "list" | "watch" => config_maps_unwatched(verb).await,
        "get" => config_map_unread().await,
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

/// Without `patch` on links: nothing is sent that could not be removed again, and links that stay need no such right.
async fn finalizer_unwritten() {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start().await;
    let operator = start_without(&tenant, &cloud, "patch", "migrationlinks").await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    let deleted =
        MigrationLinkSpec { deletion_policy: DeletionPolicy::Delete, ..link_spec(&cloud.base_url()) };
    tenant.create_link("link", deleted).await;
    says(&operator, "the operator's role lacks patch on migrationlinks (see").await;
    assert_eq!(operator.requests().count("get", "secrets"), 0);
    assert_eq!(cloud.simulator.journal(), []);
    let org_id = "5f0d1e2a3b4c5d6e7f800002";
    cloud.add_organization(org_id);
    let retained = MigrationLinkSpec { org_id: org_id.to_owned(), ..link_spec(&cloud.base_url()) };
    tenant.create_link("retained", retained).await;
    tenant.wait_for_ready("retained", "True", "Synced").await;

    give_back(&tenant).await;
    let link = tenant.wait_for_ready("link", "True", "Synced").await;
    assert_eq!(link.metadata.finalizers, Some(vec![FINALIZER.to_owned()]));
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

/// Without `list` or `watch` on `ConfigMap`s: links work, changes of `ConfigMap`s are not noticed.
async fn config_maps_unwatched(verb: &str) {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start().await;
    let operator = start_without(&tenant, &cloud, verb, "configmaps").await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("first", with_ca(link_spec("https://om.example.com"))).await;
    let sentence =
        format!("the operator's role lacks {verb} on configmaps in namespace {}", tenant.namespace);
    says(&operator, &sentence).await;
    assert!(operator.log().contains("--secret-access=get"));
    // Nobody wakes it when the ConfigMap appears: it is looked for at the slow pace.
    tenant.create_link("link", with_ca(link_spec(&cloud.base_url()))).await;
    let link = tenant.wait_for_ready("link", "False", "CANotFound").await;
    assert!(link.status.unwrap().next_attempt_time.is_some());
    tenant.create_config_map("ca", &[("ca.crt", &cloud.simulator.ca_pem().unwrap())]).await;

    give_back(&tenant).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    assert_eq!(operator.log().matches(&sentence).count(), 1, "said once");
}

/// Without `get` on `ConfigMap`s.
async fn config_map_unread() {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start().await;
    let operator = start_without(&tenant, &cloud, "get", "configmaps").await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_config_map("ca", &[("ca.crt", &cloud.simulator.ca_pem().unwrap())]).await;
    // The watch begins with the first link that uses one.
    tenant.create_link("first", with_ca(link_spec("https://om.example.com"))).await;
    says(&operator, &format!("the first list of configmaps in namespace {} is in", tenant.namespace)).await;
    tenant.create_link("link", with_ca(link_spec(&cloud.base_url()))).await;
    let link = tenant.wait_for_ready("link", "False", "SecretAccessDenied").await;
    let conditions = link.status.unwrap().conditions.unwrap();
    assert!(conditions.is_true(ConditionType::Stalled));
    let message = conditions.of(ConditionType::Ready).unwrap().message.clone();
    for part in ["ConfigMap ca", "RoleBinding", "get on configmaps", &tenant.namespace, RECONCILE_AT] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(operator.requests().count("get", "configmaps"), 1, "tried again at the slow pace only");
    assert_eq!(cloud.simulator.journal(), []);

    give_back(&tenant).await;
    tenant.annotate_link("link", RECONCILE_AT, "now").await;
    tenant.wait_for_ready("link", "True", "Synced").await;
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

/// Who takes over reads the links of an organization before a token is sent, and passes over one that it may not read: whoever takes
/// this right away in a namespace of theirs holds up nobody else.
#[tokio::test]
async fn a_link_that_may_not_be_read_after_a_takeover_holds_up_no_other_of_its_organization() {
    let control_plane = ControlPlane::start();
    let (tenant, theirs) = (Tenant::on(&control_plane).await, Tenant::on(&control_plane).await);
    let cloud = Cloud::start().await;
    for (name, verbs, resources) in [
        ("see", "list,watch", "migrationlinks.migrationlink.dev,secrets,configmaps"),
        ("write", "patch", "migrationlinks.migrationlink.dev/status"),
    ] {
        let account = format!("{}:{}", tenant.namespace, Rights::namespaced(&tenant.namespace).account);
        for made in [
            &["create", "role", name, "--verb", verbs, "--resource", resources][..],
            &["create", "rolebinding", name, "--role", name, "--serviceaccount", &account],
        ] {
            let output = theirs.kubectl(made, "");
            assert!(output.success, "{output:?}");
        }
    }
    let copy = || {
        tenant
            .operator()
            .arg(format!("--watch-namespace={}", theirs.namespace))
            .arg(format!("--allowed-origin={}", cloud.origin()))
    };
    let mut first = copy().start().await;
    for tenant in [&tenant, &theirs] {
        tenant.create_link("link", link_spec(&cloud.base_url())).await;
    }
    tenant.wait_for_ready("link", "False", "SecretNotFound").await;
    theirs.wait_for_ready("link", "False", "SecretAccessDenied").await;
    let second = copy().start().await;
    assert_eq!(first.stop().await, Some(0));
    second.wait_until_it_leads().await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    says(&second, "a link of the same organization cannot be read").await;
    let requests = second.requests();
    let reads = requests.0.iter().filter(|read| read.verb == "get" && read.resource == "migrationlinks");
    let refused = reads.filter(|read| read.code == 403 && read.namespace == theirs.namespace);
    assert_eq!(refused.count(), 1, "{requests:?}");
    assert_eq!(cloud.calls().posts, 1);
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

/// Runs the test of each verb that is shipped for this resource, side by side.
pub(super) async fn each(resource: &str, test: impl AsyncFn(&str)) {
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
pub(super) async fn give_back(tenant: &Tenant<'_>) {
    Rights::namespaced(&tenant.namespace).grant(&tenant.client).await;
}
