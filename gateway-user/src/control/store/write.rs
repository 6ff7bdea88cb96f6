//! One transaction per change: the resources that differ, the keys in use, a row of the history, the head.

use std::collections::{BTreeMap, BTreeSet};

use redb::{Database, WriteTransaction};
use serde::Serialize;

use super::{
    FORMAT, HEAD, Head, HistoryChange, KEYS, RESOURCES, Saved,
    error::Fault,
    history,
    listener::{EndpointRow, ListenerRow, VpcRow},
    lists,
    load::all,
    row,
};
use crate::{
    control::state::State,
    resource::{Kind, certificate::Key, token::Fingerprint},
};

/// What a change is written against.
#[derive(Clone, Copy)]
pub(super) struct Base<'a> {
    pub(super) saved: &'a Saved,
    /// Whether the file surely holds `saved`.
    pub(super) trusted: bool,
    /// The history's index.
    pub(super) known: &'a BTreeMap<u64, usize>,
}

/// Writes the change from `base` to `after`, and returns the history's new index.
pub(super) fn write(
    database: &Database,
    base: Base<'_>,
    after: &Saved,
    change: &HistoryChange<'_>,
) -> Result<BTreeMap<u64, usize>, Fault> {
    let transaction = database.begin_write().map_err(Fault::new)?;
    let added;
    {
        let mut table = transaction.open_table(RESOURCES).map_err(Fault::new)?;
        // What is not known to be there is written whole.
        let touched = if base.trusted {
            base.saved.state.touched(&after.state)
        } else {
            table.retain(|_, _| false).map_err(Fault::new)?;
            State::default().touched(&after.state)
        };
        let vpcs = touched.iter().filter(|(kind, _)| *kind == Kind::Vpc);
        added = lists::write(&transaction, &after.state, vpcs.map(|(_, name)| name.as_str()))?;
        for (kind, name) in touched {
            let key = format!("{kind}/{name}");
            match resource(&after.state, kind, &name)? {
                Some(bytes) => drop(table.insert(key.as_str(), bytes.as_slice()).map_err(Fault::new)?),
                None => drop(table.remove(key.as_str()).map_err(Fault::new)?),
            }
        }
    }
    write_keys(&transaction, after)?;
    let kept = history::write(&transaction, base, after, change, added)?;
    lists::sweep(&transaction)?;
    let head = Head {
        format: FORMAT,
        generation: after.generation,
        last: after.last,
        rows: after.state.count(),
        last_listener: after.state.last_listener,
        silent: after.state.silent.clone(),
        pending: after.pending.clone(),
    };
    {
        let mut table = transaction.open_table(HEAD).map_err(Fault::new)?;
        table.insert("head", row::encode(&head)?.as_slice()).map_err(Fault::new)?;
    }
    transaction.commit().map_err(Fault::new)?;
    Ok(kept)
}

/// A resource's row.
fn resource(state: &State, kind: Kind, name: &str) -> Result<Option<Vec<u8>>, Fault> {
    fn encoded<T: Serialize>(record: Option<&T>) -> Result<Option<Vec<u8>>, Fault> {
        record.map(row::encode).transpose()
    }
    match kind {
        Kind::Gateway => Ok(None),
        Kind::Listener => encoded(state.listeners.get(name).map(|record| ListenerRow::new(record)).as_ref()),
        Kind::Account => encoded(state.accounts.get(name)),
        Kind::Vpc => encoded(VpcRow::of(state, name).as_ref()),
        Kind::Certificate => encoded(state.certificates.get(name)),
        Kind::Domain => encoded(state.domains.get(name)),
        Kind::Service => encoded(state.services.get(name)),
        Kind::Route => encoded(state.routes.get(name)),
        Kind::EndpointService => encoded(state.endpoint_services.get(name)),
        Kind::Endpoint => encoded(EndpointRow::of(state, name).as_ref()),
    }
}

/// Keys in use, and those that an undoing may need; every other one is deleted for good.
fn write_keys(transaction: &WriteTransaction, after: &Saved) -> Result<(), Fault> {
    let mut wanted: BTreeMap<&Fingerprint, &Key> = BTreeMap::new();
    for record in after.state.certificates.values() {
        if let Some(material) = &record.material {
            wanted.insert(&record.key_fingerprint, &material.key);
        }
    }
    wanted.extend(after.pending.iter().flat_map(|pending| &pending.keys));
    let mut table = transaction.open_table(KEYS).map_err(Fault::new)?;
    let held: BTreeSet<String> = all(&table)?.into_keys().collect();
    for key in held.iter().filter(|key| wanted.keys().all(|wanted| wanted.as_str() != key.as_str())) {
        table.remove(key.as_str()).map_err(Fault::new)?;
    }
    for (fingerprint, key) in
        wanted.into_iter().filter(|(fingerprint, _)| !held.contains(fingerprint.as_str()))
    {
        table.insert(fingerprint.as_str(), row::seal(&key.0).as_slice()).map_err(Fault::new)?;
    }
    Ok(())
}
