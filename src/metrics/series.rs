//! Numbers that stand elsewhere, with labels: read at each scrape.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// A metric with all its label sets.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Without the `sidecloak_` in front and the `_total` behind.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// One per label set, all of one kind.
    pub series: Vec<Series>,
}

/// One label set with its number.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Names from configuration and words of this program.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: Value,
}

/// See [`Series::value`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Only grows.
    Counter(u64),
    /// Goes up and down.
    Gauge(f64),
    /// How many in each bucket, whose upper bounds ascend to `f64::MAX`, and the sum of all.
    Histogram(Vec<(f64, u64)>, f64),
}

pub(super) type Groups = Box<dyn Fn() -> Vec<Group> + Send + Sync>;

/// Asks for them at each scrape, once it is known whom.
#[derive(Clone, Default)]
pub(super) struct Told(pub(super) Arc<OnceLock<Groups>>);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

impl Collector for Told {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let groups = self.0.get().map_or_else(Vec::new, |read| read());
        for Group { name, help, series } in &groups {
            let Some(first) = series.first() else { continue };
            let mut metric = encoder.encode_descriptor(name, help, None, first.value.kind())?;
            for Series { labels, value } in series {
                let mut metric = metric.encode_family(labels)?;
                match value {
                    Value::Counter(count) => metric.encode_counter::<NoLabelSet, u64, u64>(count, None)?,
                    Value::Gauge(number) => metric.encode_gauge(number)?,
                    Value::Histogram(buckets, sum) => {
                        let count = buckets.iter().map(|(_, count)| count).sum();
                        metric.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Value {
    fn kind(&self) -> MetricType {
        match self {
            Self::Counter(_) => MetricType::Counter,
            Self::Gauge(_) => MetricType::Gauge,
            Self::Histogram(..) => MetricType::Histogram,
        }
    }
}
