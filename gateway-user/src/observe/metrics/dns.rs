//! The name server's families.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter},
};

use super::names;
use crate::observe::dns::{NameTraffic, OUTCOMES};

/// Reads the counters at every scrape.
#[derive(Debug)]
pub struct NameMetrics(pub NameTraffic);

impl Collector for NameMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let views = self.0.read();
        let (name, help) = names::DNS_QUERIES;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (view, counts, _) in &views {
            for (outcome, count) in OUTCOMES.iter().zip(counts).filter(|(_, count)| **count > 0) {
                let labels = [("view", view.as_str()), ("outcome", *outcome)];
                ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
            }
        }
        let (name, help) = names::DNS_TRUNCATED;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (view, _, truncated) in &views {
            ConstCounter::new(*truncated).encode(family.encode_family(&[("view", view.as_str())])?)?;
        }
        Ok(())
    }
}
