//! Every captured state as a live resource: the API server keeps it, and every tool says of it what it says of the file.

use kube::api::{DynamicObject, PostParams};
use migrationlink_operator::api::{DEFAULT_BASE_URL, MigrationLinkStatus};
use serde_json::{Value, json};

use super::table::{TABLE, letters};
use super::tool::{captured, judge};
use crate::support::Tenant;

/// Creates what was captured under another name, and brings it to the same generation and status.
async fn bring_to_life(tenant: &Tenant<'_>, name: &str, captured: &Value) -> Value {
    let metadata = &captured["metadata"];
    let mut spec = captured["spec"].clone();
    if name == "invalidspec" {
        // The API server would not let it in, and the verdicts are about the status.
        spec["baseUrl"] = json!(DEFAULT_BASE_URL);
    }
    let deleting = metadata.get("deletionTimestamp").is_some();
    let generation = metadata["generation"].as_i64().expect("a generation");
    let edits = generation - 1 - i64::from(deleting);
    let mut first = spec.clone();
    if edits > 0 {
        first["syncInterval"] = json!(format!("{edits}h"));
    }
    let object = json!({
        "apiVersion": captured["apiVersion"],
        "kind": captured["kind"],
        "metadata": {"name": name, "annotations": metadata["annotations"], "finalizers": metadata["finalizers"]},
        "spec": first,
    });
    let object: DynamicObject = serde_json::from_value(object).expect("an object");
    tenant.raw_links().create(&PostParams::default(), &object).await.expect("it is let in");
    for left in (0..edits).rev() {
        let interval = (left > 0).then(|| format!("{left}h"));
        tenant.edit_link(name, json!({"spec": {"syncInterval": interval}})).await;
    }
    if deleting {
        tenant.delete_link(name).await;
    }
    let status: MigrationLinkStatus = serde_json::from_value(captured["status"].clone()).expect("a status");
    if status != (MigrationLinkStatus { observed_generation: Some(-1), ..Default::default() }) {
        tenant.write_status(name, &status).await;
    }
    let got = tenant.kubectl(&["get", "migrationlink", name, "-o", "json", "--show-managed-fields"], "");
    let live: Value = serde_json::from_str(&got.stdout).expect("JSON");
    assert_eq!(live["metadata"]["generation"], metadata["generation"], "{name}");
    assert_eq!(live["status"], captured["status"], "{name}: the API server keeps another status");
    live
}

/// Whether `kubectl wait` is content at once.
fn waits_well(tenant: &Tenant<'_>, name: &str) -> bool {
    let waited = tenant.kubectl(&["wait", "--for=condition=Ready", "--timeout=0", "migrationlink", name], "");
    assert!(waited.success || waited.stderr.contains("condition not met"), "{waited:?}");
    waited.success
}

#[tokio::test]
async fn live_resources_are_judged_like_the_captured_ones_and_kubectl_waits_for_those_that_are_ready() {
    let tenant = Tenant::new().await;
    let captured = captured();
    let mut live = Vec::new();
    for (name, resource) in &captured {
        live.push(bring_to_life(&tenant, &name.to_lowercase(), resource).await);
    }
    let judged = judge(&live);
    for ((name, judged), row) in captured.keys().zip(&judged).zip(TABLE) {
        let (named, argo, kstatus, flux, ready, actions) = row;
        assert_eq!(name, named);
        let said = [&judged.argo.status, &judged.kstatus.status, &judged.flux.status].map(String::as_str);
        assert_eq!((said, letters(&judged.actions)), ([argo, kstatus, flux], actions.to_owned()), "{name}");
        assert_eq!(waits_well(&tenant, &name.to_lowercase()), ready, "{name}");
    }
}
