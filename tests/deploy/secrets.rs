//! `rbac.secretAccess: perNamespace`: the owners of a namespace let the operator read what its links name.

use migrationlink_operator::api::{CaReference, InputKind, MigrationLinkSpec};
use serde_json::json;

use crate::documents::{commands, in_namespace, types};
use crate::install::{bare, served};
use crate::installed::installed;
use crate::support::{Cloud, Tenant, link_spec};
use crate::tools::{NAMESPACE, RELEASE};

/// What somebody needs who gives this right: it, and the right to bind roles.
fn make_owner(tenant: &Tenant<'_>) {
    let subject = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "owner"}]);
    let owner = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "owner"}, "rules": [
            {"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["get"]},
            {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["rolebindings"], "verbs": ["create"]},
        ]},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "owner"},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "owner"}, "subjects": subject},
    ]});
    let made = tenant.kubectl(&["apply", "-f", "-"], &owner.to_string());
    assert!(made.success, "{}", made.stderr);
}

#[tokio::test]
async fn a_tenant_lets_the_operator_read_its_secrets_and_no_other_tenants() {
    let control_plane = bare();
    let cloud = Cloud::start_tls().await;
    let documented = commands("docs/install.md", "### One operator that reads Secrets where tenants say so");
    let [install, bind] = &documented[..] else { panic!("{documented:?}") };
    types(&control_plane, &format!("{install} --set 'allowedOrigins={{{}}}'", cloud.origin()));
    served(&control_plane).await;
    let (payments, billing) = (Tenant::on(&control_plane).await, Tenant::on(&control_plane).await);
    let operator = installed(&payments, NAMESPACE, RELEASE).await.start().await;
    let second = "5f0d1e2a3b4c5d6e7f805678";
    cloud.add_organization(second);
    for (tenant, org_id) in [(&payments, None), (&billing, Some(second))] {
        make_owner(tenant);
        tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
        tenant.create_config_map("ca", &[("ca.crt", &cloud.simulator.ca_pem().unwrap())]).await;
        let mut spec = link_spec(&cloud.base_url());
        spec.ca_ref = Some(CaReference { kind: InputKind::ConfigMap, name: "ca".to_owned(), key: None });
        let org_id = org_id.map_or_else(|| spec.org_id.clone(), str::to_owned);
        tenant.create_link("link", MigrationLinkSpec { org_id, ..spec }).await;
        tenant.wait_for_ready("link", "False", "SecretAccessDenied").await;
    }

    let bind = in_namespace(bind, &payments.namespace);
    types(&control_plane, &format!("{bind} --as owner"));
    payments.annotate_link("link", "migrationlink.dev/reconcile-at", "now").await;
    payments.wait_for_ready("link", "True", "Synced").await;
    billing.annotate_link("link", "migrationlink.dev/reconcile-at", "now").await;
    billing
        .wait_for("link", "it was tried again", |link| {
            link.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_deref()) == Some("now")
        })
        .await;
    billing.wait_for_ready("link", "False", "SecretAccessDenied").await;

    let asked = operator.requests();
    for verb in ["list", "watch"] {
        assert_eq!(asked.count(verb, "secrets") + asked.count(verb, "configmaps"), 0, "{asked:?}");
    }
    let read = asked.0.iter().filter(|request| request.resource == "secrets" && request.code == 200);
    assert!(
        read.clone().count() > 0 && read.clone().all(|request| request.namespace == payments.namespace),
        "{asked:?}"
    );
}
