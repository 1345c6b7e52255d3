//! Figures as OpenMetrics text.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::{Figure, Histogram, Number, SHARED, Value};

/// Content type of the text.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All figures of a process at one instant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    /// Go to every series.
    pub(crate) labels: Vec<(&'static str, String)>,
    /// Named `alys_…`.
    pub(crate) shell_figures: Vec<Figure>,
    /// Part of the names of its own figures.
    pub(crate) role: String,
    /// Named `alys_<role>_…`.
    pub(crate) role_figures: Vec<Figure>,
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.labels.iter().map(|(name, value)| ((*name).into(), value.clone().into()));
        let mut registry = Registry::with_prefix_and_labels("alys", labels);
        let (shared, own): (Vec<Figure>, Vec<Figure>) =
            self.role_figures.iter().cloned().partition(|figure| SHARED.contains(&figure.name));
        registry.register_collector(Box::new(Figures(self.shell_figures.iter().cloned().chain(shared).collect())));
        if !own.is_empty() {
            registry.sub_registry_with_prefix(&self.role).register_collector(Box::new(Figures(own)));
        }
        text::encode(f, &registry)
    }
}

#[derive(Debug)]
struct Figures(Vec<Figure>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|figure| one(&mut encoder, figure))
    }
}

fn one(encoder: &mut DescriptorEncoder<'_>, figure: &Figure) -> fmt::Result {
    let kind = match (&figure.value, figure.name.strip_suffix("_total")) {
        (Value::Histogram(_) | Value::Distributions(_), _) => MetricType::Histogram,
        (_, Some(_)) => MetricType::Counter,
        (_, None) => MetricType::Gauge,
    };
    // The encoder puts the suffix of counters back.
    let name = figure.name.strip_suffix("_total").unwrap_or(figure.name);
    let mut metric = encoder.encode_descriptor(name, &figure.help, None, kind)?;
    match &figure.value {
        Value::Flag(flag) => number(&mut metric, kind, Number::Whole(u64::from(*flag))),
        Value::Number(value) => number(&mut metric, kind, *value),
        Value::Histogram(value) => histogram(&mut metric, value),
        Value::Labelled(labelled) => labelled.numbers.iter().try_for_each(|(values, value)| {
            let labels: Vec<(&str, &str)> =
                labelled.labels.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
            number(&mut metric.encode_family(&labels)?, kind, *value)
        }),
        Value::Distributions(several) => several
            .histograms
            .iter()
            .try_for_each(|(value, one)| histogram(&mut metric.encode_family(&[(several.label.as_str(), value.as_str())])?, one)),
        Value::Unknown(()) => Ok(()),
    }
}

fn number(metric: &mut MetricEncoder<'_>, kind: MetricType, value: Number) -> fmt::Result {
    match (kind, value) {
        (MetricType::Counter, Number::Whole(count)) => metric.encode_counter::<NoLabelSet, _, f64>(&count, None),
        (MetricType::Counter, Number::Real(real)) => metric.encode_counter::<NoLabelSet, _, f64>(&real, None),
        // The format's whole gauges end at the largest signed number.
        (_, Number::Whole(count)) => metric.encode_gauge(&i64::try_from(count).unwrap_or(i64::MAX)),
        (_, Number::Real(real)) => metric.encode_gauge(&real),
    }
}

fn histogram(metric: &mut MetricEncoder<'_>, value: &Histogram) -> fmt::Result {
    metric.encode_histogram::<NoLabelSet>(value.sum, value.count(), &value.buckets(), None)
}
