//! The Deployment's pod is admitted where the restricted Pod Security profile is enforced.

use serde_json::{Value, json};

use crate::generated::install_manifest;
use crate::support::{Output, Tenant};
use crate::tools::{RELEASE, only, rendered};

/// Asks the API server to admit a pod of this Deployment, and keeps nothing of it.
fn admit(tenant: &Tenant<'_>, deployment: &Value) -> Output {
    let template = &deployment["spec"]["template"];
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
    pod["metadata"]["name"] = json!("operator");
    tenant.kubectl(&["create", "--dry-run=server", "-f", "-"], &pod.to_string())
}

#[tokio::test]
async fn the_pod_is_admitted_under_the_restricted_profile_and_a_weaker_one_is_not() {
    let tenant = Tenant::new().await;
    let label = "pod-security.kubernetes.io/enforce=restricted";
    let labelled = tenant.control_plane.kubectl(&["label", "namespace", &tenant.namespace, label], "");
    assert!(labelled.success, "{}", labelled.stderr);
    let account = tenant.kubectl(&["create", "serviceaccount", RELEASE], "");
    assert!(account.success, "{}", account.stderr);

    let pod = |values: Value| only(&rendered(&values), "Deployment").clone();
    let everything = json!({
        "ca": {"name": "om-ca"}, "proxy": {"https": "http://proxy:3128"}, "watchReleaseNamespace": true,
        "extraVolumes": [{"name": "tmp", "emptyDir": {}}], "extraVolumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    });
    for deployment in [pod(json!({})), pod(everything), only(&install_manifest(), "Deployment").clone()] {
        let admitted = admit(&tenant, &deployment);
        assert!(admitted.success, "{}", admitted.stderr);
        assert!(!admitted.stderr.contains("Warning"), "{}", admitted.stderr);
    }
    for weak in [
        json!({"podSecurityContext": {"runAsNonRoot": null, "runAsUser": 0}}),
        json!({"podSecurityContext": {"seccompProfile": null}}),
        json!({"securityContext": {"allowPrivilegeEscalation": true}}),
        json!({"securityContext": {"capabilities": {"drop": ["NET_RAW"]}}}),
        json!({"extraVolumes": [{"name": "host", "hostPath": {"path": "/"}}]}),
    ] {
        let refused = admit(&tenant, &pod(weak.clone()));
        assert!(
            !refused.success && refused.stderr.contains("violates PodSecurity"),
            "{weak}: {}",
            refused.stderr
        );
    }
}
