//! The metrics of the process: one [`Metrics`], made once and shared.
//!
//! Every series of a closed label set exists, with zero, from the start; those of a component from
//! [`Metrics::component`] on. No JID of a user, no domain, hash or node is ever a label; the name of a component, which
//! stands in the configuration, is. With 16 components, the most there may be, there are fewer than 500 series.
//!
//! Who counts holds the resolved counters: `metrics.lookups.get(LookupResult::Hit).inc()` is an index and an atomic add.

mod component;
mod labels;
mod make;
mod population;

use prometheus::process_collector::ProcessCollector;
use prometheus::{Histogram, IntCounter, IntGauge, Registry, TextEncoder};

pub use component::ComponentMetrics;
pub use labels::{
    AnnouncementKind, ConnectResult, ContributionResult, Deferral, Eviction, HolderEviction,
    HttpAnswer, Labels, LoadResult, LookupOutcome, LookupResult, Operation, RateScope, Route,
    Stanza, StoreOperation, Tier, Uncounted, UpstreamResult, VerificationResult, WaiterScope,
};
pub use make::Each;
pub use population::PopulationMetrics;

use component::ComponentVecs;
use make::Maker;

use crate::caps::{Family, Reason};

/// Upper bounds of the buckets of `capsd_lookup_duration_seconds`: a hit is counted in the first ones, a flight ends
/// within the deadline, 5 s by default.
const LOOKUP_BUCKETS: &[f64] = &[0.000_025, 0.000_1, 0.001, 0.01, 0.05, 0.25, 1.0, 5.0];

/// Upper bounds of the buckets of `capsd_upstream_query_duration_seconds`: a client answers within a round trip, or not
/// before `resolver.holder-timeout`, 2 s by default.
const UPSTREAM_BUCKETS: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0];

/// Upper bounds of the buckets of `capsd_http_request_duration_seconds`.
const HTTP_BUCKETS: &[f64] = &[0.001, 0.01, 0.1];

/// Everything that capsd counts about itself. Shared as `Arc<Metrics>`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    components: ComponentVecs,

    /// 1 while `/readyz` says 200.
    pub ready: IntGauge,
    /// 1 unless the configuration or the overrides were at fault when they were read last; the daemon sets it.
    pub config_last_reload_successful: IntGauge,
    /// When they were in order last, in seconds since 1970; the daemon sets it.
    pub config_last_reload_success_timestamp: IntGauge,

    /// Lookups, each counted once, by how they ended.
    pub lookups: Each<LookupResult, IntCounter>,
    /// Seconds from a query's arrival to its answer.
    pub lookup_duration: Each<LookupOutcome, Histogram>,
    /// Lookups that were answered with an error, by reason.
    pub lookup_failures: Each<Reason, IntCounter>,
    /// Requests of `urn:capsd:0` by how they ended as a whole.
    pub operations: Each<Operation, IntCounter>,
    /// Contents that were handed over.
    pub contributions: Each<ContributionResult, IntCounter>,
    /// Bytes that batches which wait take, at the least.
    pub waiting_batch_bytes: IntGauge,
    /// Contents that were checked against a key.
    pub verifications: Each<(Family, VerificationResult), IntCounter>,

    /// Flights in progress.
    pub flights: IntGauge,
    /// Flights that were not begun because of `limits.flights`.
    pub flights_rejected: IntCounter,
    /// Requests that wait for a flight.
    pub waiters: IntGauge,
    /// Requests that were not let wait.
    pub waiters_rejected: Each<WaiterScope, IntCounter>,

    /// Queries to holders, counted when they leave.
    pub upstream_queries_sent: IntCounter,
    /// Queries to holders, counted when they end.
    pub upstream_queries: Each<UpstreamResult, IntCounter>,
    /// Seconds from a query's departure to its end.
    pub upstream_query_duration: Histogram,
    /// Remembered failures of a (holder, key).
    pub upstream_penalized: IntGauge,
    /// What was refused because a quota was spent.
    pub rate_limited: Each<RateScope, IntCounter>,

    /// Available presences, by what they announced.
    pub announcements: Each<AnnouncementKind, IntCounter>,
    /// Announcements whose holder's answer did not verify under them.
    pub announcements_unverified: IntCounter,
    /// Holders that are known.
    pub holders: IntGauge,
    /// Holders that were forgotten, or are no longer asked, although they had not left.
    pub holders_evicted: Each<HolderEviction, IntCounter>,

    /// What is online.
    pub population: PopulationMetrics,

    /// Entries, by tier.
    pub cache_entries: Each<Tier, IntGauge>,
    /// Bytes that the entries take, by tier.
    pub cache_bytes: Each<Tier, IntGauge>,
    /// The bound on bytes, by tier; 0 where there is none.
    pub cache_limit_bytes: Each<Tier, IntGauge>,
    /// Entries that left a tier.
    pub cache_evictions: Each<Eviction, IntCounter>,
    /// Verified infos that are not written before their second use, by why.
    pub cache_admission_deferred: Each<Deferral, IntCounter>,
    /// Verified infos that were served but not stored, because the learned tier does not take them.
    pub cache_admission_rejected: IntCounter,
    /// Stored values that were read.
    pub cache_loaded: Each<LoadResult, IntCounter>,

    /// Faults of the store, by operation.
    pub store_errors: Each<StoreOperation, IntCounter>,
    /// 1 while the learned tier is on disk, 0 while it is in memory only.
    pub store_state: IntGauge,
    /// Damaged stores that were set aside.
    pub store_set_aside: IntCounter,
    /// Learned contents that no flush has confirmed yet.
    pub store_unconfirmed: IntGauge,
    /// Bytes of disk that the store's files took when they were measured last.
    pub store_file_bytes: IntGauge,
    /// How often the store was written anew to give disk space back.
    pub store_compactions: IntCounter,

    /// Answers over HTTP, by route, method and status.
    pub http_requests: Each<HttpAnswer, IntCounter>,
    /// Seconds from a request's head to its answer, by route.
    pub http_request_duration: Each<Route, Histogram>,
    /// HTTP connections that were closed at once, because as many as allowed were open.
    pub http_connections_rejected: IntCounter,
    /// Connections to the control socket that were turned away, because as many as allowed were open.
    pub control_connections_rejected: IntCounter,
}

impl Metrics {
    /// Makes the metrics in a registry of their own.
    ///
    /// # Errors
    ///
    /// When a name, a label or a bucket of this file is not valid: a bug, which the tests of this file find.
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let make = Maker {
            registry: &registry,
        };
        build_info(&make)?;
        let metrics = Metrics {
            ready: make.gauge(
                "ready",
                "Whether /readyz answers 200: the store is on disk and every link is up.",
            )?,
            config_last_reload_successful: make.gauge(
                "config_last_reload_successful",
                "Whether configuration and overrides were in order when they were read last.",
            )?,
            config_last_reload_success_timestamp: make.gauge(
                "config_last_reload_success_timestamp_seconds",
                "When configuration and overrides were last read and in order, in seconds since 1970.",
            )?,

            lookups: make.counters(
                "lookups_total",
                "Lookups by how they ended.",
                &["frontend", "result"],
            )?,
            lookup_duration: make.histograms(
                "lookup_duration_seconds",
                "Time from a query's arrival to its answer.",
                "outcome",
                LOOKUP_BUCKETS,
            )?,
            lookup_failures: make.counters(
                "lookup_failures_total",
                "Lookups answered with an error, by reason.",
                &["reason"],
            )?,
            operations: make.counters(
                "operations_total",
                "Requests of urn:capsd:0 by how they ended as a whole.",
                &["operation", "result"],
            )?,
            contributions: make.counters(
                "contributions_total",
                "Contents that were handed over, by what became of them.",
                &["result"],
            )?,
            waiting_batch_bytes: make.gauge(
                "waiting_batch_bytes",
                "Bytes that batches of keys take while they wait.",
            )?,
            verifications: make.counters(
                "verifications_total",
                "Contents checked against a caps key.",
                &["family", "result"],
            )?,

            flights: make.gauge("flights", "Flights in progress.")?,
            flights_rejected: make.counter(
                "flights_rejected_total",
                "Flights not begun because limits.flights was reached.",
            )?,
            waiters: make.gauge("waiters", "Requests that wait for a flight.")?,
            waiters_rejected: make.counters(
                "waiters_rejected_total",
                "Requests not let wait for a flight, by the bound that was reached.",
                &["scope"],
            )?,

            upstream_queries_sent: make.counter(
                "upstream_queries_sent_total",
                "Queries to holders, counted when they leave.",
            )?,
            upstream_queries: make.counters(
                "upstream_queries_total",
                "Queries to holders, counted when they end, by how they ended.",
                &["result"],
            )?,
            upstream_query_duration: make.histogram(
                "upstream_query_duration_seconds",
                "Time from the departure of a query to a holder to its end.",
                UPSTREAM_BUCKETS,
            )?,
            upstream_penalized: make.gauge(
                "upstream_penalized",
                "Remembered failures of a holder with a key.",
            )?,
            rate_limited: make.counters(
                "rate_limited_total",
                "What was refused because a quota was spent.",
                &["scope"],
            )?,

            announcements: make.counters(
                "announcements_total",
                "Available presences by what they announced.",
                &["kind"],
            )?,
            announcements_unverified: make.counter(
                "announcements_unverified_total",
                "Announcements whose holder's answer did not verify under them.",
            )?,
            holders: make.gauge("holders", "Holders that are known.")?,
            holders_evicted: make.counters(
                "holders_evicted_total",
                "Holders forgotten, or no longer asked, although they had not left, by reason.",
                &["reason"],
            )?,

            population: PopulationMetrics::new(&make)?,

            cache_entries: make.gauges("cache_entries", "Entries by tier.", "tier")?,
            cache_bytes: make.gauges(
                "cache_bytes",
                "Bytes that the entries take, by tier.",
                "tier",
            )?,
            cache_limit_bytes: make.gauges(
                "cache_limit_bytes",
                "Bound on the bytes by tier, 0 where there is none.",
                "tier",
            )?,
            cache_evictions: make.counters(
                "cache_evictions_total",
                "Entries that left a tier, by tier and reason.",
                &["tier", "reason"],
            )?,
            cache_admission_deferred: make.counters(
                "cache_admission_deferred_total",
                "Verified infos kept in memory only until their second use, by why.",
                &["reason"],
            )?,
            cache_admission_rejected: make.counter(
                "cache_admission_rejected_total",
                "Verified infos that were served but not stored.",
            )?,
            cache_loaded: make.counters(
                "cache_loaded_total",
                "Stored values that were read, by what was found.",
                &["result"],
            )?,

            store_errors: make.counters(
                "store_errors_total",
                "Faults of the store by operation.",
                &["op"],
            )?,
            store_state: make.gauge(
                "store_state",
                "1 while the learned tier is on disk, 0 while it is in memory only.",
            )?,
            store_set_aside: make.counter(
                "store_set_aside_total",
                "Damaged stores that were set aside.",
            )?,
            store_unconfirmed: make.gauge(
                "store_unconfirmed",
                "Learned contents that are not confirmed on disk yet: what a crash now would lose.",
            )?,
            store_file_bytes: make.gauge(
                "store_file_bytes",
                "Bytes of disk that the files of the store take.",
            )?,
            store_compactions: make.counter(
                "store_compactions_total",
                "How often the store was written anew to give disk space back.",
            )?,

            http_requests: make.counters(
                "http_requests_total",
                "Answers over HTTP by route, method and status.",
                &["route", "method", "code"],
            )?,
            http_request_duration: make.histograms(
                "http_request_duration_seconds",
                "Time from the head of an HTTP request to its answer.",
                "route",
                HTTP_BUCKETS,
            )?,
            http_connections_rejected: make.counter(
                "http_connections_rejected_total",
                "HTTP connections closed at once because as many as allowed were open.",
            )?,
            control_connections_rejected: make.counter(
                "control_connections_rejected_total",
                "Control connections turned away because as many as allowed were open.",
            )?,

            components: ComponentVecs::new(&make)?,
            registry: registry.clone(),
        };
        Ok(metrics)
    }

    /// The metrics of one link, at zero. `name` is [`XX; asking twice
    /// for one name gives the same metrics.
    ///
    /// # Errors
    ///
    /// When the labels of this file do not fit each other: a bug, which the tests of this file find.
    pub fn component(&self, name: &str) -> Result<ComponentMetrics, prometheus::Error> {
        self.components.resolve(name)
    }

    /// Takes note that configuration and overrides were read without fault at that time of day.
    pub fn configuration_was_read(&self, at: std::time::SystemTime) {
        let since = at.duration_since(std::time::SystemTime::UNIX_EPOCH);
        let seconds = since.map_or(0, |since| since.as_secs());
        self.config_last_reload_successful.set(1);
        self.config_last_reload_success_timestamp
            .set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// Everything in the text format of Prometheus, version 0.0.4. A metric that cannot be written as text, which would
    /// be a bug, is left out and logged.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for family in self.registry.gather() {
            if let Err(fault) = TextEncoder::new().encode_utf8(&[family], &mut text) {
                tracing::error!(%fault, "a metric was left out");
            }
        }
        text
    }
}

/// The one gauge that is always 1 and says in its labels what runs.
fn build_info(make: &Maker<'_>) -> Result<(), prometheus::Error> {
    let labels = ["version", "revision"];
    let infos = make.gauge_vec("build_info", "What runs: always 1.", &labels)?;
    let revision = option_env!("CAPSD_REVISION").unwrap_or("unknown");
    let info = infos.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION"), revision])?;
    info.set(1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every series with its value.
    fn series(metrics: &Metrics) -> Vec<(String, f64)> {
        let text = metrics.render();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect()
    }

    fn names_of_sixteen_links() -> impl Iterator<Item = String> {
        (0..16).map(|n| format!("caps{n}.example.org"))
    }

    #[test]
    fn everything_is_zero_from_the_start() {
        let metrics = Metrics::new().unwrap();
        metrics.component("caps.example.org").unwrap();
        let own = series(&metrics)
            .into_iter()
            .filter(|(name, _)| name.starts_with("capsd_"));
        for (name, value) in own {
            let expected = if name.starts_with("capsd_build_info") {
                1.0
            } else {
                0.0
            };
            assert_eq!(value, expected, "{name}");
        }
    }

    /// Everything is there from the start but the population, and that is at its largest here.
    #[test]
    fn sixteen_links_and_the_largest_population_stay_under_500_series() {
        let metrics = Metrics::new().unwrap();
        for name in names_of_sixteen_links() {
            metrics.component(&name).unwrap();
        }
        for n in 0..20 {
            metrics.population.show_client(&format!("client {n}"), 3);
            metrics.population.show_feature(&format!("feature {n}"), 3);
        }
        let count = series(&metrics).len();
        assert!(count < 500, "{count} series");
        assert!(count > 400, "{count} series: where are they?");
        // Whoever is no longer shown is no series any more.
        metrics.population.withdraw_client("client 7");
        assert_eq!(series(&metrics).len(), count - 1);
    }

    #[test]
    fn the_words_of_every_reason_are_there() {
        let text = Metrics::new().unwrap().render();
        for reason in Reason::ALL {
            let series = format!("capsd_lookup_failures_total{{reason=\"{reason}\"}} 0\n");
            assert!(text.contains(&series), "{series}");
        }
    }

    #[test]
    fn counting_one_member_counts_that_series_alone() {
        let metrics = Metrics::new().unwrap();
        metrics
            .verifications
            .get((Family::Xep0390, VerificationResult::TooLarge))
            .inc();
        metrics.lookups.get(LookupResult::Rejected).inc_by(2);
        let link = metrics.component("caps.example.org").unwrap();
        link.stanzas.get(Stanza::PresenceOut).inc_by(3);
        let counted: Vec<_> = series(&metrics)
            .into_iter()
            .filter(|(name, value)| name.starts_with("capsd_") && *value != 0.0)
            .collect();
        let expected = [
            (
                "capsd_build_info{revision=\"unknown\",version=\"0.1.0\"}",
                1.0,
            ),
            (
                "capsd_component_stanzas_total{component=\"caps.example.org\",direction=\"out\",kind=\"presence\"}",
                3.0,
            ),
            (
                "capsd_lookups_total{frontend=\"xmpp\",result=\"rejected\"}",
                2.0,
            ),
            (
                "capsd_verifications_total{family=\"0390\",result=\"too-large\"}",
                1.0,
            ),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(counted, expected);
    }

    #[test]
    fn a_link_asked_for_twice_is_one() {
        let metrics = Metrics::new().unwrap();
        metrics.component("caps.example.org").unwrap().up.set(1);
        assert_eq!(metrics.component("caps.example.org").unwrap().up.get(), 1);
    }

    /// Every label set gives each member its own place, within the count that it states.
    fn assert_dense<L: Labels>() {
        let all = L::all();
        assert_eq!(all.len(), L::COUNT);
        for (place, member) in all.iter().enumerate() {
            assert_eq!(member.index(), place, "{:?}", member.values());
        }
        let distinct: BTreeSet<_> = all.iter().map(|member| member.values()).collect();
        assert_eq!(distinct.len(), L::COUNT);
    }

    #[test]
    fn label_sets_are_dense() {
        assert_dense::<Reason>();
        assert_dense::<(Family, VerificationResult)>();
        assert_dense::<Stanza>();
        assert_dense::<HttpAnswer>();
        assert_dense::<UpstreamResult>();
    }

    /// What `promtool check metrics` asks for: help, `_total` on counters and on nothing else, base units.
    #[test]
    fn names_follow_the_conventions() {
        let metrics = Metrics::new().unwrap();
        metrics.component("caps.example.org").unwrap();
        let text = metrics.render();
        let types: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
            .collect();
        assert!(types.len() > 30);
        for (name, kind) in types {
            assert!(
                text.contains(&format!("# HELP {name} ")),
                "{name} has no help"
            );
            assert_eq!(
                kind == "counter",
                name.ends_with("_total"),
                "{name} is a {kind}"
            );
            assert_eq!(
                kind == "histogram",
                name.ends_with("duration_seconds"),
                "{name} is a {kind}"
            );
            for wrong in [
                "_ms",
                "_milliseconds",
                "_kilobytes",
                "_count",
                "_sum",
                "_bucket",
            ] {
                assert!(!name.ends_with(wrong), "{name}");
            }
        }
    }
}
