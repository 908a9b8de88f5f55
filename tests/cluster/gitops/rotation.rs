//! kustomize's `secretGenerator`: another content, another name, and the link names it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::tool::at;
use crate::support::{ControlPlane, ORG_ID, PRIVATE_KEY, PUBLIC_KEY, World};

/// A copy of the example that can be changed.
fn copy(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    for file in fs::read_dir(at("deploy/rotation")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    folder
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from:?} is not in {}", file.display());
    fs::write(file, text.replace(from, to)).unwrap();
}

/// What kustomize makes of a folder.
fn rendered(folder: &Path) -> String {
    let made = ControlPlane::shared().kubectl(&[OsStr::new("kustomize"), folder.as_os_str()], "");
    assert!(made.success, "{made:?}");
    made.stdout
}

/// The MigrationLink and the other objects that kustomize makes of a folder.
fn kustomize(folder: &Path) -> (Value, Vec<Value>) {
    let text = rendered(folder);
    let all: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let (mut links, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|one| one["kind"] == "MigrationLink");
    assert_eq!(links.len(), 1, "{text}");
    (links.remove(0), others)
}

fn names(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect()
}

#[test]
fn another_token_is_another_secret_and_the_link_names_it() {
    let folder = copy("rotation");
    let (before, secrets) = kustomize(&folder);
    let [first] = names(&secrets)[..] else { panic!("{secrets:?}") };
    assert!(first.starts_with("payments-migration-"), "{first}");
    assert_eq!(before["spec"]["secretRef"]["name"], first);
    assert_eq!(kustomize(&folder).0, before, "the same content has the same name");
    edit(&folder.join("payments.env"), "the-token-that-atlas-gave-out", "another-token");
    let (after, secrets) = kustomize(&folder);
    let [second] = names(&secrets)[..] else { panic!("{secrets:?}") };
    assert_ne!(first, second);
    assert_eq!(after["spec"]["secretRef"]["name"], second);
    assert_eq!(after["spec"]["orgId"], before["spec"]["orgId"]);
}

#[test]
fn the_other_references_follow_too() {
    for kind in ["ConfigMap", "Secret"] {
        let folder = copy(&format!("references-{kind}"));
        let generator = if kind == "Secret" { "" } else { "configMapGenerator:\n" };
        edit(
            &folder.join("kustomization.yaml"),
            "configurations:",
            &format!(
                "- name: atlas-token\n  literals: [linkToken=abc]\n{generator}- name: om-ca\n  literals: [ca.crt=abc]\nconfigurations:"
            ),
        );
        edit(
            &folder.join("migrationlink.yaml"),
            "  secretRef:",
            &format!(
                "  linkTokenSecretRef:\n    name: atlas-token\n  caRef:\n    kind: {kind}\n    name: om-ca\n  secretRef:"
            ),
        );
        let (link, objects) = kustomize(&folder);
        let names = names(&objects);
        for (reference, name) in
            [("secretRef", "payments-migration"), ("linkTokenSecretRef", "atlas-token"), ("caRef", "om-ca")]
        {
            let referred = link["spec"][reference]["name"].as_str().unwrap();
            assert!(
                referred.starts_with(name) && referred != name && names.contains(&referred),
                "{kind}: {link}"
            );
        }
    }
}

#[tokio::test]
async fn a_rotation_in_git_is_a_new_generation_that_is_waited_for_until_the_api_has_the_token() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let folder = copy("live");
    edit(
        &folder.join("kustomization.yaml"),
        "namespace: payments",
        &format!("namespace: {}", world.tenant.namespace),
    );
    let base_url = format!("  baseUrl: {}\n  secretRef:", world.cloud.base_url());
    edit(&folder.join("migrationlink.yaml"), "  secretRef:", &base_url);
    let env = folder.join("payments.env");
    edit(&env, "publicKey=abcdefgh", &format!("publicKey={PUBLIC_KEY}"));
    edit(&env, "01234567-89ab-cdef-0123-456789abcdef", PRIVATE_KEY);
    let apply_and_wait = async || {
        let applied = world.tenant.kubectl(&["apply", "-f", "-"], &rendered(&folder));
        assert!(applied.success, "{applied:?}");
        // Meanwhile the Cloud Manager answers on this thread.
        let namespace = world.tenant.namespace.clone();
        let waits = move || {
            let args = [
                "wait",
                "-n",
                &namespace,
                "--for=condition=Ready",
                "--timeout=60s",
                "migrationlink/payments",
            ];
            ControlPlane::shared().kubectl(&args, "")
        };
        let waited = tokio::task::spawn_blocking(waits).await.expect("it ends");
        assert!(waited.success, "{waited:?}");
    };
    let in_force = || world.cloud.simulator.link_token(ORG_ID);
    apply_and_wait().await;
    assert_eq!(in_force().as_deref(), Some("the-token-that-atlas-gave-out"));
    edit(&env, "the-token-that-atlas-gave-out", "another-token");
    // Done waiting is done: nothing is waited for here but Ready.
    apply_and_wait().await;
    assert_eq!(in_force().as_deref(), Some("another-token"));
    assert_eq!(world.tenant.link("payments").await.metadata.generation, Some(2));
}
