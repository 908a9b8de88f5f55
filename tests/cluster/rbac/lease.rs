//! The rights on the lease.

use std::time::Duration;

use tokio::time::sleep;

use super::missing::{each, give_back};
use super::says;
use crate::support::{Cloud, Tenant, eventually, link_spec};

#[tokio::test]
async fn each_right_on_the_lease_is_needed_named_when_it_is_missing_and_taken_up_when_it_is_given() {
    each("leases", async |verb| match verb {
        "get" | "create" | "update" => lease_untaken(verb).await,
        "watch" => lease_unwatched().await,
        _ => panic!("no test takes {verb} away"),
    })
    .await;
}

/// Without `get`, `create` or `update` on leases: it does nothing, and does not end either.
async fn lease_untaken(verb: &str) {
    let tenant = Tenant::new().await;
    let cloud = Cloud::start().await;
    let origin = format!("--allowed-origin={}", cloud.origin());
    let mut operator =
        tenant.operator().arg(origin).arg("--lease-duration=5s").without(verb, "leases").spawn().await;
    let sentence = format!("the operator's role lacks {verb} on leases (see deploy/rbac.yaml)");
    says(&operator, &sentence).await;
    eventually("it is not ready", async || match operator.probe("/readyz").await {
        (503, why) if why.contains(&sentence) && why.contains(&tenant.namespace) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant.create_link("link", link_spec(&cloud.base_url())).await;
    eventually("it goes on trying", async || {
        let refused = operator.requests().count(verb, "leases");
        if refused >= 5 { Ok(()) } else { Err(format!("{refused} refused")) }
    })
    .await;
    assert_eq!(operator.log().matches(&sentence).count(), 1, "said once: {}", operator.log());
    assert_eq!(operator.probe("/livez").await.0, 200);
    assert!(!operator.leads().await);
    assert!(operator.requests().counts().is_empty() && cloud.simulator.journal().is_empty());

    give_back(&tenant).await;
    tenant.wait_for_ready("link", "True", "Synced").await;
    operator.wait_until_ready().await;
}

/// Without `watch` on leases: who waits for its turn reads the lease again and again.
async fn lease_unwatched() {
    let tenant = Tenant::new().await;
    let copy = || tenant.operator().arg("--lease-duration=5s").without("watch", "leases");
    let mut first = copy().start().await;
    first.wait_until_it_leads().await;
    let second = copy().start().await;
    says(&second, "the operator's role lacks watch on leases (see deploy/rbac.yaml)").await;
    let reads = || second.requests().count("get", "leases");
    let before = reads();
    eventually("it is read again and again", async || match reads() - before {
        again if again >= 3 => Ok(()),
        again => Err(format!("{again} times")),
    })
    .await;
    give_back(&tenant).await;
    eventually("it is not read any more", async || {
        let before = reads();
        sleep(Duration::from_secs(2)).await;
        if reads() == before { Ok(()) } else { Err("it is".to_owned()) }
    })
    .await;
    assert_eq!(first.stop().await, Some(0));
    second.wait_until_it_leads().await;
}
