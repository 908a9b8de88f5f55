//! helm and kubectl install into the real API server, and the operator that runs under exactly that links a link.

use std::path::Path;

use migrationlink_operator::api::MigrationLinkSpec;
use serde_json::{Value, json};

use crate::documents::{commands, in_namespace, types};
use crate::generated::install_manifest;
use crate::installed::{installed, on_free_ports};
use crate::support::{Calls, Cloud, ControlPlane, Ledger, ORG_ID, Operator, Tenant, eventually, link_spec};
use crate::tools::{CHART, NAMESPACE, RELEASE, ROOT, helm, helm_does, kubectl_does};
use crate::upgrade::restarted;

pub const CRD: &str = "migrationlinks.migrationlink.dev";

/// A control plane on which nothing of ours is installed.
pub fn bare() -> ControlPlane {
    let control_plane = ControlPlane::start();
    kubectl_does(&control_plane, &["delete", "crd", CRD], "");
    control_plane
}

/// `helm install` into the namespace that the documents name.
pub fn helm_installs(control_plane: &ControlPlane, values: &Value) {
    helm_does(control_plane, &["install", RELEASE, CHART, "-n", NAMESPACE, "--create-namespace"], values);
}

/// Waits until links can be created.
pub async fn served(control_plane: &ControlPlane) {
    eventually("links are served", async || {
        let output = control_plane.kubectl(&["get", "migrationlinks", "-A"], "");
        if output.success { Ok(()) } else { Err(output.stderr) }
    })
    .await;
}

/// A Secret and a link that becomes SYNCED.
pub async fn link(tenant: &Tenant<'_>, cloud: &Cloud) {
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
}

/// Nothing that it asked of the API server was refused.
pub fn nothing_was_refused(operator: &Operator<'_>) {
    for request in &operator.requests().0 {
        assert!(request.code != 401 && request.code != 403, "{request:?}");
    }
}

fn names(control_plane: &ControlPlane, kinds: &str) -> Vec<String> {
    let selector = format!("app.kubernetes.io/instance={RELEASE}");
    let names = kubectl_does(control_plane, &["get", kinds, "-A", "-l", &selector, "-o", "name"], "");
    names.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_release_for_the_cluster_is_installed_upgraded_rolled_back_and_removed() {
    let control_plane = bare();
    let cloud = Cloud::start().await;
    // So that no regular check falls into the test: after a restart they are spread over the interval.
    let values = on_free_ports(json!({"allowedOrigins": [cloud.origin()], "syncInterval": "24h"}));
    helm_installs(&control_plane, &values);
    served(&control_plane).await;
    let tenant = Tenant::on(&control_plane).await;
    let mut operator = installed(&tenant, NAMESPACE, RELEASE).await.start().await;
    link(&tenant, &cloud).await;
    nothing_was_refused(&operator);
    let lease = kubectl_does(&control_plane, &["get", "lease", RELEASE, "-n", NAMESPACE, "-o", "name"], "");
    assert_eq!(lease.trim(), format!("lease.coordination.k8s.io/{RELEASE}"));
    people_may_what_their_role_says(&tenant);
    let before = tenant.link("link").await;

    let upgraded =
        on_free_ports(json!({"allowedOrigins": [cloud.origin()], "syncInterval": "23h", "replicaCount": 2}));
    helm_does(&control_plane, &["upgrade", RELEASE, CHART, "-n", NAMESPACE], &upgraded);
    assert_eq!(names(&control_plane, "poddisruptionbudgets").len(), 1);
    assert!(arguments(&control_plane).contains("--sync-interval=23h"));
    restarted(&mut operator, installed(&tenant, NAMESPACE, RELEASE).await, &cloud).await;

    helm_does(&control_plane, &["rollback", RELEASE, "1", "-n", NAMESPACE], &Value::Null);
    assert_eq!(names(&control_plane, "poddisruptionbudgets"), [""; 0]);
    assert!(arguments(&control_plane).contains("--sync-interval=24h"));
    restarted(&mut operator, installed(&tenant, NAMESPACE, RELEASE).await, &cloud).await;
    assert_eq!(tenant.link("link").await.status, before.status);

    helm_does(&control_plane, &["uninstall", RELEASE, "-n", NAMESPACE], &Value::Null);
    assert_eq!(operator.stop().await, Some(0));
    let kinds = "deployments,serviceaccounts,services,roles,rolebindings,clusterroles,clusterrolebindings";
    assert_eq!(names(&control_plane, kinds), [""; 0]);
    let after = tenant.link("link").await;
    assert_eq!(
        (after.metadata, after.status),
        (before.metadata, before.status),
        "the CRD is kept, and the links with it"
    );

    helm_installs(&control_plane, &values);
    operator = installed(&tenant, NAMESPACE, RELEASE).await.start().await;
    operator.wait_until_it_leads().await;
    Ledger::open(&operator, &cloud).expect_nothing().await;
    assert_eq!(cloud.calls(), Calls::default());
}

fn arguments(control_plane: &ControlPlane) -> String {
    let path = "jsonpath={.spec.template.spec.containers[0].args}";
    kubectl_does(control_plane, &["get", "deployment", RELEASE, "-n", NAMESPACE, "-o", path], "")
}

/// The roles that are aggregated to view and edit, here bound by themselves: the controller that aggregates is not part of this cluster.
fn people_may_what_their_role_says(tenant: &Tenant<'_>) {
    for (role, verb, resource, allowed) in [
        ("view", "list", "migrationlinks", "yes"),
        ("view", "create", "migrationlinks", "no"),
        ("view", "get", "secrets", "no"),
        ("edit", "create", "migrationlinks", "yes"),
        ("edit", "delete", "migrationlinks", "yes"),
        ("edit", "patch", "migrationlinks/status", "no"),
        ("edit", "get", "secrets", "no"),
    ] {
        let clusterrole = format!("--clusterrole={RELEASE}-{role}");
        let user = format!("somebody-with-{role}");
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("{RELEASE}-{role}")},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        });
        assert!(tenant.kubectl(&["apply", "-f", "-"], &binding.to_string()).success, "{clusterrole}");
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let subresource = format!("--subresource={subresource}");
        let answer = tenant.kubectl(&["auth", "can-i", verb, resource, &subresource, "--as", &user], "");
        assert_eq!(
            answer.stdout.trim(),
            allowed,
            "{role}: {verb} {resource} {subresource} {}",
            answer.stderr
        );
    }
}

/// One release in a team's namespace: Roles only, its own lease, a CA for every link, and no eye on other namespaces.
#[tokio::test]
async fn a_release_for_certain_namespaces_has_no_right_elsewhere() {
    let team = Tenant::new().await;
    let (other, stranger) = (Tenant::new().await, Tenant::new().await);
    let cloud = Cloud::start_tls().await;
    let second = "5f0d1e2a3b4c5d6e7f805678";
    cloud.add_organization(second);
    team.create_config_map("om-ca", &[("root.pem", &cloud.simulator.ca_pem().unwrap())]).await;
    let values = json!({
        "watchNamespaces": [other.namespace],
        "allowedOrigins": [cloud.origin()], "ca": {"name": "om-ca", "key": "root.pem"}, "log": {"format": "text"},
    });
    let plane = team.control_plane;
    let [.., install] = &commands("docs/install.md", "### An operator for each team")[..] else {
        panic!("no command")
    };
    assert!(install.starts_with("helm install links "), "{install}");
    let install = in_namespace(install, &team.namespace);
    types(plane, &format!("{install} --set-json '{values}'"));
    let name = "links-migrationlink-operator";
    let operator = installed(&team, &team.namespace, name).await.start().await;
    link(&team, &cloud).await;
    for tenant in [&other, &stranger] {
        tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
        let spec = MigrationLinkSpec { org_id: second.to_owned(), ..link_spec(&cloud.base_url()) };
        tenant.create_link("link", spec).await;
    }
    other.wait_for_ready("link", "True", "Synced").await;
    nothing_was_refused(&operator);
    for request in operator.requests().besides_the_lease() {
        assert!(request.namespace == team.namespace || request.namespace == other.namespace, "{request:?}");
    }
    let untouched = stranger.link("link").await.status.expect("the schema's default");
    assert_eq!(untouched.observed_generation, Some(-1), "{untouched:?}");
    let lease = team.kubectl(&["get", "lease", name], "");
    assert!(lease.success, "{}", lease.stderr);
    for (verb, resource, namespace) in [
        ("get", "secrets", &stranger.namespace),
        ("list", "migrationlinks", &stranger.namespace),
        ("create", "leases", &other.namespace),
    ] {
        let account = format!("system:serviceaccount:{}:{name}", team.namespace);
        let answer = plane.kubectl(&["auth", "can-i", verb, resource, "-n", namespace, "--as", &account], "");
        assert_eq!(answer.stdout.trim(), "no", "{verb} {resource}");
    }
}

/// A release whose CRD an administrator has applied by hand takes it over only when told to.
#[tokio::test]
async fn a_resource_definition_that_is_there_is_taken_over_when_helm_is_told_so() {
    let control_plane = ControlPlane::start();
    let args = ["install", RELEASE, CHART, "-n", NAMESPACE, "--create-namespace"];
    let refused = helm(&control_plane, &args, &json!({}));
    assert!(!refused.success && refused.stderr.contains(CRD), "{}", refused.stderr);
    let args = [&args[..], &["--take-ownership"]].concat();
    helm_does(&control_plane, &args, &json!({}));
    assert!(control_plane.kubectl(&["get", "crd", CRD], "").success);

    // Without `keep` it goes with the release, and every link with it.
    helm_does(
        &control_plane,
        &["upgrade", RELEASE, CHART, "-n", NAMESPACE],
        &json!({"crds": {"keep": false}}),
    );
    helm_does(&control_plane, &["uninstall", RELEASE, "-n", NAMESPACE], &Value::Null);
    eventually("the CRD is gone", async || {
        let output = control_plane.kubectl(&["get", "crd", CRD], "");
        if output.success { Err(output.stdout) } else { Ok(()) }
    })
    .await;
}

/// `deploy/install.yaml`, applied as its first lines say, and the namespaced kustomization.
#[tokio::test]
async fn the_manifest_and_the_kustomization_give_the_operator_what_it_needs() {
    let control_plane = bare();
    let file = format!("{ROOT}/deploy/install.yaml");
    // One pass is enough: kubectl applies in the order of the file, and nothing in it needs the CRD to be established.
    kubectl_does(&control_plane, &["apply", "--server-side", "-f", &file], "");
    served(&control_plane).await;
    let tenant = Tenant::on(&control_plane).await;
    let mut operator = installed(&tenant, NAMESPACE, RELEASE).await.start().await;
    tenant.create_link("link", link_spec("https://om.example.com")).await;
    tenant.wait_for_ready("link", "False", "EndpointNotAllowed").await;
    nothing_was_refused(&operator);
    operator.kill().await;
    kubectl_does(&control_plane, &["delete", "deployment", RELEASE, "-n", NAMESPACE], "");

    let team = Tenant::on(&control_plane).await;
    let dir = control_plane.dir().join("overlay");
    std::fs::create_dir(&dir).unwrap();
    std::os::unix::fs::symlink(Path::new(ROOT).join("deploy/kustomize/namespaced"), dir.join("base"))
        .unwrap();
    let own = format!("namespace: {}\nresources: [base]\n", team.namespace);
    std::fs::write(dir.join("kustomization.yaml"), own).unwrap();
    kubectl_does(&control_plane, &["apply", "-k", dir.to_str().unwrap()], "");
    let operator = installed(&team, &team.namespace, RELEASE).await.start().await;
    team.create_link(
        "link",
        MigrationLinkSpec { org_id: ORG_ID.to_owned(), ..link_spec("https://om.example.com") },
    )
    .await;
    team.wait_for_ready("link", "False", "EndpointNotAllowed").await;
    nothing_was_refused(&operator);
    for request in operator.requests().besides_the_lease() {
        assert_eq!(request.namespace, team.namespace, "{request:?}");
    }
    assert!(install_manifest().len() > 5);
}
