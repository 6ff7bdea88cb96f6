//! How full the data plane is, as metric families.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::names;
use crate::observe::traffic::Traffic;

#[derive(Debug)]
pub(super) struct LoadCollector(pub(super) Arc<Traffic>);

impl Collector for LoadCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let load = self.0.load.report();
        for ((name, help), figure) in [
            (names::MEMORY_USED, load.memory_used),
            (names::MEMORY_LIMIT, load.memory_limit),
            (names::CONNECTIONS_LIMIT, load.connections_limit),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(figure).unwrap_or(i64::MAX)).encode(metric)?;
        }
        for ((name, help), figure) in [(names::OVERLOADED, load.refused), (names::EVICTED, load.evicted)] {
            ConstCounter::new(figure).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Counter,
            )?)?;
        }
        let (name, help) = names::PAUSED;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (reason, workers) in &load.paused {
            ConstGauge::new(*workers as i64).encode(family.encode_family(&[("reason", *reason)])?)?;
        }
        let (name, help) = names::PAUSES;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (reason, count) in &load.pauses {
            ConstCounter::new(*count).encode(family.encode_family(&[("reason", *reason)])?)?;
        }
        Ok(())
    }
}
