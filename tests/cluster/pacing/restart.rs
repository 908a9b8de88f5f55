//! A restart with hundreds of links that are SYNCED.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{all_ready, another, authenticated, cloud, create_links, operator, tenant};

const LINKS: usize = 500;
/// So long is counted what a restart asks for.
const WATCHED: Duration = Duration::from_secs(12);

#[tokio::test]
async fn a_restart_costs_nothing_for_links_that_are_not_due_and_spreads_those_that_are() {
    let (tenant, cloud) = (tenant().await, cloud().await);
    create_links(&tenant, (0..LINKS).map(|n| (format!("link-{n}"), another(&cloud, n)))).await;
    let mut running = operator(&tenant, &[&cloud]).start().await;
    all_ready(&tenant, Duration::from_mins(1)).await;

    for (interval, seconds) in [("24h", 24 * 60 * 60), ("2m", 120)] {
        assert_eq!(running.stop().await, Some(0));
        cloud.simulator.clear_journal();
        let begin = Instant::now();
        let before = running.requests();
        running = tenant
            .operator()
            .arg(format!("--allowed-origin={}", cloud.origin()))
            .arg(format!("--sync-interval={interval}"))
            .start()
            .await;
        running.wait_until_it_leads().await;
        sleep(WATCHED).await;
        let polls = authenticated(&cloud);
        // Once in an interval each. Chance alone makes it neither twice as many nor less than half.
        let due_in = |time: Duration| LINKS * usize::try_from(time.as_secs()).expect("seconds") / seconds;
        let expected = due_in(WATCHED) * 2 / 5..=due_in(begin.elapsed()) * 2 + 2;
        assert!(expected.contains(&polls.len()), "{expected:?}: {polls:?}");
        assert!(polls.iter().all(|entry| entry.method == "GET"), "{polls:?}");
        let asked: BTreeSet<_> = polls.iter().map(|entry| &entry.org_id).collect();
        assert_eq!(asked.len(), polls.len(), "none twice");
        let requests = running.requests().since(&before);
        let reads = requests.count("get", "secrets");
        assert!(reads.abs_diff(polls.len()) <= 3, "one read for each check: {reads}, {}", polls.len());
        assert_eq!(requests.count("patch", "migrationlinks/status"), 0);
    }
}
