//! What the actions of Argo CD write.

use serde_json::{Value, json};

use crate::tool::{captured, judge};

/// The annotations of a patch that has nothing else.
fn annotations(patch: &Value) -> &serde_json::Map<String, Value> {
    let patch = patch.as_object().unwrap();
    assert_eq!(patch.keys().collect::<Vec<_>>(), ["metadata"], "{patch:?}");
    let metadata = patch["metadata"].as_object().unwrap();
    assert_eq!(metadata.keys().collect::<Vec<_>>(), ["annotations"], "{patch:?}");
    metadata["annotations"].as_object().unwrap()
}

/// So there is nothing in Git that a sync would put back, and no field of the operator's is touched.
#[test]
fn an_action_writes_one_annotation_and_nothing_else_in_any_state() {
    let captured = captured();
    let resources: Vec<_> = captured.values().cloned().collect();
    for (name, judged) in captured.keys().zip(judge(&resources)) {
        for (action, annotation) in [
            ("reconcile", "migrationlink.dev/reconcile-at"),
            ("relink", "migrationlink.dev/relink-at"),
            ("suspend", "migrationlink.dev/paused"),
            ("resume", "migrationlink.dev/paused"),
        ] {
            let patch = &judged.patches[action];
            if name == "Suspended-paused" && action == "suspend" {
                assert_eq!(*patch, json!({}), "it is paused");
                continue;
            }
            let written = annotations(patch);
            assert_eq!(written.keys().collect::<Vec<_>>(), [annotation], "{name}: {patch}");
            let value = written[annotation].as_str().unwrap();
            match action {
                "suspend" => assert_eq!(value, "true"),
                "resume" => assert_eq!(value, "false"),
                _ => {
                    let time: k8s_openapi::jiff::Timestamp = value.parse().expect("a time");
                    let age = k8s_openapi::jiff::Timestamp::now().duration_since(time).as_secs();
                    assert!((0..600).contains(&age), "{value}");
                }
            }
        }
    }
}

#[test]
fn other_annotations_and_empty_fields_stay() {
    let mut resource = captured()["Synced"].clone();
    resource["metadata"]["annotations"] =
        json!({"argocd.argoproj.io/sync-wave": "0", "migrationlink.dev/reconcile-at": "1"});
    resource["metadata"]["labels"] = json!({});
    resource["metadata"]["managedFields"] =
        json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {".": {}, "f:orgId": {}}}}]);
    let judged = judge(&[resource]).remove(0);
    for patch in judged.patches.values() {
        assert_eq!(annotations(patch).len(), 1, "{patch}");
    }
}
