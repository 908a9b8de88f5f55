//! Many links, and endpoints that are slow, limited or down: nobody waits for somebody else's trouble.

mod backlog;
mod limited;
mod neighbours;
mod outage;
mod restart;
mod siblings;

use std::time::Duration;

use futures::{StreamExt, stream};
use kube::api::{ListParams, PostParams};
use migrationlink_operator::api::{ConditionType, Conditions, MigrationLink, MigrationLinkSpec};
use migrationlink_simulator::{DigestOutcome, Entry};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::support::{Cloud, Operator, OperatorBuilder, Tenant, eventually, link_spec};

/// So long a change may take until the status tells its effect, whatever else there is to do.
const PROMPT: Duration = Duration::from_secs(2);
/// Held by the tests with thousands of links: they would measure each other.
pub static THOUSANDS: Mutex<()> = Mutex::const_new(());
/// Requests of the administrator at the same time.
const AT_ONCE: usize = 16;

/// A Cloud Manager whose nonces outlive the test, so that no count depends on how busy the machine is.
async fn cloud() -> Cloud {
    let cloud = Cloud::start().await;
    cloud.simulator.configure(|config| {
        config.digest.max_nonce_count = None;
        config.digest.max_nonce_age = Duration::from_hours(1);
    });
    cloud
}

/// A namespace with the Secret `keys` of all links.
async fn tenant() -> Tenant<'static> {
    let tenant = Tenant::new().await;
    tenant.create_secret("keys", &Cloud::secret_keys("a-link-token")).await;
    tenant
}

/// An operator without rates that checks nothing by itself while a test runs.
fn operator<'a>(tenant: &'a Tenant<'a>, clouds: &[&Cloud]) -> OperatorBuilder<'a> {
    let operator = tenant.operator().arg("--sync-interval=24h").arg("--api-rate=0").arg("--origin-rate=0");
    clouds
        .iter()
        .fold(operator, |operator, cloud| operator.arg(format!("--allowed-origin={}", cloud.origin())))
}

/// The id of the `number`th organization.
fn org_id(number: usize) -> String {
    format!("{number:024x}")
}

/// The `number`th organization, and the spec of its link at this origin.
fn another(cloud: &Cloud, number: usize) -> MigrationLinkSpec {
    let org_id = org_id(number);
    cloud.add_organization(&org_id);
    MigrationLinkSpec { org_id, ..link_spec(&cloud.base_url()) }
}

/// Creates links, several at a time.
async fn create_links(tenant: &Tenant<'_>, links: impl IntoIterator<Item = (String, MigrationLinkSpec)>) {
    let api = tenant.links();
    let create = async |(name, spec): (String, MigrationLinkSpec)| {
        let link = MigrationLink::new(&name, spec);
        api.create(&PostParams::default(), &link).await.expect("a MigrationLink");
    };
    stream::iter(links).for_each_concurrent(AT_ONCE, create).await;
}

/// Whether the operator has said of the present generation that it is linked.
fn is_ready(link: &MigrationLink) -> bool {
    let now = link.status.as_ref().filter(|status| status.observed_generation == link.metadata.generation);
    let conditions = now.and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| conditions.is_true(ConditionType::Ready))
}

/// Waits until all links of the namespace are SYNCED, and tells how long that took.
async fn all_ready(tenant: &Tenant<'_>, within: Duration) -> Duration {
    let begin = Instant::now();
    loop {
        let links = tenant.links().list(&ListParams::default()).await.expect("links").items;
        let Some(last) = links.iter().find(|link| !is_ready(link)) else { return begin.elapsed() };
        assert!(begin.elapsed() < within, "not all are SYNCED within {within:?}: {:?}", last.status);
        sleep(Duration::from_millis(200)).await;
    }
}

/// Asks for the link until it is as `holds` wants it, and tells how long it was since `begin`.
async fn time_until(
    tenant: &Tenant<'_>,
    name: &str,
    begin: Instant,
    holds: impl Fn(&MigrationLink) -> bool,
) -> Duration {
    loop {
        let link = tenant.link(name).await;
        if holds(&link) {
            return begin.elapsed();
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{name}: {:?}", link.status);
        sleep(Duration::from_millis(10)).await;
    }
}

/// Creates a link, and tells how long it took until it was SYNCED.
async fn time_of_new(tenant: &Tenant<'_>, name: &str, spec: MigrationLinkSpec) -> Duration {
    let begin = Instant::now();
    tenant.create_link(name, spec).await;
    time_until(tenant, name, begin, is_ready).await
}

/// Waits until so many links wait for that (`turn`, `rate_limited`, `unavailable`), and take no slot.
async fn wait_until_held(operator: &Operator<'_>, why: &str, at_least: usize) {
    let series = format!("migrationlink_links_held{{why=\"{why}\"}} ");
    eventually(&format!("{at_least} links wait: {why}"), async || {
        let metrics = operator.metrics().await;
        let held = metrics.lines().find_map(|line| line.strip_prefix(&series)).expect("the series");
        let held: usize = held.parse().expect("a number");
        if held >= at_least { Ok(()) } else { Err(format!("{held}")) }
    })
    .await;
}

/// The requests with the right credentials, oldest first: those that a call is made for.
fn authenticated(cloud: &Cloud) -> Vec<Entry> {
    let mut entries = cloud.simulator.journal();
    entries.retain(|entry| entry.digest == DigestOutcome::Accepted);
    entries
}

/// The times between requests.
fn gaps(entries: &[Entry]) -> Vec<Duration> {
    entries.windows(2).map(|pair| pair[1].at.saturating_sub(pair[0].at)).collect()
}
