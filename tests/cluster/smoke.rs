//! The program starts with the rights that are shipped, answers, does what needs no remote API, and ends when asked.

use serde_json::json;

use crate::support::{ControlPlane, Tenant, eventually, link_spec};

#[tokio::test]
async fn it_starts_with_the_shipped_role_of_one_namespace_and_ends_cleanly() {
    let tenant = Tenant::new().await;
    let mut operator = tenant.operator().start().await;
    assert_eq!(operator.probe("/livez").await.0, 200);
    assert!(operator.metrics().await.contains("# TYPE"));
    let before = operator.requests();
    for request in before.besides_the_lease() {
        assert!(request.code < 400 && request.namespace == tenant.namespace, "{request:?}");
    }
    assert!(before.counts().is_empty(), "{before:?}");
    assert_eq!(operator.stop().await, Some(0));
    // Its watches have ended with it.
    eventually("the watch of the links is in the audit log", async || {
        let since = operator.requests().since(&before);
        if since.count("watch", "migrationlinks") > 0 { Ok(()) } else { Err(format!("{since:?}")) }
    })
    .await;
}

#[tokio::test]
async fn it_watches_every_namespace_with_the_shipped_cluster_role() {
    let control_plane = ControlPlane::start();
    let tenant = Tenant::on(&control_plane).await;
    let operator = tenant.operator().cluster_wide().start().await;
    for request in operator.requests().besides_the_lease() {
        assert!(request.code < 400 && request.namespace.is_empty(), "{request:?}");
    }
    tenant.create_link("link", link_spec("https://om.example.com")).await;
    tenant.wait_for_ready("link", "False", "EndpointNotAllowed").await;
}

#[tokio::test]
async fn without_the_right_to_list_links_it_waits_and_says_what_is_missing() {
    let tenant = Tenant::new().await;
    let mut operator = tenant.operator().without("list", "migrationlinks").spawn().await;
    eventually("the log names the missing right", async || {
        let log = operator.log();
        if log.contains("cannot list") { Ok(()) } else { Err(log) }
    })
    .await;
    assert_eq!(operator.probe("/readyz").await.0, 503);
    operator.kill().await;
}

/// Every reason here is found without a call of the remote API; the port of the origin is one where nobody listens.
#[tokio::test]
async fn a_link_is_told_what_is_wrong_with_its_origin_and_its_secret() {
    let tenant = Tenant::new().await;
    let origin = "http://127.0.0.1:1";
    let operator = tenant
        .operator()
        .arg(format!("--allowed-origin={origin}"))
        .env("MIGRATIONLINK_LOG_FORMAT", "json")
        .start()
        .await;

    tenant.create_link("elsewhere", link_spec("http://127.0.0.1:2")).await;
    tenant.wait_for_ready("elsewhere", "False", "EndpointNotAllowed").await;
    assert_eq!(operator.requests().count("get", "secrets"), 0);

    tenant.create_link("link", link_spec(origin)).await;
    tenant.wait_for_ready("link", "False", "SecretNotFound").await;
    tenant.create_secret("keys", &[("publicKey", "abcdefgh")]).await;
    tenant.wait_for_ready("link", "False", "InvalidSecret").await;
    tenant
        .edit_secret(
            "keys",
            &[("privateKey", "7f0b3e52-5b7a-4d55-9c39-4f6d2b9c1a00"), ("linkToken", "a-link-token")],
        )
        .await;
    tenant.wait_for_ready("link", "False", "EndpointUnavailable").await;
    tenant.delete_secret("keys").await;
    tenant.wait_for_ready("link", "False", "SecretNotFound").await;
    let reasons: Vec<_> = tenant.events("link").await.into_iter().filter_map(|event| event.reason).collect();
    assert!(reasons.iter().any(|reason| reason == "SecretNotFound"), "{reasons:?}");

    tenant.annotate_link("link", "migrationlink.dev/reconcile-at", "now").await;
    tenant
        .wait_for("link", "the wish is acknowledged", |link| {
            let handled = link.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_deref());
            handled == Some("now")
        })
        .await;
    tenant.edit_link("link", json!({"spec": {"suspend": true}})).await;
    tenant
        .wait_for("link", "it is suspended", |link| {
            let conditions = link.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.into_iter().any(|condition| condition.type_ == "Suspended")
        })
        .await;
}
