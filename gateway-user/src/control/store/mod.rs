//! The state on disk: one redb file, one transaction per change.
//!
//! A change is on disk whole or not at all, also after `kill -9` or a power cut. Every row carries a checksum; a store that
//! does not read back is refused by name and never overwritten. Private keys have a table of their own and are in no
//! history; of tokens there are only hashes.

mod directory;
mod error;
mod row;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{
    Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, WriteTransaction,
    backends::InMemoryBackend,
};
use serde::{Deserialize, Serialize};

use super::{
    Document,
    state::{CertificateRecord, Material, State},
    view::HistoryView,
};
use crate::{
    base::{Generation, Refusal},
    resource::{
        Kind,
        certificate::{Chain, Key},
        token::Fingerprint,
    },
};
use directory::Directory;
use error::{Fault, guarded};

const HEAD: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("head");
const RESOURCES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("resources");
const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keys");
const HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");

/// Version of the rows' form; an older daemon refuses a newer one.
const FORMAT: u32 = 1;
/// Generations that the history keeps.
pub const HISTORY_ROWS: usize = 1000;
/// Bytes that the history may take; the oldest generations go first.
pub const HISTORY_BYTES: usize = 64 << 20;
/// redb's cache; the daemon reads the store at start only.
const CACHE_BYTES: usize = 8 << 20;

/// The store of one state directory, held exclusively.
pub struct Store {
    directory: Directory,
    /// Absent before the first change of a fresh state, and after an error (redb refuses to go on after one).
    database: Option<Database>,
    /// Device and inode of the open file: one that was removed or replaced meanwhile is not written on in silence.
    identity: (u64, u64),
    /// Whether the file's content is what the last successful change wrote. After an error it may be one change ahead.
    trusted: bool,
    /// Generation and size of the history's rows, oldest first.
    history: BTreeMap<u64, usize>,
}

/// Everything of one moment that is stored.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    pub generation: Generation,
    /// The last number that was given to any snapshot; numbers are never used twice.
    pub last: Generation,
    pub state: State,
    pub pending: Option<Pending>,
}

/// A change that is undone unless it is confirmed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What it is undone to.
    pub back_to: Generation,
    /// Seconds since the Unix epoch.
    pub until: u64,
    /// Keys that the undoing may need.
    #[serde(skip)]
    pub keys: BTreeMap<Fingerprint, Key>,
}

/// A row of the history.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HistoryRow {
    pub time: u64,
    pub actor: Option<u32>,
    pub summary: String,
    pub document: Document,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
    generation: Generation,
    last: Generation,
    /// Number of resource rows.
    rows: usize,
    last_listener: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<Pending>,
}

/// What a transaction does to the history.
pub enum HistoryChange<'a> {
    /// Adds the row of the new generation.
    Add(&'a HistoryRow),
    /// Removes the row of a generation that could not be made live.
    Remove(Generation),
    Keep,
}

// === impl Store ===

impl Store {
    /// Opens the store of a state directory, which is made if it is not there. A fresh state has nothing saved.
    ///
    /// # Errors
    /// Another daemon holds it, its modes are too loose, or it is corrupt: the refusal names file and cure.
    pub fn open(path: &Path, owner: Option<u32>) -> Result<(Self, Option<Saved>), Refusal> {
        let directory = Directory::open(path, owner)?;
        let mut store =
            Self { directory, database: None, identity: (0, 0), trusted: true, history: BTreeMap::new() };
        if !store.directory.has_store()? {
            return Ok((store, None));
        }
        let file = store.file();
        // Opening a damaged file may write to it (redb repairs what it can). So the first look is at a copy in memory:
        // what is refused stays as it was found.
        store.rehearse(&file).map_err(|fault| fault.refusal(&file))?;
        let database = store.open_database(&file).map_err(|fault| fault.refusal(&file))?;
        let (saved, history) = guarded(|| load(&database)).map_err(|fault| fault.refusal(&file))?;
        store.history = history;
        store.database = Some(database);
        Ok((store, Some(saved)))
    }

    /// Writes a change in one transaction.
    ///
    /// # Errors
    /// It could not be written; after a restart `before` is there, or `after` if the error came too late to know. In the
    /// latter case the next successful change writes everything.
    pub fn commit(
        &mut self,
        before: &Saved,
        after: &Saved,
        history: HistoryChange<'_>,
    ) -> Result<(), Refusal> {
        let file = self.file();
        match self.try_commit(&file, before, after, &history) {
            Ok(kept) => {
                self.trusted = true;
                self.history = kept;
                Ok(())
            }
            Err(fault) => {
                // redb refuses to go on after an error; a new handle reads what is on the disk.
                self.database = None;
                self.trusted = false;
                self.database = self.open_database(&file).ok();
                Err(fault.refusal(&file))
            }
        }
    }

    fn try_commit(
        &mut self,
        file: &Path,
        before: &Saved,
        after: &Saved,
        history: &HistoryChange<'_>,
    ) -> Result<BTreeMap<u64, usize>, Fault> {
        let fresh = self.database.is_none() && !self.directory.has_store().map_err(|_| Fault::Gone)?;
        if fresh {
            return self.create(file, after, history);
        }
        let database = match self.database.take() {
            Some(database) if self.directory.identity().is_some_and(|held| held == self.identity) => database,
            Some(_) => return Err(Fault::Gone),
            None => self.open_database(file)?,
        };
        let before = self.trusted.then_some(before);
        let kept = guarded(|| write(&database, before, after, history, &self.history));
        self.database = Some(database);
        kept
    }

    /// Makes the file under another name first: a file of its own name is always a whole store.
    fn create(
        &mut self,
        file: &Path,
        after: &Saved,
        history: &HistoryChange<'_>,
    ) -> Result<BTreeMap<u64, usize>, Fault> {
        let aside = file.with_extension("new");
        match std::fs::remove_file(&aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Fault::Io(error)),
            Ok(()) | Err(_) => {}
        }
        let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&aside);
        let made = made.map_err(Fault::Io)?;
        let kept = guarded(|| {
            let database =
                Database::builder().set_cache_size(CACHE_BYTES).create_file(made).map_err(Fault::new)?;
            write(&database, None, after, history, &BTreeMap::new())
        })
        .inspect_err(|_| drop(std::fs::remove_file(&aside)))?;
        std::fs::rename(&aside, file).map_err(Fault::Io)?;
        self.directory.sync().map_err(Fault::Io)?;
        self.database = Some(self.open_database(file)?);
        Ok(kept)
    }

    fn rehearse(&self, file: &Path) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        self.directory.open_store(file)?.read_to_end(&mut bytes).map_err(Fault::Io)?;
        guarded(|| {
            let copy = InMemoryBackend::new();
            copy.set_len(bytes.len() as u64).map_err(Fault::backend)?;
            copy.write(0, &bytes).map_err(Fault::backend)?;
            drop(bytes);
            let copy = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(copy);
            load(&copy.map_err(Fault::new)?).map(drop)
        })
        .map_err(Fault::of_copy)
    }

    fn open_database(&mut self, file: &Path) -> Result<Database, Fault> {
        let handle = self.directory.open_store(file)?;
        self.identity = self.directory.identity().ok_or(Fault::Gone)?;
        guarded(|| Database::builder().set_cache_size(CACHE_BYTES).create_file(handle).map_err(Fault::new))
    }

    /// The history, newest first.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn history(&self) -> Result<Vec<HistoryView>, Refusal> {
        let read = || {
            let database = self.database.as_ref().ok_or_else(Fault::closed)?;
            let table = database.begin_read().map_err(Fault::new)?.open_table(HISTORY).map_err(Fault::new)?;
            let mut out = Vec::new();
            for item in table.iter().map_err(Fault::new)?.rev() {
                let (generation, bytes) = item.map_err(Fault::new)?;
                // `document` refuses a damaged row by name; the list goes on without it.
                let Ok(entry) = row::decode::<HistoryRow>("history", bytes.value()) else { continue };
                out.push(HistoryView {
                    generation: Generation(generation.value()),
                    time: entry.time,
                    actor: entry.actor,
                    summary: entry.summary,
                });
            }
            Ok(out)
        };
        guarded(read).map_err(|fault| fault.refusal(&self.file()))
    }

    /// What a generation was.
    ///
    /// # Errors
    /// `not_found` for one that the history does not have (any more).
    pub fn document(&self, generation: Generation) -> Result<Document, Refusal> {
        let oldest = self.history.keys().next().copied().unwrap_or_default();
        let newest = self.history.keys().next_back().copied().unwrap_or_default();
        let read = || {
            let database = self.database.as_ref().ok_or_else(Fault::closed)?;
            let table = database.begin_read().map_err(Fault::new)?.open_table(HISTORY).map_err(Fault::new)?;
            let bytes = table.get(generation.0).map_err(Fault::new)?;
            bytes.map(|bytes| row::decode::<HistoryRow>("history", bytes.value())).transpose()
        };
        let found = guarded(read).map_err(|fault| fault.refusal(&self.file()))?;
        found.map(|entry| entry.document).ok_or_else(|| {
            Refusal::new("not_found", format_args!("the history has no generation {generation}"))
                .field("generation", generation)
                .limit(format_args!("{oldest} to {newest}"))
                .remedy("`gateway history` lists them")
        })
    }

    fn file(&self) -> PathBuf {
        self.directory.store()
    }
}

/// Everything that a state's rows are, by key.
fn rows(state: &State) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
    fn put<T: Serialize>(
        out: &mut BTreeMap<String, Vec<u8>>,
        kind: Kind,
        name: &str,
        record: &T,
    ) -> Result<(), Fault> {
        out.insert(format!("{kind}/{name}"), row::encode(record)?);
        Ok(())
    }
    let mut out = BTreeMap::new();
    for (name, record) in &state.listeners {
        put(&mut out, Kind::Listener, name, &**record)?;
    }
    for (name, record) in &state.certificates {
        put(&mut out, Kind::Certificate, name, &**record)?;
    }
    for (host, domain) in &state.domains {
        put(&mut out, Kind::Domain, host.as_str(), &**domain)?;
    }
    for (name, record) in &state.services {
        put(&mut out, Kind::Service, name, &**record)?;
    }
    for (name, route) in &state.routes {
        put(&mut out, Kind::Route, name, &**route)?;
    }
    Ok(out)
}

/// Writes what differs between `before` (absent: unknown) and `after`, and returns the history's new index.
fn write(
    database: &Database,
    before: Option<&Saved>,
    after: &Saved,
    history: &HistoryChange<'_>,
    known: &BTreeMap<u64, usize>,
) -> Result<BTreeMap<u64, usize>, Fault> {
    let transaction = database.begin_write().map_err(Fault::new)?;
    let rows_after = rows(&after.state)?;
    {
        let mut table = transaction.open_table(RESOURCES).map_err(Fault::new)?;
        let rows_before = match before {
            Some(before) => rows(&before.state)?,
            None => stored_rows(&table)?,
        };
        for key in rows_before.keys().filter(|key| !rows_after.contains_key(*key)) {
            table.remove(key.as_str()).map_err(Fault::new)?;
        }
        for (key, value) in rows_after.iter().filter(|(key, value)| rows_before.get(*key) != Some(value)) {
            table.insert(key.as_str(), value.as_slice()).map_err(Fault::new)?;
        }
    }
    write_keys(&transaction, after)?;
    let kept = write_history(&transaction, before.is_some(), after.generation, history, known)?;
    let head = Head {
        format: FORMAT,
        generation: after.generation,
        last: after.last,
        rows: rows_after.len(),
        last_listener: after.state.last_listener,
        pending: after.pending.clone(),
    };
    {
        let mut table = transaction.open_table(HEAD).map_err(Fault::new)?;
        table.insert("head", row::encode(&head)?.as_slice()).map_err(Fault::new)?;
    }
    transaction.commit().map_err(Fault::new)?;
    Ok(kept)
}

fn stored_rows(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
    let mut out = BTreeMap::new();
    for item in table.iter().map_err(Fault::new)? {
        let (key, value) = item.map_err(Fault::new)?;
        out.insert(key.value().to_owned(), value.value().to_vec());
    }
    Ok(out)
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
    let held: BTreeSet<String> = stored_rows(&table)?.into_keys().collect();
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

fn write_history(
    transaction: &WriteTransaction,
    trusted: bool,
    generation: Generation,
    change: &HistoryChange<'_>,
    known: &BTreeMap<u64, usize>,
) -> Result<BTreeMap<u64, usize>, Fault> {
    let mut kept = known.clone();
    let mut table = transaction.open_table(HISTORY).map_err(Fault::new)?;
    if !trusted {
        // A change whose outcome was unknown may have left a row that was never in force.
        table.retain(|generation, _| known.contains_key(&generation)).map_err(Fault::new)?;
    }
    match change {
        HistoryChange::Add(entry) => {
            let bytes = row::encode(entry)?;
            table.insert(generation.0, bytes.as_slice()).map_err(Fault::new)?;
            kept.insert(generation.0, bytes.len());
        }
        HistoryChange::Remove(generation) => {
            table.remove(generation.0).map_err(Fault::new)?;
            kept.remove(&generation.0);
        }
        HistoryChange::Keep => {}
    }
    let mut bytes: usize = kept.values().sum();
    while kept.len() > HISTORY_ROWS || (bytes > HISTORY_BYTES && kept.len() > 1) {
        let Some((oldest, size)) = kept.pop_first() else { break };
        table.remove(oldest).map_err(Fault::new)?;
        bytes -= size;
    }
    Ok(kept)
}

fn load(database: &Database) -> Result<(Saved, BTreeMap<u64, usize>), Fault> {
    let transaction = database.begin_read().map_err(Fault::new)?;
    let head = transaction.open_table(HEAD).map_err(Fault::new)?;
    let head = head.get("head").map_err(Fault::new)?.ok_or_else(|| Fault::corrupt("it has no head"))?;
    let head: Head = row::decode("head", head.value())?;
    if head.format > FORMAT {
        return Err(Fault::Newer(head.format));
    }
    let table = transaction.open_table(RESOURCES).map_err(Fault::new)?;
    let rows = stored_rows(&table)?;
    if rows.len() != head.rows {
        return Err(Fault::corrupt(format_args!("{} of {} rows are there", rows.len(), head.rows)));
    }
    let mut keys = BTreeMap::new();
    let table = transaction.open_table(KEYS).map_err(Fault::new)?;
    for (fingerprint, bytes) in stored_rows(&table)? {
        let key = Key(Arc::from(row::open("keys", &bytes)?));
        if key.fingerprint().as_str() != fingerprint {
            return Err(Fault::corrupt("a private key is not what its name says"));
        }
        keys.insert(key.fingerprint(), key);
    }
    let mut state = State { last_listener: head.last_listener, ..State::default() };
    for (key, bytes) in &rows {
        insert(&mut state, key, bytes, &keys)?;
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
) -> Result<(), Fault> {
    let unknown = || Fault::corrupt(format_args!("it has a row `{key}` of an unknown kind"));
    let (kind, _) = key.split_once('/').ok_or_else(unknown)?;
    if kind == Kind::Listener.word() {
        let record: super::state::ListenerRecord = row::decode(key, bytes)?;
        state.listeners.insert(record.listener.name.clone(), Arc::new(record));
    } else if kind == Kind::Certificate.word() {
        let record: CertificateRecord = row::decode(key, bytes)?;
        let chain = Chain::parse(&record.pem).map_err(Fault::corrupt)?;
        let held = keys.get(&record.key_fingerprint).cloned();
        let held = held.ok_or_else(|| Fault::corrupt(format_args!("the key of `{key}` is not there")))?;
        let material = Some(Material::new(&record.name, chain, held));
        state.certificates.insert(record.name.clone(), Arc::new(CertificateRecord { material, ..record }));
    } else if kind == Kind::Domain.word() {
        let domain: crate::resource::Domain = row::decode(key, bytes)?;
        state.domains.insert(domain.host.clone(), Arc::new(domain));
    } else if kind == Kind::Service.word() {
        let record: super::state::ServiceRecord = row::decode(key, bytes)?;
        state.services.insert(record.service.name.clone(), Arc::new(record));
    } else if kind == Kind::Route.word() {
        let route: crate::resource::Route = row::decode(key, bytes)?;
        state.routes.insert(route.name.clone(), Arc::new(route));
    } else {
        return Err(unknown());
    }
    Ok(())
}
