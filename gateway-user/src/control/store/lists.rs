//! Large allowlists, each stored once under the digest of its content, however many generations had it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};
use serde_json::Value;

use super::{RESOURCES, VERSIONS, error::Fault, row};
use crate::{
    control::state::{Entries, Large, State, export::LIST},
    resource::Kind,
};

/// The content of large allowlists, by digest. The digest is its checksum, too.
const LISTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("lists");

/// Writes the lists of these networks that are not there yet; returns the bytes that were added.
pub(super) fn write<'a>(
    transaction: &WriteTransaction,
    state: &State,
    vpcs: impl Iterator<Item = &'a str>,
) -> Result<usize, Fault> {
    let mut table = transaction.open_table(LISTS).map_err(Fault::new)?;
    let mut added = 0;
    for vpc in vpcs.filter_map(|name| state.vpcs.get(name)) {
        let Some(Entries::Large(large)) = state.vpc_listener(vpc).map(|record| &record.entries) else {
            continue;
        };
        if table.get(large.digest()).map_err(Fault::new)?.is_none() {
            let bytes = large.bytes();
            added += bytes.len();
            table.insert(large.digest(), bytes.as_slice()).map_err(Fault::new)?;
        }
    }
    Ok(added)
}

/// Forgets the lists that neither the configuration nor a generation of the history names.
pub(super) fn sweep(transaction: &WriteTransaction) -> Result<(), Fault> {
    let mut lists = transaction.open_table(LISTS).map_err(Fault::new)?;
    if lists.first().map_err(Fault::new)?.is_none() {
        return Ok(());
    }
    let mut used = BTreeSet::new();
    let mut note = |bytes: &[u8], field: &str| {
        // A damaged row of the past names nothing any more.
        let row = row::decode::<Value>("lists", bytes).ok();
        used.extend(row.and_then(|row| Some(row.get(field)?.as_str()?.to_owned())));
    };
    let (first, last) = (format!("{}/", Kind::Vpc), format!("{}0", Kind::Vpc));
    let rows = transaction.open_table(RESOURCES).map_err(Fault::new)?;
    for item in rows.range(first.as_str()..last.as_str()).map_err(Fault::new)? {
        note(item.map_err(Fault::new)?.1.value(), "list");
    }
    let versions = transaction.open_table(VERSIONS).map_err(Fault::new)?;
    for item in versions.range((first.as_str(), 0)..(last.as_str(), 0)).map_err(Fault::new)? {
        note(item.map_err(Fault::new)?.1.value(), LIST);
    }
    lists.retain(|digest, _| used.contains(digest)).map_err(Fault::new)
}

/// The lists of these names that are there whole.
pub(super) fn read(
    transaction: &ReadTransaction,
    names: impl Iterator<Item = String>,
) -> Result<BTreeMap<String, Arc<Large>>, Fault> {
    let mut out = BTreeMap::new();
    let table = match transaction.open_table(LISTS) {
        Ok(table) => table,
        // A store that never had a large list.
        Err(TableError::TableDoesNotExist(_)) => return Ok(out),
        Err(error) => return Err(Fault::new(error)),
    };
    for name in names {
        let bytes = table.get(name.as_str()).map_err(Fault::new)?;
        let large = bytes.and_then(|bytes| Large::read(&name, bytes.value()));
        out.extend(large.map(|large| (name, Arc::new(large))));
    }
    Ok(out)
}
