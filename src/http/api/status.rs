//! How the daemon is, and what it is doing: the structures that the control socket gives, with what only HTTP has.

use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::{Problem, json_now};
use crate::control::Request;
use crate::control::protocol::{Answer, Flights, Status};
use crate::history::Refusal;
use crate::http::{Sources, StoreState};
use crate::metrics::{Labels as _, LookupResult, Metrics, Tier};

/// How the daemon is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::http) struct StatusView {
    /// As `capsd status` prints it.
    #[serde(flatten)]
    pub(in crate::http) status: Status,
    /// Whether `/readyz` says so.
    pub(in crate::http) ready: bool,
    /// The tiers, the one that is looked in first before the others.
    pub(in crate::http) tiers: Vec<TierView>,
    /// Look-ups over XMPP since the start.
    pub(in crate::http) lookups: LookupsView,
    /// What was refused lately, the latest first.
    pub(in crate::http) refusals: Vec<RefusalView>,
}

/// What is in a tier; measured every second.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::http) struct TierView {
    /// `hot`, `probation`, `learned` or `trusted`.
    pub(in crate::http) tier: &'static str,
    /// How many contents.
    pub(in crate::http) entries: i64,
    /// How many bytes they take; 0 where that is not counted.
    pub(in crate::http) bytes: i64,
    /// The bound on the bytes; 0 where there is none.
    pub(in crate::http) limit_bytes: i64,
}

/// Look-ups over XMPP since the start, by how they ended.
#[derive(Clone, Debug, Serialize)]
pub(in crate::http) struct LookupsView {
    /// From the hot or the learned tier.
    pub(in crate::http) hit: u64,
    /// From the trusted tier.
    #[serde(rename = "override")]
    pub(in crate::http) overridden: u64,
    /// Waited for a question that was under way.
    pub(in crate::http) coalesced: u64,
    /// Made capsd ask a client.
    pub(in crate::http) miss: u64,
    /// Nothing stored, and nobody to ask.
    pub(in crate::http) negative: u64,
    /// Turned away before anything was looked up.
    pub(in crate::http) rejected: u64,
}

/// What was refused, once or often.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::http) struct RefusalView {
    /// `look-up`, or `answer` for what a client answered.
    pub(in crate::http) refused: &'static str,
    /// The word.
    pub(in crate::http) reason: &'static str,
    /// How often.
    pub(in crate::http) count: u64,
    /// How long ago the last one was noticed.
    pub(in crate::http) seconds_ago: u64,
}

impl RefusalView {
    fn new(refusal: &Refusal, now: Instant) -> RefusalView {
        RefusalView {
            refused: refusal.refused.as_str(),
            reason: refusal.reason,
            count: refusal.count,
            seconds_ago: now.saturating_duration_since(refusal.until).as_secs(),
        }
    }
}

impl LookupsView {
    fn of(metrics: &Metrics) -> LookupsView {
        let count = |result| metrics.lookups.get(result).get();
        LookupsView {
            hit: count(LookupResult::Hit),
            overridden: count(LookupResult::Override),
            coalesced: count(LookupResult::Coalesced),
            miss: count(LookupResult::Miss),
            negative: count(LookupResult::Negative),
            rejected: count(LookupResult::Rejected),
        }
    }
}

impl TierView {
    fn of(metrics: &Metrics) -> Vec<TierView> {
        let view = |tier: Tier| TierView {
            tier: tier.values()[0],
            entries: metrics.cache_entries.get(tier).get(),
            bytes: metrics.cache_bytes.get(tier).get(),
            limit_bytes: metrics.cache_limit_bytes.get(tier).get(),
        };
        Tier::all().into_iter().map(view).collect()
    }
}

impl StatusView {
    /// How the daemon is now.
    ///
    /// # Errors
    /// When it is ending.
    pub(in crate::http) async fn now(sources: &Sources) -> Result<StatusView, Problem> {
        let Answer::Status(mut status) = sources.desk.answer(Request::Status).await else {
            return Err(Problem::ending());
        };
        let now = (sources.desk.clock)();
        let shown = sources.history.shown(now);
        let report = sources.readiness.report();
        let ready = report.is_ready();
        // As `/readyz` has it, so that one answer does not contradict the other.
        if let StoreState::InMemory(cause) = report.store {
            status.memory_only = Some(cause);
        }
        let refusals = shown.refusals.iter();
        Ok(StatusView {
            status: *status,
            ready,
            tiers: TierView::of(&sources.metrics),
            lookups: LookupsView::of(&sources.metrics),
            refusals: refusals
                .map(|refusal| RefusalView::new(refusal, now))
                .collect(),
        })
    }
}

/// What is being resolved now, without the keys that only few announced.
pub(in crate::http) async fn flights_now(sources: &Sources) -> Result<Flights, Problem> {
    match sources.desk.answer(Request::Flights { all: false }).await {
        Answer::Flights(flights) => Ok(flights),
        _ => Err(Problem::ending()),
    }
}

/// `GET status`.
pub(super) async fn status(State(sources): State<Sources>) -> Result<Response, Problem> {
    Ok(json_now(&StatusView::now(&sources).await?))
}

/// `GET flights`.
pub(super) async fn flights(State(sources): State<Sources>) -> Result<Response, Problem> {
    Ok(json_now(&flights_now(&sources).await?))
}

/// `GET population`.
pub(super) async fn population(State(sources): State<Sources>) -> Response {
    json_now(&*sources.census.latest())
}
