//! The pinned tables: open or make them, write a generation aside, make it live, sweep what it replaced.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use aya::maps::{Array, ArrayOfMaps, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use gateway_common::{
    counters::Counter,
    table::{EndpointKey, PORT_BANK, PORT_GENERATION, PORT_WORDS, PortMarks, Slot},
};

use super::{
    guard::Guard,
    lists::Lists,
    load::{self, refuse_map},
    marks::Marks,
    object::{LISTS, MAPS, MARKS, Object, Shape, pin_name},
    pin::{Pins, remove_directory},
};
use crate::{
    base::Refusal,
    snapshot::{
        FilterPlan,
        filter::{FilterTables, LargeList, ListNumbers},
    },
};

/// The port table in force, and the one that is written aside, in the layout's pin directory.
const LIVE: &str = "LIVE";
const STAGED: &str = "STAGED";

/// What the kernel's port table says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Number of the generation in the tables; see [`Filter`](super::Filter) for how it is chosen.
    pub(crate) number: u32,
    /// The bank of slots that it uses.
    pub(crate) bank: u32,
}

/// The open tables.
pub(crate) struct Tables {
    directory: PathBuf,
    ports: ArrayOfMaps<MapData, MapData>,
    port_shape: Shape,
    slots: Array<MapData, Slot>,
    endpoints: HashMap<MapData, EndpointKey, u32>,
    pub(crate) verdicts: PerCpuArray<MapData, Counter>,
    pub(crate) entries: PerCpuArray<MapData, Counter>,
    /// The mask that says which drops are sent as events.
    pub(crate) sample: Array<MapData, u32>,
    /// Events that found the ring buffer full.
    pub(crate) lost: PerCpuArray<MapData, u64>,
    pub(crate) events: RingBuf<MapData>,
    /// Bans and budgets, which belong to no generation.
    pub(crate) guard: Guard,
    lists: Lists,
    /// Large lists of the generations that are live (`None`: not this daemon's) and staged.
    live_lists: Option<Vec<Arc<LargeList>>>,
    staged_lists: Vec<Arc<LargeList>>,
    marks: Marks,
    /// The ports of the generations that are live (`None`: not this daemon's) and staged.
    live_marks: Option<Box<PortMarks>>,
    staged_marks: Option<Box<PortMarks>>,
    /// What is live.
    live: Header,
    /// Whether the tables were pinned by an earlier daemon.
    pub(crate) adopted: bool,
}

impl Tables {
    /// Opens the pinned tables of the object's layout, or makes and pins new ones.
    ///
    /// New ones hold a live policy without listeners: a program that is attached before the first generation is
    /// published passes everything, as the host did before.
    ///
    /// # Errors
    /// The kernel refuses to make them.
    pub(crate) fn open(object: &Object, pins: &Pins) -> Result<Self, Refusal> {
        let directory = pins.maps(&object.layout);
        if let Some(tables) = Self::adopt(object, pins, &directory) {
            return Ok(tables);
        }
        // Incomplete or foreign: the programs that use these maps keep them alive without the pins.
        let pinned = remove_directory(&directory).and_then(|()| fs::create_dir(&directory));
        pinned.map_err(|error| refuse_io(&error))?;
        let mut tables = Self::from_object(object, pins, directory, false)?;
        tables.stage(&FilterTables::build(&FilterPlan::default(), |_| Ok(None))?, 0)?;
        tables.publish()?;
        Ok(tables)
    }

    /// The pinned tables, if every one is there with the right type and sizes (aya does not compare them).
    fn adopt(object: &Object, pins: &Pins, directory: &Path) -> Option<Self> {
        for (name, shape) in &object.shapes {
            let info = MapData::from_pin(directory.join(pin_name(name))).ok()?.info().ok()?;
            let found = (info.map_type().ok()? as u32, info.key_size(), info.max_entries());
            // The kernel counts bytes of a ring buffer in max_entries, rounded to pages by the loader.
            let same_value = info.value_size() == shape.value || *name == "EVENTS";
            let same_rest = found.0 == shape.kind
                && (found.1 == shape.key && found.2 == shape.entries || *name == "EVENTS");
            if !same_value || !same_rest {
                return None;
            }
        }
        let live = live_header(directory).ok()?;
        let mut tables = Self::from_object(object, pins, directory.to_owned(), true).ok()?;
        tables.live = live;
        // A stage that was cut short left rows behind.
        tables.sweep().ok()?;
        Some(tables)
    }

    fn from_object(object: &Object, pins: &Pins, directory: PathBuf, adopted: bool) -> Result<Self, Refusal> {
        let mut ebpf = load::ebpf(object, pins, 0)?;
        let mut take = |name: &str| {
            ebpf.take_map(name)
                .ok_or_else(|| Refusal::new("filter_object", format_args!("the object has no map {name}")))
        };
        let [ports, slots, endpoints, verdicts, entries, sample, lost, events, guard, bans, budgets, _] =
            MAPS.map(&mut take);
        let lists = LISTS.into_iter().map(&mut take).collect::<Result<Vec<_>, _>>()?;
        let marks = take(MARKS)?;
        let tables = |error: MapError| refuse_map("opened", &error);
        Ok(Self {
            directory,
            port_shape: object.ports,
            ports: ports?.try_into().map_err(tables)?,
            slots: slots?.try_into().map_err(tables)?,
            endpoints: endpoints?.try_into().map_err(tables)?,
            verdicts: verdicts?.try_into().map_err(tables)?,
            entries: entries?.try_into().map_err(tables)?,
            sample: sample?.try_into().map_err(tables)?,
            lost: lost?.try_into().map_err(tables)?,
            events: events?.try_into().map_err(tables)?,
            guard: Guard::open(guard?, bans?, budgets?).map_err(tables)?,
            lists: Lists::open(lists, adopted).map_err(tables)?,
            live_lists: None,
            staged_lists: Vec::new(),
            marks: Marks::open(marks).map_err(tables)?,
            live_marks: None,
            staged_marks: None,
            live: Header { number: 0, bank: 0 },
            adopted,
        })
    }

    /// Whether every table still has its pin. One without could not be found by the next daemon, nor by the next
    /// program, which would make itself another.
    pub(crate) fn pinned(&self) -> bool {
        MAPS.iter().chain([&MARKS, &LIVE]).all(|name| self.directory.join(pin_name(name)).exists())
    }

    /// What is live.
    pub(crate) fn live(&self) -> Header {
        self.live
    }

    /// Writes a generation aside, its slots into `bank`, and reads it back; the live one is not touched.
    ///
    /// # Errors
    /// The kernel refused a write, or holds something else than was written.
    pub(crate) fn stage(&mut self, next: &FilterTables, bank: u32) -> Result<(), Refusal> {
        self.staged_lists = next.lists().to_vec();
        let lists = self.lists.place(&self.staged_lists)?;
        self.staged_marks = Some(Box::new(next.port_marks()));
        self.write(next, bank, &lists).map_err(|error| refuse_map("written", &error))?;
        let same = self.verify(next, bank, &lists).map_err(|error| refuse_map("read back", &error))?;
        same.then_some(()).ok_or_else(|| {
            Refusal::new(
                "filter_tables",
                "the kernel's tables are not what was written; the old policy stays",
            )
        })
    }

    fn write(&mut self, next: &FilterTables, bank: u32, lists: &[ListNumbers]) -> Result<(), MapError> {
        for (number, slot) in next.slots(bank, lists) {
            self.slots.set(number, slot, 0)?;
        }
        for (key, number) in next.endpoints(bank) {
            self.endpoints.insert(key, number, 0)?;
        }
        // Before any packet could find a word: until then a mark only leads to the live table, which has none.
        self.marks.add(&next.port_marks())?;
        // Made anew for each generation, so every word that is not set is 0.
        let mut ports = Array::<MapData, u32>::create(PORT_WORDS, self.port_shape.flags)?;
        for (index, word) in port_words(next, bank) {
            ports.set(index, word, 0)?;
        }
        let staged = self.directory.join(STAGED);
        remove_if_there(&staged)?;
        ports.pin(&staged).map_err(|error| MapError::PinError { name: Some(STAGED.to_owned()), error })
    }

    fn verify(&self, next: &FilterTables, bank: u32, lists: &[ListNumbers]) -> Result<bool, MapError> {
        for (number, slot) in next.slots(bank, lists) {
            if self.slots.get(&number, 0)? != slot {
                return Ok(false);
            }
        }
        for (key, number) in next.endpoints(bank) {
            if self.endpoints.get(&key, 0)? != number {
                return Ok(false);
            }
        }
        if !self.marks.has(&next.port_marks())? {
            return Ok(false);
        }
        let ports = port_table(&self.directory.join(STAGED))?;
        for (index, word) in port_words(next, bank) {
            if ports.get(&index, 0)? != word {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the staged generation live. On return no CPU uses the previous one (the update waits for RCU).
    ///
    /// # Errors
    /// The previous generation is still live.
    pub(crate) fn publish(&mut self) -> Result<(), Refusal> {
        let staged = self.directory.join(STAGED);
        let table = MapData::from_pin(&staged).map_err(|error| refuse_map("published", &error))?;
        let header = header(&staged).map_err(|error| refuse_map("published", &error))?;
        self.ports.set(0, &table, 0).map_err(|error| refuse_map("published", &error))?;
        self.live = header;
        self.live_lists = Some(std::mem::take(&mut self.staged_lists));
        self.live_marks = self.staged_marks.take();
        // A daemon that dies before this line finds the live table under the other name (`live_header`).
        if let Err(error) = fs::rename(&staged, self.directory.join(LIVE)) {
            tracing::warn!(%error, "the live port table keeps its temporary pin");
        }
        Ok(())
    }

    /// Forgets a staged generation, or what the last publication replaced: lists, rows and marks that are not of the live
    /// generation.
    ///
    /// # Errors
    /// The kernel refused; what remains only takes room and time.
    pub(crate) fn sweep(&mut self) -> Result<(), MapError> {
        self.lists.keep(self.live_lists.as_deref(), &self.staged_lists);
        let live = self.live.number;
        let stale: Vec<EndpointKey> =
            self.endpoints.keys().filter_map(Result::ok).filter(|key| key.generation != live).collect();
        for key in &stale {
            match self.endpoints.remove(key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error),
            }
        }
        self.marks.keep(self.live_marks.as_deref(), self.staged_marks.as_deref())
    }

    /// Forgets a staged generation.
    ///
    /// # Errors
    /// As [`Tables::sweep`].
    pub(crate) fn abandon(&mut self) -> Result<(), MapError> {
        self.staged_lists.clear();
        self.staged_marks = None;
        remove_if_there(&self.directory.join(STAGED))?;
        self.sweep()
    }
}

/// The words of a generation's port table that are not 0.
fn port_words(next: &FilterTables, bank: u32) -> impl Iterator<Item = (u32, u32)> {
    (0_u32..).zip(next.port_table(bank)).filter(|(_, word)| *word != 0)
}

fn port_table(path: &Path) -> Result<Array<MapData, u32>, MapError> {
    Array::try_from(Map::Array(MapData::from_pin(path)?))
}

fn header(path: &Path) -> Result<Header, MapError> {
    let ports = port_table(path)?;
    Ok(Header { number: ports.get(&PORT_GENERATION, 0)?, bank: ports.get(&PORT_BANK, 0)? & 1 })
}

/// Reads the header of the port table that is live. A lookup in an array of maps gives the inner map's id; opening a
/// map by id takes CAP_SYS_ADMIN, so the port table is also pinned, and the ids are compared.
fn live_header(directory: &Path) -> Result<Header, MapError> {
    let id = port_table(&directory.join("PORTS"))?.get(&0, 0)?;
    for name in [LIVE, STAGED] {
        let path = directory.join(name);
        if path.exists() && MapData::from_pin(&path)?.info()?.id() == id {
            if name == STAGED {
                fs::rename(&path, directory.join(LIVE))?;
            }
            return header(&directory.join(LIVE));
        }
    }
    Err(MapError::ElementNotFound)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn refuse_io(error: &io::Error) -> Refusal {
    Refusal::new("filter_tables", format_args!("the filter's tables cannot be pinned: {error}"))
}
