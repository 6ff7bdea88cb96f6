//! Pure: the access policy.

use crate::{
    base::Generation,
    control::state::{ListenerRecord, State},
    snapshot::filter::{Echo, FilterEntry, FilterListener, FilterPlan},
};

pub(super) fn plan(state: &State, generation: Generation) -> FilterPlan {
    FilterPlan { generation, listeners: state.listeners.values().map(|record| listener(record)).collect() }
}

fn listener(record: &ListenerRecord) -> FilterListener {
    let allowed =
        record.entries.iter().map(|entry| FilterEntry { cidr: entry.cidr, id: entry.id, draining: false });
    let draining =
        record.draining.iter().map(|drain| FilterEntry { cidr: drain.cidr, id: drain.id, draining: true });
    FilterListener {
        id: record.id,
        name: record.listener.name.clone(),
        interface: record.listener.interface.clone(),
        addresses: record.listener.addresses.iter().map(super::listener::address).collect(),
        ports: record.listener.ports().collect(),
        open: record.listener.open,
        // Every listener is public for now; a public endpoint answers everybody (DESIGN §4.5).
        echo: Echo::Everybody,
        entries: allowed.chain(draining).collect(),
    }
}
