//! A credential that the server limits, and the many links that use it.

use std::time::Duration;

use migrationlink_simulator::{Answer, Behaviour, Phase, RetryAfter};
use tokio::time::sleep;

use super::{
    THOUSANDS, all_ready, another, authenticated, cloud, create_links, gaps, operator, tenant,
    wait_until_held,
};
use crate::support::eventually;

const LINKS: usize = 1_000;
/// What the server asks for with each 429.
const RETRY_AFTER: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_thousand_links_of_a_limited_credential_make_one_probe() {
    let _alone = THOUSANDS.lock().await;
    let (tenant, cloud) = (tenant().await, cloud().await);
    let limit = Answer::RateLimited { retry_after: Some(RetryAfter::Seconds(RETRY_AFTER.as_secs())) };
    cloud.simulator.script(Behaviour::new(limit).in_phase(Phase::Authenticated));
    let operator = operator(&tenant, &[&cloud]).start().await;
    tenant.create_link("link-0", another(&cloud, 0)).await;
    tenant.wait_for_ready("link-0", "False", "RateLimited").await;
    create_links(&tenant, (1..LINKS).map(|n| (format!("link-{n}"), another(&cloud, n)))).await;
    wait_until_held(&operator, "rate_limited", LINKS - 2).await;

    let begin = operator.requests();
    let before = authenticated(&cloud).len();
    eventually("the next probe", async || match authenticated(&cloud).len() - before {
        0 => Err(format!("{before} calls so far")),
        _ => Ok(()),
    })
    .await;
    // What else it might set off.
    sleep(Duration::from_secs(2)).await;
    let limited = authenticated(&cloud);
    let probes = limited.len() - before;
    assert_eq!(probes, 1, "{limited:?}");
    assert!(gaps(&limited).iter().all(|gap| *gap >= RETRY_AFTER), "{:?}", gaps(&limited));
    let asked = operator.requests().since(&begin);
    for (verb, resource) in [("get", "secrets"), ("patch", "migrationlinks/status")] {
        let count = asked.count(verb, resource);
        assert!(count <= probes + 1, "{verb} {resource} {count} times for {probes} probes");
    }

    cloud.simulator.clear_scripts();
    let took = all_ready(&tenant, Duration::from_secs(90)).await;
    println!("{} probes, and {LINKS} links SYNCED {took:.1?} after the limit was lifted", limited.len());
    assert_eq!(authenticated(&cloud).len(), limited.len() + LINKS);
    let written = operator.requests().count("patch", "migrationlinks/status");
    assert!(written <= LINKS * 2 + limited.len(), "{written}");
}
