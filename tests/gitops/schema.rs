//! The JSON schema of the CRD, in the hands of the real kubeconform.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::tool::{at, captured, obtain, run};

/// What kubeconform says of a manifest, with our schema alone and nothing from elsewhere.
fn kubeconform(manifest: &Value) -> (bool, String) {
    let location = at("deploy/schemas").join("{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json");
    let mut command = Command::new(obtain("kubeconform"));
    command.args(["-strict", "-verbose", "-schema-location"]).arg(location).arg("-").stderr(Stdio::piped());
    let (success, stdout, stderr) = run(&mut command, &manifest.to_string());
    (success, stdout + &stderr)
}

fn manifest(spec: &Value) -> Value {
    json!({
        "apiVersion": "migrationlink.dev/v1alpha1",
        "kind": "MigrationLink",
        "metadata": {"name": "payments", "namespace": "payments", "labels": {"team": "payments"}},
        "spec": spec,
    })
}

fn good() -> Value {
    json!({"orgId": "5f0d1e2a3b4c5d6e7f801234", "secretRef": {"name": "payments-migration"}})
}

fn with(field: &str, value: Value) -> Value {
    let mut spec = good();
    spec[field] = value;
    spec
}

#[test]
fn good_manifests_pass() {
    for spec in [
        good(),
        with("baseUrl", json!("https://om.example.com:8443/api/public/v1.0")),
        with("linkTokenSecretRef", json!({"name": "atlas-token", "key": "linkToken"})),
        with("caRef", json!({"kind": "ConfigMap", "name": "om-ca"})),
        with("syncInterval", json!("1h30m")),
        with("deletionPolicy", json!("Delete")),
        with("driftPolicy", json!("Report")),
        with("suspend", json!(true)),
    ] {
        let (valid, said) = kubeconform(&manifest(&spec));
        assert!(valid && said.contains("is valid"), "{spec}: {said}");
    }
    for (name, resource) in captured() {
        let (valid, said) = kubeconform(&resource);
        // The one spec that the API server would not have let in.
        assert_eq!(valid, name != "InvalidSpec", "{name}: {said}");
    }
}

#[test]
fn bad_manifests_are_refused_and_the_field_is_named() {
    for (spec, named) in [
        (json!({"secretRef": {"name": "keys"}}), "orgId"),
        (json!({"orgId": "5f0d1e2a3b4c5d6e7f801234"}), "secretRef"),
        (with("orgId", json!("5F0D1E2A3B4C5D6E7F801234")), "/spec/orgId"),
        (with("orgID", json!("5f0d1e2a3b4c5d6e7f801234")), "orgID"),
        (with("secretRef", json!({"name": "keys", "namespace": "other"})), "namespace"),
        (with("secretRef", json!({"name": "Keys"})), "/spec/secretRef/name"),
        (with("baseUrl", json!("https://user@om.example.com")), "/spec/baseUrl"),
        (with("baseUrl", json!("https://om.example.com/")), "/spec/baseUrl"),
        (with("caRef", json!({"kind": "Node", "name": "om-ca"})), "/spec/caRef/kind"),
        (with("syncInterval", json!("15 minutes")), "/spec/syncInterval"),
        (with("deletionPolicy", json!("Keep")), "/spec/deletionPolicy"),
        (with("driftPolicy", json!("Ignore")), "/spec/driftPolicy"),
        (with("suspend", json!("true")), "/spec/suspend"),
    ] {
        let (valid, said) = kubeconform(&manifest(&spec));
        assert!(!valid && said.contains("is invalid") && said.contains(named), "{spec}: {said}");
    }
    let mut other_version = manifest(&good());
    other_version["apiVersion"] = json!("migrationlink.dev/v1");
    let (valid, said) = kubeconform(&other_version);
    assert!(!valid && said.contains("could not find schema"), "{said}");
}
