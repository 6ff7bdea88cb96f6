//! Drains the ring buffer of sampled drops, and decides how large a sample the program sends.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use aya::maps::MapError;
use gateway_common::{counters::SAMPLE_FLOOD, event::DropEvent, packet::Address, reason::Reason};

use super::tables::Tables;
use crate::{
    base::{Generation, Name},
    observe::{filter::DropRecord, top::Top},
    snapshot::FilterPlan,
};

/// Drops that are kept for those who ask later.
const KEPT: usize = 1024;
/// Events per poll (100 ms) above which fewer are asked for: enough to see what happens, little against any flood.
const MANY: usize = 128;
/// Events per poll below which more are asked for.
const FEW: usize = 16;

/// The most recent sampled drops.
#[derive(Debug, Default)]
pub(crate) struct DropLog {
    records: VecDeque<DropRecord>,
    next: u64,
    top: Top,
}

/// What turns the numbers of an event into names.
pub(crate) struct Names<'a> {
    /// Numbers in the kernel tables with their generations, the live one and the one before.
    pub(crate) generations: &'a [(u32, Generation)],
    pub(crate) plan: Option<&'a FilterPlan>,
    /// Interface indices with their names.
    pub(crate) devices: &'a [(u32, String)],
}

impl DropLog {
    /// Takes everything out of the ring buffer; returns how much there was.
    pub(crate) fn drain(&mut self, tables: &mut Tables, names: &Names<'_>, now: Duration) -> usize {
        // What was sampled lately was sampled by this mask: it changes at polls, and in a flood to the smallest sample.
        let weight = tables.sample.get(&0, 0).unwrap_or(0).saturating_add(1);
        // At most one buffer's worth, so that a flood cannot keep the caller here.
        for taken in 0..4096 {
            let Some(item) = tables.events.next() else { return taken };
            if let Some(event) = decode(&item) {
                let record = self.record(&event, names, now, weight);
                self.top.add(&record);
                if self.records.len() == KEPT {
                    self.records.pop_front();
                }
                self.records.push_back(record);
            }
        }
        4096
    }

    /// Records numbered `after` and later.
    pub(crate) fn after(&self, after: u64) -> Vec<DropRecord> {
        self.records.iter().filter(|record| record.sequence >= after).cloned().collect()
    }

    /// Whom most was dropped of.
    pub(crate) const fn top(&self) -> &Top {
        &self.top
    }

    fn record(&mut self, event: &DropEvent, names: &Names<'_>, now: Duration, weight: u32) -> DropRecord {
        let sequence = self.next;
        self.next += 1;
        let number = event.generation;
        DropRecord {
            sequence,
            at: now,
            generation: names
                .generations
                .iter()
                .find(|(known, _)| *known == number)
                // The highest bit only tells two tables of one generation apart.
                .map_or(Generation(u64::from(number & !(1 << 31))), |(_, generation)| *generation),
            interface: names
                .devices
                .iter()
                .find(|(index, _)| *index == event.ifindex)
                .map_or_else(|| event.ifindex.to_string(), |(_, name)| name.clone()),
            source: address(event.family, event.source),
            destination: address(event.family, event.destination),
            source_port: event.source_port,
            destination_port: event.destination_port,
            vlan: event.vlan,
            length: event.length,
            listener: listener(names.plan, event.listener),
            reason: Reason::from_number(event.reason).map_or("unknown", Reason::name),
            weight,
        }
    }
}

/// Adapts the sample to the events of the last interval. The program itself takes the smallest one when the ring buffer
/// is full; a write here that races with it is made good by the next poll.
///
/// # Errors
/// The table cannot be read or written.
pub(crate) fn adapt(tables: &mut Tables, events: usize) -> Result<(), MapError> {
    let mask = tables.sample.get(&0, 0)?;
    let next = next_mask(mask, events);
    if next == mask { Ok(()) } else { tables.sample.set(0, next, 0) }
}

/// The mask after an interval with so many events: a quarter of the sample after many, four times it after few.
fn next_mask(mask: u32, events: usize) -> u32 {
    if events > MANY {
        (mask << 2 | 3) & SAMPLE_FLOOD
    } else if events < FEW {
        mask >> 2
    } else {
        mask
    }
}

fn listener(plan: Option<&FilterPlan>, id: u32) -> Option<Name> {
    plan?.listeners.iter().find(|listener| u32::from(listener.id) == id).map(|listener| listener.name.clone())
}

fn address(family: u8, words: Address) -> Option<IpAddr> {
    let mut bytes = [0_u8; 16];
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    match family {
        4 => bytes.first_chunk::<4>().map(|four| Ipv4Addr::from(*four).into()),
        6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

/// Reads an event field by field, in the order of the struct; `None` if the record has another size.
fn decode(bytes: &[u8]) -> Option<DropEvent> {
    let bytes: &[u8; DropEvent::SIZE] = bytes.try_into().ok()?;
    let mut rest: &[u8] = bytes;
    let mut word = || {
        let (first, following) = rest.split_first_chunk::<4>()?;
        rest = following;
        Some(u32::from_ne_bytes(*first))
    };
    let source = [word()?, word()?, word()?, word()?];
    let destination = [word()?, word()?, word()?, word()?];
    let (generation, ifindex, length, listener) = (word()?, word()?, word()?, word()?);
    let (ports, tail) = (word()?.to_ne_bytes(), word()?.to_ne_bytes());
    let [source_a, source_b, destination_a, destination_b] = ports;
    let [vlan_a, vlan_b, family, reason] = tail;
    Some(DropEvent {
        source,
        destination,
        generation,
        ifindex,
        length,
        listener,
        source_port: u16::from_ne_bytes([source_a, source_b]),
        destination_port: u16::from_ne_bytes([destination_a, destination_b]),
        vlan: u16::from_ne_bytes([vlan_a, vlan_b]),
        family,
        reason,
        reserved: [word()?, word()?],
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gateway_common::{event::DropEvent, reason::Reason};

    use super::{DropLog, Names, decode};
    use crate::base::Generation;

    fn bytes(event: &DropEvent) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in event.source.iter().chain(&event.destination) {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        for word in [event.generation, event.ifindex, event.length, event.listener] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        for half in [event.source_port, event.destination_port, event.vlan] {
            bytes.extend_from_slice(&half.to_ne_bytes());
        }
        bytes.extend_from_slice(&[event.family, event.reason]);
        bytes.extend_from_slice(&[0; 8]);
        bytes
    }

    #[test]
    fn an_event_is_told_in_names() {
        let event = DropEvent {
            source: [u32::from_ne_bytes([203, 0, 113, 7]), 0, 0, 0],
            destination: [u32::from_ne_bytes([192, 0, 2, 1]), 0, 0, 0],
            generation: 0x8000_0005,
            ifindex: 4,
            length: 60,
            listener: 9,
            source_port: 40000,
            destination_port: 443,
            vlan: 7,
            family: 4,
            reason: Reason::NotAllowed as u8,
            reserved: [0; 2],
        };
        assert_eq!(decode(&bytes(&event)), Some(event));
        assert_eq!(decode(&bytes(&event)[1..]), None);
        let names = Names {
            generations: &[(0x8000_0005, Generation(5))],
            plan: None,
            devices: &[(4, "eth0".to_owned())],
        };
        let record = DropLog::default().record(&event, &names, Duration::from_secs(1), 4);
        assert_eq!(record.source.unwrap().to_string(), "203.0.113.7");
        assert_eq!((record.interface.as_str(), record.reason), ("eth0", "not_allowed"));
        assert_eq!(record.weight, 4);
        assert_eq!((record.generation, record.destination_port, record.vlan), (Generation(5), 443, 7));
    }

    #[test]
    fn the_sample_shrinks_under_a_flood_and_is_whole_again_after_it() {
        let mut mask = 0;
        for events in [4096; 8] {
            mask = super::next_mask(mask, events);
        }
        assert_eq!(mask, super::SAMPLE_FLOOD);
        assert_eq!(super::next_mask(mask, 64), mask);
        for events in [3; 5] {
            mask = super::next_mask(mask, events);
        }
        assert_eq!(mask, 0);
    }
}
