//! The metrics of the population. Their labels are not known beforehand, but bounded: names of clients by `population.clients` and by
//! what the census lets through, features by the configuration.

use prometheus::{Error, IntGauge, IntGaugeVec};

use super::labels::Uncounted;
use super::make::{Each, Maker};

/// The label of all clients that are not shown by name.
const OTHER: &str = "other";

/// What is online.
#[derive(Debug)]
pub struct PopulationMetrics {
    clients: IntGaugeVec,
    features: IntGaugeVec,
    /// Sessions that are counted neither by client nor by feature.
    pub uncounted: Each<Uncounted, IntGauge>,
}

impl PopulationMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Result<PopulationMetrics, Error> {
        let clients = make.gauge_vec(
            "population_clients",
            "Sessions online by client software; other: fewer than three accounts, no name, or not among the largest.",
            &["client"],
        )?;
        clients.get_metric_with_label_values(&[OTHER])?.set(0);
        Ok(PopulationMetrics {
            clients,
            features: make.gauge_vec(
                "population_features",
                "Sessions online by feature; 0 where they are of fewer than three accounts.",
                &["feature"],
            )?,
            uncounted: make.gauges(
                "population_uncounted",
                "Sessions online that are counted neither by client nor by feature, by why.",
                "reason",
            )?,
        })
    }

    /// Shows the sessions of a client under its name.
    pub fn show_client(&self, name: &str, sessions: u64) {
        set(&self.clients, name, sessions);
    }

    /// Shows the sessions of all clients that are not shown by name.
    pub fn show_other(&self, sessions: u64) {
        set(&self.clients, OTHER, sessions);
    }

    /// Shows a name no longer.
    pub fn withdraw_client(&self, name: &str) {
        // If it was never shown, that is well, too.
        let _ = self.clients.remove_label_values(&[name]);
    }

    /// Shows the sessions that have a feature.
    pub fn show_feature(&self, feature: &str, sessions: u64) {
        set(&self.features, feature, sessions);
    }
}

fn set(gauges: &IntGaugeVec, label: &str, sessions: u64) {
    // There is one label, and one value is given: it cannot fail.
    if let Ok(gauge) = gauges.get_metric_with_label_values(&[label]) {
        gauge.set(i64::try_from(sessions).unwrap_or(i64::MAX));
    }
}
