//! Links that wait for a person because of their API key, and one of them that shows that the key is right again.

use std::time::Duration;

use migrationlink_simulator::{Answer, Behaviour, Phase};
use tokio::time::{Instant, sleep};

use super::{another, authenticated, cloud, create_links, org_id, tenant};
use crate::support::Tenant;

const LINKS: usize = 20;
/// This one is refused whatever happens to the others.
const REFUSED: usize = 7;

fn denied() -> Behaviour {
    let answer = Answer::NotOnAccessList { address: "203.0.113.7".to_owned() };
    Behaviour::new(answer).in_phase(Phase::Authenticated)
}

async fn wait_for_all(tenant: &Tenant<'_>, status: &str, reason: &str) {
    for n in (0..LINKS).filter(|n| *n != REFUSED) {
        tenant.wait_for_ready(&format!("link-{n}"), status, reason).await;
    }
}

#[tokio::test]
async fn when_a_denied_key_works_again_for_one_link_the_others_follow_once_and_at_the_rate_of_the_key() {
    let (tenant, cloud) = (tenant().await, cloud().await);
    cloud.simulator.script(denied().on_organization(&org_id(REFUSED)));
    cloud.simulator.script(denied());
    let _operator = tenant
        .operator()
        .arg(format!("--allowed-origin={}", cloud.origin()))
        .arg("--sync-interval=24h")
        .arg("--api-rate=5/s")
        .start()
        .await;
    create_links(&tenant, (0..LINKS).map(|n| (format!("link-{n}"), another(&cloud, n)))).await;
    wait_for_all(&tenant, "False", "AccessListDenied").await;
    tenant.wait_for_ready(&format!("link-{REFUSED}"), "False", "AccessListDenied").await;
    let begin = Instant::now();
    cloud.simulator.clear_scripts();
    cloud.simulator.script(denied().on_organization(&org_id(REFUSED)));
    cloud.simulator.clear_journal();
    tenant.annotate_link("link-0", "migrationlink.dev/reconcile-at", "now").await;
    wait_for_all(&tenant, "True", "Synced").await;
    let took = begin.elapsed();
    println!("{LINKS} links followed in {took:.1?}");
    // By itself none would try before 54 s have passed.
    assert!(took < Duration::from_secs(20), "{took:?}");
    sleep(Duration::from_secs(2)).await;

    let calls = authenticated(&cloud);
    assert_eq!(calls.len(), LINKS, "one call each, the refused one included: {calls:?}");
    for first in 0..LINKS {
        let within =
            calls[first..].iter().take_while(|call| call.at < calls[first].at + Duration::from_secs(1));
        // What the key may save up, and what it gains in a second.
        assert!(within.count() <= 10, "{:?}", calls.iter().map(|call| call.at).collect::<Vec<_>>());
    }
    let again = calls.iter().filter(|call| call.org_id.as_deref() == Some(&org_id(REFUSED))).count();
    assert_eq!(again, 1, "once for the reason, however many others succeed");
}
