//! The large lists in the kernel: each is written aside once, at an index that no live slot names, and stays there for
//! as long as a generation that is live or staged has it.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    sync::Arc,
};

use aya::maps::{Map, MapData, MapError};
use gateway_common::list::{LISTS, SIZES, number};

use super::{
    object::LISTS as NAMES,
    value_map::{self, Number, ValueMap},
};
use crate::{
    base::Refusal,
    snapshot::filter::{LargeList, ListNumbers},
};

/// Where a family's list is: its map (as in [`NAMES`]) and its index there.
type At = (usize, u32);

/// The maps of lists and what is in them.
pub(crate) struct Lists {
    maps: Vec<MapData>,
    held: Vec<Held>,
}

struct Held {
    /// `None`: an earlier daemon put it there.
    list: Option<Arc<LargeList>>,
    v4: Option<At>,
    v6: Option<At>,
}

impl Lists {
    /// Takes the maps, in the order of [`NAMES`]; finds what an earlier daemon left there.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn open(maps: Vec<Map>, adopted: bool) -> Result<Self, MapError> {
        let maps = maps.into_iter().map(data).collect::<Result<Vec<_>, _>>()?;
        let mut lists = Self { maps, held: Vec::new() };
        if adopted {
            for map in 0..lists.maps.len() {
                for index in 0..LISTS {
                    if lists.outer(map).is_ok_and(|outer| value_map::is_taken(outer, index).unwrap_or(true)) {
                        lists.held.push(Held { list: None, v4: Some((map, index)), v6: None });
                    }
                }
            }
        }
        Ok(lists)
    }

    /// Writes those of `lists` that are not there; says where each is.
    ///
    /// # Errors
    /// The kernel refused. What was written is forgotten by [`Self::keep`].
    pub(crate) fn place(&mut self, lists: &[Arc<LargeList>]) -> Result<Vec<ListNumbers>, Refusal> {
        lists.iter().map(|list| self.place_one(list).map_err(|error| refuse(list, &error))).collect()
    }

    fn place_one(&mut self, list: &Arc<LargeList>) -> io::Result<ListNumbers> {
        let held =
            self.held.iter().position(|held| held.list.as_ref().is_some_and(|it| Arc::ptr_eq(it, list)));
        let place = match held {
            Some(place) => place,
            None => {
                self.held.push(Held { list: Some(list.clone()), v4: None, v6: None });
                self.held.len() - 1
            }
        };
        let sizes = SIZES.len();
        let (mut v4, mut v6) = self.held.get(place).map_or((None, None), |held| (held.v4, held.v6));
        if let (None, Some(table)) = (v4, list.v4()) {
            v4 = Some(self.write(table.size as usize, &table.value)?);
            self.held.get_mut(place).into_iter().for_each(|held| held.v4 = v4);
        }
        if let (None, Some(table)) = (v6, list.v6()) {
            v6 = Some(self.write(sizes + table.size as usize, &table.value)?);
            self.held.get_mut(place).into_iter().for_each(|held| held.v6 = v6);
        }
        let named = |at: Option<At>| at.map_or(0, |(map, index)| number((map % sizes) as u32, index));
        Ok(ListNumbers { v4: named(v4), v6: named(v6) })
    }

    fn write<N: Number>(&mut self, map: usize, value: &[N]) -> io::Result<At> {
        let taken =
            |index: &u32| self.held.iter().any(|held| [held.v4, held.v6].contains(&Some((map, *index))));
        let index = (0..LISTS)
            .find(|index| !taken(index))
            .ok_or_else(|| io::Error::other(format!("{LISTS} lists of one size are all that fit")))?;
        let inner = ValueMap::create(value, 0)?;
        value_map::put(self.outer(map)?, index, &inner)?;
        Ok((map, index))
    }

    /// Takes all lists away but those of `staged` and `live`. `live` is `None` until this daemon has published a
    /// generation: what an earlier one left is in force until then.
    pub(crate) fn keep(&mut self, live: Option<&[Arc<LargeList>]>, staged: &[Arc<LargeList>]) {
        let has =
            |lists: &[Arc<LargeList>], list: &Arc<LargeList>| lists.iter().any(|it| Arc::ptr_eq(it, list));
        let held = std::mem::take(&mut self.held);
        let (kept, gone): (Vec<_>, Vec<_>) = held.into_iter().partition(|held| match &held.list {
            Some(list) => has(live.unwrap_or_default(), list) || has(staged, list),
            None => live.is_none(),
        });
        self.held = kept;
        for (map, index) in gone.iter().flat_map(|held| [held.v4, held.v6]).flatten() {
            if let Err(error) = self.outer(map).and_then(|outer| value_map::remove(outer, index)) {
                tracing::warn!(%error, "a large list that nobody uses any more stays in the kernel");
            }
        }
    }

    fn outer(&self, map: usize) -> io::Result<BorrowedFd<'_>> {
        let outer = self.maps.get(map).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(outer.fd().as_fd())
    }
}

fn data(map: Map) -> Result<MapData, MapError> {
    if let Map::ArrayOfMaps(data) = map { Ok(data) } else { Err(MapError::InvalidMapType { map_type: 0 }) }
}

fn refuse(list: &LargeList, error: &io::Error) -> Refusal {
    let refusal = Refusal::new(
        "filter_list",
        format_args!("the allowlist of {} entries cannot be put into the kernel: {error}", list.len()),
    )
    .field("bytes", list.bytes());
    match error.raw_os_error() {
        Some(libc::ENOMEM) => refusal.remedy("free memory, or merge neighbouring entries"),
        Some(libc::E2BIG) => {
            refusal.remedy("use a kernel from 5.16 on, or merge entries: see docs/filter.md, Large lists")
        }
        _ => refusal,
    }
}

const _: () = assert!(NAMES.len() == 2 * SIZES.len());
