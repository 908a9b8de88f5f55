//! What helm prints after an installation, and that it can be typed.

use serde_json::{Value, json};

use crate::documents::{commands, key_files, types};
use crate::install::{CRD, bare, served};
use crate::support::{ORG_ID, Tenant};
use crate::tools::{CHART, NAMESPACE, RELEASE, dry_install, helm_does, kubectl_does};

/// The notes of a release with these values.
fn notes(values: &Value) -> String {
    dry_install(values).split_once("NOTES:\n").expect("notes").1.to_owned()
}

/// The one line that begins so, with those that continue it.
fn line(notes: &str, begin: &str) -> String {
    let joined = notes.replace("\\\n", " ");
    let found: Vec<_> = joined.lines().map(str::trim).filter(|line| line.starts_with(begin)).collect();
    let [one] = found[..] else { panic!("{begin}: {notes}") };
    one.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The commands that make the Secret and the link.
fn first_link(notes: &str) -> &str {
    let begin = notes.find("kubectl create secret ").expect("the Secret");
    let end = notes.find("\nEND\n").expect("the end of the link");
    &notes[begin..end + "\nEND\n".len()]
}

/// The link of the notes.
fn link(notes: &str) -> Value {
    let (_, manifest) = first_link(notes).split_once("<<END\n").expect("a manifest");
    serde_saphyr::from_str(manifest.strip_suffix("END\n").expect("its end")).expect("YAML")
}

#[test]
fn the_notes_say_what_is_next() {
    let usual = notes(&json!({}));
    assert!(
        usual.contains("works in every namespace") && usual.contains("https://cloud.mongodb.com"),
        "{usual}"
    );
    let other = notes(&json!({
        "watchNamespaces": ["a", "b"], "rbac": {"secretAccess": "perNamespace"}, "crds": {"enabled": false},
    }));
    assert!(other.contains("these namespaces: a, b") && other.contains("crds.enabled=false"), "{other}");
    let crd = "--show-only templates/crd.yaml";
    assert!(other.contains(crd) && !usual.contains(crd), "{other}");
}

/// The link of the notes is one that this operator may call for: the schema's own default is not allowed everywhere.
#[test]
fn the_link_of_the_notes_leads_to_an_origin_that_is_allowed() {
    let base_url =
        |origins: &[&str]| link(&notes(&json!({"allowedOrigins": origins})))["spec"]["baseUrl"].clone();
    let cloud_manager = "https://cloud.mongodb.com";
    assert_eq!(link(&notes(&json!({})))["spec"]["baseUrl"], Value::Null);
    assert_eq!(base_url(&["https://om.example.com:8443", cloud_manager]), Value::Null);
    let first = base_url(&["https://om.example.com:8443", "http://om.internal:8080"]);
    assert_eq!(first, "https://om.example.com:8443/api/public/v1.0");
}

/// The way to let the operator read Secrets is printed as docs/install.md has it, which is typed beside (`secrets`).
#[test]
fn the_notes_let_tenants_give_access_as_the_document_does() {
    let printed = notes(&json!({"rbac": {"secretAccess": "perNamespace"}}));
    let documented =
        &commands("docs/install.md", "### One operator that reads Secrets where tenants say so")[1];
    let printed = line(&printed, "kubectl create rolebinding ").replace("NAMESPACE", "payments");
    assert_eq!(printed, *documented);
}

#[tokio::test]
async fn what_the_notes_say_can_be_typed() {
    let control_plane = bare();
    let values = json!({"crds": {"enabled": false}, "allowedOrigins": ["https://om.example.com:8443"]});
    let args = ["install", RELEASE, CHART, "-n", NAMESPACE, "--create-namespace"];
    let printed = helm_does(&control_plane, &args, &values);
    let definition = line(&printed, "helm template ");
    let definition = definition.replace(" CHART ", " deploy/chart/migrationlink-operator ");
    assert_eq!(commands("docs/install.md", "## GitOps"), [definition.as_str()]);
    types(&control_plane, &definition);
    served(&control_plane).await;
    let labels = ["get", "crd", CRD, "-o", "jsonpath={.metadata.labels}"];
    let applied = kubectl_does(&control_plane, &labels, "");
    assert!(applied.contains(&format!("\"app.kubernetes.io/instance\":\"{RELEASE}\"")), "{applied}");
    // Somebody else's hand is no hindrance at the next upgrade.
    let label = "app.kubernetes.io/instance=another";
    kubectl_does(&control_plane, &["label", "crd", CRD, label, "--overwrite"], "");
    types(&control_plane, &definition);
    assert_eq!(kubectl_does(&control_plane, &labels, ""), applied);

    key_files(&control_plane);
    let tenant = Tenant::on(&control_plane).await;
    let typed =
        first_link(&printed).replace("NAMESPACE", &tenant.namespace).replace("ORGANIZATION_ID", ORG_ID);
    types(&control_plane, &typed);
    let made = tenant.link("migration").await;
    assert_eq!(made.spec.base_url, "https://om.example.com:8443/api/public/v1.0");
    let keys = ["get", "secret", "migration", "-o", "jsonpath={.data}"];
    let keys = tenant.kubectl(&keys, "").stdout;
    for key in ["publicKey", "privateKey", "linkToken"] {
        assert!(keys.contains(key), "{keys}");
    }
}
