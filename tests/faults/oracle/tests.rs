//! The oracle sees what no story shows it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hyper::{Method, Request};
use migrationlink_operator::decision::decide;
use migrationlink_simulator::Config;
use serde_json::json;
use tokio::time::{Duration, sleep};

use super::has_secret;
use crate::border::{kubernetes, parse};
use crate::run::on_a_runtime;
use crate::stories::TOKEN;
use crate::world::life::Life;
use crate::world::{CANARY, World};

#[test]
fn a_secret_is_seen_in_each_form() {
    for before in ["", "x", "xy", "xyz", "token-", "user:"] {
        for after in ["", "z", "zz", "-one"] {
            let secret = [before, CANARY, after].concat();
            assert!(has_secret(&secret));
            for encoded in [STANDARD.encode(&secret), STANDARD_NO_PAD.encode(&secret)] {
                assert!(has_secret(&format!("{{\"message\":\"{encoded}\"}}")), "{secret}");
            }
        }
    }
    assert!(!has_secret("a token-can ary Y2FuYXJ-one"));
}

/// The lease is taken by another while a write is on its way.
#[test]
fn a_write_that_arrives_too_late_is_seen() {
    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/system/leases";
    let violations = on_a_runtime(async {
        let world = World::new(Config::default(), decide);
        world.create_inputs(TOKEN);
        world.create_link("link", "Retain");
        let lease = |holder: &str, version: &str| json!({"metadata": {"name": "operator", "resourceVersion": version}, "spec": {"holderIdentity": holder}});
        let person = |method, path: &str, body| {
            let (code, object) = kubernetes::ask(&world.api, method, path, "application/json", &body);
            assert!(code < 300, "{object}");
            object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
        };
        let version = person(Method::POST, LEASES, lease("a-1", ""));
        world.border.arm(&[parse("patch-status#1/before/slow").unwrap()]);
        let client = kubernetes::client(&world, &Life::new("a-1".to_owned()));
        let request =
            Request::patch("/apis/migrationlink.dev/v1alpha1/namespaces/payments/migrationlinks/link/status")
                .header("Content-Type", "application/merge-patch+json")
                .body(kube::client::Body::from(br#"{"status": {"attempts": 1}}"#.to_vec()));
        let taken = async {
            sleep(Duration::from_secs(2)).await;
            person(Method::PUT, &format!("{LEASES}/operator"), lease("b-1", &version))
        };
        let (answer, _) = tokio::join!(client.send(request.unwrap()), taken);
        assert!(answer.unwrap().status().is_success());
        world.border.record().violations
    });
    assert_eq!(violations, [r#"a write of a-1 (Effect), and the lease is held by Some("b-1")"#]);
}
