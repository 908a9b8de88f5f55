//! What the operator counts and measures, as text for Prometheus.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The content type of [`Metrics::encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds: from a pass that finds nothing to do to the deadline of an HTTP exchange.
const BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Everything that is counted and measured. Never labelled with an organization, a Secret or a URL.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Pass, Counter>,
    reconcile_duration: Histogram,
    in_flight: Gauge,
    queue_depth: Gauge,
    api_requests: Family<Call, Counter>,
    api_request_duration: Family<Operation, Histogram, fn() -> Histogram>,
    kubernetes_requests: Family<Call, Counter>,
    status_writes: Counter,
    events_published: Counter,
    events_dropped: Counter,
    undecodable_resources: Counter,
    links_left_behind: Counter,
    leader: Gauge,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was answered with this HTTP status code. All of 200 to 299 are counted as `2xx`.
    Status(u16),
    /// There was no answer to use: the kind of the failure, such as `timeout`. A fixed set of words.
    Failure(&'static str),
}

/// The links as they are known right now. It is asked at each scrape, so that no series outlives its link.
pub trait Links: Send + Sync + 'static {
    /// Calls `each` once for every link.
    fn for_each(&self, each: &mut dyn FnMut(Link<'_>));
}

/// How the remote API is paced right now. It is asked at each scrape.
pub trait Paced: Send + Sync + 'static {
    /// Links that are held back, by why: one of a fixed set of words each.
    fn held(&self) -> [(&'static str, usize); 3];
    /// How often an endpoint was given up until it answers again.
    fn breaker_openings(&self) -> u64;
}

/// One link, for [`Links`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    /// Namespace of the resource.
    pub namespace: &'a str,
    /// Name of the resource.
    pub name: &'a str,
    /// Whether its condition Ready is True.
    pub ready: bool,
    /// The reason of its condition Ready; empty while it has none.
    pub reason: &'a str,
}

/// A reconcile that runs; it counts as running until this is dropped.
#[derive(Debug)]
#[must_use = "it counts as running only as long as this lives"]
pub struct InFlight(Gauge);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pass {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    operation: &'static str,
    outcome: Outcome,
}

struct LinkCollector<L>(L);

struct PaceCollector<P>(P);

impl Metrics {
    /// Metrics that nothing has been counted in yet. Those about links are computed from `links`, those about pacing from
    /// `paced`.
    pub fn new(links: impl Links, paced: impl Paced) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("migrationlink"),
            reconciles: Family::default(),
            reconcile_duration: histogram(),
            in_flight: Gauge::default(),
            queue_depth: Gauge::default(),
            api_requests: Family::default(),
            api_request_duration: Family::new_with_constructor(histogram),
            kubernetes_requests: Family::default(),
            status_writes: Counter::default(),
            events_published: Counter::default(),
            events_dropped: Counter::default(),
            undecodable_resources: Counter::default(),
            links_left_behind: Counter::default(),
            leader: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program that runs", build);
        registry.register("reconciles", "Passes over a link, by how they ended", metrics.reconciles.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "Time of a pass over a link",
            Unit::Seconds,
            metrics.reconcile_duration.clone(),
        );
        registry.register("reconciles_in_flight", "Passes that run now", metrics.in_flight.clone());
        registry.register("queue_depth", "Links that wait for a pass", metrics.queue_depth.clone());
        registry.register(
            "api_requests",
            "Requests to the remote API, by what they were for and how they ended",
            metrics.api_requests.clone(),
        );
        registry.register_with_unit(
            "api_request_duration",
            "Time of a request to the remote API, answered or not",
            Unit::Seconds,
            metrics.api_request_duration.clone(),
        );
        registry.register(
            "kubernetes_requests",
            "Requests to the Kubernetes API, by what they were for and how they ended",
            metrics.kubernetes_requests.clone(),
        );
        registry.register("status_writes", "Statuses written", metrics.status_writes.clone());
        registry.register("events_published", "Events written", metrics.events_published.clone());
        registry.register("events_dropped", "Events given up", metrics.events_dropped.clone());
        registry.register(
            "undecodable_resources",
            "Versions of resources that could not be decoded",
            metrics.undecodable_resources.clone(),
        );
        registry.register(
            "links_left_behind",
            "Links that could not be removed within the deletion grace period and stayed",
            metrics.links_left_behind.clone(),
        );
        registry.register(
            "leader",
            "Whether this copy of the operator is the one that writes",
            metrics.leader.clone(),
        );
        registry.register_collector(Box::new(PaceCollector(paced)));
        registry.register_collector(Box::new(LinkCollector(links)));
        metrics
    }

    /// A reconcile begins.
    pub fn reconcile_started(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// A reconcile has ended; `outcome` is one of a fixed set of words, such as the last step taken.
    pub fn reconciled(&self, outcome: &'static str, elapsed: Duration) {
        self.reconciles.get_or_create(&Pass { outcome }).inc();
        self.reconcile_duration.observe(elapsed.as_secs_f64());
    }

    /// So many links wait for a reconcile.
    pub fn queue_depth(&self, links: usize) {
        self.queue_depth.set(i64::try_from(links).unwrap_or(i64::MAX));
    }

    /// A request to the remote API has ended; `operation` is one of `challenge`, `link` and `status`.
    pub fn api_exchange(&self, operation: &'static str, outcome: Outcome, elapsed: Duration) {
        self.api_requests.get_or_create(&Call { operation, outcome: outcome.grouped() }).inc();
        self.api_request_duration.get_or_create(&Operation { operation }).observe(elapsed.as_secs_f64());
    }

    /// A request to the Kubernetes API has ended; `operation` is one of a fixed set, such as `get_secret`.
    pub fn kubernetes_request(&self, operation: &'static str, outcome: Outcome) {
        self.kubernetes_requests.get_or_create(&Call { operation, outcome: outcome.grouped() }).inc();
    }

    /// A status was written.
    pub fn status_written(&self) {
        self.status_writes.inc();
    }

    /// An event was written.
    pub fn event_published(&self) {
        self.events_published.inc();
    }

    /// An event was given up, because the queue was full or it could not be written.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// A version of a resource could not be decoded.
    pub fn undecodable_resource(&self) {
        self.undecodable_resources.inc();
    }

    /// A resource was deleted and its link could not be removed.
    pub fn link_left_behind(&self) {
        self.links_left_behind.inc();
    }

    /// Whether this process is the one that writes.
    pub fn leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// All of it in the OpenMetrics text format.
    ///
    /// # Errors
    /// A metric could not be written.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut buffer = String::new();
        text::encode(&mut buffer, &self.registry)?;
        Ok(buffer)
    }
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Outcome {
    /// One value, and so one series, for all that are counted as one.
    fn grouped(self) -> Self {
        if matches!(self, Self::Status(200..300)) { Self::Status(200) } else { self }
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Status(200) => encoder.write_str("2xx"),
            Self::Status(code) => write!(encoder, "{code}"),
            Self::Failure(word) => encoder.write_str(word),
        }
    }
}

impl<L> fmt::Debug for LinkCollector<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkCollector")
    }
}

impl<L: Links> Collector for LinkCollector<L> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut reasons: BTreeMap<String, i64> = BTreeMap::new();
        let help = "Whether the link's condition Ready is True.";
        let mut ready = encoder.encode_descriptor("ready", help, None, MetricType::Gauge)?;
        let mut result = Ok(());
        self.0.for_each(&mut |link| {
            if let Some(count) = reasons.get_mut(link.reason) {
                *count += 1;
            } else {
                reasons.insert(link.reason.to_owned(), 1);
            }
            let labels = [("namespace", link.namespace), ("name", link.name)];
            let value = ConstGauge::new(i64::from(link.ready));
            result = result.and_then(|()| value.encode(ready.encode_family(&labels)?));
        });
        result?;
        let help = "Links by the reason of their condition Ready.";
        let mut links = encoder.encode_descriptor("links", help, None, MetricType::Gauge)?;
        for (reason, count) in &reasons {
            ConstGauge::new(*count).encode(links.encode_family(&[("reason", reason.as_str())])?)?;
        }
        Ok(())
    }
}

impl<P> fmt::Debug for PaceCollector<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaceCollector")
    }
}

impl<P: Paced> Collector for PaceCollector<P> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Links that wait for a call to the remote API, by what they wait for.";
        let mut links_held = encoder.encode_descriptor("links_held", help, None, MetricType::Gauge)?;
        for (why, links) in self.0.held() {
            let links = ConstGauge::new(i64::try_from(links).unwrap_or(i64::MAX));
            links.encode(links_held.encode_family(&[("why", why)])?)?;
        }
        let help = "How often an endpoint did not answer any more, so that one link at a time called it.";
        let openings = encoder.encode_descriptor("breaker_openings", help, None, MetricType::Counter)?;
        ConstCounter::new(self.0.breaker_openings()).encode(openings)
    }
}

/// No links: for what looks once and ends.
impl Links for () {
    fn for_each(&self, _: &mut dyn FnMut(Link<'_>)) {}
}

/// Nothing is paced.
impl Paced for () {
    fn held(&self) -> [(&'static str, usize); 3] {
        [("turn", 0), ("rate_limited", 0), ("unavailable", 0)]
    }

    fn breaker_openings(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Cache(Arc<Mutex<Vec<Link<'static>>>>);

    fn link(name: &'static str, ready: bool, reason: &'static str) -> Link<'static> {
        Link { namespace: "payments", name, ready, reason }
    }

    impl Links for Cache {
        fn for_each(&self, each: &mut dyn FnMut(Link<'_>)) {
            self.0.lock().unwrap().iter().for_each(|link| each(*link));
        }
    }

    struct Pace;

    impl Paced for Pace {
        fn held(&self) -> [(&'static str, usize); 3] {
            [("turn", 4), ("rate_limited", 0), ("unavailable", 1000)]
        }

        fn breaker_openings(&self) -> u64 {
            2
        }
    }

    #[test]
    fn the_text_of_a_scrape() {
        let cache = Cache::default();
        *cache.0.lock().unwrap() = vec![
            link("a", true, "Synced"),
            link("b", false, "Unauthorized"),
            link("c", true, "Synced"),
            link("quote\"", false, ""),
        ];
        let metrics = Metrics::new(cache, Pace);
        metrics.reconciled("publish", Duration::from_millis(7));
        metrics.queue_depth(12);
        metrics.api_exchange("link", Outcome::Status(200), Duration::from_millis(40));
        metrics.api_exchange("link", Outcome::Status(201), Duration::from_secs(4));
        metrics.kubernetes_request("get_secret", Outcome::Status(404));
        metrics.status_written();
        metrics.event_published();
        metrics.event_dropped();
        metrics.undecodable_resource();
        metrics.link_left_behind();
        metrics.leader(true);
        let running = metrics.reconcile_started();
        insta::assert_snapshot!(metrics.encode().unwrap());

        // Not in the snapshot: the series of a family come in any order.
        drop(running);
        metrics.api_exchange("challenge", Outcome::Status(401), Duration::from_millis(30));
        metrics.api_exchange("status", Outcome::Failure("timeout"), Duration::from_secs(30));
        let text = metrics.encode().unwrap();
        for line in [
            "migrationlink_reconciles_in_flight 0\n",
            "migrationlink_api_requests_total{operation=\"challenge\",outcome=\"401\"} 1\n",
            "migrationlink_api_requests_total{operation=\"status\",outcome=\"timeout\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn a_link_that_is_gone_leaves_no_series() {
        let cache = Cache::default();
        *cache.0.lock().unwrap() = vec![link("a", true, "Synced")];
        let metrics = Metrics::new(cache.clone(), Pace);
        assert!(
            metrics.encode().unwrap().contains(r#"migrationlink_ready{namespace="payments",name="a"} 1"#)
        );
        cache.0.lock().unwrap().clear();
        let text = metrics.encode().unwrap();
        assert!(!text.contains("migrationlink_ready{") && !text.contains("migrationlink_links{"), "{text}");
    }
}
