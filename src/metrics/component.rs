//! The metrics of one link.

use prometheus::{Error, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::make::{Each, Maker};
use super::{ConnectResult, Stanza};

/// What is counted for one link (label `component`: its name, at most 16 by configuration).
#[derive(Clone, Debug)]
pub struct ComponentMetrics {
    /// 1 while the link is up.
    pub up: IntGauge,
    /// Attempts to connect, by how they ended.
    pub connects: std::sync::Arc<Each<ConnectResult, IntCounter>>,
    /// Stanzas that were read or written.
    pub stanzas: std::sync::Arc<Each<Stanza, IntCounter>>,
    /// Bytes that wait to be written; bounded by `limits.link-queue-bytes`.
    pub queue_bytes: IntGauge,
    /// Stanzas that were dropped because they were malformed or over a bound.
    pub ignored: IntCounter,
    /// Requests that show that another capsd answers under the same address; counted for all links together.
    pub duplicates: IntCounter,
}

/// The per-link metrics before they are resolved for a link.
#[derive(Debug)]
pub(super) struct ComponentVecs {
    up: IntGaugeVec,
    connects: IntCounterVec,
    stanzas: IntCounterVec,
    queue_bytes: IntGaugeVec,
    ignored: IntCounterVec,
    /// One for all links, because it is for an operator to mend and the log names the link.
    duplicates: IntCounter,
}

impl ComponentVecs {
    pub(super) fn new(make: &Maker<'_>) -> Result<ComponentVecs, Error> {
        Ok(ComponentVecs {
            up: make.gauge_vec("component_up", "Whether the link is up.", &["component"])?,
            connects: make.counter_vec(
                "component_connects_total",
                "Attempts to connect to the server, by how they ended.",
                &["component", "result"],
            )?,
            stanzas: make.counter_vec(
                "component_stanzas_total",
                "Stanzas that were read or written.",
                &["component", "direction", "kind"],
            )?,
            queue_bytes: make.gauge_vec(
                "component_queue_bytes",
                "Bytes that wait to be written to the server.",
                &["component"],
            )?,
            ignored: make.counter_vec(
                "component_ignored_total",
                "Stanzas dropped because they were malformed or over a bound.",
                &["component"],
            )?,
            duplicates: make.counter(
                "component_duplicates_total",
                "Requests which show that another capsd answers under the same address.",
            )?,
        })
    }

    pub(super) fn resolve(&self, name: &str) -> Result<ComponentMetrics, Error> {
        let connects = Each::new(|values| {
            self.connects
                .get_metric_with_label_values(&[&[name], values].concat())
        })?;
        let stanzas = Each::new(|values| {
            self.stanzas
                .get_metric_with_label_values(&[&[name], values].concat())
        })?;
        Ok(ComponentMetrics {
            up: self.up.get_metric_with_label_values(&[name])?,
            connects: connects.into(),
            stanzas: stanzas.into(),
            queue_bytes: self.queue_bytes.get_metric_with_label_values(&[name])?,
            ignored: self.ignored.get_metric_with_label_values(&[name])?,
            duplicates: self.duplicates.clone(),
        })
    }
}
