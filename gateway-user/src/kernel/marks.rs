//! The ports that the program looks up at all: marked before a generation is live, cleared when none is that needs them.
//!
//! A missing mark would let a listener's packets pass, so every step here leaves too many marks rather than too few: a
//! change that was cut short, tables of an earlier daemon, a program that was loaded by whatever else.

use std::path::Path;

use aya::maps::{Array, Map, MapData, MapError};
use gateway_common::table::PortMarks;

/// The marks in the kernel. The daemon that holds the pin directory's lock is the only one who writes them.
pub(crate) struct Marks(Array<MapData, PortMarks>);

impl Marks {
    /// # Errors
    /// It is a map of another kind.
    pub(crate) fn open(map: Map) -> Result<Self, MapError> {
        Array::try_from(map).map(Self)
    }

    /// Marks `ports`, too.
    ///
    /// # Errors
    /// The kernel refused.
    pub(crate) fn add(&mut self, ports: &PortMarks) -> Result<(), MapError> {
        let there = self.0.get(&0, 0)?;
        self.write(&there, &union(&there, ports))
    }

    /// Whether `ports` are marked.
    ///
    /// # Errors
    /// The kernel refused.
    pub(crate) fn has(&self, ports: &PortMarks) -> Result<bool, MapError> {
        let there = self.0.get(&0, 0)?;
        Ok(union(&there, ports) == there)
    }

    /// Clears all marks but those of `live` and `staged`. `live` is `None` until this daemon has published a generation:
    /// what an earlier one left is in force until then.
    ///
    /// # Errors
    /// The kernel refused; the marks that remain only cost time.
    pub(crate) fn keep(
        &mut self,
        live: Option<&PortMarks>,
        staged: Option<&PortMarks>,
    ) -> Result<(), MapError> {
        let Some(live) = live else { return Ok(()) };
        let there = self.0.get(&0, 0)?;
        self.write(&there, &staged.map_or(*live, |staged| union(live, staged)))
    }

    /// The kernel copies the whole value over the old one while programs read it. A bit that both have is set all the
    /// time: no byte ever holds anything but its old or its new value.
    fn write(&mut self, there: &PortMarks, marks: &PortMarks) -> Result<(), MapError> {
        if there == marks { Ok(()) } else { self.0.set(0, marks, 0) }
    }
}

/// The marks that are pinned at `path`: a loader must write these, or it would mark every port. `None`: there are none
/// yet.
pub(crate) fn pinned(path: &Path) -> Option<PortMarks> {
    let map = Map::Array(MapData::from_pin(path).ok()?);
    Array::<_, PortMarks>::try_from(map).ok()?.get(&0, 0).ok()
}

fn union(one: &PortMarks, other: &PortMarks) -> PortMarks {
    let mut both = *one;
    for (word, more) in both.iter_mut().zip(other) {
        *word |= more;
    }
    both
}
