//! Every manifest under `deploy/` has one source, the chart, and the chart's CustomResourceDefinition has the code. `make generate` writes
//! them by the test below, which compares else.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::ControlPlane;
use crate::table;
use crate::tools::{CHART, NAMESPACE, ROOT, only, rendered, run, template};

/// What `make generate` sets.
const WRITE: &str = "MIGRATIONLINK_GENERATE";

const MADE: &str = "# Made by `make generate` from deploy/chart; do not edit.\n";

const WHOLE: &str = "# Everything for the whole cluster: kubectl apply --server-side -f install.yaml\n";
const RBAC: &str = "# What the operator may do where it watches every namespace. rbac-namespaced.yaml is the choice for one namespace.\n";
const RBAC_NAMESPACED: &str = "\
# What the operator may do where it runs in the one namespace that it watches (--watch-namespace). It has no right outside of it.
# The namespace must exist; put its name in the place of migrationlink-system:
#   sed s/migrationlink-system/payments/ rbac-namespaced.yaml | kubectl apply -f -
";
const NAMESPACE_OBJECT: &str = "\
apiVersion: v1
kind: Namespace
metadata:
  name: migrationlink-system
";

/// The chart's templates in the order of `helm template`, the CustomResourceDefinition apart.
const OPERATOR: [&str; 5] = ["serviceaccount", "rbac", "rbac-people", "deployment", "service"];

#[test]
fn what_is_made_is_what_is_there() {
    // The chart's definition first: the files after it are rendered from the chart as it is then.
    hold([definition()]);
    hold(files());
}

fn hold(files: impl IntoIterator<Item = (String, String)>) {
    for (path, content) in files {
        let path = Path::new(ROOT).join(path);
        if std::env::var_os(WRITE).is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &content).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == content, "{} is not what the chart says: run 'make generate'", path.display());
    }
}

/// Path and content of the chart's CustomResourceDefinition.
fn definition() -> (String, String) {
    (
        "deploy/chart/migrationlink-operator/files/migrationlinks.yaml".to_owned(),
        migrationlink_operator::api::crd_yaml().unwrap(),
    )
}

/// Path and content of each file that is rendered from the chart.
fn files() -> Vec<(String, String)> {
    let cluster = json!({"crds": {"keep": false}});
    let namespaced = json!({"watchReleaseNamespace": true, "rbac": {"aggregateRoles": false}});
    let (crd, operator) = (manifests(&cluster, &["crd"]), manifests(&cluster, &OPERATOR));
    let without_people = OPERATOR.map(|template| if template == "rbac-people" { "rbac" } else { template });
    let own = manifests(&namespaced, &without_people);
    let rights = ["serviceaccount", "rbac"];
    vec![
        ("deploy/chart/migrationlink-operator/README.md".to_owned(), table::readme()),
        ("deploy/install.yaml".to_owned(), join(&[MADE, WHOLE], &[NAMESPACE_OBJECT, &crd, &operator])),
        ("deploy/kustomize/base/crd.yaml".to_owned(), join(&[MADE], &[&crd])),
        ("deploy/kustomize/base/operator.yaml".to_owned(), join(&[MADE], &[&operator])),
        ("deploy/kustomize/namespaced/operator.yaml".to_owned(), join(&[MADE], &[&own])),
        (
            "deploy/rbac.yaml".to_owned(),
            join(&[MADE, RBAC], &[NAMESPACE_OBJECT, &manifests(&cluster, &rights)]),
        ),
        (
            "deploy/rbac-namespaced.yaml".to_owned(),
            join(&[MADE, RBAC_NAMESPACED], &[&manifests(&namespaced, &rights)]),
        ),
    ]
}

fn join(head: &[&str], documents: &[&str]) -> String {
    head.concat() + &documents.join("---\n")
}

/// What these templates give, without what says that helm applies it.
fn manifests(values: &Value, templates: &[&str]) -> String {
    let mut shown: Vec<String> = Vec::new();
    for template in templates {
        let flag = format!("--show-only=templates/{template}.yaml");
        if !shown.contains(&flag) {
            shown.push(flag);
        }
    }
    let output = template(values, &shown.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.success, "{}", output.stderr);
    let helms = ["# Source: ", "helm.sh/chart: ", "app.kubernetes.io/managed-by: "];
    let lines =
        output.stdout.lines().filter(|line| !helms.iter().any(|of| line.trim_start().starts_with(of)));
    let documents: Vec<String> = lines.collect::<Vec<_>>().join("\n").split("---\n").map(tidied).collect();
    documents.into_iter().filter(|document| !document.is_empty()).collect::<Vec<_>>().join("---\n")
}

fn tidied(document: &str) -> String {
    let document = document.trim();
    if document.is_empty() { String::new() } else { format!("{document}\n") }
}

/// The three ways to install for the whole cluster give the same objects.
#[test]
fn chart_kustomization_and_manifest_are_the_same() {
    let chart = sorted(rendered(&json!({})).into_iter().map(without_helm).collect());
    let kustomized = sorted(kustomize("base"));
    let mut manifest = install_manifest();
    manifest.retain(|object| object["kind"] != "Namespace");
    assert_eq!(sorted(manifest), chart);
    assert_eq!(kustomized, chart);
}

/// A kustomization of one's own moves the namespaced one: rights, account, and the namespace that is watched.
#[test]
fn the_namespaced_kustomization_follows_its_namespace() {
    let kind_of = |objects: &[Value]| {
        objects.iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let objects = kustomize("namespaced");
    let kinds = kind_of(&objects);
    assert!(
        !kinds.iter().any(|kind| kind.starts_with("Cluster") || kind == "CustomResourceDefinition"),
        "{kinds:?}"
    );

    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("overlay");
    let base = dir.join("namespaced");
    fs::create_dir_all(&base).unwrap();
    for entry in fs::read_dir(Path::new(ROOT).join("deploy/kustomize/namespaced")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), base.join(entry.file_name())).unwrap();
    }
    fs::write(dir.join("kustomization.yaml"), "namespace: payments\nresources: [namespaced]\n").unwrap();
    let overlay = kustomize_folder(&dir);
    assert_eq!(kind_of(&overlay), kinds);
    for object in &overlay {
        assert_eq!(object["metadata"]["namespace"], "payments");
        for subject in object["subjects"].as_array().into_iter().flatten() {
            assert_eq!(subject["namespace"], "payments");
        }
    }
    let text = serde_json::to_string(&overlay).unwrap();
    assert!(!text.contains(NAMESPACE), "{text}");
    let pod = &only(&overlay, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert!(pod["args"].as_array().unwrap().contains(&json!("--watch-namespace=$(POD_NAMESPACE)")), "{pod}");
}

/// The copy of the CRD in the chart is what the templates show, and `crds.enabled` and `crds.keep` do what they say.
#[test]
fn the_charts_resource_definition_is_that_of_the_code() {
    let code: Value = serde_saphyr::from_str(&migrationlink_operator::api::crd_yaml().unwrap()).unwrap();
    let objects = rendered(&json!({}));
    let crd = only(&objects, "CustomResourceDefinition");
    assert_eq!(crd["spec"], code["spec"]);
    assert_eq!(crd["metadata"]["name"], code["metadata"]["name"]);
    assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    let objects = rendered(&json!({"crds": {"keep": false}}));
    assert!(only(&objects, "CustomResourceDefinition")["metadata"].get("annotations").is_none());
    let objects = rendered(&json!({"crds": {"enabled": false}}));
    assert!(!objects.iter().any(|object| object["kind"] == "CustomResourceDefinition"));
}

/// The objects of `deploy/install.yaml`.
pub fn install_manifest() -> Vec<Value> {
    crate::tools::objects(&fs::read_to_string(format!("{ROOT}/deploy/install.yaml")).unwrap())
}

/// What `kubectl kustomize` makes of a folder of `deploy/kustomize`.
fn kustomize(name: &str) -> Vec<Value> {
    kustomize_folder(&Path::new(ROOT).join("deploy/kustomize").join(name))
}

fn kustomize_folder(folder: &Path) -> Vec<Value> {
    let output = ControlPlane::shared().kubectl(&["kustomize".as_ref(), folder.as_os_str()], "");
    assert!(output.success, "{}", output.stderr);
    crate::tools::objects(&output.stdout)
}

fn without_helm(mut object: Value) -> Value {
    let strip = |object: &mut Value, path: &str| {
        if let Some(labels) = object.pointer_mut(path).and_then(Value::as_object_mut) {
            labels.remove("helm.sh/chart");
            labels.remove("app.kubernetes.io/managed-by");
        }
    };
    strip(&mut object, "/metadata/labels");
    strip(&mut object, "/spec/template/metadata/labels");
    if object["kind"] == "CustomResourceDefinition" {
        object["metadata"].as_object_mut().unwrap().remove("annotations");
    }
    object
}

fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
    objects
}

/// A chart that was made from the tree, as it is published.
#[test]
fn the_chart_can_be_packaged() {
    let dir = env!("CARGO_TARGET_TMPDIR");
    let output = run(&mut crate::tools::helm_command(&["package", CHART, "--destination", dir]), "");
    assert!(output.success, "{}", output.stderr);
    let package = Path::new(dir).join(format!("migrationlink-operator-{}.tgz", env!("CARGO_PKG_VERSION")));
    let package = package.to_str().unwrap();
    let output = run(&mut crate::tools::helm_command(&["template", "packaged", package]), "");
    assert!(output.success && output.stdout.contains("kind: CustomResourceDefinition"), "{}", output.stderr);
}
