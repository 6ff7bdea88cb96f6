//! The families of services' instances, queues and mirrors.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::names;
use crate::observe::{instances::InstanceTraffic, traffic::ServiceTraffic};

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, services: &[ServiceTraffic]) -> fmt::Result {
    let (name, help) = names::QUEUE_WAITING;
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for service in services {
        let labels = [("gateway", service.gateway.as_str()), ("service", &service.name)];
        ConstGauge::new(service.queue.waiting as i64).encode(family.encode_family(&labels)?)?;
    }
    let (name, help) = names::MIRRORED;
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for service in services {
        let mirror = service.mirror;
        for (result, count) in [("sent", mirror.sent), ("failed", mirror.failed), ("dropped", mirror.dropped)]
        {
            let labels =
                [("gateway", service.gateway.as_str()), ("service", &service.name), ("result", result)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    let (name, help) = names::INSTANCE_STATE;
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (service, instance) in each(services) {
        let [gateway, name, address] = labels(service, instance);
        let labels = [gateway, name, address, ("state", instance.status.name())];
        ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
    }
    let (name, help) = names::INSTANCE_ACTIVE;
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (service, instance) in each(services) {
        let labels = labels(service, instance);
        ConstGauge::new(instance.active as i64).encode(family.encode_family(&labels)?)?;
    }
    for ((name, help), pick) in [
        (names::INSTANCE_REQUESTS, (|one| one.requests) as fn(&InstanceTraffic) -> u64),
        (names::INSTANCE_FAILURES, |one| one.failures),
        (names::INSTANCE_EJECTIONS, |one| one.ejections),
        (names::INSTANCE_CHECKS_FAILED, |one| one.checks_failed),
    ] {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (service, instance) in each(services) {
            ConstCounter::new(pick(instance)).encode(family.encode_family(&labels(service, instance))?)?;
        }
    }
    Ok(())
}

fn each(services: &[ServiceTraffic]) -> impl Iterator<Item = (&ServiceTraffic, &InstanceTraffic)> {
    services.iter().flat_map(|service| service.instances.iter().map(move |instance| (service, instance)))
}

fn labels<'a>(service: &'a ServiceTraffic, instance: &'a InstanceTraffic) -> [(&'static str, &'a str); 3] {
    [("gateway", &service.gateway), ("service", &service.name), ("instance", &instance.instance)]
}
