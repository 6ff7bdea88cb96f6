//! The policy tables of one generation: port table, slots, endpoint table.
//!
//! ```text
//! MARKS (array)                      one bit per port: clear where no listener is, and the packet passes
//!                                       │ set
//!                                       ▼
//! PORTS (array of maps, one slot) ─▶ port table of the live generation: u32 per TCP port, then a header
//!                                       │ 0: no listener on this port, the packet passes
//!                                       │ head of a chain of at most CHAIN_MAX slots, or
//!                                       ▼ HASHED: more endpoints than that; look in ENDPOINTS
//! SLOTS (array)                      one endpoint of a listener, with its allowlist; immutable while live
//! ENDPOINTS (hash, by generation)    exact (interface, VLAN, address, port) → slot; port 0 = the address table
//! ```
//!
//! A generation's slots and endpoint rows are written aside (slots into the bank that is not live, rows under the new
//! generation's number), then its port table replaces the old one with a single map-in-map update. That update
//! returns after an RCU grace period, so on return no CPU uses the previous generation.

use crate::packet::{Address, Family};

/// IP protocol number of TCP.
pub const TCP: u16 = 6;

/// Slots of one bank. Two banks alternate between generations.
pub const BANK_SLOTS: u32 = 2048;
/// Slots of both banks. Slot 0 of each bank stays unused, so that a slot number of 0 always means "none".
pub const SLOTS: u32 = 2 * BANK_SLOTS;
/// Endpoints of one port that are compared in line; more of them use the endpoint table.
pub const CHAIN_MAX: u32 = 4;
/// Entries per family in a slot: 15 allowed ones and as many that are still being drained.
pub const SLOT_ENTRIES: usize = 30;
/// Places that are compared without looking at the count: unused ones match nothing. The product's limit of a list.
pub const SLOT_INLINE: usize = 15;
/// Rows of the endpoint table: both generations of a swap. The feature makes a second layout for the tests of
/// an upgrade: its tables cannot be shared, and the same daemon can fill them.
pub const ENDPOINT_ROWS: u32 = if cfg!(feature = "layout-b") { 32 * 1024 } else { 16 * 1024 };

/// Port table: one word per port, at the index that the port is in network byte order ([`port_index`]), then [`PORT_GENERATION`] and [`PORT_BANK`].
pub const PORT_WORDS: u32 = 65536 + 4;
/// Index of a port's word.
#[inline(always)]
#[must_use]
pub const fn port_index(port: u16) -> u32 {
    port.to_be() as u32
}

/// Words of the port marks: one bit per port ([`port_mark`]), which is clear only if the live port table has no word for
/// that port. So the packet passes without another look.
///
/// Marks belong to no generation. Those of a generation are set before it is published, and those that it does not need
/// are cleared when no CPU uses the one before it any more: however a change ends, a mark may be set for nothing, and is
/// never missing.
pub const PORT_MARKS: u32 = 65536 / 64;
/// All port marks.
pub type PortMarks = [u64; PORT_MARKS as usize];
/// Where a port's mark is: the word, and its bit. `index` is the port's [`port_index`].
#[inline(always)]
#[must_use]
pub const fn port_mark(index: u32) -> (u32, u64) {
    (index / 64, 1 << (index % 64))
}

/// Index of the generation number (its low 32 bits) in a port table.
pub const PORT_GENERATION: u32 = 65536;
/// Index of the slot bank (0 or 1) that a port table refers to.
pub const PORT_BANK: u32 = 65537;
/// A port's word when its endpoints are in the endpoint table.
pub const HASHED: u32 = u32::MAX;

/// [`Slot::flags`]: the listener is open; without it everything but echo is dropped.
pub const SLOT_OPEN: u32 = 1 << 0;
/// [`Slot::flags`]: echo to this endpoint is answered to everybody (a public endpoint).
pub const SLOT_ECHO_ALL: u32 = 1 << 1;
/// [`Slot::flags`]: the endpoint is silent to everything.
pub const SLOT_SILENT: u32 = 1 << 2;

/// [`Slot::flags`]: what the allowlist would drop passes, and is counted.
pub const SLOT_MONITOR: u32 = 1 << 7;

/// Bit of an entry's id byte: the entry is being drained (a SYN is dropped, other segments pass).
pub const ENTRY_DRAINING: u8 = 1 << 7;

/// An IPv4 prefix in network byte order. `net = 1, mask = 0` never matches and fills unused places.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry4 {
    pub net: u32,
    pub mask: u32,
}

/// An IPv6 prefix in network byte order, as two words.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry6 {
    pub net: [u64; 2],
    pub mask: [u64; 2],
}

impl Entry4 {
    /// Matches no address.
    pub const NONE: Self = Self { net: 1, mask: 0 };
}

impl Entry6 {
    /// Matches no address.
    pub const NONE: Self = Self { net: [1, 1], mask: [0, 0] };
}

/// One endpoint (interface, VLAN, address) of a listener with the listener's allowlist.
///
/// A bucket is the eight bits of a source that end where the shortest prefix of the list ends; every prefix lies in one
/// bucket, or in several when it is shorter than eight bits. A source whose bucket is empty is on no list, which one
/// load tells before any entry is compared: almost every source of a flood. Such a segment is counted at
/// [`Slot::refused`] without another look at the slot, so a listener that refuses everybody has no buckets.
///
/// Order of entries: allowed ones first, longest prefix first, then draining ones, longest prefix first. So a source
/// that another entry still allows is never treated as draining, and counters go to the most specific entry.
///
/// What an IPv4 segment needs comes first: 64 bytes, in one line of the cache where the map is aligned to pages.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Interface and VLAN, see [`place`].
    pub place: u64,
    /// The address, and the bits of it that count: all for an address, none for every address of the family.
    /// `addr4 = 1, mask4 = 0` is no address of the family.
    pub addr4: u32,
    pub mask4: u32,
    /// Next slot of this port's chain, 0 at the end.
    pub next: u32,
    /// Index of the counter of a segment that is refused ([`crate::counters::verdict_index`]).
    pub refused: u32,
    /// How far a source (IPv6: its first half) in host order is shifted to the right to get its bucket.
    pub shift4: u32,
    pub flags: u32,
    /// One bit per bucket that an entry lies in.
    pub buckets4: [u64; 4],
    /// As `addr4` and `mask4`; the mask is that of each half.
    pub addr6: [u64; 2],
    pub mask6: u64,
    pub shift6: u32,
    /// The listener's stable counter id, 1 … `MAX_LISTENERS - 1`.
    pub listener: u32,
    pub buckets6: [u64; 4],
    pub count4: u32,
    pub count6: u32,
    /// The listener's large list of each family, 0 for none.
    pub list4: u32,
    pub list6: u32,
    /// Entry ids (stable counter positions, `< ENTRY_COUNTERS`) with [`ENTRY_DRAINING`].
    pub ids4: [u8; 32],
    pub ids6: [u8; 32],
    pub entries4: [Entry4; SLOT_ENTRIES],
    pub entries6: [Entry6; SLOT_ENTRIES],
}

/// [`Slot::place`] of an interface (the one that the program is attached to: a bond for its members) and a VLAN, 0 for
/// untagged or any tags.
#[inline(always)]
#[must_use]
pub const fn place(interface: u32, vlan: u16) -> u64 {
    interface as u64 | (vlan as u64) << 32
}

impl Slot {
    /// A slot that matches nothing.
    pub const EMPTY: Self = Self {
        place: 0,
        addr4: 1,
        mask4: 0,
        next: 0,
        refused: 0,
        shift4: 24,
        flags: 0,
        buckets4: [0; 4],
        addr6: [1; 2],
        mask6: 0,
        shift6: 56,
        listener: 0,
        buckets6: [0; 4],
        count4: 0,
        count6: 0,
        list4: 0,
        list6: 0,
        ids4: [0; 32],
        ids6: [0; 32],
        entries4: [Entry4::NONE; SLOT_ENTRIES],
        entries6: [Entry6::NONE; SLOT_ENTRIES],
    };
}

/// Key of the endpoint table. Zero in `address` is the wildcard of its family; `port` 0 is the address table, used for
/// what has no port; `ifindex` 0 means "this endpoint exists, on some interface".
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey {
    pub generation: u32,
    pub ifindex: u32,
    /// As it came off the wire; IPv4 in the first four bytes.
    pub address: [u32; 4],
    /// 0 or the outer tag's VLAN id.
    pub vlan: u16,
    /// Destination port in host order, 0 for a row of the address table.
    pub port: u16,
    /// 4 or 6.
    pub family: u16,
    /// IP protocol number of a row with a port (TCP), else 0.
    pub protocol: u16,
}

impl EndpointKey {
    /// The key of `address` at TCP `port`, or with port 0 its key in the address table.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        generation: u32,
        ifindex: u32,
        vlan: u16,
        family: Family,
        address: Address,
        port: u16,
    ) -> Self {
        Self {
            generation,
            ifindex,
            address,
            vlan,
            port,
            family: match family {
                Family::V4 => 4,
                Family::V6 => 6,
            },
            protocol: if port == 0 { 0 } else { TCP },
        }
    }
}

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "aya moves these types in and out of maps as bytes")]
    // SAFETY: repr(C), integers only, no padding (asserted in `layout`), valid for every bit pattern.
    unsafe impl aya::Pod for super::Slot {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::EndpointKey {}
}
