//! Layout asserts and the hash that names this ABI in the pin directory.

use core::mem::offset_of;

use crate::{
    counters::{Counter, ENTRY_COUNTERS, LARGE_LIST, MAX_LISTENERS, REASONS, SAMPLE_FLOOD},
    defence::{BANS, BUDGETED_SOURCES, Ban, Budget, Source},
    event::DropEvent,
    list::{LISTS, SIZES},
    reason::Reason,
    table::{
        BANK_SLOTS, CHAIN_MAX, ENDPOINT_ROWS, ENTRY_DRAINING, EndpointKey, Entry4, Entry6, HASHED, PORT_BANK,
        PORT_GENERATION, PORT_MARKS, PORT_WORDS, SLOT_ECHO_ALL, SLOT_ENTRIES, SLOT_MONITOR, SLOT_OPEN,
        SLOT_SILENT, Slot,
    },
};

/// Counts changes of meaning that leave every size, offset and constant as it was.
const MEANING: u64 = 3;

/// The layout of every type and constant that the daemon and a loaded program must agree on. Maps are pinned under it
/// and shared only between programs of the same layout.
pub const LAYOUT_HASH: u64 = hash(&[
    MEANING,
    size_of::<Slot>() as u64,
    offset_of!(Slot, place) as u64,
    offset_of!(Slot, addr4) as u64,
    offset_of!(Slot, mask4) as u64,
    offset_of!(Slot, next) as u64,
    offset_of!(Slot, refused) as u64,
    offset_of!(Slot, shift4) as u64,
    offset_of!(Slot, flags) as u64,
    offset_of!(Slot, buckets4) as u64,
    offset_of!(Slot, addr6) as u64,
    offset_of!(Slot, mask6) as u64,
    offset_of!(Slot, shift6) as u64,
    offset_of!(Slot, listener) as u64,
    offset_of!(Slot, buckets6) as u64,
    offset_of!(Slot, count4) as u64,
    offset_of!(Slot, count6) as u64,
    offset_of!(Slot, list4) as u64,
    offset_of!(Slot, list6) as u64,
    offset_of!(Slot, ids4) as u64,
    offset_of!(Slot, ids6) as u64,
    offset_of!(Slot, entries4) as u64,
    offset_of!(Slot, entries6) as u64,
    size_of::<Entry4>() as u64,
    size_of::<Entry6>() as u64,
    size_of::<EndpointKey>() as u64,
    offset_of!(EndpointKey, generation) as u64,
    offset_of!(EndpointKey, ifindex) as u64,
    offset_of!(EndpointKey, address) as u64,
    offset_of!(EndpointKey, vlan) as u64,
    offset_of!(EndpointKey, port) as u64,
    offset_of!(EndpointKey, family) as u64,
    offset_of!(EndpointKey, protocol) as u64,
    size_of::<Counter>() as u64,
    SAMPLE_FLOOD as u64,
    size_of::<DropEvent>() as u64,
    MAX_LISTENERS as u64,
    REASONS as u64,
    ENTRY_COUNTERS as u64,
    Reason::ALL.len() as u64,
    BANK_SLOTS as u64,
    CHAIN_MAX as u64,
    SLOT_ENTRIES as u64,
    ENDPOINT_ROWS as u64,
    PORT_WORDS as u64,
    PORT_MARKS as u64,
    PORT_GENERATION as u64,
    PORT_BANK as u64,
    HASHED as u64,
    SLOT_OPEN as u64,
    SLOT_ECHO_ALL as u64,
    SLOT_SILENT as u64,
    SLOT_MONITOR as u64,
    size_of::<Source>() as u64,
    size_of::<Ban>() as u64,
    size_of::<Budget>() as u64,
    BANS as u64,
    BUDGETED_SOURCES as u64,
    ENTRY_DRAINING as u64,
    LARGE_LIST as u64,
    LISTS as u64,
    SIZES[0] as u64,
    SIZES[1] as u64,
    SIZES[2] as u64,
    SIZES[3] as u64,
]);

/// FNV-1a over the bytes of `words`.
const fn hash(mut words: &[u64]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    while let [word, rest @ ..] = words {
        let mut bytes: &[u8] = &word.to_le_bytes();
        while let [byte, more @ ..] = bytes {
            hash = (hash ^ *byte as u64).wrapping_mul(0x0000_0100_0000_01b3);
            bytes = more;
        }
        words = rest;
    }
    hash
}

const _: () = {
    // Sum of the fields == size of the type: there is no padding.
    let entries = SLOT_ENTRIES * (size_of::<Entry4>() + size_of::<Entry6>());
    assert!(size_of::<Slot>() == 64 + 64 + 16 + 2 * 32 + entries);
    assert!(offset_of!(Slot, addr6) == 64);
    assert!(size_of::<EndpointKey>() == 32);
    assert!(size_of::<Counter>() == 16);
    assert!(size_of::<DropEvent>() == 64);
};
