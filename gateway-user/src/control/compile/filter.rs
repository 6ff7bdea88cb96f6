//! Pure: the access policy.

use std::sync::Arc;

use crate::{
    base::{Generation, Name},
    control::state::{ListenerRecord, Silent, State},
    resource::Exposure,
    snapshot::filter::{Echo, FilterEntry, FilterListener, FilterPlan, ListenAddress, ListenerOptions},
};

/// `served` says which listeners are there; those of networks that are not attached any more are silent.
pub(super) fn plan(state: &State, generation: Generation, served: impl Fn(&Name) -> bool) -> FilterPlan {
    let live = state.listeners.values().map(|record| {
        let policy = listener(record);
        if served(&record.listener.name) {
            return policy;
        }
        FilterListener { open: false, echo: Echo::Silent, entries: Vec::new(), large: None, ..policy }
    });
    FilterPlan { generation, listeners: live.chain(state.silent.iter().map(silent)).collect() }
}

fn listener(record: &ListenerRecord) -> FilterListener {
    let allowed = record.entries.counted().iter().map(|entry| FilterEntry {
        cidr: entry.cidr,
        id: entry.id,
        draining: false,
    });
    let draining =
        record.draining.iter().map(|drain| FilterEntry { cidr: drain.cidr, id: drain.id, draining: true });
    FilterListener {
        id: record.id,
        name: record.listener.name.clone(),
        interface: record.listener.interface.clone(),
        addresses: record.listener.addresses.iter().map(super::listener::address).collect(),
        ports: record.listener.ports().collect(),
        open: record.listener.open,
        // A public endpoint answers everybody, a private one its allowlist (DESIGN §4.5).
        echo: match record.listener.exposure {
            Exposure::VpcNamed(_) | Exposure::EndpointNamed(_) => Echo::Allowlist,
            Exposure::Public | Exposure::All | Exposure::Vpc | Exposure::Endpoint => Echo::Everybody,
        },
        options: ListenerOptions {
            monitor: record.monitor.is_some(),
            syn_rate: record.listener.limits.syn_rate,
            syn_rate_per_source: record.listener.limits.syn_rate_per_source,
        },
        entries: allowed.chain(draining).collect(),
        large: record.entries.large().map(|large| Arc::clone(large.list())),
    }
}

/// The endpoint of a private network that is gone: its address answers nothing, and nothing listens there.
fn silent(silent: &Silent) -> FilterListener {
    FilterListener {
        id: silent.id,
        name: Name::of_vpc_listener(&silent.vpc),
        interface: silent.interface.clone(),
        addresses: vec![ListenAddress::Ip(silent.address)],
        ports: silent.ports.clone(),
        open: false,
        echo: Echo::Silent,
        options: ListenerOptions::default(),
        entries: Vec::new(),
        large: None,
    }
}
