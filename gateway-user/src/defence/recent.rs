//! Which sources did something of late: a table of fixed size that workers write without a lock.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::Source;

/// Sources that are remembered, about.
const SLOTS: usize = 16 * 1024;
/// Places that a source may have. When all are taken, the one that was quiet for longest goes.
const WAYS: usize = 4;

/// Sources by a keyed hash, each with the second of its last deed. Two sources whose hashes agree in 44 bits would be
/// taken for one; nobody can choose such a pair, because the key is made at the start.
#[derive(Debug)]
pub(super) struct Recent {
    key: RandomState,
    /// The upper half of the hash, then the second (low 32 bits); 0 is empty.
    slots: Box<[AtomicU64]>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { key: RandomState::new(), slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Recent {
    /// Notes a deed of `source` at `second`.
    pub(super) fn note(&self, source: Source, second: u32) {
        let (places, tag) = self.places(source);
        let value = tag | u64::from(second);
        let known = places.iter().find(|slot| slot.load(Relaxed) & TAG == tag);
        let oldest = || places.iter().min_by_key(|slot| slot.load(Relaxed) & !TAG);
        if let Some(slot) = known.or_else(oldest) {
            slot.store(value, Relaxed);
        }
    }

    /// Whether `source` did something at `since` or later.
    pub(super) fn has(&self, source: Source, since: u32) -> bool {
        let (places, tag) = self.places(source);
        places.iter().any(|slot| {
            let value = slot.load(Relaxed);
            value & TAG == tag && value as u32 >= since
        })
    }

    /// How many sources did something at `since` or later.
    pub(super) fn count(&self, since: u32) -> usize {
        let done = |slot: &&AtomicU64| {
            let value = slot.load(Relaxed);
            value != 0 && value as u32 >= since
        };
        self.slots.iter().filter(done).count()
    }

    fn places(&self, source: Source) -> (&[AtomicU64], u64) {
        let hash = self.key.hash_one(source);
        let first = hash as usize % (SLOTS / WAYS) * WAYS;
        (self.slots.get(first..first + WAYS).unwrap_or_default(), hash & TAG | 1 << 63)
    }
}

/// The bits of a slot that say whose it is.
const TAG: u64 = 0xffff_ffff_0000_0000;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{Recent, Source};

    #[test]
    fn deeds_are_remembered_with_their_time() {
        let recent = Recent::default();
        let source = |number: u32| Source::of(Ipv4Addr::from_bits(number).into());
        assert!(!recent.has(source(1), 0));
        recent.note(source(1), 100);
        recent.note(source(2), 200);
        recent.note(source(1), 150);
        assert!(recent.has(source(1), 150) && !recent.has(source(1), 151) && recent.has(source(2), 200));
        assert_eq!((recent.count(0), recent.count(151), recent.count(201)), (2, 1, 0));
        // Many more than there are places: the young stay.
        (10..200_000).for_each(|number| recent.note(source(number), 300));
        (10..20).for_each(|number| recent.note(source(number), 301));
        assert!((10..20).all(|number| recent.has(source(number), 301)));
        assert!(recent.count(0) <= super::SLOTS);
    }
}
