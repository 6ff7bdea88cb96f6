//! Turns the traffic report into metric families at scrape time; the request path knows nothing of labels.

use std::{fmt, sync::Arc, sync::atomic::Ordering::Relaxed};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::{instances, names};
use crate::observe::traffic::{BUCKETS, ListenerTraffic, ServiceTraffic, Traffic};

#[derive(Debug)]
pub(super) struct TrafficCollector(pub(super) Arc<Traffic>);

impl Collector for TrafficCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let report = self.0.report();
        let services = &report.services;
        by_class(
            &mut encoder,
            names::REQUESTS,
            services.iter().map(|s| (labels("service", &s.gateway, &s.name), &s.classes)),
        )?;
        service_counter(&mut encoder, names::BYTES_IN, services, |s| s.bytes_in)?;
        service_counter(&mut encoder, names::BYTES_OUT, services, |s| s.bytes_out)?;
        service_counter(&mut encoder, names::RETRIES, services, |s| s.retries)?;
        service_counter(&mut encoder, names::RETRIES_REFUSED, services, |s| s.retries_refused)?;
        service_counter(&mut encoder, names::QUEUE_WAITED, services, |s| s.queue.waited)?;
        service_counter(&mut encoder, names::QUEUE_REFUSED, services, |s| s.queue.refused)?;
        service_counter(&mut encoder, names::CONNECTS, services, |s| s.connects)?;
        service_counter(&mut encoder, names::UNAUTHORIZED, services, |s| s.unauthorized)?;
        service_counter(&mut encoder, names::THROTTLED, services, |s| s.throttled)?;
        instances::encode(&mut encoder, services)?;
        let (name, help) = names::ACTIVE;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for service in services {
            ConstGauge::new(service.active as i64).encode(family.encode_family(&labels(
                "service",
                &service.gateway,
                &service.name,
            ))?)?;
        }
        let (name, help) = names::LATENCY;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for service in services {
            histogram(family.encode_family(&labels("service", &service.gateway, &service.name))?, service)?;
        }

        let listeners = &report.listeners;
        listener_counter(&mut encoder, names::ACCEPTED, listeners, |l| l.accepted)?;
        listener_counter(&mut encoder, names::CUT, listeners, |l| l.cut)?;
        listener_counter(&mut encoder, names::LISTENER_BYTES_IN, listeners, |l| l.bytes_in)?;
        listener_counter(&mut encoder, names::LISTENER_BYTES_OUT, listeners, |l| l.bytes_out)?;
        by_class(
            &mut encoder,
            names::OWN_ANSWERS,
            listeners.iter().map(|l| (labels("listener", &l.gateway, &l.name), &l.classes)),
        )?;
        let (name, help) = names::REFUSED;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for listener in listeners {
            for (reason, count) in &listener.refused {
                let [gateway, name, channel] = listener_labels(listener);
                ConstCounter::new(*count).encode(family.encode_family(&[
                    gateway,
                    name,
                    channel,
                    ("reason", *reason),
                ])?)?;
            }
        }
        let (name, help) = names::FLOODS;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for listener in listeners {
            for (what, count) in &listener.floods {
                let [gateway, name, channel] = listener_labels(listener);
                ConstCounter::new(*count).encode(family.encode_family(&[
                    gateway,
                    name,
                    channel,
                    ("what", *what),
                ])?)?;
            }
        }
        let (name, help) = names::LIVE;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for listener in listeners {
            ConstGauge::new(listener.live as i64)
                .encode(family.encode_family(&listener_labels(listener))?)?;
        }
        let (name, help) = names::HANDSHAKES;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for listener in listeners {
            for (result, count) in [("ok", listener.handshakes), ("failed", listener.handshake_failures)] {
                let [gateway, name, channel] = listener_labels(listener);
                ConstCounter::new(count).encode(family.encode_family(&[
                    gateway,
                    name,
                    channel,
                    ("result", result),
                ])?)?;
            }
        }

        let (name, help) = names::GENERATION;
        ConstGauge::new(report.generation.0 as i64).encode(encoder.encode_descriptor(
            name,
            help,
            None,
            MetricType::Gauge,
        )?)?;
        let (name, help) = names::LOG_LOST;
        ConstCounter::new(report.log_lost).encode(encoder.encode_descriptor(
            name,
            help,
            None,
            MetricType::Counter,
        )?)?;
        let (name, help) = names::PANICS;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (place, count) in [
            ("worker", self.0.worker_panics.load(Relaxed)),
            ("connection", self.0.connection_panics.load(Relaxed)),
        ] {
            ConstCounter::new(count).encode(family.encode_family(&[("place", place)])?)?;
        }
        Ok(())
    }
}

type Label<'a> = (&'a str, &'a str);

fn labels<'a>(kind: &'a str, gateway: &'a str, name: &'a str) -> [Label<'a>; 2] {
    [("gateway", gateway), (kind, name)]
}

fn listener_labels(listener: &ListenerTraffic) -> [Label<'_>; 3] {
    let [gateway, name] = labels("listener", &listener.gateway, &listener.name);
    [gateway, name, ("channel", listener.channel.word())]
}

fn service_counter(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    services: &[ServiceTraffic],
    pick: fn(&ServiceTraffic) -> u64,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for service in services {
        ConstCounter::new(pick(service)).encode(family.encode_family(&labels(
            "service",
            &service.gateway,
            &service.name,
        ))?)?;
    }
    Ok(())
}

fn listener_counter(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    listeners: &[ListenerTraffic],
    pick: fn(&ListenerTraffic) -> u64,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for listener in listeners {
        ConstCounter::new(pick(listener)).encode(family.encode_family(&listener_labels(listener))?)?;
    }
    Ok(())
}

fn by_class<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    rows: impl Iterator<Item = ([Label<'a>; 2], &'a std::collections::BTreeMap<&'static str, u64>)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for ([gateway, object], classes) in rows {
        for (class, count) in classes {
            ConstCounter::new(*count).encode(family.encode_family(&[
                gateway,
                object,
                ("class", *class),
            ])?)?;
        }
    }
    Ok(())
}

fn histogram(mut encoder: MetricEncoder<'_>, service: &ServiceTraffic) -> fmt::Result {
    let buckets: Vec<(f64, u64)> = service
        .latency
        .iter()
        .enumerate()
        .map(|(index, count)| {
            let bound = if index + 1 == BUCKETS { f64::MAX } else { (1_u64 << index) as f64 / 1e6 };
            (bound, *count)
        })
        .collect();
    encoder.encode_histogram::<[(&str, &str); 0]>(
        service.micros as f64 / 1e6,
        service.latency.iter().sum(),
        &buckets,
        None,
    )
}
