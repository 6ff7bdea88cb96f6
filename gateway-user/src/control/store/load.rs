//! Reads a whole store back, and refuses one that is not whole.

use std::{collections::BTreeMap, sync::Arc};

use redb::{Database, ReadableDatabase, ReadableTable};

use super::{
    FORMAT, HEAD, HISTORY, Head, KEYS, Pending, RESOURCES, Saved,
    error::Fault,
    listener::{EndpointRow, ListenerRow, VpcRow},
    lists, row,
};
use crate::{
    control::state::{CertificateRecord, Large, Material, ServiceRecord, State},
    resource::{
        Account, Domain, EndpointService, Kind, Route,
        certificate::{Chain, Key},
        token::Fingerprint,
    },
};

/// What is stored, and the history's index: generation and size of each row.
pub(super) fn load(database: &Database) -> Result<(Saved, BTreeMap<u64, usize>), Fault> {
    let transaction = database.begin_read().map_err(Fault::new)?;
    let head = transaction.open_table(HEAD).map_err(Fault::new)?;
    let head = head.get("head").map_err(Fault::new)?.ok_or_else(|| Fault::corrupt("it has no head"))?;
    let head: Head = row::decode("head", head.value())?;
    if head.format > FORMAT {
        return Err(Fault::Newer(head.format));
    }
    let table = transaction.open_table(RESOURCES).map_err(Fault::new)?;
    let rows = all(&table)?;
    if rows.len() != head.rows {
        return Err(Fault::corrupt(format_args!("{} of {} rows are there", rows.len(), head.rows)));
    }
    let mut keys = BTreeMap::new();
    let table = transaction.open_table(KEYS).map_err(Fault::new)?;
    for (fingerprint, bytes) in all(&table)? {
        let key = Key(Arc::from(row::open("keys", &bytes)?));
        if key.fingerprint().as_str() != fingerprint {
            return Err(Fault::corrupt("a private key is not what its name says"));
        }
        keys.insert(key.fingerprint(), key);
    }
    let mut state = State { last_listener: head.last_listener, silent: head.silent, ..State::default() };
    for (key, bytes) in &rows {
        insert(&mut state, key, bytes, &keys, |list| {
            lists::read(&transaction, [list.to_owned()].into_iter()).ok()?.remove(list)
        })?;
    }
    let mut history = BTreeMap::new();
    let table = transaction.open_table(HISTORY).map_err(Fault::new)?;
    for item in table.iter().map_err(Fault::new)? {
        let (generation, bytes) = item.map_err(Fault::new)?;
        // The past is no reason not to serve the present.
        if row::open("history", bytes.value()).is_err() {
            tracing::error!(generation = generation.value(), "this row of the history is damaged");
        }
        history.insert(generation.value(), bytes.value().len());
    }
    let pending = head.pending.map(|pending| Pending { keys, ..pending });
    Ok((Saved { generation: head.generation, last: head.last, state, pending }, history))
}

fn insert(
    state: &mut State,
    key: &str,
    bytes: &[u8],
    keys: &BTreeMap<Fingerprint, Key>,
    lists: impl FnOnce(&str) -> Option<Arc<Large>>,
) -> Result<(), Fault> {
    let unknown = || Fault::corrupt(format_args!("it has a row `{key}` of an unknown kind"));
    let (kind, _) = key.split_once('/').ok_or_else(unknown)?;
    if kind == Kind::Listener.word() {
        let record = row::decode::<ListenerRow>(key, bytes)?.record();
        state.listeners.insert(record.listener.name.clone(), Arc::new(record));
    } else if kind == Kind::Account.word() {
        let account: Account = row::decode(key, bytes)?;
        state.accounts.insert(account.name.clone(), Arc::new(account));
    } else if kind == Kind::Vpc.word() {
        let row: VpcRow = row::decode(key, bytes)?;
        let (vpc, record) = row.records(lists)?;
        state.listeners.insert(record.listener.name.clone(), Arc::new(record));
        state.vpcs.insert(vpc.name.clone(), Arc::new(vpc));
    } else if kind == Kind::Certificate.word() {
        let record: CertificateRecord = row::decode(key, bytes)?;
        let chain = Chain::parse(&record.pem).map_err(Fault::corrupt)?;
        let held = keys.get(&record.key_fingerprint).cloned();
        let held = held.ok_or_else(|| Fault::corrupt(format_args!("the key of `{key}` is not there")))?;
        let material = Some(Material::new(&record.name, chain, held));
        state.certificates.insert(record.name.clone(), Arc::new(CertificateRecord { material, ..record }));
    } else if kind == Kind::Domain.word() {
        let domain: Domain = row::decode(key, bytes)?;
        state.domains.insert(domain.host.clone(), Arc::new(domain));
    } else if kind == Kind::Service.word() {
        let record: ServiceRecord = row::decode(key, bytes)?;
        state.services.insert(record.service.name.clone(), Arc::new(record));
    } else if kind == Kind::Route.word() {
        let route: Route = row::decode(key, bytes)?;
        state.routes.insert(route.name.clone(), Arc::new(route));
    } else if kind == Kind::EndpointService.word() {
        let service: EndpointService = row::decode(key, bytes)?;
        state.endpoint_services.insert(service.name.clone(), Arc::new(service));
    } else if kind == Kind::Endpoint.word() {
        let row: EndpointRow = row::decode(key, bytes)?;
        let (record, listeners) = row.records();
        for record in listeners {
            state.listeners.insert(record.listener.name.clone(), Arc::new(record));
        }
        state.endpoints.insert(record.endpoint.name.clone(), Arc::new(record));
    } else {
        return Err(unknown());
    }
    Ok(())
}

/// Every row of a table.
pub(super) fn all(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
    let mut out = BTreeMap::new();
    for item in table.iter().map_err(Fault::new)? {
        let (key, value) = item.map_err(Fault::new)?;
        out.insert(key.value().to_owned(), value.value().to_vec());
    }
    Ok(out)
}
