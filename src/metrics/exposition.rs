//! A page in Prometheus' text format, put together from plain numbers.
//!
//! The counters live with those who count, so nothing is registered: each request for the page collects them
//! into families of the `prometheus` crate, whose encoder writes the text. A family without a value is left
//! out. Units are those Prometheus asks for: seconds and bytes. Nothing here has a lock.

use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// The content type of the page.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// A histogram as the counters keep it: bucket `n` counts what took at most 2^n microseconds, the last bucket
/// the rest.
#[derive(Debug, Clone, Copy)]
pub struct Durations<'a> {
    /// The counts, bucket by bucket, not added up.
    pub buckets: &'a [u64],
    /// All durations together, microseconds.
    pub sum_us: u64,
}

/// A page in the making. Names begin with `tuff_`; the caller gives them whole.
#[derive(Debug, Default)]
pub struct Exposition {
    families: Vec<MetricFamily>,
}

impl Exposition {
    /// A counter without labels.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.push(name, help, MetricType::COUNTER, vec![counter(value as f64, Vec::new())]);
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.push(name, help, MetricType::GAUGE, vec![gauge(value, Vec::new())]);
    }

    /// A counter with one label.
    pub fn counters<L: Into<String>>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) {
        let metrics = values.into_iter().map(|(text, value)| counter(value as f64, vec![pair(label, text)]));
        self.push(name, help, MetricType::COUNTER, metrics.collect());
    }

    /// A counter of seconds with one label, from microseconds.
    pub fn seconds<L: Into<String>>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values_us: impl IntoIterator<Item = (L, u64)>,
    ) {
        let metrics =
            values_us.into_iter().map(|(text, us)| counter(us as f64 / 1e6, vec![pair(label, text)]));
        self.push(name, help, MetricType::COUNTER, metrics.collect());
    }

    /// A gauge with one label.
    pub fn gauges<L: Into<String>>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) {
        let metrics = values.into_iter().map(|(text, value)| gauge(value, vec![pair(label, text)]));
        self.push(name, help, MetricType::GAUGE, metrics.collect());
    }

    /// A histogram without labels.
    pub fn histogram(&mut self, name: &str, help: &str, durations: Durations<'_>) {
        self.push(name, help, MetricType::HISTOGRAM, vec![histogram(durations, Vec::new())]);
    }

    /// A histogram with one label.
    pub fn histograms<'d, L: Into<String>>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, Durations<'d>)>,
    ) {
        let metrics = values.into_iter().map(|(text, value)| histogram(value, vec![pair(label, text)]));
        self.push(name, help, MetricType::HISTOGRAM, metrics.collect());
    }

    fn push(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.families.push(family);
    }

    /// The page. An error is one of the encoder's checks, which the tests rule out.
    pub fn text(&self) -> Result<String, String> {
        TextEncoder::new().encode_to_string(&self.families).map_err(|error| error.to_string())
    }
}

fn pair(name: &str, value: impl Into<String>) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.into());
    pair
}

fn counter(value: f64, labels: Vec<LabelPair>) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

fn gauge(value: f64, labels: Vec<LabelPair>) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

fn histogram(durations: Durations<'_>, labels: Vec<LabelPair>) -> Metric {
    let mut total = 0;
    let mut buckets = Vec::with_capacity(durations.buckets.len());
    for (power, count) in durations.buckets.iter().enumerate() {
        total += count;
        // The last bucket has no bound; the encoder writes it as +Inf from the total.
        if power + 1 < durations.buckets.len() {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(2f64.powi(power as i32) / 1e6);
            bucket.set_cumulative_count(total);
            buckets.push(bucket);
        }
    }
    let mut histogram = Histogram::default();
    histogram.set_sample_count(total);
    histogram.set_sample_sum(durations.sum_us as f64 / 1e6);
    histogram.set_bucket(buckets);
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(histogram);
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(write: impl Fn(&mut Exposition)) -> String {
        let mut page = Exposition::default();
        write(&mut page);
        page.text().expect("a page")
    }

    /// Name with labels, and value, of each line that is no comment. Panics at a line that is not of the
    /// format.
    fn samples(page: &str) -> Vec<(String, f64)> {
        let lines = page.lines().filter(|line| !line.starts_with("# "));
        lines
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').expect("a name and a value");
                let bare = name.split('{').next().unwrap_or_default();
                assert!(bare.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{line}");
                assert_eq!(name.contains('{'), name.ends_with('}'), "{line}");
                (name.to_owned(), value.parse().expect("a number"))
            })
            .collect()
    }

    #[test]
    fn counters_and_gauges_are_one_line_each() {
        let page = page(|page| {
            page.counter("tuff_a_total", "A.", 3);
            page.gauges("tuff_b", "B.", "db", [("0", 1.5), ("1", 2.0)]);
        });
        assert!(
            page.starts_with("# HELP tuff_a_total A.\n# TYPE tuff_a_total counter\ntuff_a_total 3\n"),
            "{page}"
        );
        assert_eq!(samples(&page)[1..], [("tuff_b{db=\"0\"}".into(), 1.5), ("tuff_b{db=\"1\"}".into(), 2.0)]);
    }

    #[test]
    fn histogram_buckets_add_up_to_the_count() {
        let durations = Durations { buckets: &[1, 2, 4], sum_us: 1_500_000 };
        let page = page(|page| page.histograms("tuff_d_seconds", "D.", "command", [("get", durations)]));
        let values: Vec<f64> = samples(&page).iter().map(|(_, value)| *value).collect();
        assert_eq!(values, [1.0, 3.0, 7.0, 1.5, 7.0], "{page}");
        assert!(page.contains("tuff_d_seconds_bucket{command=\"get\",le=\"0.000002\"} 3\n"), "{page}");
        assert!(page.contains("le=\"+Inf\"} 7\n"), "{page}");
    }

    #[test]
    fn a_label_may_hold_anything_and_no_values_are_no_family() {
        let page = page(|page| {
            page.counters("tuff_c_total", "C.", "code", [("a\"b\\c\nd", 1)]);
            page.counters("tuff_none_total", "None.", "code", Vec::<(String, u64)>::new());
        });
        assert_eq!(samples(&page).len(), 1, "{page}");
        assert!(page.contains(r#"{code="a\"b\\c\nd"} 1"#), "{page}");
        assert!(!page.contains("none"), "{page}");
    }
}
