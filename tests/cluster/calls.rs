//! Exactly what is asked, of the API server and of Cloud Manager: the table "Calls, exactly" of the design.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use migrationlink_operator::api::{MigrationLink, MigrationLinkSpec};
use migrationlink_simulator::{Answer, ApiKeys, Behaviour, Phase};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::{
    ANNOUNCE_AND_WRITE, Calls, Cloud, EVENT, Ledger, ORG_ID, Operator, READ_SECRET, Tenant, WRITE_STATUS,
    link_spec,
};

const NO_CALL: Calls = Calls { challenges: 0, posts: 0, polls: 0, others: 0, refused: 0 };
const ONE_POST: Calls = Calls { posts: 1, ..NO_CALL };
const ONE_POLL: Calls = Calls { polls: 1, ..NO_CALL };

/// Nonces that outlive the test, so that no count depends on how busy the machine is.
async fn cloud() -> Cloud {
    let cloud = Cloud::start().await;
    cloud.simulator.configure(|config| config.digest.max_nonce_age = Duration::from_hours(1));
    cloud
}

/// An operator that checks nothing by itself while a test runs.
async fn operator<'a>(tenant: &'a Tenant<'a>, cloud: &Cloud) -> Operator<'a> {
    let origin = format!("--allowed-origin={}", cloud.origin());
    tenant.operator().arg(origin).arg("--sync-interval=24h").start().await
}

/// A link called `link` that is SYNCED, all that belongs to it done.
async fn synced(tenant: &Tenant<'_>, cloud: &Cloud, operator: &Operator<'_>) -> MigrationLink {
    let ledger = Ledger::open(operator, cloud);
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    let link = tenant.wait_for_ready("link", "True", "Synced").await;
    ledger.expect(&[READ_SECRET, WRITE_STATUS, EVENT], Calls { challenges: 1, ..ONE_POST }).await;
    link
}

fn secrets(tenant: &Tenant<'_>) -> Api<Secret> {
    Api::namespaced(tenant.client.clone(), &tenant.namespace)
}

async fn label_secret(tenant: &Tenant<'_>, name: &str, value: &str) {
    let patch = Patch::Merge(json!({"metadata": {"labels": {"note": value}}}));
    secrets(tenant).patch(name, &PatchParams::default(), &patch).await.expect("a label");
}

/// Waits until the status is about the Secret as it is now.
async fn wait_for_secret_in_status(tenant: &Tenant<'_>, link: &str) -> MigrationLink {
    let version = secrets(tenant).get("keys").await.expect("the Secret").metadata.resource_version;
    tenant
        .wait_for(link, &format!("inputs are those of version {version:?}"), |link| {
            let inputs = link.status.iter().flat_map(|status| status.inputs.iter().flatten());
            inputs.into_iter().any(|input| input.resource_version == version)
        })
        .await
}

#[tokio::test]
async fn a_first_sync_asks_for_one_challenge_without_the_token_and_the_next_link_for_none() {
    let (tenant, cloud) = (Tenant::new().await, cloud().await);
    let operator = operator(&tenant, &cloud).await;
    synced(&tenant, &cloud, &operator).await;
    let [challenge, post] = &cloud.simulator.journal()[..] else { panic!("two requests") };
    assert!(!challenge.authorization && challenge.body_length == 0, "{challenge:?}");
    assert_eq!((challenge.status, &challenge.link_token), (Some(401), &None));
    assert_eq!((post.method.as_str(), post.status, post.nc), ("POST", Some(201), Some(1)));
    assert_eq!(post.link_token.as_deref(), Some("a-link-token"));

    let another = "5f0d1e2a3b4c5d6e7f805678";
    cloud.add_organization(another);
    let nonce = post.nonce;
    let ledger = Ledger::open(&operator, &cloud);
    let spec = MigrationLinkSpec { org_id: another.to_owned(), ..link_spec(&cloud.base_url()) };
    tenant.create_link("next", spec).await;
    tenant.wait_for_ready("next", "True", "Synced").await;
    ledger.expect(&[READ_SECRET, WRITE_STATUS, EVENT], ONE_POST).await;
    let post = &cloud.simulator.journal()[0];
    assert_eq!((post.nonce, post.nc, post.org_id.as_deref()), (nonce, Some(2), Some(another)));
}

#[tokio::test]
async fn the_status_of_a_synced_link_says_what_it_is_about_and_has_one_owner() {
    let (tenant, cloud) = (Tenant::new().await, cloud().await);
    let operator = operator(&tenant, &cloud).await;
    let link = synced(&tenant, &cloud, &operator).await;
    let secret = secrets(&tenant).get("keys").await.expect("the Secret").metadata;
    let mut status = serde_json::to_value(&link.status).expect("a status is JSON");

    for (what, known) in [
        ("/inputs/0/uid", json!(secret.uid)),
        ("/inputs/0/resourceVersion", json!(secret.resource_version)),
        ("/conditions/0/message", json!("The organization is linked with Atlas: the API says SYNCED.")),
    ] {
        assert_eq!(status.pointer(what), Some(&known), "{what}");
    }
    for fingerprint in ["/inputs/0/content", "/link/tokenFingerprint", "/link/keyFingerprint"] {
        let found = status.pointer(fingerprint).and_then(Value::as_str).unwrap_or_default();
        assert!(found.len() == 16 && found.bytes().all(|byte| byte.is_ascii_hexdigit()), "{fingerprint}");
    }
    for time in ["/lastSyncedTime", "/link/heldSince", "/link/acceptedTime"] {
        assert_eq!(status.pointer(time), status.pointer("/conditions/0/lastTransitionTime"), "{time}");
    }
    // What was compared above is of no more interest.
    blank(&mut status);
    let expected = json!({
        "observedGeneration": 1,
        "state": "SYNCED",
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Synced", "observedGeneration": 1,
            "message": "…", "lastTransitionTime": "…",
        }],
        "lastSyncedTime": "…",
        "link": {"heldSince": "…", "acceptedTime": "…", "tokenFingerprint": "…", "keyFingerprint": "…"},
        "inputs": [{"kind": "Secret", "name": "keys", "uid": "…", "resourceVersion": "…", "content": "…"}],
    });
    assert_eq!(status, expected);

    let link = serde_json::to_value(&link).expect("a link is JSON");
    let managers = link.pointer("/metadata/managedFields").and_then(Value::as_array).expect("managers");
    let ours: Vec<_> = managers.iter().filter(|entry| entry["manager"] == "migrationlink-operator").collect();
    let [entry] = ours[..] else { panic!("{managers:?}") };
    assert_eq!((&entry["operation"], &entry["subresource"]), (&json!("Apply"), &json!("status")));
    let owned: Vec<_> = entry["fieldsV1"].as_object().expect("fields").keys().collect();
    assert_eq!(owned, ["f:status"]);
}

fn blank(value: &mut Value) {
    const OF_INTEREST: [&str; 10] = [
        "observedGeneration",
        "state",
        "type",
        "status",
        "reason",
        "kind",
        "name",
        "conditions",
        "link",
        "inputs",
    ];
    match value {
        Value::Array(items) => items.iter_mut().for_each(blank),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if !OF_INTEREST.contains(&name.as_str()) => "…".clone_into(text),
                    _ => blank(field),
                }
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn in_steady_state_nothing_is_asked_and_labels_of_others_change_nothing() {
    let (tenant, cloud) = (Tenant::new().await, cloud().await);
    let operator = operator(&tenant, &cloud).await;
    synced(&tenant, &cloud, &operator).await;
    let ledger = Ledger::open(&operator, &cloud);
    ledger.expect_nothing().await;
    let before = tenant.link("link").await;
    tenant
        .edit_link(
            "link",
            json!({"metadata": {"labels": {"team": "a"}, "annotations": {"example.com/note": "b"}}}),
        )
        .await;
    ledger.expect_nothing().await;
    assert_eq!(tenant.link("link").await.status, before.status);
    let version = || async {
        tenant.links().list(&ListParams::default()).await.expect("links").items[0]
            .metadata
            .resource_version
            .clone()
    };
    let first = version().await;
    ledger.expect_nothing().await;
    assert_eq!(version().await, first);
}

#[tokio::test]
async fn an_edit_of_the_spec_that_needs_no_call_is_one_write() {
    let (tenant, cloud) = (Tenant::new().await, cloud().await);
    let operator = operator(&tenant, &cloud).await;
    synced(&tenant, &cloud, &operator).await;
    let ledger = Ledger::open(&operator, &cloud);
    tenant.edit_link("link", json!({"spec": {"syncInterval": "12h"}})).await;
    let link = tenant.wait_for_ready("link", "True", "Synced").await;
    ledger.expect(&[WRITE_STATUS], NO_CALL).await;
    assert_eq!(link.status.and_then(|status| status.observed_generation), Some(2));
}

#[tokio::test]
async fn a_secret_with_the_same_values_is_read_once_and_noted() {
    let (tenant, cloud) = (Tenant::new().await, cloud().await);
    let operator = operator(&tenant, &cloud).await;
    let before = synced(&tenant, &cloud, &operator).await;
    let ledger = Ledger::open(&operator, &cloud);
    label_secret(&tenant, "keys", "a").await;
    wait_for_secret_in_status(&tenant, "link").await;
    ledger.expect(&[READ_SECRET, WRITE_STATUS], NO_CALL).await;

    let ledger = Ledger::open(&operator, &cloud);
    tenant.edit_secret("keys", &[("note", "of somebody else")]).await;
    let after = wait_for_secret_in_status(&tenant, "link").await;
    ledger.expect(&[READ_SECRET, WRITE_STATUS], NO_CALL).await;
    let content = |link: &MigrationLink| {
        link.status.as_ref().and_then(|status| status.inputs.as_ref()?.first()?.content.clone())
    };
    assert!(content(&before).is_some() && content(&before) == content(&after), "{after:?}");
}

#[tokio::test]
async fn a_secret_with_the_same_values_clears_no_back_off_and_a_new_token_does() {
    let (tenant, cloud) = (Tenant::new().await, cloud().await);
    let operator = operator(&tenant, &cloud).await;
    let refusal = Answer::NotOnAccessList { address: "192.0.2.1".to_owned() };
    cloud.simulator.script(Behaviour::new(refusal).in_phase(Phase::Authenticated).times(1));
    let ledger = Ledger::open(&operator, &cloud);
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    let before = tenant.wait_for_ready("link", "False", "AccessListDenied").await;
    ledger.expect(&[READ_SECRET, WRITE_STATUS, EVENT], Calls { challenges: 1, ..ONE_POST }).await;

    let ledger = Ledger::open(&operator, &cloud);
    label_secret(&tenant, "keys", "a").await;
    let after = wait_for_secret_in_status(&tenant, "link").await;
    ledger.expect(&[READ_SECRET, WRITE_STATUS], NO_CALL).await;
    let waits = |link: MigrationLink| {
        let status = link.status.expect("a status");
        (status.attempts, status.next_attempt_time.expect("a next attempt"))
    };
    assert_eq!(waits(before), waits(after));

    let ledger = Ledger::open(&operator, &cloud);
    tenant.edit_secret("keys", &[("linkToken", "another-link-token")]).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    ledger.expect(&[READ_SECRET, WRITE_STATUS, EVENT], ONE_POST).await;
    assert_eq!(cloud.simulator.link_token(ORG_ID).as_deref(), Some("another-link-token"));
}

#[tokio::test]
async fn a_rotated_token_is_sent_once() {
    let (tenant, cloud) = (Tenant::new().await, cloud().await);
    let operator = operator(&tenant, &cloud).await;
    let before =
        synced(&tenant, &cloud, &operator).await.status.and_then(|status| status.link).expect("a link");
    let ledger = Ledger::open(&operator, &cloud);
    tenant.edit_secret("keys", &[("linkToken", "another-link-token")]).await;
    let after = wait_for_secret_in_status(&tenant, "link").await;
    ledger.expect(&[READ_SECRET, ANNOUNCE_AND_WRITE], ONE_POST).await;
    assert_eq!(cloud.simulator.link_token(ORG_ID).as_deref(), Some("another-link-token"));
    let after = after.status.and_then(|status| status.link).expect("a link");
    assert_eq!(after.held_since, before.held_since);
    assert_ne!(after.token_fingerprint, before.token_fingerprint);
    assert_eq!(after.key_fingerprint, before.key_fingerprint);
}

#[tokio::test]
async fn rotated_api_keys_are_tried_with_one_poll_and_the_token_is_not_sent() {
    let (tenant, cloud) = (Tenant::new().await, cloud().await);
    let operator = operator(&tenant, &cloud).await;
    synced(&tenant, &cloud, &operator).await;
    let ledger = Ledger::open(&operator, &cloud);
    let (public, private) = ("ijklmnop", "0b6ff4a3-6a0a-4f5c-8d5e-0c1d2e3f4a5b");
    cloud.simulator.set_keys(ORG_ID, [ApiKeys::new(public, private)]);
    tenant.edit_secret("keys", &[("publicKey", public), ("privateKey", private)]).await;
    wait_for_secret_in_status(&tenant, "link").await;
    ledger.expect(&[READ_SECRET, WRITE_STATUS], Calls { challenges: 1, ..ONE_POLL }).await;
}

#[tokio::test]
async fn a_check_that_was_asked_for_is_one_poll_and_a_relink_one_post() {
    let (tenant, cloud) = (Tenant::new().await, cloud().await);
    let operator = operator(&tenant, &cloud).await;
    synced(&tenant, &cloud, &operator).await;
    let ledger = Ledger::open(&operator, &cloud);
    tenant.annotate_link("link", "migrationlink.dev/reconcile-at", "first").await;
    ledger.expect(&[READ_SECRET, WRITE_STATUS], ONE_POLL).await;
    let status = tenant.link("link").await.status.expect("a status");
    assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("first"));

    let ledger = Ledger::open(&operator, &cloud);
    tenant.annotate_link("link", "migrationlink.dev/relink-at", "second").await;
    ledger.expect(&[READ_SECRET, WRITE_STATUS], ONE_POST).await;
    let status = tenant.link("link").await.status.expect("a status");
    assert_eq!(status.last_handled_relink_at.as_deref(), Some("second"));
    assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("first"));
}

/// The slow one: a check comes 30 to 90 s after the last answer, at the link's own second of the minute.
#[tokio::test]
async fn a_regular_check_is_one_read_and_one_poll_and_writes_nothing() {
    let (tenant, cloud) = (Tenant::new().await, cloud().await);
    let operator = operator(&tenant, &cloud).await;
    synced(&tenant, &cloud, &operator).await;
    let ledger = Ledger::open(&operator, &cloud);
    tenant.edit_link("link", json!({"spec": {"syncInterval": "1m"}})).await;
    let before = tenant.wait_for_ready("link", "True", "Synced").await;
    let begin = Instant::now();
    while cloud.calls() == NO_CALL {
        assert!(begin.elapsed() < Duration::from_mins(3), "no check");
        sleep(Duration::from_millis(200)).await;
    }
    // The write is that of the new generation, before the check.
    ledger.expect(&[READ_SECRET, WRITE_STATUS], ONE_POLL).await;
    assert_eq!(tenant.link("link").await.metadata.resource_version, before.metadata.resource_version);
}
