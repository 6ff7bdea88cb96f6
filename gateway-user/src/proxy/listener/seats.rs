//! Counts open connections by listener and by source, over all workers, against the caps that a listener has.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
};

use crate::{defence::Source, snapshot::Caps};

/// Listener ids are below this.
const LISTENERS: usize = 512;
/// Locks that the sources are spread over, so that workers seldom meet.
const SHARDS: usize = 32;

/// The counts. Connections are counted where no cap is set, too: a cap that is set later knows of them.
pub(crate) struct Seats {
    /// All connections.
    open: AtomicUsize,
    listeners: Box<[AtomicU32]>,
    key: RandomState,
    sources: [Mutex<HashMap<(u16, Source), u32>>; SHARDS],
}

/// One connection's place, given back when it is dropped.
pub(crate) struct Place {
    seats: Arc<Seats>,
    listener: u16,
    source: Source,
}

/// Which cap is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cap {
    /// The source's own doing.
    Source,
    /// Everybody's, and so nobody's offence: others may have taken all the places.
    Listener,
}

impl Default for Seats {
    fn default() -> Self {
        Self {
            open: AtomicUsize::new(0),
            listeners: (0..LISTENERS).map(|_| AtomicU32::new(0)).collect(),
            key: RandomState::new(),
            sources: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Seats {
    /// Client connections that are open, over all workers.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Takes a place for a connection of `peer`, unless a cap is reached.
    pub(crate) fn take(self: &Arc<Self>, listener: u16, peer: IpAddr, caps: Caps) -> Result<Place, Cap> {
        let seat = Place { seats: Arc::clone(self), listener, source: Source::of(peer) };
        self.open.fetch_add(1, Relaxed);
        // Counted first, so that two workers cannot both take the last place; a refusal gives it back.
        let total = self.listeners.get(usize::from(listener)).map_or(0, |count| count.fetch_add(1, Relaxed));
        let held = {
            let mut sources = self.shard(seat.source).lock().unwrap_or_else(PoisonError::into_inner);
            let count = sources.entry((listener, seat.source)).or_insert(0);
            *count += 1;
            *count
        };
        if caps.per_source.is_some_and(|cap| held > cap.get()) {
            return Err(Cap::Source);
        }
        if caps.connections.is_some_and(|cap| total >= cap.get()) {
            return Err(Cap::Listener);
        }
        Ok(seat)
    }

    fn shard(&self, source: Source) -> &Mutex<HashMap<(u16, Source), u32>> {
        let [first, ..] = &self.sources;
        self.sources.get(self.key.hash_one(source) as usize % SHARDS).unwrap_or(first)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.seats.open.fetch_sub(1, Relaxed);
        if let Some(count) = self.seats.listeners.get(usize::from(self.listener)) {
            count.fetch_sub(1, Relaxed);
        }
        let mut sources = self.seats.shard(self.source).lock().unwrap_or_else(PoisonError::into_inner);
        let key = (self.listener, self.source);
        if let Some(count) = sources.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, sync::Arc};

    use super::{Cap, Caps, Seats};

    #[test]
    fn caps_hold_by_listener_and_by_source_and_places_are_given_back() {
        let seats = Arc::new(Seats::default());
        let caps = Caps { connections: NonZeroU32::new(3), per_source: NonZeroU32::new(2) };
        let take = |peer: &str| seats.take(7, peer.parse().unwrap(), caps);
        let first = take("192.0.2.1").unwrap();
        let second = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.1").err() == Some(Cap::Source), "the source's cap");
        let third = take("192.0.2.2").unwrap();
        assert!(take("192.0.2.3").err() == Some(Cap::Listener), "the listener's cap");
        assert!(seats.take(8, "192.0.2.1".parse().unwrap(), caps).is_ok(), "another listener");
        drop(first);
        drop(third);
        let again = take("192.0.2.1").unwrap();
        drop((second, again));
        assert_eq!(seats.open(), 0);
        // One /64 is one source.
        let _six = (take("2001:db8::1").unwrap(), take("2001:db8::ffff").unwrap());
        assert!(take("2001:db8::2").is_err());
        assert!(seats.sources.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>() == 1);
    }
}
