//! An endpoint that is down, and all its links.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use migrationlink_simulator::{Answer, Behaviour};
use tokio::time::{Instant, sleep};

use super::{all_ready, another, cloud, create_links, gaps, operator, tenant, wait_until_held};
use crate::support::eventually;

const LINKS: usize = 200;
/// The default of `--origin-concurrency`.
const AT_ONE_ORIGIN: usize = 32;
/// Failures in a row that open the breaker.
const FAILURES: usize = 5;
/// The shortest wait before the first probe.
const FIRST_WAIT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn an_endpoint_that_is_down_is_tried_by_one_link_at_a_time_and_the_others_cost_nothing() {
    let (tenant, cloud) = (tenant().await, cloud().await);
    cloud.simulator.script(Behaviour::new(Answer::Reset));
    let operator = operator(&tenant, &[&cloud]).start().await;
    create_links(&tenant, (0..LINKS).map(|n| (format!("link-{n}"), another(&cloud, n)))).await;
    wait_until_held(&operator, "unavailable", LINKS - 1).await;

    let opened = cloud.simulator.journal().len();
    assert!(opened <= FAILURES + AT_ONE_ORIGIN, "{opened} calls to a dead endpoint");
    let before = operator.requests();
    eventually("two probes", async || match cloud.simulator.journal().len() - opened {
        0 | 1 => Err(format!("{opened} calls before")),
        _ => Ok(()),
    })
    .await;
    let journal = cloud.simulator.journal();
    let waits = gaps(&journal[opened..]);
    assert!(waits.iter().all(|wait| *wait >= FIRST_WAIT), "one at a time, and with pauses: {waits:?}");
    let tried = journal.len() - opened;
    let asked = operator.requests().since(&before);
    for (verb, resource) in [("get", "secrets"), ("patch", "migrationlinks/status")] {
        let count = asked.count(verb, resource);
        assert!(count <= tried + 1, "{verb} {resource} {count} times for {tried} probes");
    }
    let said = operator.requests().count("patch", "migrationlinks/status");
    assert!((LINKS..=LINKS + journal.len()).contains(&said), "one write a link: {said}");

    cloud.simulator.clear_scripts();
    // The next probe comes within a minute, however long the outage was.
    let took = all_ready(&tenant, Duration::from_secs(90)).await;
    println!("{tried} probes, and {LINKS} links SYNCED {took:.1?} after the endpoint came back");
    assert_eq!(cloud.calls().posts, LINKS);
}

/// Takes its minute: an interval is no shorter.
#[tokio::test]
async fn a_steady_fleet_is_written_to_when_an_outage_has_lasted_an_interval_and_not_before() {
    const FLEET: usize = 40;
    let interval = Duration::from_mins(1);
    let (tenant, cloud) = (tenant().await, cloud().await);
    create_links(&tenant, (0..FLEET).map(|n| (format!("link-{n}"), another(&cloud, n)))).await;
    let mut first = operator(&tenant, &[&cloud]).start().await;
    all_ready(&tenant, Duration::from_secs(30)).await;
    assert_eq!(first.stop().await, Some(0));

    cloud.simulator.script(Behaviour::new(Answer::Reset));
    cloud.simulator.clear_journal();
    let before = first.requests();
    let (begin, started) = (Timestamp::now(), Instant::now());
    // After a restart each is due once within an interval.
    let operator = tenant
        .operator()
        .arg(format!("--allowed-origin={}", cloud.origin()))
        .arg("--sync-interval=1m")
        .start()
        .await;
    let writes = || operator.requests().since(&before).count("patch", "migrationlinks/status");
    while started.elapsed() + Duration::from_secs(1) < interval {
        assert_eq!(writes(), 0, "after {:?}", started.elapsed());
        sleep(Duration::from_secs(1)).await;
    }
    assert!(cloud.simulator.journal().len() <= FAILURES + 10, "{:?}", cloud.simulator.journal());
    let is_unknown = async |name: String| {
        let ready =
            tenant.link(&name).await.status?.conditions?.into_iter().find(|it| it.type_ == "Ready")?;
        (ready.status == "Unknown").then_some(ready)
    };
    let said = eventually("the first one says that it is not known any more", async || {
        for n in 0..FLEET {
            if let Some(ready) = is_unknown(format!("link-{n}")).await {
                return Ok(ready);
            }
        }
        Err(format!("{} writes", writes()))
    })
    .await;
    assert_eq!(said.reason, "EndpointUnavailable");
    // A status has whole seconds.
    let after = said.last_transition_time.0.as_second() - begin.as_second();
    assert!(after >= interval.as_secs().cast_signed(), "{said:?}");
}
