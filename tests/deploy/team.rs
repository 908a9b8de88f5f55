//! A team that has the cluster's role `admin` in its namespace, and installs the operator there itself.

use serde_json::{Value, json};

use crate::documents::{commands, in_namespace, try_to_type, types};
use crate::install::{bare, nothing_was_refused, served};
use crate::installed::installed;
use crate::support::{Cloud, Tenant, link_spec};
use crate::tools::helm_does;

const TEAM: &str = "payments-team";

/// What `admin` grants: the controller manager, which is not here, adds up these three for it.
fn make_admin(tenant: &Tenant<'_>) {
    for part in ["view", "edit", "admin"] {
        let role = format!("--clusterrole=system:aggregate-to-{part}");
        let group = format!("--group={TEAM}");
        let made = tenant.kubectl(&["create", "rolebinding", part, &role, &group], "");
        assert!(made.success, "{}", made.stderr);
    }
}

#[tokio::test]
async fn a_team_installs_and_removes_its_own_operator_once_it_has_been_given_what_that_hands_on() {
    let plane = &bare();
    let (team, cloud) = (Tenant::on(plane).await, Cloud::start().await);
    make_admin(&team);
    let [definition] = &commands("docs/install.md", "## GitOps")[..] else { panic!("one command") };
    types(plane, definition);
    served(plane).await;
    let documented = commands("docs/install.md", "### An operator for each team");
    let [role, binding, install] = &documented[..] else { panic!("{documented:?}") };
    let [role, binding, install] = [role, binding, install].map(|line| in_namespace(line, &team.namespace));
    let helm_as = ["--kube-as-user", "alice", "--kube-as-group", TEAM];
    let kubectl_as = ["--as", "alice", "--as-group", TEAM];
    let origins = cloud.origin();
    let install = format!("{install} --set 'allowedOrigins={{{origins}}}' {}", helm_as.join(" "));
    let uninstall = [&["uninstall", "links", "-n", &team.namespace], &helm_as[..]].concat();

    let refused = try_to_type(plane, &install);
    assert!(!refused.success, "{}", refused.stdout);
    assert!(
        refused.stderr.contains("attempting to grant RBAC permissions not currently held"),
        "{}",
        refused.stderr
    );
    helm_does(plane, &uninstall, &Value::Null);

    types(plane, &role);
    types(plane, &binding);
    types(plane, &install);
    let operator = installed(&team, &team.namespace, "links-migrationlink-operator").await.start().await;
    team.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    let manifest = json!({
        "apiVersion": "migrationlink.dev/v1alpha1", "kind": "MigrationLink",
        "metadata": {"name": "link"}, "spec": link_spec(&cloud.base_url()),
    });
    let applied = team.kubectl(&[&["apply", "-f", "-"], &kubectl_as[..]].concat(), &manifest.to_string());
    assert!(applied.success, "{}", applied.stderr);
    team.wait_for_ready("link", "True", "Synced").await;
    nothing_was_refused(&operator);

    let deleted = team.kubectl(&[&["delete", "migrationlink", "link"], &kubectl_as[..]].concat(), "");
    assert!(deleted.success, "{}", deleted.stderr);
    helm_does(plane, &uninstall, &Value::Null);
    let left = team.kubectl(&["get", "deployments,roles,rolebindings,serviceaccounts", "-o", "name"], "");
    assert!(left.success && !left.stdout.contains("links-"), "{left:?}");
}
