//! The filter's families. The filter lives on the control thread and a collector may not, so the control thread leaves
//! a copy of its counters here once a second.

use std::{collections::BTreeMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::names;
use crate::{
    base::Name,
    observe::filter::{Count, FilterReport, FilterSource, FilterStatus},
    snapshot::Channel,
};

/// The last copy of report and status.
#[derive(Clone, Debug, Default)]
pub struct FilterMetrics(Arc<ArcSwap<(FilterReport, FilterStatus, Channels)>>);

type Channels = BTreeMap<Name, Channel>;

impl FilterMetrics {
    /// Takes a new copy; `channel` says how a listener's traffic is metered.
    pub fn update(&self, filter: &dyn FilterSource, channel: impl Fn(&Name) -> Channel) {
        let report = filter.report();
        let channels =
            report.listeners.iter().map(|row| (row.listener.clone(), channel(&row.listener))).collect();
        self.0.store(Arc::new((report, filter.status(), channels)));
    }
}

impl Collector for FilterMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let copy = self.0.load();
        let (report, status, channels) = &**copy;
        for (names, pick) in [
            (names::FILTER_PACKETS, (|count| count.packets) as fn(&Count) -> u64),
            (names::FILTER_BYTES, |count| count.bytes),
        ] {
            let mut family = encoder.encode_descriptor(names.0, names.1, None, MetricType::Counter)?;
            let rows = report.listeners.iter().map(|row| {
                let channel = channels.get(&row.listener).copied().unwrap_or_default();
                (row.listener.as_str(), channel.word(), &row.reasons)
            });
            for (listener, channel, reasons) in rows.chain([("", "", &report.unlisted)]) {
                for reason in reasons {
                    let verdict = if reason.dropped { "drop" } else { "pass" };
                    let labels = [
                        ("listener", listener),
                        ("channel", channel),
                        ("reason", reason.reason),
                        ("verdict", verdict),
                    ];
                    ConstCounter::new(pick(&reason.count)).encode(family.encode_family(&labels)?)?;
                }
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
