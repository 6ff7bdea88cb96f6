//! Pure: who is dropped most: sources by sampled drops over a moving window, in memory of fixed size.
//!
//! The window is cut into slices; each keeps its heaviest rows by the Space-Saving method (Metwally, Agrawal, El Abbadi,
//! 2005): a new row takes the place of the lightest and inherits its weight, so the heavy ones are always among them and
//! none is told too light. IPv6 sources are told by /64, which is what one host can choose from.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

use ipnet::{IpNet, Ipv6Net};

use super::filter::DropRecord;
use crate::base::Name;

/// Length of a slice.
const SLICE: Duration = Duration::from_secs(10);
/// Slices that are kept.
const SLICES: usize = 30;
/// Rows of a slice.
const ROWS: usize = 256;
/// The longest window.
pub const WINDOW: Duration = Duration::from_secs(SLICE.as_secs() * SLICES as u64);

/// One source that a listener does not let in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: IpNet,
    listener: Option<Name>,
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weight {
    drops: u64,
    last: Duration,
}

/// How much was dropped of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopRow {
    /// An IPv4 address, or an IPv6 /64.
    pub source: IpNet,
    pub listener: Option<Name>,
    pub reason: &'static str,
    /// Packets, estimated from the sample; rather too many than too few.
    pub packets: u64,
    /// Since the Unix epoch.
    pub last: Duration,
}

#[derive(Debug, Default)]
struct Slice {
    /// Number of the slice since the Unix epoch.
    number: u64,
    rows: HashMap<Key, Weight>,
}

/// The window.
#[derive(Debug, Default)]
pub struct Top {
    slices: VecDeque<Slice>,
}

// === impl Top ===

impl Top {
    /// Counts a sampled drop for all those that it stands for.
    pub fn add(&mut self, record: &DropRecord) {
        let Some(source) = record.source else { return };
        let number = record.at.as_secs() / SLICE.as_secs();
        if self.slices.back().is_none_or(|slice| slice.number < number) {
            self.slices.push_back(Slice { number, rows: HashMap::new() });
            while self.slices.len() > SLICES {
                self.slices.pop_front();
            }
        }
        let Some(slice) = self.slices.back_mut() else { return };
        let key = Key { source: network(source), listener: record.listener.clone(), reason: record.reason };
        let mut inherited = 0;
        if slice.rows.len() >= ROWS && !slice.rows.contains_key(&key) {
            let lightest = slice.rows.iter().min_by_key(|(_, weight)| weight.drops);
            if let Some((key, weight)) = lightest.map(|(key, weight)| (key.clone(), *weight)) {
                slice.rows.remove(&key);
                inherited = weight.drops;
            }
        }
        let weight = slice.rows.entry(key).or_insert(Weight { drops: inherited, last: record.at });
        weight.drops += u64::from(record.weight);
        weight.last = record.at;
    }

    /// The `limit` heaviest rows that `wanted` takes, of the last `window` before `now`.
    #[must_use]
    pub fn rows(
        &self,
        now: Duration,
        window: Duration,
        limit: usize,
        wanted: impl Fn(Option<&Name>, &str) -> bool,
    ) -> Vec<TopRow> {
        let slices = window.as_secs().div_ceil(SLICE.as_secs()).max(1);
        let current = now.as_secs() / SLICE.as_secs();
        let mut sums: HashMap<&Key, Weight> = HashMap::new();
        // A slice that the window only begins in counts whole.
        for slice in self.slices.iter().filter(|slice| slice.number + slices > current) {
            for (key, weight) in &slice.rows {
                let sum = sums.entry(key).or_default();
                sum.drops += weight.drops;
                sum.last = sum.last.max(weight.last);
            }
        }
        let mut rows: Vec<TopRow> = sums
            .into_iter()
            .filter(|(key, _)| wanted(key.listener.as_ref(), key.reason))
            .map(|(key, weight)| TopRow {
                source: key.source,
                listener: key.listener.clone(),
                reason: key.reason,
                packets: weight.drops,
                last: weight.last,
            })
            .collect();
        rows.sort_by(|left, right| {
            let order = |row: &TopRow| (std::cmp::Reverse(row.packets), row.source);
            order(left).cmp(&order(right)).then_with(|| left.listener.cmp(&right.listener))
        });
        rows.truncate(limit);
        rows
    }
}

fn network(source: IpAddr) -> IpNet {
    match source {
        IpAddr::V4(_) => source.into(),
        IpAddr::V6(ip) => Ipv6Net::new(ip, 64).map_or_else(|_| source.into(), |net| net.trunc().into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use super::{ROWS, SLICES, Top};
    use crate::{
        base::{Generation, Name},
        observe::filter::DropRecord,
    };

    fn drop_of(source: IpAddr, at: u64, weight: u32) -> DropRecord {
        DropRecord {
            sequence: 0,
            at: Duration::from_secs(at),
            generation: Generation(1),
            interface: "eth0".to_owned(),
            source: Some(source),
            destination: None,
            source_port: 1,
            destination_port: 443,
            vlan: 0,
            length: 60,
            listener: Some(Name::new("edge").unwrap()),
            reason: "not_allowed",
            weight,
        }
    }

    fn told(top: &Top, now: u64, window: u64) -> Vec<(String, u64)> {
        let rows = top.rows(Duration::from_secs(now), Duration::from_secs(window), 3, |_, _| true);
        rows.into_iter().map(|row| (row.source.to_string(), row.packets)).collect()
    }

    #[test]
    fn the_heaviest_come_first_and_the_window_moves() {
        let mut top = Top::default();
        for (source, at, weight) in [
            ("192.0.2.1", 1000, 1),
            ("192.0.2.2", 1001, 4),
            ("2001:db8::1", 1002, 2),
            ("2001:db8::ffff", 1003, 1),
        ] {
            top.add(&drop_of(source.parse().unwrap(), at, weight));
        }
        let row = |source: &str, packets| (source.to_owned(), packets);
        assert_eq!(
            told(&top, 1005, 60),
            [row("192.0.2.2/32", 4), row("2001:db8::/64", 3), row("192.0.2.1/32", 1)]
        );
        top.add(&drop_of("192.0.2.1".parse().unwrap(), 1055, 9));
        assert_eq!(told(&top, 1055, 60)[0], row("192.0.2.1/32", 10));
        assert_eq!(told(&top, 1069, 60), [row("192.0.2.1/32", 9)]);
        assert_eq!(told(&top, 2000, 60), []);
        let none =
            top.rows(Duration::from_secs(1055), Duration::from_secs(60), 3, |_, reason| reason == "closed");
        assert!(none.is_empty());
    }

    #[test]
    fn a_heavy_source_is_found_among_a_million_others_in_fixed_memory() {
        let mut top = Top::default();
        for number in 0..200_000_u32 {
            top.add(&drop_of(IpAddr::from(number.to_be_bytes()), 1000 + u64::from(number / 500), 1));
            if number % 50 == 0 {
                top.add(&drop_of("203.0.113.9".parse().unwrap(), 1000 + u64::from(number / 500), 1));
            }
        }
        assert!(top.slices.len() <= SLICES && top.slices.iter().all(|slice| slice.rows.len() <= ROWS));
        assert_eq!(told(&top, 1399, 300)[0].0, "203.0.113.9/32");
    }
}
