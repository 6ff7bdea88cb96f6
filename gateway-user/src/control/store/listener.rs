//! Pure: the rows of listeners, private networks and endpoints. Entries of a large list are not in them but in a table of their own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::Fault;
use crate::{
    control::state::{Draining, EndpointRecord, Entries, Entry, Large, ListenerRecord, State},
    resource::{Allowlist, Limits, Listener, Vpc},
};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ListenerRow {
    id: u16,
    listener: Listener,
    entries: Vec<Entry>,
    draining: Vec<Draining>,
    last_entry: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    monitor: Option<u64>,
}

/// A private network and its listener, without what the network says of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct VpcRow {
    vpc: Vpc,
    id: u16,
    open: bool,
    entries: Vec<Entry>,
    /// The name of its large list, in place of `entries`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    list: Option<String>,
    draining: Vec<Draining>,
    last_entry: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    monitor: Option<u64>,
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    limits: Limits,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    proxy_protocol: bool,
    #[serde(default, skip_serializing_if = "Allowlist::is_empty")]
    trusted_forwarders: Allowlist,
}

/// An endpoint and its listeners, in one row.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EndpointRow {
    record: EndpointRecord,
    /// In the order of `Endpoint::listeners`.
    listeners: Vec<KeptListener>,
}

/// What a stored listener has beside what its endpoint says of it.
#[derive(Debug, Serialize, Deserialize)]
struct KeptListener {
    id: u16,
    open: bool,
    entries: Vec<Entry>,
    draining: Vec<Draining>,
    last_entry: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    monitor: Option<u64>,
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    limits: Limits,
}

// === impl ListenerRow ===

impl ListenerRow {
    pub(super) fn new(record: &ListenerRecord) -> Self {
        Self {
            id: record.id,
            listener: record.listener.clone(),
            entries: record.entries.counted().to_vec(),
            draining: record.draining.clone(),
            last_entry: record.last_entry,
            monitor: record.monitor,
        }
    }

    pub(super) fn record(self) -> ListenerRecord {
        let Self { id, listener, entries, draining, last_entry, monitor } = self;
        let entries = Entries::Counted(entries);
        ListenerRecord { id, listener, entries, draining, last_entry, monitor }
    }
}

// === impl VpcRow ===

impl VpcRow {
    /// The row of a network; `None`: there is none of that name.
    pub(super) fn of(state: &State, name: &str) -> Option<Self> {
        let vpc = state.vpcs.get(name)?;
        let record = state.vpc_listener(vpc)?;
        Some(Self {
            vpc: Vpc::clone(vpc),
            id: record.id,
            open: record.listener.open,
            entries: record.entries.counted().to_vec(),
            list: record.entries.large().map(|large| large.digest().to_owned()),
            draining: record.draining.clone(),
            last_entry: record.last_entry,
            monitor: record.monitor,
            limits: record.listener.limits,
            proxy_protocol: record.listener.proxy_protocol,
            trusted_forwarders: record.listener.trusted_forwarders.clone(),
        })
    }

    /// The network and its listener; `find` has the large lists by name.
    pub(super) fn records(
        self,
        find: impl FnOnce(&str) -> Option<Arc<Large>>,
    ) -> Result<(Vpc, ListenerRecord), Fault> {
        let Self { vpc, id, open, entries, list, draining, last_entry, monitor, limits, .. } = self;
        let (proxy_protocol, trusted_forwarders) = (self.proxy_protocol, self.trusted_forwarders);
        let entries = match list {
            None => Entries::Counted(entries),
            Some(list) => Entries::Large(find(&list).ok_or_else(|| {
                Fault::corrupt(format_args!("the allowlist of vpc `{}` is not there", vpc.name))
            })?),
        };
        let listener = Listener { open, limits, proxy_protocol, trusted_forwarders, ..vpc.listener() };
        Ok((vpc, ListenerRecord { id, listener, entries, draining, last_entry, monitor }))
    }
}

// === impl EndpointRow ===

impl EndpointRow {
    /// The row of an endpoint; `None`: there is none of that name.
    pub(super) fn of(state: &State, name: &str) -> Option<Self> {
        let record = state.endpoints.get(name)?;
        let listeners = state.endpoint_listeners(&record.endpoint).into_iter();
        let listeners = listeners.map(|one| KeptListener {
            id: one.id,
            open: one.listener.open,
            entries: one.entries.counted().to_vec(),
            draining: one.draining.clone(),
            last_entry: one.last_entry,
            monitor: one.monitor,
            limits: one.listener.limits,
        });
        Some(Self { record: EndpointRecord::clone(record), listeners: listeners.collect() })
    }

    /// The endpoint and its listeners.
    pub(super) fn records(self) -> (EndpointRecord, Vec<ListenerRecord>) {
        let Self { record, listeners } = self;
        let listeners = record.endpoint.listeners().into_iter().zip(listeners);
        let listeners = listeners.map(|(listener, kept)| ListenerRecord {
            id: kept.id,
            listener: Listener { open: kept.open, limits: kept.limits, ..listener },
            entries: Entries::Counted(kept.entries),
            draining: kept.draining,
            last_entry: kept.last_entry,
            monitor: kept.monitor,
        });
        let listeners = listeners.collect();
        (record, listeners)
    }
}
