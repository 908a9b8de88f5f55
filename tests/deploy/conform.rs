//! Every combination of switches is valid by the schemas of the real API server, strictly: kubeconform knows its kinds and those of the
//! CustomResourceDefinitions that are installed in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

use crate::support::{ControlPlane, Output, eventually};
use crate::tools::{ROOT, kubectl_does, run, template, tool};

/// Where the ServiceMonitor is defined, in the module that `prometheus-operator/go.mod` pins.
const MODULE: &str = "github.com/prometheus-operator/prometheus-operator";
const FILE: &str = "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml";

/// The groups of all kinds in the chart.
const GROUPS: [&str; 8] = [
    "api/v1",
    "apis/apps/v1",
    "apis/rbac.authorization.k8s.io/v1",
    "apis/policy/v1",
    "apis/networking.k8s.io/v1",
    "apis/apiextensions.k8s.io/v1",
    "apis/monitoring.coreos.com/v1",
    "apis/migrationlink.dev/v1alpha1",
];

/// Installs the CustomResourceDefinition of the ServiceMonitor, as a cluster with the Prometheus operator has it.
fn serve_service_monitors(control_plane: &ControlPlane) {
    let go = |args: &[&str]| {
        let dir = format!("{ROOT}/tests/deploy/prometheus-operator");
        let output = Command::new("go").args(args).current_dir(dir).env("GOWORK", "off").output();
        let output = output.expect("Go, which also builds the tools");
        assert!(output.status.success(), "go {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    go(&["mod", "download", MODULE]);
    let dir = go(&["list", "-m", "-f", "{{.Dir}}", MODULE]);
    let file = Path::new(dir.trim()).join(FILE);
    // Server-side: the definition is too large for an annotation.
    kubectl_does(control_plane, &["apply", "--server-side", "-f", file.to_str().unwrap()], "");
    kubectl_does(control_plane, &["wait", "--for=condition=Established", "-f", file.to_str().unwrap()], "");
}

/// The folder with a schema file for each kind. It is written once: what one test reads no other may be writing.
async fn schemas() -> &'static Path {
    static FOLDER: OnceCell<PathBuf> = OnceCell::const_new();
    FOLDER.get_or_init(obtained_schemas).await
}

async fn obtained_schemas() -> PathBuf {
    let control_plane = ControlPlane::shared();
    serve_service_monitors(control_plane);
    let folder = control_plane.dir().join("schemas");
    fs::create_dir_all(&folder).unwrap();
    for group in GROUPS {
        // A CustomResourceDefinition is in the document a moment after it is established.
        let document: Value = eventually(&format!("the schema of {group}"), async || {
            let output = control_plane.kubectl(&["get", "--raw", &format!("/openapi/v3/{group}")], "");
            if output.success {
                Ok(serde_json::from_str(&output.stdout).unwrap())
            } else {
                Err(output.stderr)
            }
        })
        .await;
        write_schemas(&folder, &document["components"]["schemas"]);
    }
    folder
}

/// One file for each kind, which holds all that it refers to.
fn write_schemas(folder: &Path, schemas: &Value) {
    let mut strict = schemas.clone();
    for schema in strict.as_object_mut().unwrap().values_mut() {
        refuse_what_is_unknown(schema);
    }
    for (name, schema) in schemas.as_object().unwrap() {
        for kind in schema["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
            let [group, version, kind] =
                ["group", "version", "kind"].map(|part| kind[part].as_str().unwrap());
            let api_version =
                if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
            let file = json!({
                "components": {"schemas": strict},
                "allOf": [
                    {"$ref": format!("#/components/schemas/{name}")},
                    {"required": ["apiVersion", "kind"],
                     "properties": {"apiVersion": {"const": api_version}, "kind": {"const": kind}}},
                ],
            });
            // kubeconform takes what stands before the slash of the apiVersion for the group, and the core group has none.
            let group = if group.is_empty() { version } else { group };
            let path = folder.join(format!("{group}_{}_{version}.json", kind.to_lowercase()));
            fs::write(path, file.to_string()).unwrap();
        }
    }
}

/// Every object with known properties takes no others.
fn refuse_what_is_unknown(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let open = object.contains_key("additionalProperties")
                || object.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
            if is_schema_of_an_object(object) && !open {
                object.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            object.values_mut().for_each(refuse_what_is_unknown);
        }
        Value::Array(items) => items.iter_mut().for_each(refuse_what_is_unknown),
        _ => {}
    }
}

/// Not a property of the name `properties`, as the schema of a schema has.
fn is_schema_of_an_object(object: &Map<String, Value>) -> bool {
    object.get("type") == Some(&json!("object")) && object.get("properties").is_some_and(Value::is_object)
}

fn conform(folder: &Path, manifests: &str) -> Output {
    let location =
        format!("{}/{{{{.Group}}}}_{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json", folder.display());
    let mut command = Command::new(tool("kubeconform"));
    run(command.args(["-strict", "-summary", "-verbose", "-schema-location", &location]), manifests)
}

/// Every optional part.
pub fn everything() -> Value {
    json!({
        "commonLabels": {"team": "platform"}, "commonAnnotations": {"example.com/owner": "platform"},
        "image": {"digest": format!("sha256:{}", "a".repeat(64)), "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "replicaCount": 3, "crds": {"annotations": {"example.com/crd": "yes"}},
        "allowedOrigins": ["https://om.example.com:8443", "http://om.internal:8080"],
        "leaderElection": {"leaseNamespace": "operators", "leaseName": "links"},
        "ca": {"kind": "Secret", "name": "om-ca", "key": "tls.crt"},
        "proxy": {"https": "http://proxy:3128", "http": "http://proxy:3128", "noProxy": "10.0.0.0/8"},
        "serviceAccount": {"name": "links", "annotations": {"example.com/role": "links"}},
        "metrics": {
            "service": {"labels": {"scrape": "yes"}, "annotations": {"example.com/scrape": "yes"}},
            "serviceMonitor": {
                "enabled": true, "labels": {"release": "prometheus"}, "interval": "30s", "scrapeTimeout": "10s",
                "relabelings": [{"action": "labeldrop", "regex": "pod"}],
                "metricRelabelings": [{"sourceLabels": ["namespace"], "targetLabel": "team"}],
            },
        },
        "networkPolicy": {
            "enabled": true, "egressPorts": [443, 8443],
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
            "extraEgress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}],
        },
        "podDisruptionBudget": {"maxUnavailable": "50%"},
        "podLabels": {"a": "b"}, "podAnnotations": {"a": "b"}, "deploymentAnnotations": {"a": "b"},
        "priorityClassName": "system-cluster-critical", "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}}
        ]}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
        ],
        "extraArgs": ["--log-level=debug"],
        "extraEnv": [{"name": "A", "value": "b"}], "extraEnvFrom": [{"secretRef": {"name": "proxy"}}],
        "extraVolumes": [{"name": "tmp", "emptyDir": {}}], "extraVolumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra"}, "data": {"a": "b"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-extra\n",
        ],
    })
}

/// Combinations of switches: every optional part at least once, alone and with the others.
pub fn matrix() -> Vec<Value> {
    let everything = everything();
    let mut cases = Vec::new();
    for scope in [
        json!({}),
        json!({"watchNamespaces": ["a", "b"]}),
        json!({"watchReleaseNamespace": true, "rbac": {"aggregateRoles": false}}),
    ] {
        for access in [
            json!({}),
            json!({"secretAccess": "get"}),
            json!({"rbac": {"secretAccess": "perNamespace"}}),
            json!({"rbac": {"create": false}, "serviceAccount": {"create": false, "name": "default"}}),
        ] {
            for rest in [
                json!({}),
                everything.clone(),
                json!({"crds": {"enabled": false}, "leaderElection": {"enabled": false}, "health": {"bindAddress": "0"},
                       "metrics": {"bindAddress": "0"}, "networkPolicy": {"enabled": true, "egressPorts": []},
                       "podSecurityContext": {}, "resources": {}, "ca": {"name": "om-ca"}}),
            ] {
                let mut values = rest;
                merge(&mut values, &access);
                merge(&mut values, &scope);
                cases.push(values);
            }
        }
    }
    cases
}

/// Sets in `into` what `from` says.
pub fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

#[tokio::test]
async fn every_combination_is_valid_by_the_schemas_of_the_api_server() {
    let folder = schemas().await;
    let mut kinds = BTreeSet::new();
    let mut all = String::new();
    for values in matrix() {
        let output = template(&values, &[]);
        assert!(output.success, "{values}: {}", output.stderr);
        let objects = crate::tools::objects(&output.stdout);
        kinds.extend(objects.iter().map(|object| object["kind"].as_str().unwrap().to_owned()));
        all += &output.stdout;
        all += "\n---\n";
    }
    let output = conform(folder, &all);
    let failed =
        output.stdout.lines().filter(|line| !line.contains(" is valid")).collect::<Vec<_>>().join("\n");
    assert!(
        output.success && output.stdout.contains("Invalid: 0, Errors: 0, Skipped: 0"),
        "{failed}{}",
        output.stderr
    );
    let wanted = [
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap",
        "CustomResourceDefinition",
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    ];
    assert_eq!(kinds, wanted.map(str::to_owned).into());
}

#[tokio::test]
async fn the_other_manifests_are_valid_by_the_same_schemas() {
    let folder = schemas().await;
    for file in [
        "install.yaml",
        "rbac.yaml",
        "rbac-namespaced.yaml",
        "kustomize/base/operator.yaml",
        "kustomize/base/crd.yaml",
        "kustomize/namespaced/operator.yaml",
    ] {
        let manifests = fs::read_to_string(format!("{ROOT}/deploy/{file}")).unwrap();
        let output = conform(folder, &manifests);
        assert!(
            output.success && output.stdout.contains("Skipped: 0"),
            "{file}: {}{}",
            output.stdout,
            output.stderr
        );
    }
}

/// So that the tests above can fail.
#[tokio::test]
async fn a_typing_mistake_is_found_in_every_kind_of_schema() {
    let folder = schemas().await;
    let monitor = json!({"metrics": {"serviceMonitor": {"enabled": true}}});
    let good = template(&monitor, &[]).stdout;
    for (right, wrong) in [
        ("enableServiceLinks:", "enableServiceLink:"),
        ("honorLabels: true", "honourLabels: true"),
        ("clusterIP: None", "clusterIp: None"),
        ("  scope: Namespaced", "  scop: Namespaced"),
        ("replicas: 1", "replicas: one"),
    ] {
        assert!(good.contains(right), "{right}");
        let output = conform(folder, &good.replace(right, wrong));
        assert!(
            !output.success && output.stdout.contains("Invalid: 1, Errors: 0"),
            "{wrong}: {}",
            output.stdout
        );
    }
    let link = |spec: Value| {
        json!({"apiVersion": "migrationlink.dev/v1alpha1", "kind": "MigrationLink", "metadata": {"name": "a"}, "spec": spec})
            .to_string()
    };
    let spec = json!({"orgId": "5f0d1e2a3b4c5d6e7f801234", "secretRef": {"name": "keys"}});
    assert!(conform(folder, &link(spec)).success);
    let spec = json!({"orgId": "5f0d1e2a3b4c5d6e7f801234", "secretref": {"name": "keys"}});
    assert!(!conform(folder, &link(spec)).success);
}
