//! The access decision: which listener a packet is for, and whether its source may reach it.
//!
//! The XDP program, the check at `accept()` and `gateway explain` all call [`decide`]; they differ only in where their
//! [`Tables`] live. Nothing here reads a packet, a clock or a counter.
//!
//! Everything is inlined: the verifier follows one straight program, and the fields of [`Packet`] and [`Verdict`]
//! stay in registers.

use crate::{
    packet::{Family, Kind, MAX_TAGS, Packet, halves},
    reason::Reason,
    table::{
        CHAIN_MAX, ENTRY_DRAINING, EndpointKey, HASHED, SLOT_ADDR4, SLOT_ADDR6, SLOT_ANY4, SLOT_ANY6,
        SLOT_ECHO_ALL, SLOT_ENTRIES, SLOT_OPEN, SLOT_SILENT, Slot,
    },
};

/// The tables of one generation.
pub trait Tables {
    /// The word of a TCP port; `None` when there is no port table, and so no policy at all.
    fn port(&self, port: u16) -> Option<u32>;
    /// A slot by its number; `None` only when the tables are incomplete.
    fn slot(&self, number: u32) -> Option<&Slot>;
    /// The slot number of an endpoint.
    fn endpoint(&self, key: &EndpointKey) -> Option<u32>;
    /// The low 32 bits of the generation, as they stand in the keys of the endpoint table.
    fn generation(&self) -> u32;
}

/// What was decided about a packet, and on whose account it is counted.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub reason: Reason,
    /// Counter id of the listener that the packet was for, 0 for none.
    pub listener: u32,
    /// Counter position of the allowlist entry that matched, or [`Verdict::NO_ENTRY`].
    pub entry: u8,
}

impl Verdict {
    #[inline(always)]
    const fn new(reason: Reason, listener: u32) -> Self {
        Self { reason, listener, entry: Self::NO_ENTRY }
    }

    /// [`Verdict::entry`] when no entry matched.
    pub const NO_ENTRY: u8 = u8::MAX;
    /// None of the filter's business.
    pub const NOT_LISTENER: Self = Self::new(Reason::NotListener, 0);
    const TABLE_MISSING: Self = Self::new(Reason::TableMissing, 0);

    /// Counter position of the allowlist entry that matched.
    #[inline(always)]
    #[must_use]
    pub const fn entry(&self) -> Option<u8> {
        if self.entry == Self::NO_ENTRY { None } else { Some(self.entry) }
    }
}

/// Where a destination stands in the tables.
///
/// A plain struct and numbers instead of an enum or an `Option`: the undefined part of an enum can end up in a
/// register that the verifier sees read before it is written.
#[derive(Clone, Copy)]
struct Found<'t> {
    /// The endpoint of this interface and VLAN.
    here: Option<&'t Slot>,
    /// Else the listener whose endpoint it is on another interface or VLAN, [`NOBODY`], or [`MISSING`].
    elsewhere: u32,
}

/// No listener's endpoint: listener ids begin with 1.
const NOBODY: u32 = 0;
/// A table refers to a slot that is not there.
const MISSING: u32 = u32::MAX;

impl<'t> Found<'t> {
    #[inline(always)]
    const fn elsewhere(listener: u32) -> Self {
        Self { here: None, elsewhere: listener }
    }

    #[inline(always)]
    const fn here(slot: Option<&'t Slot>) -> Self {
        Self { here: slot, elsewhere: MISSING }
    }
}

/// Decides about `packet`, which came in on `interface`.
#[inline(always)]
pub fn decide<T: Tables>(tables: &T, interface: u32, packet: &Packet) -> Verdict {
    let found = match packet.kind {
        Kind::Other => return Verdict::NOT_LISTENER,
        Kind::VlanDepth => return Verdict::new(Reason::VlanDepth, 0),
        Kind::Tcp | Kind::TcpFragment => match tables.port(packet.port) {
            // Traffic for nobody leaves here, before it has cost anything. No port table is no policy: the daemon
            // attaches the program only after it has filled the tables.
            None | Some(0) => return Verdict::NOT_LISTENER,
            Some(HASHED) => look_up(tables, interface, packet, packet.port),
            Some(head) => follow(tables, interface, packet, head),
        },
        Kind::LaterFragment => marker(tables, packet, 0),
        Kind::Echo | Kind::Truncated | Kind::ExtChain => look_up(tables, interface, packet, 0),
    };
    let Some(slot) = found.here else {
        return match found.elsewhere {
            NOBODY => Verdict::NOT_LISTENER,
            MISSING => Verdict::TABLE_MISSING,
            listener => Verdict::new(unreachable_reason(packet.kind), listener),
        };
    };
    if packet.tags > MAX_TAGS {
        return Verdict::new(Reason::VlanDepth, slot.listener);
    }
    match packet.kind {
        Kind::Tcp => judge_segment(slot, packet),
        Kind::Echo => judge_echo(slot, packet),
        Kind::Truncated => Verdict::new(Reason::Truncated, slot.listener),
        Kind::ExtChain => Verdict::new(Reason::ExtChain, slot.listener),
        _ => Verdict::new(Reason::Fragment, slot.listener),
    }
}

/// The reason of a drop where no endpoint of this interface matched.
#[inline(always)]
const fn unreachable_reason(kind: Kind) -> Reason {
    match kind {
        Kind::LaterFragment => Reason::Fragment,
        Kind::Truncated => Reason::Truncated,
        Kind::ExtChain => Reason::ExtChain,
        Kind::Tcp | Kind::TcpFragment | Kind::Echo | Kind::VlanDepth | Kind::Other => Reason::WrongInterface,
    }
}

/// Compares the slots of a port's chain in line. The chain is ordered: exact addresses before wildcards, endpoints
/// with a VLAN before those without, so the first match is the most specific one.
#[inline(always)]
fn follow<'t, T: Tables>(tables: &'t T, interface: u32, packet: &Packet, head: u32) -> Found<'t> {
    let mut number = head;
    let mut elsewhere = NOBODY;
    for _ in 0..CHAIN_MAX {
        let Some(slot) = tables.slot(number) else { return Found::elsewhere(MISSING) };
        let exact = is_address(slot, packet);
        let here = slot.ifindex == interface && (slot.vlan == 0 || slot.vlan == packet.vlan as u32);
        if here {
            if exact || is_wildcard(slot, packet.family) {
                return Found::here(Some(slot));
            }
        } else if exact && elsewhere == NOBODY {
            // A wildcard listener of this interface may still take it, as the kernel's socket lookup does.
            elsewhere = slot.listener;
        }
        number = slot.next;
        if number == 0 {
            break;
        }
    }
    Found::elsewhere(elsewhere)
}

#[inline(always)]
fn is_address(slot: &Slot, packet: &Packet) -> bool {
    match packet.family {
        Family::V4 => slot.flags & SLOT_ADDR4 != 0 && slot.addr4 == packet.destination[0],
        Family::V6 => {
            let [first, second] = halves(&packet.destination);
            slot.flags & SLOT_ADDR6 != 0 && slot.addr6[0] == first && slot.addr6[1] == second
        }
    }
}

#[inline(always)]
fn is_wildcard(slot: &Slot, family: Family) -> bool {
    let any = match family {
        Family::V4 => SLOT_ANY4,
        Family::V6 => SLOT_ANY6,
    };
    slot.flags & any != 0
}

/// Looks `packet`'s destination up in the endpoint table, in the order that [`follow`]'s chain has.
#[inline(always)]
fn look_up<'t, T: Tables>(tables: &'t T, interface: u32, packet: &Packet, port: u16) -> Found<'t> {
    let mut key = EndpointKey::new(
        tables.generation(),
        interface,
        packet.vlan,
        packet.family,
        packet.destination,
        port,
    );
    // Exact address, then wildcard; each with the frame's VLAN, then without.
    for _ in 0..2 {
        if packet.vlan != 0 {
            key.vlan = packet.vlan;
            if let Some(number) = tables.endpoint(&key) {
                return Found::here(tables.slot(number));
            }
        }
        key.vlan = 0;
        if let Some(number) = tables.endpoint(&key) {
            return Found::here(tables.slot(number));
        }
        key.address = [0; 4];
    }
    marker(tables, packet, port)
}

/// Looks for a listener that names `packet`'s destination on any interface.
#[inline(always)]
fn marker<'t, T: Tables>(tables: &'t T, packet: &Packet, port: u16) -> Found<'t> {
    let key = EndpointKey::new(tables.generation(), 0, 0, packet.family, packet.destination, port);
    let Some(number) = tables.endpoint(&key) else { return Found::elsewhere(NOBODY) };
    Found::elsewhere(tables.slot(number).map_or(MISSING, |slot| slot.listener))
}

/// A TCP segment to an endpoint of a listener.
#[inline(always)]
fn judge_segment(slot: &Slot, packet: &Packet) -> Verdict {
    if slot.flags & SLOT_SILENT != 0 {
        return Verdict::new(Reason::Silent, slot.listener);
    }
    if slot.flags & SLOT_OPEN == 0 {
        return Verdict::new(Reason::Closed, slot.listener);
    }
    let id = entry(slot, packet);
    if id == Verdict::NO_ENTRY {
        return Verdict::new(Reason::NotAllowed, slot.listener);
    }
    let reason = if id & ENTRY_DRAINING == 0 {
        Reason::Allowed
    } else if packet.syn {
        Reason::DrainingNew
    } else {
        Reason::Draining
    };
    Verdict { reason, listener: slot.listener, entry: id & !ENTRY_DRAINING }
}

/// An echo request to a listener's address. It is answered whether the listener is open or not.
#[inline(always)]
fn judge_echo(slot: &Slot, packet: &Packet) -> Verdict {
    if slot.flags & SLOT_SILENT != 0 {
        return Verdict::new(Reason::Silent, slot.listener);
    }
    if slot.flags & SLOT_ECHO_ALL != 0 {
        return Verdict::new(Reason::Echo, slot.listener);
    }
    let id = entry(slot, packet);
    // A draining entry keeps its flows, and an echo request belongs to none. `NO_ENTRY` has that bit, too.
    if id & ENTRY_DRAINING == 0 {
        Verdict { reason: Reason::Echo, listener: slot.listener, entry: id }
    } else {
        Verdict::new(Reason::NotAllowed, slot.listener)
    }
}

/// The id of the first entry that holds `packet`'s source, or `NO_ENTRY`. Entries are ordered, so the first counts.
#[inline(always)]
fn entry(slot: &Slot, packet: &Packet) -> u8 {
    match packet.family {
        Family::V4 => entry4(slot, packet.source[0]),
        Family::V6 => entry6(slot, halves(&packet.source)),
    }
}

#[inline(always)]
fn entry4(slot: &Slot, source: u32) -> u8 {
    for place in 0..SLOT_ENTRIES {
        if place as u32 >= slot.count4 {
            break;
        }
        let (Some(entry), Some(id)) = (slot.entries4.get(place), slot.ids4.get(place)) else { break };
        if source & entry.mask == entry.net {
            return *id;
        }
    }
    Verdict::NO_ENTRY
}

#[inline(always)]
fn entry6(slot: &Slot, [first, second]: [u64; 2]) -> u8 {
    for place in 0..SLOT_ENTRIES {
        if place as u32 >= slot.count6 {
            break;
        }
        let (Some(entry), Some(id)) = (slot.entries6.get(place), slot.ids6.get(place)) else { break };
        if first & entry.mask[0] == entry.net[0] && second & entry.mask[1] == entry.net[1] {
            return *id;
        }
    }
    Verdict::NO_ENTRY
}
