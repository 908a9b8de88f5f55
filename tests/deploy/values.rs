//! Every value of the chart has an effect, and the defaults are the strict ones. Needs no API server.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::conform::{everything, merge};
use crate::table::settings;
use crate::tools::{dry_install, only, rendered};

/// Manifest and notes of a release with these values.
fn release(values: &Value) -> String {
    // What stands before has the time in it.
    dry_install(values).split_once("\nHOOKS:").expect("hooks, manifest and notes").1.to_owned()
}

/// The value at this path, and nothing else.
fn at(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |value, name| json!({name: value}))
}

/// What has to be set for this value to say anything: a part is off by default, or made only with another value.
fn switched_on(path: &str) -> Value {
    match path {
        "ca.kind" | "ca.key" => json!({"ca": {"name": "om-ca"}}),
        "serviceAccount.create" => json!({"serviceAccount": {"name": "links"}}),
        "metrics.serviceMonitor.enabled" | "networkPolicy.enabled" => json!({}),
        _ if path.starts_with("metrics.serviceMonitor.") => {
            json!({"metrics": {"serviceMonitor": {"enabled": true}}})
        }
        _ if path.starts_with("networkPolicy.") => json!({"networkPolicy": {"enabled": true}}),
        _ if path.starts_with("podDisruptionBudget.") => json!({"replicaCount": 2}),
        _ => json!({}),
    }
}

/// What a value is set to where the sample with everything leaves it as it is.
fn others() -> BTreeMap<&'static str, Value> {
    BTreeMap::from([
        ("nameOverride", json!("links")),
        ("fullnameOverride", json!("links")),
        ("image.repository", json!("registry.example.com/links")),
        ("image.tag", json!("1.2.3")),
        ("crds.enabled", json!(false)),
        ("crds.keep", json!(false)),
        ("watchNamespaces", json!(["payments"])),
        ("watchReleaseNamespace", json!(true)),
        ("secretAccess", json!("get")),
        ("concurrency", json!(1)),
        ("originConcurrency", json!(1)),
        ("apiRate", json!("30/m")),
        ("originRate", json!("0")),
        ("syncInterval", json!("1h")),
        ("deletionGracePeriod", json!("never")),
        ("leaderElection.enabled", json!(false)),
        ("leaderElection.leaseDuration", json!("1m")),
        ("log.format", json!("text")),
        ("log.level", json!("debug")),
        ("serviceAccount.create", json!(false)),
        ("rbac.create", json!(false)),
        ("rbac.secretAccess", json!("perNamespace")),
        ("rbac.aggregateRoles", json!(false)),
        ("health.bindAddress", json!(":9081")),
        ("metrics.bindAddress", json!(":9080")),
        ("metrics.service.enabled", json!(false)),
        ("metrics.service.port", json!(9090)),
        ("podDisruptionBudget.enabled", json!(false)),
        ("podSecurityContext", json!({"runAsUser": 1000})),
        ("securityContext", json!({"runAsUser": 1000})),
        ("resources", json!({"limits": {"memory": "1Gi"}})),
        ("livenessProbe", json!({"periodSeconds": 7})),
        ("readinessProbe", json!({"periodSeconds": 7})),
        ("terminationGracePeriodSeconds", json!(60)),
        ("revisionHistoryLimit", json!(1)),
    ])
}

#[test]
fn every_value_has_an_effect() {
    let (everything, mut others) = (everything(), others());
    let mut without: BTreeMap<String, String> = BTreeMap::new();
    let mut idle = Vec::new();
    for setting in settings() {
        let path = setting.path;
        let pointer = format!("/{}", path.replace('.', "/"));
        let sample = others.remove(path.as_str()).or_else(|| everything.pointer(&pointer).cloned());
        if path == "global" {
            // Helm's own: the chart that has this one as a part reads it.
            assert_eq!(sample, None);
            continue;
        }
        let sample = sample.unwrap_or_else(|| panic!("no sample of {path}"));
        assert_ne!(sample, setting.default, "{path}");
        let base = switched_on(&path);
        let mut values = base.clone();
        merge(&mut values, &at(&path, sample));
        let before = without.entry(base.to_string()).or_insert_with(|| release(&base));
        if release(&values) == *before {
            idle.push(path);
        }
    }
    assert_eq!(idle, [""; 0], "these do nothing");
    assert_eq!(others, BTreeMap::new(), "these are no values of the chart");
}

#[test]
fn the_defaults_are_the_strict_ones() {
    let objects = rendered(&json!({}));
    let pod = &only(&objects, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["enableServiceLinks"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"], json!({"type": "RuntimeDefault"}));
    for host in ["hostNetwork", "hostPID", "hostIPC", "volumes"] {
        assert_eq!(pod[host], Value::Null, "{host}");
    }
    let [container] = &pod["containers"].as_array().expect("containers")[..] else { panic!("{pod}") };
    assert_eq!(
        container["securityContext"],
        json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        })
    );
}
