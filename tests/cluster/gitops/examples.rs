//! The examples under `deploy`, held against the CRDs of the tools that they are for.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::tool::{at, crds_of_others, documents};
use crate::support::ControlPlane;

/// The YAML files of these folders and of those in them.
fn yaml(folders: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = folders.iter().map(|folder| at(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_example_is_what_its_crd_asks_for() {
    // A control plane of its own: nobody else is to see these CRDs.
    let control_plane = ControlPlane::start();
    let kubectl = |args: &[&str]| {
        let ended = control_plane.kubectl(args, "");
        assert!(ended.success, "kubectl {args:?}: {}", ended.stderr);
        ended.stdout
    };
    let crds = crds_of_others();
    let crds = crds.to_str().unwrap();
    kubectl(&["create", "-f", crds]);
    kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", crds]);
    for namespace in ["payments", "argocd", "flux-system"] {
        kubectl(&["create", "namespace", namespace]);
    }
    let files = yaml(&["deploy/argocd", "deploy/flux", "deploy/sources"]);
    assert!(files.len() >= 9, "{files:?}");
    let mut kinds = Vec::new();
    for file in &files {
        if file.ends_with(".sops.yaml") {
            continue;
        }
        kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", file.to_str().unwrap()]);
        kinds.extend(documents(file).into_iter().map(|one| one["kind"].as_str().unwrap().to_owned()));
    }
    kinds.sort();
    kinds.dedup();
    let known =
        ["Application", "ConfigMap", "ExternalSecret", "Kustomization", "MigrationLink", "SealedSecret"];
    assert_eq!(kinds, [&known[..], &["Secret", "SecretStore"]].concat());
}

/// What sops is told to encrypt is what the Secret beside it has its values under. sops itself is not run.
#[test]
fn the_rule_for_sops_covers_the_values_of_the_secret_beside_it() {
    let rules = documents(&at("deploy/sources/sops/.sops.yaml"));
    let rule = &rules[0]["creation_rules"][0];
    let encrypted = rule["encrypted_regex"].as_str().unwrap();
    let encrypted: Vec<_> = encrypted.trim_matches(['^', '(', ')', '$']).split('|').collect();
    assert!(rule["age"].as_str().unwrap().starts_with("age1"));
    let secret = documents(&at("deploy/sources/sops/secret.yaml")).remove(0);
    let values = ["data", "stringData"].into_iter().filter(|field| secret.get(field).is_some());
    assert_eq!(values.clone().collect::<Vec<_>>(), ["stringData"]);
    assert!(values.into_iter().all(|field| encrypted.contains(&field)), "{encrypted:?}");
}

/// Whatever the Secret comes from, its name and its keys are those that a link reads.
#[test]
fn every_source_gives_the_secret_the_keys_of_a_link() {
    let read = |file: &str| documents(&at("deploy/sources").join(file)).remove(0);
    let external = read("external-secrets/externalsecret.yaml");
    let data = external["spec"]["data"].as_array().unwrap();
    let mut external_keys: Vec<_> =
        data.iter().map(|one| one["secretKey"].as_str().unwrap().to_owned()).collect();
    external_keys.sort();
    let keys = |object: &Value, pointer: &str| {
        let values = object.pointer(pointer).and_then(Value::as_object).expect("values");
        values.keys().cloned().collect::<Vec<_>>()
    };
    let (sealed, plain) = (read("sealed-secrets/sealedsecret.yaml"), read("sops/secret.yaml"));
    for keys in [external_keys, keys(&sealed, "/spec/encryptedData"), keys(&plain, "/stringData")] {
        assert_eq!(keys, ["linkToken", "privateKey", "publicKey"]);
    }
    let link = documents(&at("deploy/argocd/payments/migrationlink.yaml")).remove(0);
    for name in [
        &external["spec"]["target"]["name"],
        &sealed["spec"]["template"]["metadata"]["name"],
        &plain["metadata"]["name"],
    ] {
        assert_eq!(*name, link["spec"]["secretRef"]["name"]);
    }
}

/// The Secret's wave is before the link's, in the same namespace, under the name that the link refers to.
#[test]
fn in_argo_cd_the_secret_is_in_an_earlier_wave() {
    let read = |file: &str| documents(&at("deploy/argocd/payments").join(file)).remove(0);
    let (secret, link) = (read("externalsecret.yaml"), read("migrationlink.yaml"));
    let wave = |object: &Value| {
        let wave = object["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"].as_str();
        wave.expect("a wave").parse::<i32>().expect("a number")
    };
    assert!(wave(&secret) < wave(&link));
    assert_eq!(link["spec"]["deletionPolicy"], "Delete");
    assert_eq!(secret["spec"]["target"]["name"], link["spec"]["secretRef"]["name"]);
    assert_eq!(secret["spec"]["target"]["creationPolicy"], "Owner", "it goes with what is pruned last");
    assert_eq!(secret["metadata"]["namespace"], link["metadata"]["namespace"]);
}

/// The link depends on the Secret's Kustomization, and its own ends only when the link has gone.
#[test]
fn in_flux_the_secret_has_a_kustomization_of_its_own() {
    let both = documents(&at("deploy/flux/kustomizations.yaml"));
    let [secret, link] = both.as_slice() else { panic!("{both:?}") };
    assert_eq!(link["spec"]["dependsOn"][0]["name"], secret["metadata"]["name"]);
    assert_ne!(link["spec"]["path"], secret["spec"]["path"]);
    assert_eq!(link["spec"]["deletionPolicy"], "WaitForTermination");
    assert_eq!(link["spec"]["wait"], true);
}
