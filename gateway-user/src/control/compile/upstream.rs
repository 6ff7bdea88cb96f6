//! Pure: the way to a service's instances.

use crate::{
    resource::{self, Service},
    snapshot::upstream::{
        Balance, Bounds, HashKey, HealthCheck, Outlier, Probe, Retry, Tls, Upstream, Verify,
    },
};

pub(super) fn compile(service: &Service) -> Upstream {
    let Service { outlier, retry, bounds, .. } = service;
    Upstream {
        tls: tls(service),
        balance: balance(service),
        health: service.health.as_ref().map(health),
        outlier: Outlier {
            failures: outlier.failures,
            ejection: outlier.ejection,
            max_ejected_percent: outlier.max_ejected_percent,
        },
        retry: Retry { attempts: retry.attempts, budget_percent: retry.budget_percent },
        bounds: Bounds { in_flight: bounds.in_flight, queue: bounds.queue, queue_wait: bounds.queue_wait },
        slow_start: service.slow_start,
    }
}

fn tls(service: &Service) -> Option<Tls> {
    let verify = match (service.tls, &service.tls_ca) {
        (resource::upstream::Tls::Off, _) => return None,
        (resource::upstream::Tls::Insecure, _) => Verify::Insecure,
        (resource::upstream::Tls::Verify, None) => Verify::System,
        (resource::upstream::Tls::Verify, Some(authorities)) => {
            Verify::Authorities(authorities.der().to_vec())
        }
    };
    let server_name = service.tls_server_name.as_ref().map(|name| name.as_str().to_owned());
    Some(Tls { server_name, verify })
}

fn balance(service: &Service) -> Balance {
    match service.balance {
        resource::upstream::Balance::LeastRequest => Balance::LeastRequest,
        resource::upstream::Balance::RoundRobin => Balance::RoundRobin,
        resource::upstream::Balance::Hash => {
            Balance::Hash(match service.hash_on.clone().unwrap_or_default() {
                resource::upstream::HashKey::Source => HashKey::Source,
                resource::upstream::HashKey::Path => HashKey::Path,
                resource::upstream::HashKey::Header(name) => HashKey::Header(name),
            })
        }
    }
}

fn health(check: &resource::upstream::HealthCheck) -> HealthCheck {
    HealthCheck {
        probe: match &check.probe {
            resource::upstream::Probe::Tcp => Probe::Tcp,
            resource::upstream::Probe::Http(path) => Probe::Http(path.clone()),
        },
        interval: check.interval,
        timeout: check.timeout,
        healthy: check.healthy,
        unhealthy: check.unhealthy,
    }
}
