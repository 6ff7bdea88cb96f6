//! Pure: the sources that one worker let in lately. Its size is fixed: a set of places per hash, in which the newest take
//! the place of the oldest. Only admitted sources get in, so strangers cannot push anybody out.

use std::{
    cell::RefCell,
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, SocketAddr},
};

/// Sets; a power of two.
const SETS: usize = 1024;
/// Places per set.
const WAYS: usize = 4;

/// One source at one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    /// The listener's stable id; 0: nobody.
    pub(crate) listener: u16,
    pub(crate) source: IpAddr,
    pub(crate) local: SocketAddr,
    /// Tick of the last admission.
    pub(crate) tick: u32,
    pub(crate) admitted: u64,
}

/// The table; without memory of its own until the first admission.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    places: RefCell<Vec<Option<Visit>>>,
    hash: RandomState,
}

impl Recent {
    /// Remembers an admission.
    pub(crate) fn note(&self, listener: u16, source: IpAddr, local: SocketAddr, tick: u32) {
        let mut places = self.places.borrow_mut();
        if places.is_empty() {
            places.resize(SETS * WAYS, None);
        }
        // The remainder fits: it is below SETS.
        let set = usize::try_from(self.hash.hash_one((listener, source)) % SETS as u64).unwrap_or(0) * WAYS;
        let Some(ways) = places.get_mut(set..set + WAYS) else { return };
        let same = |visit: &&mut Option<Visit>| {
            visit.is_some_and(|visit| visit.listener == listener && visit.source == source)
        };
        if let Some(visit) = ways.iter_mut().find(same).and_then(Option::as_mut) {
            (visit.local, visit.tick, visit.admitted) = (local, tick, visit.admitted.saturating_add(1));
        } else if let Some(oldest) = ways.iter_mut().min_by_key(|visit| visit.map_or(0, |visit| visit.tick)) {
            *oldest = Some(Visit { listener, source, local, tick, admitted: 1 });
        }
    }

    /// Everybody who is remembered.
    pub(crate) fn all(&self) -> Vec<Visit> {
        self.places.borrow().iter().flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use super::{Recent, SETS, WAYS};

    const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 443);

    #[test]
    fn the_newest_stay_and_the_table_never_grows() {
        let recent = Recent::default();
        assert!(recent.all().is_empty());
        for number in 0..100_000_u32 {
            recent.note(1, Ipv4Addr::from(number).into(), LOCAL, number + 1);
        }
        let all = recent.all();
        assert!(all.len() <= SETS * WAYS);
        assert!(all.iter().any(|visit| visit.tick == 100_000), "the last one is not there");
        // The oldest of a set go first, so nobody from the first half can be left.
        assert!(all.iter().all(|visit| visit.tick > 50_000));
    }

    #[test]
    fn a_source_is_counted_once_per_listener() {
        let recent = Recent::default();
        let source = IpAddr::from([192, 0, 2, 1]);
        for (listener, tick) in [(1, 5), (1, 9), (2, 7)] {
            recent.note(listener, source, LOCAL, tick);
        }
        let mut all = recent.all();
        all.sort_by_key(|visit| visit.listener);
        assert_eq!(
            all.iter().map(|visit| (visit.tick, visit.admitted)).collect::<Vec<_>>(),
            [(9, 2), (7, 1)]
        );
    }
}
