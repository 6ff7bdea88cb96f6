//! Plans and filters for the tests of this suite.

use std::{path::PathBuf, sync::Arc};

use gateway_user::{
    base::{Generation, Name},
    kernel::{Config, Filter, FilterMode},
    snapshot::{
        FilterPlan, Snapshot, Subscriber as _,
        filter::{Echo, FilterEntry, FilterListener, ListenAddress, ListenerOptions},
    },
};
use harness::{scratch::Scratch, topology::PUBLIC_V4};

/// A listener at 198.51.100.1:443 on `interface` with `cidrs`; entry ids are their positions.
pub(crate) fn listener(id: u16, interface: &str, cidrs: &[&str]) -> FilterListener {
    FilterListener {
        large: None,
        id,
        name: Name::new(&format!("listener-{id}")).unwrap(),
        interface: interface.to_owned(),
        addresses: vec![ListenAddress::Ip(PUBLIC_V4.into())],
        ports: vec![443],
        open: true,
        echo: Echo::Everybody,
        options: ListenerOptions::default(),
        entries: cidrs
            .iter()
            .zip(0..)
            .map(|(cidr, id)| FilterEntry { cidr: cidr.parse().unwrap(), id, draining: false })
            .collect(),
    }
}

pub(crate) fn snapshot(generation: u64, listeners: Vec<FilterListener>) -> Arc<Snapshot> {
    let generation = Generation(generation);
    Arc::new(Snapshot {
        generation,
        filter: Arc::new(FilterPlan { generation, listeners }),
        ..Snapshot::default()
    })
}

/// Stages and commits.
#[track_caller]
pub(crate) fn publish(filter: &mut Filter, generation: u64, listeners: Vec<FilterListener>) {
    filter.stage(&snapshot(generation, listeners)).unwrap();
    filter.commit().unwrap();
    assert_eq!(filter.generation(), Generation(generation));
}

pub(crate) fn config(scratch: &Scratch, name: &str, mode: FilterMode) -> Config {
    Config { mode, pin_dir: pins(scratch, name), object: None }
}

pub(crate) fn pins(scratch: &Scratch, name: &str) -> PathBuf {
    scratch.join("bpf").join(name)
}

#[track_caller]
pub(crate) fn open(scratch: &Scratch, name: &str) -> Filter {
    Filter::open(config(scratch, name, FilterMode::Required)).unwrap()
}
