//! The access decision: which listener a packet is for, and whether its source may reach it.
//!
//! The XDP program, the check at `accept()` and `gateway explain` all call [`decide`]; they differ only in where their
//! [`Tables`] live. Nothing here reads a packet, a clock or a counter.
//!
//! Everything is inlined: the verifier follows one straight program, and the fields of [`Packet`] and [`Verdict`]
//! stay in registers.

use crate::{
    counters::{LARGE_LIST, counted_at},
    family::Comparable,
    list::{LISTED, Listed, NOT_LISTED},
    packet::{Family, Kind, MAX_TAGS, Packet, halves},
    reason::Reason,
    table::{
        CHAIN_MAX, ENTRY_DRAINING, EndpointKey, HASHED, SLOT_ECHO_ALL, SLOT_MONITOR, SLOT_OPEN, SLOT_SILENT,
        Slot, place,
    },
};

/// Slots by their numbers, which no two generations share.
pub trait Slots {
    /// A slot by its number; `None` only when the tables are incomplete.
    fn slot(&self, number: u32) -> Option<&Slot>;
    /// What the large list of this number ([`Slot::list4`]) says about a source in host order.
    fn listed4(&self, list: u32, source: u32) -> Listed;
    /// The same for IPv6 ([`Slot::list6`]).
    fn listed6(&self, list: u32, source: [u64; 2]) -> Listed;
}

/// The tables of one generation.
pub trait Tables: Slots {
    /// The word of a TCP port; `None` when there is no port table, and so no policy at all.
    fn port(&self, port: u16) -> Option<u32>;
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

    /// The verdict in one word that a function of the XDP program can return.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u64 {
        (self.listener as u64) << 32 | (self.entry as u64) << 8 | self.reason as u64
    }

    /// Takes what [`Self::word`] gave.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        let reason = match Reason::from_number(word as u8) {
            Some(reason) => reason,
            None => Reason::TableMissing,
        };
        Self { reason, listener: (word >> 32) as u32, entry: (word >> 8) as u8 }
    }

    /// A segment whose source is in no bucket of `slot`.
    #[inline(always)]
    pub const fn refused(slot: &Slot) -> Self {
        let (listener, reason) = counted_at(slot.refused);
        Self::from_word((listener as u64) << 32 | (Self::NO_ENTRY as u64) << 8 | reason as u64)
    }

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

    /// The verdict where no endpoint of this interface and VLAN matched.
    #[inline(always)]
    const fn verdict(self, kind: Kind) -> Verdict {
        let reason = match kind {
            Kind::LaterFragment => Reason::Fragment,
            Kind::Truncated => Reason::Truncated,
            Kind::ExtChain => Reason::ExtChain,
            Kind::Tcp | Kind::TcpFragment | Kind::Echo | Kind::VlanDepth | Kind::Other => {
                Reason::WrongInterface
            }
        };
        match self.elsewhere {
            NOBODY => Verdict::NOT_LISTENER,
            MISSING => Verdict::TABLE_MISSING,
            listener => Verdict::new(reason, listener),
        }
    }
}

/// Decides about `packet`, which came in on `interface`.
#[inline(always)]
pub fn decide<T: Tables>(tables: &T, interface: u32, packet: &Packet) -> Verdict {
    match packet.kind {
        Kind::Other => return Verdict::NOT_LISTENER,
        Kind::VlanDepth => return Verdict::new(Reason::VlanDepth, 0),
        Kind::Tcp
        | Kind::TcpFragment
        | Kind::LaterFragment
        | Kind::Echo
        | Kind::Truncated
        | Kind::ExtChain => {}
    }
    match packet.family {
        Family::V4 => decide_for(tables, interface, packet, packet.destination[0], packet.source[0]),
        Family::V6 => {
            decide_for(tables, interface, packet, halves(&packet.destination), halves(&packet.source))
        }
    }
}

/// What is done about a segment; a trait instead of a returned enum, so that each outcome has a way of its own in the
/// program, and the most frequent one of a flood the shortest.
pub trait Outcome {
    type Done;
    /// The source is in no bucket of the listener: [`Verdict::refused`].
    fn refused(self, slot: &Slot) -> Self::Done;
    fn judged(self, verdict: Verdict) -> Self::Done;
    /// The packet must be judged by [`decide`].
    fn general(self) -> Self::Done;
}

/// Decides about a TCP segment that is no fragment and has no tags: what [`decide`] does for such a packet, in a form
/// that reads of the frame no more than it must. `word` is the port's, 0 for none; source and flags are asked for when the listener
/// is found.
#[inline(always)]
pub fn decide_segment<T: Slots, A: Comparable, O: Outcome>(
    slots: &T,
    interface: u32,
    word: u32,
    destination: A,
    source: impl FnOnce() -> A,
    syn: impl FnOnce() -> bool,
    outcome: O,
) -> O::Done {
    match word {
        0 => return outcome.judged(Verdict::NOT_LISTENER),
        HASHED => return outcome.general(),
        _ => {}
    }
    let found = follow(slots, interface, 0, destination, word);
    let verdict = match found.here {
        Some(slot) => {
            let source = source();
            if !source.is_near(slot) {
                return outcome.refused(slot);
            }
            let state = slot.flags & (SLOT_SILENT | SLOT_OPEN | SLOT_MONITOR);
            if A::is_only_list(slot) && state == SLOT_OPEN {
                match source.listed(slots, A::list(slot)) {
                    NOT_LISTED => return outcome.refused(slot),
                    listed => judge_listed(slot, listed),
                }
            } else {
                judge_near(slots, slot, source, syn)
            }
        }
        None => found.verdict(Kind::Tcp),
    };
    outcome.judged(verdict)
}

#[inline(always)]
fn decide_for<T: Tables, A: Comparable>(
    tables: &T,
    interface: u32,
    packet: &Packet,
    destination: A,
    source: A,
) -> Verdict {
    let found = match packet.kind {
        Kind::Tcp | Kind::TcpFragment => match tables.port(packet.port) {
            // Traffic for nobody leaves here, before it has cost anything. No port table is no policy: the daemon
            // attaches the program only after it has filled the tables.
            None | Some(0) => return Verdict::NOT_LISTENER,
            Some(HASHED) => look_up(tables, interface, packet, packet.port),
            Some(head) => follow(tables, interface, packet.vlan, destination, head),
        },
        Kind::LaterFragment => marker(tables, packet, 0),
        Kind::Echo | Kind::Truncated | Kind::ExtChain | Kind::VlanDepth | Kind::Other => {
            look_up(tables, interface, packet, 0)
        }
    };
    let Some(slot) = found.here else { return found.verdict(packet.kind) };
    if packet.tags > MAX_TAGS {
        return Verdict::new(Reason::VlanDepth, slot.listener);
    }
    match packet.kind {
        Kind::Tcp => judge_segment(tables, slot, source, || packet.syn),
        Kind::Echo => judge_echo(tables, slot, source),
        Kind::Truncated => Verdict::new(Reason::Truncated, slot.listener),
        Kind::ExtChain => Verdict::new(Reason::ExtChain, slot.listener),
        Kind::TcpFragment | Kind::LaterFragment | Kind::VlanDepth | Kind::Other => {
            Verdict::new(Reason::Fragment, slot.listener)
        }
    }
}

/// Compares the slots of a port's chain in line. The chain is ordered: exact addresses before wildcards, endpoints
/// with a VLAN before those without, so the first match is the most specific one.
#[inline(always)]
fn follow<T: Slots, A: Comparable>(
    slots: &T,
    interface: u32,
    vlan: u16,
    destination: A,
    head: u32,
) -> Found<'_> {
    let mut number = head;
    let mut elsewhere = NOBODY;
    for _ in 0..CHAIN_MAX {
        let Some(slot) = slots.slot(number) else { return Found::elsewhere(MISSING) };
        if destination.is_at(slot) {
            if slot.place == place(interface, 0) || vlan != 0 && slot.place == place(interface, vlan) {
                return Found::here(Some(slot));
            }
            if A::is_exact(slot) && elsewhere == NOBODY {
                // A wildcard listener of this interface may still take it, as the kernel's socket lookup does.
                elsewhere = slot.listener;
            }
        }
        number = slot.next;
        if number == 0 {
            break;
        }
    }
    Found::elsewhere(elsewhere)
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
fn judge_segment<S: Slots, A: Comparable>(
    slots: &S,
    slot: &Slot,
    source: A,
    syn: impl FnOnce() -> bool,
) -> Verdict {
    if source.is_near(slot) { judge_near(slots, slot, source, syn) } else { Verdict::refused(slot) }
}

/// A TCP segment from a source in whose bucket an entry lies.
#[inline(always)]
fn judge_near<S: Slots, A: Comparable>(
    slots: &S,
    slot: &Slot,
    source: A,
    syn: impl FnOnce() -> bool,
) -> Verdict {
    if slot.flags & (SLOT_SILENT | SLOT_OPEN) != SLOT_OPEN {
        let silent = slot.flags & SLOT_SILENT != 0;
        return Verdict::new(if silent { Reason::Silent } else { Reason::Closed }, slot.listener);
    }
    let id = if A::is_only_list(slot) { Verdict::NO_ENTRY } else { source.entry(slot) };
    // `NO_ENTRY` has the bit, too: whoever no entry allows may be on the large list, and then no entry drains him.
    if id & ENTRY_DRAINING != 0 && A::list(slot) != 0 {
        match source.listed(slots, A::list(slot)) {
            NOT_LISTED => {}
            listed => return judge_listed(slot, listed),
        }
    }
    if id == Verdict::NO_ENTRY {
        return missed(slot);
    }
    let reason = if id & ENTRY_DRAINING == 0 {
        Reason::Allowed
    } else if syn() {
        Reason::DrainingNew
    } else {
        Reason::Draining
    };
    Verdict { reason, listener: slot.listener, entry: id & !ENTRY_DRAINING }
}

/// A segment from a source that the large list has, or of which no list can tell.
#[inline(always)]
const fn judge_listed(slot: &Slot, listed: Listed) -> Verdict {
    if listed == LISTED {
        Verdict { reason: Reason::Allowed, listener: slot.listener, entry: LARGE_LIST }
    } else {
        Verdict::new(Reason::ListMissing, slot.listener)
    }
}

/// An echo request to a listener's address. It is answered whether the listener is open or not.
#[inline(always)]
fn judge_echo<S: Slots, A: Comparable>(slots: &S, slot: &Slot, source: A) -> Verdict {
    if slot.flags & SLOT_SILENT != 0 {
        return Verdict::new(Reason::Silent, slot.listener);
    }
    if slot.flags & SLOT_ECHO_ALL != 0 {
        return Verdict::new(Reason::Echo, slot.listener);
    }
    let id = source.entry(slot);
    // A draining entry keeps its flows, and an echo request belongs to none. `NO_ENTRY` has that bit, too.
    if id & ENTRY_DRAINING == 0 {
        return Verdict { reason: Reason::Echo, listener: slot.listener, entry: id };
    }
    let listed = if A::list(slot) == 0 { NOT_LISTED } else { source.listed(slots, A::list(slot)) };
    match listed {
        NOT_LISTED => missed(slot),
        LISTED => Verdict { reason: Reason::Echo, listener: slot.listener, entry: LARGE_LIST },
        _ => Verdict::new(Reason::ListMissing, slot.listener),
    }
}

/// A source that is not on the list.
#[inline(always)]
const fn missed(slot: &Slot) -> Verdict {
    let monitored = slot.flags & SLOT_MONITOR != 0;
    Verdict::new(if monitored { Reason::Monitored } else { Reason::NotAllowed }, slot.listener)
}
