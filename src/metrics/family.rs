//! One metric of a scrape: its name, its help text and its samples, as Prometheus' own types.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::tally::Distributed;

/// Names and values of labels.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// A metric that is being filled.
pub(super) struct Family(MetricFamily);

/// A number that only grows.
pub(super) fn counter(name: &str, help: &str) -> Family {
    Family::new(name, help, MetricType::COUNTER)
}

/// A number.
pub(super) fn gauge(name: &str, help: &str) -> Family {
    Family::new(name, help, MetricType::GAUGE)
}

/// How values are distributed.
pub(super) fn histogram(name: &str, help: &str) -> Family {
    Family::new(name, help, MetricType::HISTOGRAM)
}

impl Family {
    fn new(name: &str, help: &str, kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self(family)
    }

    /// Its one value.
    pub(super) fn is(self, value: f64) -> Self {
        self.with(&[], value)
    }

    /// A value under these labels.
    pub(super) fn with(self, labels: Labels<'_>, value: f64) -> Self {
        let mut metric = labelled(labels);
        if self.0.get_field_type() == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.and(metric)
    }

    /// A distribution under these labels.
    pub(super) fn of(self, labels: Labels<'_>, distributed: &Distributed) -> Self {
        let bucket = |(bound, count): &(f64, u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(distributed.within.iter().map(bucket).collect());
        histogram.set_sample_count(distributed.count);
        histogram.set_sample_sum(distributed.sum);
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.and(metric)
    }

    /// None without a sample: the format has no such metric.
    pub(super) fn into_inner(self) -> Option<MetricFamily> {
        (!self.0.get_metric().is_empty()).then_some(self.0)
    }

    fn and(mut self, metric: Metric) -> Self {
        self.0.mut_metric().push(metric);
        self
    }
}

fn labelled(labels: Labels<'_>) -> Metric {
    let pair = |&(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}
