//! Random ways to instances, each of a form that is taken.

use std::{sync::LazyLock, time::Duration};

use proptest::{prelude::*, sample::subsequence};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use crate::resource::{
    Host, Instance, Service,
    upstream::{Authorities, Balance, Bounds, Encoding, HashKey, HealthCheck, Outlier, Probe, Retry, Tls},
};

/// The certificate of an authority, in PEM.
pub(crate) static AUTHORITY: LazyLock<String> = LazyLock::new(|| {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
});

pub(super) fn instances() -> impl Strategy<Value = Vec<Instance>> {
    let one = (("[a-z][a-z0-9-]{0,8}", 1_u16..), prop_oneof![3 => Just(1), 1 => 1_u32..=256]);
    proptest::collection::btree_map(
        one.clone().prop_map(|(at, _)| at),
        one.prop_map(|(_, weight)| weight),
        1..4,
    )
    .prop_map(|all| all.into_iter().map(|((host, port), weight)| Instance { host, port, weight }).collect())
}

fn time(seconds: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = Duration> {
    seconds.prop_map(|seconds| Duration::from_millis(seconds * 1000))
}

prop_compose! {
    fn tls()(mode in 0_u8..3, name in proptest::option::of("[a-z]{1,8}\\.[a-z]{2,4}"), own: bool)
        -> (Tls, Option<Host>, Option<Authorities>)
    {
        let name = name.map(|name| name.parse().unwrap());
        match mode {
            0 => (Tls::Off, None, None),
            1 => (Tls::Verify, name, own.then(|| AUTHORITY.parse().unwrap())),
            _ => (Tls::Insecure, name, None),
        }
    }
}

fn balance() -> impl Strategy<Value = (Balance, Option<HashKey>)> {
    let key =
        prop_oneof![Just(HashKey::Source), Just(HashKey::Path), "[a-z][a-z-]{0,8}".prop_map(HashKey::Header)];
    prop_oneof![
        Just((Balance::LeastRequest, None)),
        Just((Balance::RoundRobin, None)),
        proptest::option::of(key).prop_map(|key| (Balance::Hash, key)),
    ]
}

prop_compose! {
    fn health()(
        path in proptest::option::of("/[a-z0-9?=/]{0,12}"),
        interval in time(1..=3600), timeout in time(1..=60), healthy in 1_u32..=100, unhealthy in 1_u32..=100,
    ) -> HealthCheck {
        let probe = path.map_or(Probe::Tcp, Probe::Http);
        HealthCheck { probe, interval, timeout, healthy, unhealthy }
    }
}

prop_compose! {
    fn guards()(
        failures in 0_u32..=1000, ejection in time(1..=3600), max_ejected_percent in 0_u8..=100,
        attempts in 1_u32..=10, budget_percent in 0_u8..=100,
        in_flight in proptest::option::of(1_u32..=1_000_000), queue in 0_u32..=100_000, queue_wait in time(1..=300),
    ) -> (Outlier, Retry, Bounds) {
        (
            Outlier { failures, ejection, max_ejected_percent },
            Retry { attempts, budget_percent },
            Bounds { in_flight, queue, queue_wait },
        )
    }
}

prop_compose! {
    /// The service with another way to its instances.
    pub(super) fn upstream(service: Service)(
        instances in instances(),
        (tls, tls_server_name, tls_ca) in tls(),
        (balance, hash_on) in balance(),
        health in proptest::option::of(health()),
        (outlier, retry, bounds) in prop_oneof![Just(Default::default()), guards()],
        slow_start in time(0..=3600),
        compression in subsequence(vec![Encoding::Br, Encoding::Gzip, Encoding::Zstd], 0..=3),
        decompress: bool,
    ) -> Service {
        Service {
            instances, tls, tls_server_name, tls_ca, balance, hash_on, health, outlier, retry, bounds, slow_start,
            compression, decompress, ..service.clone()
        }
    }
}
