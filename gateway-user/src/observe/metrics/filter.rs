//! The filter's families. The filter lives on the control thread and a collector may not, so the control thread leaves
//! a copy of its counters here once a second.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::names;
use crate::observe::filter::{FilterReport, FilterSource, FilterStatus};

/// The last copy of report and status.
#[derive(Clone, Debug, Default)]
pub struct FilterMetrics(Arc<ArcSwap<(FilterReport, FilterStatus)>>);

impl FilterMetrics {
    /// Takes a new copy.
    pub fn update(&self, filter: &dyn FilterSource) {
        self.0.store(Arc::new((filter.report(), filter.status())));
    }
}

impl Collector for FilterMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let copy = self.0.load();
        let (report, status) = &**copy;
        let (name, help) = names::FILTER_PACKETS;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        let rows = report.listeners.iter().map(|row| (row.listener.as_str(), &row.reasons));
        for (listener, reasons) in rows.chain([("", &report.unlisted)]) {
            for reason in reasons {
                let verdict = if reason.dropped { "drop" } else { "pass" };
                let labels = [("listener", listener), ("reason", reason.reason), ("verdict", verdict)];
                ConstCounter::new(reason.count.packets).encode(family.encode_family(&labels)?)?;
            }
        }
        let (name, help) = names::FILTER_EVENTS_LOST;
        let lost = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(report.drops_lost).encode(lost)?;
        let (name, help) = names::FILTER_INTERFACE;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for interface in &status.interfaces {
            let labels = [("interface", interface.interface.as_str()), ("mode", interface.mode.name())];
            ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
