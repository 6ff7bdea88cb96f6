//! The state on disk: one redb file, one transaction per change.
//!
//! A change is on disk whole or not at all, also after `kill -9` or a power cut. Every row carries a checksum; a store that
//! does not read back is refused by name and never overwritten. Private keys have a table of their own and are in no
//! history; of tokens there are only hashes.

mod directory;
mod error;
mod history;
mod listener;
mod lists;
mod load;
mod row;
mod write;

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use redb::{Database, StorageBackend, TableDefinition, backends::InMemoryBackend};
use serde::{Deserialize, Serialize};

use super::{
    Document,
    state::{Silent, State},
    view::HistoryView,
};
use crate::{
    base::{Generation, Refusal},
    resource::{certificate::Key, token::Fingerprint},
};
use directory::Directory;
use error::{Fault, guarded};
use load::load;
use write::{Base, write};

const HEAD: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("head");
const RESOURCES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("resources");
const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keys");
/// The lines of the history, by generation.
const HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");
/// Versions of resources, by key and generation.
const VERSIONS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("versions");

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

/// What the history says of a change.
#[derive(Clone, Debug)]
pub struct HistoryLine {
    /// Seconds since the Unix epoch.
    pub time: u64,
    pub actor: Option<u32>,
    pub summary: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
    generation: Generation,
    last: Generation,
    /// Number of resource rows.
    rows: usize,
    last_listener: u16,
    /// Endpoints of private networks that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    silent: Vec<Silent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<Pending>,
}

/// What a transaction does to the history.
pub enum HistoryChange<'a> {
    /// Adds the row of the new generation.
    Add(&'a HistoryLine),
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
        let base = Base { saved: before, trusted: self.trusted, known: &self.history };
        let kept = guarded(|| write(&database, base, after, history));
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
            let base = Base { saved: &Saved::default(), trusted: false, known: &BTreeMap::new() };
            write(&database, base, after, history)
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
        let read = || history::list(self.database.as_ref().ok_or_else(Fault::closed)?);
        guarded(read).map_err(|fault| fault.refusal(&self.file()))
    }

    /// What a generation was.
    ///
    /// # Errors
    /// `not_found` for one that the history does not have (any more).
    pub fn document(&self, generation: Generation) -> Result<Document, Refusal> {
        if !self.history.contains_key(&generation.0) {
            let oldest = self.history.keys().next().copied().unwrap_or_default();
            let newest = self.history.keys().next_back().copied().unwrap_or_default();
            return Err(Refusal::new(
                "not_found",
                format_args!("the history has no generation {generation}"),
            )
            .field("generation", generation)
            .limit(format_args!("{oldest} to {newest}"))
            .remedy("`gateway history` lists them"));
        }
        let read = || history::document(self.database.as_ref().ok_or_else(Fault::closed)?, generation);
        guarded(read).map_err(|fault| fault.refusal(&self.file()))
    }

    fn file(&self) -> PathBuf {
        self.directory.store()
    }
}
