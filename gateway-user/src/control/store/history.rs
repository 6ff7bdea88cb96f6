//! What every generation was: a row that tells of the change, and a version of each resource that it touched.
//!
//! The configuration of a generation is the newest version, not younger than it, of every resource. So a change costs what
//! it changes, not what the configuration is. Versions name tokens by hash and keys by fingerprint.

use std::collections::BTreeMap;

use redb::{Database, ReadableDatabase, ReadableTable, Table, WriteTransaction};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    HISTORY, HISTORY_BYTES, HISTORY_ROWS, HistoryChange, Saved, VERSIONS, error::Fault, lists, row,
    write::Base,
};
use crate::{
    base::Generation,
    control::{
        Document,
        state::export::{LIST, Secrets},
        view::HistoryView,
    },
    resource::Allowlist,
};

/// A row of the history.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    time: u64,
    actor: Option<u32>,
    summary: String,
    /// Keys of the resources that have a version of this generation.
    touched: Vec<String>,
}

type Versions<'a> = Table<'a, (&'static str, u64), &'static [u8]>;

/// Adds or removes a generation, for which `added` bytes of large lists were written; forgets the oldest ones beyond the limits, and returns the new index.
pub(super) fn write(
    transaction: &WriteTransaction,
    base: Base<'_>,
    after: &Saved,
    change: &HistoryChange<'_>,
    added: usize,
) -> Result<BTreeMap<u64, usize>, Fault> {
    let mut kept = base.known.clone();
    let mut rows = transaction.open_table(HISTORY).map_err(Fault::new)?;
    let mut versions = transaction.open_table(VERSIONS).map_err(Fault::new)?;
    if !base.trusted {
        // A change whose outcome was unknown may have left a generation that was never in force.
        let newest = kept.keys().next_back().copied().unwrap_or_default();
        rows.retain(|generation, _| base.known.contains_key(&generation)).map_err(Fault::new)?;
        versions.retain(|(_, generation), _| generation <= newest).map_err(Fault::new)?;
    }
    match change {
        HistoryChange::Add(line) => {
            let mut bytes = added;
            let mut touched = Vec::new();
            for (kind, name) in base.saved.state.touched(&after.state) {
                // A resource that is gone has a version, too: null.
                let form = after.state.form(kind, &name, Secrets::Hashes).unwrap_or_default();
                let (key, form) = (format!("{kind}/{name}"), row::encode(&form)?);
                versions.insert((key.as_str(), after.generation.0), form.as_slice()).map_err(Fault::new)?;
                bytes += form.len();
                touched.push(key);
            }
            let row = Row { time: line.time, actor: line.actor, summary: line.summary.clone(), touched };
            let row = row::encode(&row)?;
            rows.insert(after.generation.0, row.as_slice()).map_err(Fault::new)?;
            kept.insert(after.generation.0, bytes + row.len());
        }
        HistoryChange::Remove(generation) => {
            versions.retain(|(_, held), _| held != generation.0).map_err(Fault::new)?;
            rows.remove(generation.0).map_err(Fault::new)?;
            kept.remove(&generation.0);
        }
        HistoryChange::Keep => {}
    }
    let mut bytes: usize = kept.values().sum();
    while kept.len() > HISTORY_ROWS || (bytes > HISTORY_BYTES && kept.len() > 1) {
        let Some((oldest, size)) = kept.pop_first() else { break };
        rows.remove(oldest).map_err(Fault::new)?;
        bytes -= size;
        let Some(next) = kept.keys().next() else { break };
        let row = rows.get(next).map_err(Fault::new)?.map(|row| row::decode::<Row>("history", row.value()));
        // A damaged row does not say what it touched; then some old versions stay.
        let touched = row.and_then(Result::ok).map(|row| row.touched).unwrap_or_default();
        for key in touched {
            forget(&mut versions, &key, *next)?;
        }
    }
    Ok(kept)
}

/// Removes what nothing from `oldest` on can see of a resource: older versions, and a deletion.
fn forget(versions: &mut Versions<'_>, key: &str, oldest: u64) -> Result<(), Fault> {
    versions.retain_in((key, 0)..(key, oldest), |_, _| false).map_err(Fault::new)?;
    let bytes = versions.get((key, oldest)).map_err(Fault::new)?.map(|bytes| bytes.value().to_vec());
    if bytes.is_some_and(|bytes| matches!(row::decode("versions", &bytes), Ok(Value::Null))) {
        versions.remove((key, oldest)).map_err(Fault::new)?;
    }
    Ok(())
}

/// The lines of the history, newest first.
pub(super) fn list(database: &Database) -> Result<Vec<HistoryView>, Fault> {
    let table = database.begin_read().map_err(Fault::new)?.open_table(HISTORY).map_err(Fault::new)?;
    let mut out = Vec::new();
    for item in table.iter().map_err(Fault::new)?.rev() {
        let (generation, bytes) = item.map_err(Fault::new)?;
        // One damaged line does not hide the others.
        let Ok(row) = row::decode::<Row>("history", bytes.value()) else { continue };
        let generation = Generation(generation.value());
        out.push(HistoryView { generation, time: row.time, actor: row.actor, summary: row.summary });
    }
    Ok(out)
}

/// What the configuration of a generation was.
pub(super) fn document(database: &Database, generation: Generation) -> Result<Document, Fault> {
    let transaction = database.begin_read().map_err(Fault::new)?;
    let table = transaction.open_table(VERSIONS).map_err(Fault::new)?;
    // Rows are sorted by key, then generation: of each key the last one that is old enough stands.
    let mut forms: BTreeMap<String, Value> = BTreeMap::new();
    for item in table.iter().map_err(Fault::new)? {
        let (place, bytes) = item.map_err(Fault::new)?;
        let (key, version) = place.value();
        if version <= generation.0 {
            forms.insert(key.to_owned(), row::decode("versions", bytes.value())?);
        }
    }
    let mut kinds = Map::new();
    // Names of networks and of their large lists.
    let mut lists: BTreeMap<String, String> = BTreeMap::new();
    for (key, mut form) in forms.into_iter().filter(|(_, form)| !form.is_null()) {
        let (kind, name) = key.split_once('/').unwrap_or((&key, ""));
        if let Some(Value::String(list)) = form.as_object_mut().and_then(|fields| fields.remove(LIST)) {
            lists.insert(name.to_owned(), list);
        }
        let list = kinds.entry(kind).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(form);
        }
    }
    let mut document: Document = serde_json::from_value(Value::Object(kinds))
        .map_err(|error| Fault::corrupt(format_args!("generation {generation} does not read: {error}")))?;
    let held = lists::read(&transaction, lists.values().cloned())?;
    for vpc in &mut document.vpc {
        let Some(list) = lists.get(vpc.name.as_str()) else { continue };
        let large = held.get(list).ok_or_else(|| {
            Fault::corrupt(format_args!(
                "generation {generation}: the allowlist of vpc `{}` is not there",
                vpc.name
            ))
        })?;
        vpc.allow = Some(Allowlist::from_sorted(large.list().cidrs().to_vec()));
    }
    Ok(document)
}
