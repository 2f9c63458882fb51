//! How metrics are made: named, registered, and resolved for every member of their label set.

use std::marker::PhantomData;

use prometheus::{
    Error, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use super::Labels;

/// What every metric name begins with, the underscore left out.
const PREFIX: &str = "capsd";

/// One metric for every member of a closed label set, resolved beforehand.
#[derive(Debug)]
pub struct Each<L, M> {
    metrics: Vec<M>,
    labels: PhantomData<L>,
}

impl<L: Labels, M> Each<L, M> {
    /// Resolves each member with `resolve`, which is given its label values.
    ///
    /// # Errors
    ///
    /// The first that `resolve` gives.
    pub(super) fn new(
        mut resolve: impl FnMut(&[&'static str]) -> Result<M, Error>,
    ) -> Result<Each<L, M>, Error> {
        let members = L::all().into_iter();
        Ok(Each {
            metrics: members
                .map(|member| resolve(&member.values()))
                .collect::<Result<_, _>>()?,
            labels: PhantomData,
        })
    }

    /// The metric of that member.
    pub fn get(&self, member: L) -> &M {
        &self.metrics[member.index()]
    }
}

/// Makes metrics in one registry, under the common prefix.
///
/// Every method fails when a name or label is not valid, or was given to this registry before.
pub(super) struct Maker<'a> {
    pub(super) registry: &'a Registry,
}

impl Maker<'_> {
    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace(PREFIX)
    }

    fn histogram_opts(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
        HistogramOpts::new(name, help)
            .namespace(PREFIX)
            .buckets(buckets.to_vec())
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        let gauge = IntGauge::with_opts(Self::opts(name, help))?;
        self.registry.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        let counter = IntCounter::with_opts(Self::opts(name, help))?;
        self.registry.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    pub(super) fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, Error> {
        let histogram = Histogram::with_opts(Self::histogram_opts(name, help, buckets))?;
        self.registry.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }

    pub(super) fn gauge_vec(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, Error> {
        let gauges = IntGaugeVec::new(Self::opts(name, help), labels)?;
        self.registry.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    }

    pub(super) fn counter_vec(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, Error> {
        let counters = IntCounterVec::new(Self::opts(name, help), labels)?;
        self.registry.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    pub(super) fn gauges<L: Labels>(
        &self,
        name: &str,
        help: &str,
        label: &str,
    ) -> Result<Each<L, IntGauge>, Error> {
        let gauges = self.gauge_vec(name, help, &[label])?;
        Each::new(|values| gauges.get_metric_with_label_values(values))
    }

    pub(super) fn counters<L: Labels>(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<Each<L, IntCounter>, Error> {
        let counters = self.counter_vec(name, help, labels)?;
        Each::new(|values| counters.get_metric_with_label_values(values))
    }

    pub(super) fn histograms<L: Labels>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        buckets: &[f64],
    ) -> Result<Each<L, Histogram>, Error> {
        let histograms = HistogramVec::new(Self::histogram_opts(name, help, buckets), &[label])?;
        self.registry.register(Box::new(histograms.clone()))?;
        Each::new(|values| histograms.get_metric_with_label_values(values))
    }
}
