//! Pure: who uses the listeners: sources with open connections, and those that were let in lately.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::base::Name;

/// One source at one endpoint of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub listener: Name,
    /// The interface that its connections come in through.
    pub interface: String,
    pub source: IpAddr,
    /// Where it connects to.
    pub local: SocketAddr,
    /// Open connections.
    pub connections: u32,
    /// Connections that were let in, as far as they are remembered.
    pub admitted: u64,
    /// When it was let in last, or now while a connection is open; since the Unix epoch.
    pub last: Duration,
}

/// How the sources are asked for; it takes a turn of every worker's loop.
pub trait SeenSource {
    /// Everybody who is remembered, in no order.
    fn seen(&self) -> Vec<Seen>;
}

impl<F: Fn() -> Vec<Seen>> SeenSource for F {
    fn seen(&self) -> Vec<Seen> {
        self()
    }
}

/// Adds up what several workers saw of the same source at the same endpoint.
#[must_use]
pub fn merge(parts: impl IntoIterator<Item = Seen>) -> Vec<Seen> {
    let mut merged: Vec<Seen> = Vec::new();
    let mut places: HashMap<(Name, IpAddr, SocketAddr), usize> = HashMap::new();
    for part in parts {
        match places.entry((part.listener.clone(), part.source, part.local)) {
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(part);
            }
            Entry::Occupied(place) => {
                if let Some(seen) = merged.get_mut(*place.get()) {
                    seen.connections = seen.connections.saturating_add(part.connections);
                    seen.admitted = seen.admitted.saturating_add(part.admitted);
                    seen.last = seen.last.max(part.last);
                }
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Seen, merge};
    use crate::base::Name;

    #[test]
    fn workers_add_up() {
        let seen = |source: &str, connections, last| Seen {
            listener: Name::new("edge").unwrap(),
            interface: "eth0".to_owned(),
            source: source.parse().unwrap(),
            local: "192.0.2.1:443".parse().unwrap(),
            connections,
            admitted: 3,
            last: Duration::from_secs(last),
        };
        let merged = merge([seen("10.0.0.1", 1, 5), seen("10.0.0.2", 0, 6), seen("10.0.0.1", 2, 4)]);
        assert_eq!(merged.len(), 2);
        assert_eq!((merged[0].connections, merged[0].admitted, merged[0].last.as_secs()), (3, 6, 5));
    }
}
