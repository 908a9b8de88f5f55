//! A definition without rules, as another version of it might be: what the API server refuses otherwise comes to the operator, and
//! does no harm there either.

use std::fs;

use kube::ResourceExt;
use kube::api::{DynamicObject, PostParams};
use migrationlink_operator::api::{ConditionType, Conditions, MigrationLink};
use serde_json::{Value, json};

use super::measure::{Beside, is_sound_log};
use super::server::Server;
use super::{MOST_MIB, challenge, synced};
use crate::crowd::loosen_crd;
use crate::support::{Cloud, ControlPlane, Tenant, eventually, org_id, user};

/// The operator may read every Secret of the cluster, and another tenant has one with good keys.
#[tokio::test]
async fn a_manifest_that_nobody_checked_leads_nowhere_else() {
    let control_plane = ControlPlane::start();
    loosen_crd(&control_plane);
    let (tenant, cloud) = (Tenant::on(&control_plane).await, Cloud::start().await);
    let victim = Tenant::on(&control_plane).await;
    victim
        .create_secret(
            "keys",
            &[("publicKey", "victim-key"), ("privateKey", "victim"), ("linkToken", "victim-token")],
        )
        .await;
    tenant
        .create_secret(
            "keys",
            &[("publicKey", "own-key"), ("privateKey", "canary-own"), ("linkToken", "canary")],
        )
        .await;
    let accepting = || {
        Server::start(|asked| match asked.authorization() {
            None => challenge(&asked.number.to_string()),
            Some(_) => synced(),
        })
    };
    let (allowed, other) = (accepting().await, accepting().await);
    let operator = tenant
        .operator()
        .cluster_wide()
        .arg("--api-rate=0")
        .arg("--log-level=trace")
        .arg("--log-format=text")
        .arg(format!("--allowed-origin={}", cloud.origin()))
        .arg(format!("--allowed-origin={}", allowed.origin()))
        .start()
        .await;
    let mut measured = Beside::new(&tenant, &cloud, &operator).await;

    let base = allowed.base_url();
    let rows = rows(&allowed, &other, &victim.namespace);
    let unreadable = unreadable();
    let create = async |name: String, n: usize, change: &Value| {
        let mut spec = json!({"orgId": org_id(n), "baseUrl": base, "secretRef": {"name": "keys"}});
        spec.as_object_mut().expect("a spec").extend(change.as_object().expect("a change").clone());
        let link: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "migrationlink.dev/v1alpha1", "kind": "MigrationLink", "metadata": {"name": name}, "spec": spec,
        }))
        .expect("an object");
        // The definition without rules is in force a moment after it was accepted.
        eventually(&format!("{name} is let in: {change}"), async || {
            let created = tenant.raw_links().create(&PostParams::default(), &link).await;
            created.map(|link| link.name_any()).map_err(|error| error.to_string())
        })
        .await;
    };
    for (n, change) in unreadable.iter().enumerate() {
        create(format!("unreadable-{n}"), 1000 + n, change).await;
    }
    for (n, (change, _)) in rows.iter().enumerate() {
        create(format!("row-{n}"), n, change).await;
    }
    create("sound".to_owned(), 2000, &json!({})).await;
    measured.is_as_quick("beside manifests that nobody checked", 20).await;
    tenant.wait_for_ready("sound", "True", "Synced").await;

    for (n, (change, may_call)) in rows.iter().enumerate() {
        let name = format!("row-{n}");
        let said = tenant
            .wait_for(&name, &format!("something is said of {change}"), |link| reason(link).is_some())
            .await;
        let reason = reason(&said).expect("a reason");
        println!("{}: {reason}", change.to_string().chars().take(90).collect::<String>());
        assert!(*may_call || reason != "Synced", "{change}");
    }
    eventually("the unreadable are logged", async || {
        let count = operator.log().matches("cannot be read and is left alone").count();
        if count >= unreadable.len() { Ok(()) } else { Err(count.to_string()) }
    })
    .await;

    assert_eq!(other.connections(), 0, "{}", other.text());
    for text in [allowed.text(), operator.log(), operator.metrics().await] {
        assert!(!text.contains("victim-") && !text.contains("canary-own"), "{text}");
    }
    for asked in allowed.asked() {
        assert!(asked.header("x-canary").is_none(), "{}", asked.head);
    }
    asked_nobody_else(&control_plane, &victim.namespace);
    measured.is_unharmed(MOST_MIB).await;
    is_sound_log(&operator.log(), "text");
}

/// What is put into a sound spec, and whether keys may be sent to the allowed server for it.
fn rows(allowed: &Server, other: &Server, victim: &str) -> Vec<(Value, bool)> {
    let base = allowed.base_url();
    let elsewhere = other.origin().replace("http://", "");
    let away = format!("../../../../api/v1/namespaces/{victim}/secrets/keys");
    let mut rows: Vec<(Value, bool)> = Vec::new();
    for id in [
        "../../../users",
        "5f0d1e2a3b4c5d6e7f801234/../../x",
        "%2e%2e%2f",
        "a\r\nX-Canary: b",
        "\0",
        "",
        "5f0d1e2a3b4c5d6e7f80123é",
    ] {
        rows.push((json!({"orgId": id}), false));
    }
    for url in [
        format!("{}@{elsewhere}/", allowed.origin()),
        format!("http://x:y@{elsewhere}"),
        format!("http://{elsewhere}\\@{}", allowed.origin().replace("http://", "")),
        format!("http://{elsewhere}#{}", allowed.origin()),
        format!("http://{elsewhere}?{}", allowed.origin()),
        format!("http://{elsewhere}/{base}"),
        format!("\r\nhttp://{elsewhere}"),
        "file:///etc/passwd".to_owned(),
        "http://[::1]:1".to_owned(),
        "x".repeat(100_000),
        String::new(),
    ] {
        rows.push((json!({"baseUrl": url}), false));
    }
    // A path is a path of the allowed server, whatever it is.
    for path in ["/../../x", "/%0d%0aX-Canary:%20y", "/\r\nX-Canary: y", "/\u{202e}", "\\..\\x"] {
        rows.push((json!({"baseUrl": format!("{}{path}", allowed.origin())}), true));
    }
    for name in [
        away.as_str(),
        "../secrets/keys",
        "keys/../../x",
        "keys?watch=true",
        "keys#x",
        "keys%2f..%2fx",
        "a b",
        "a\r\nX-Canary: b",
        "\0",
        "",
        "..",
        "\u{1b}[31mcanary",
    ] {
        rows.push((json!({"secretRef": {"name": name}}), false));
        rows.push((json!({"linkTokenSecretRef": {"name": name}}), false));
        rows.push((json!({"caRef": {"kind": "Secret", "name": name}}), false));
        rows.push((json!({"caRef": {"kind": "ConfigMap", "name": name}}), false));
    }
    rows
}

/// What is not to be read at all; what is wrong with it goes into the log.
fn unreadable() -> [Value; 6] {
    let forged = "x`\n2026-01-01T00:00:00.000000Z ERROR migrationlink_operator: forged\u{1b}[31m\u{202e}";
    [
        json!({"deletionPolicy": forged}),
        json!({"driftPolicy": forged}),
        json!({"caRef": {"kind": forged, "name": 5}}),
        json!({"orgId": [forged]}),
        json!({"suspend": forged}),
        json!({ forged: forged, "orgId": 5 }),
    ]
}

fn reason(link: &MigrationLink) -> Option<String> {
    let conditions = link.status.as_ref()?.conditions.as_ref()?;
    conditions.of(ConditionType::Ready).map(|ready| ready.reason.clone())
}

/// Every request of the operator in the API server's own words.
fn asked_nobody_else(control_plane: &ControlPlane, victim: &str) {
    let audit = fs::read_to_string(control_plane.dir().join("audit.log")).expect("the audit log");
    let user = user("migrationlink-system");
    let own = audit.lines().filter(|line| line.contains(&user));
    let gets: Vec<_> =
        own.filter(|line| line.contains("\"verb\":\"get\"") && !line.contains("leases")).collect();
    assert!(!gets.is_empty(), "{audit}");
    for line in gets {
        assert!(!line.contains(victim) && !line.contains(".."), "{line}");
    }
}
