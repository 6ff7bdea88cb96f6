//! Every map of the program: who writes it, who reads it, its size, and why it is of its type.
//!
//! All are BTF maps, which bpftool and libbpf load too. All are pinned by the daemon, except `.rodata`, which belongs
//! to one program instance: an interface's own.
#![expect(unsafe_code, reason = "a map's name is its symbol")]

use aya_ebpf::{
    Global,
    btf_maps::{Array, ArrayOfMaps, HashMap, LruHashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use gateway_common::{
    counters::{Counter, ENTRY_COUNTER_SLOTS, MAX_LISTENERS, VERDICT_COUNTERS},
    defence::{BANS as BANNED, BUDGETED_SOURCES, Ban, Budget, Source},
    list::{LISTS, SIZES, length4, length6},
    table::{ENDPOINT_ROWS, EndpointKey, PORT_MARKS, PORT_WORDS, PortMarks, SLOTS, Slot},
};

/// One generation's port table.
pub(crate) type Ports = Array<u32, { PORT_WORDS as usize }>;

/// The live port table. The daemon replaces it (257 KiB) with one update; the program reads it once per packet, so
/// that each packet is judged by one generation. An array of maps, because its update returns after a grace period.
#[btf_map]
pub(crate) static PORTS: ArrayOfMaps<Ports, 1> = ArrayOfMaps::new();

/// Which ports may be a listener's (8 KiB), in front of [`PORTS`]: most of a host's traffic is for nobody, and leaves
/// after one look. The daemon sets marks before it publishes a generation, and clears them after.
///
/// A section of data instead of a map of `.maps`, because the program then has its address: no look-up, no stack, no
/// saved register. A loader writes a section's first contents whenever it loads the object, also over a pinned map; so
/// these say of every port that it may be a listener's, and whoever forgets them costs time and lets nothing pass.
#[unsafe(link_section = ".data.MARKS")]
#[unsafe(no_mangle)]
pub(crate) static MARKS: Marks = Marks([u64::MAX; PORT_MARKS as usize]);

/// See [`MARKS`].
#[repr(transparent)]
pub(crate) struct Marks(PortMarks);

impl Marks {
    /// The word at `index`, which wraps around.
    #[inline(always)]
    pub(crate) fn word(&self, index: u32) -> u64 {
        let index = index % PORT_MARKS;
        // SAFETY: the index is within the array. Volatile, because the daemon changes what the compiler takes for a
        // constant.
        unsafe { (&raw const self.0).cast::<u64>().add(index as usize).read_volatile() }
    }
}

/// Endpoints with their allowlists (5 MiB). The daemon writes slots of the bank that is not live; array, because a
/// slot's number is its index.
#[btf_map(name = "SLOTS")]
pub(crate) static SLOT_TABLE: Array<Slot, { SLOTS as usize }> = Array::new();

/// Endpoints of ports with many of them, and addresses for what has no port (1 MiB). The daemon writes rows of the
/// coming generation and deletes those of the last one; their keys carry the generation, so no live row changes.
#[btf_map]
pub(crate) static ENDPOINTS: HashMap<EndpointKey, u32, { ENDPOINT_ROWS as usize }> = HashMap::new();

/// A large list of one size: a single value, so that the search checks one pointer and then only reads.
type List4<const SIZE: usize> = Array<[u32; SIZE], 1>;
type List6<const SIZE: usize> = Array<[u64; SIZE], 1>;

macro_rules! lists {
    ($($name:ident: $list:ident, $length:ident, $size:literal;)+) => {$(
        /// Large lists of one size and family (20 KiB to 10 MiB each, IPv6 72 KiB to 36 MiB). The daemon puts a list
        /// at an index that no live slot names, and takes it away when none does any more.
        #[btf_map]
        pub(crate) static $name: ArrayOfMaps<$list<{ $length(SIZES[$size]) }>, { LISTS as usize }> =
            ArrayOfMaps::new();
    )+};
}

lists! {
    LISTS4_S: List4, length4, 0;
    LISTS4_M: List4, length4, 1;
    LISTS4_L: List4, length4, 2;
    LISTS4_X: List4, length4, 3;
    LISTS6_S: List6, length6, 0;
    LISTS6_M: List6, length6, 1;
    LISTS6_L: List6, length6, 2;
    LISTS6_X: List6, length6, 3;
}

/// Packets and bytes by listener and reason (128 KiB per CPU). The program adds, the daemon reads.
#[btf_map]
pub(crate) static VERDICTS: PerCpuArray<Counter, { VERDICT_COUNTERS as usize }> = PerCpuArray::new();

/// Packets and bytes by listener and allowlist entry (256 KiB per CPU). The program adds, the daemon reads.
#[btf_map]
pub(crate) static ENTRIES: PerCpuArray<Counter, { ENTRY_COUNTER_SLOTS as usize }> = PerCpuArray::new();

/// Which drops are sent as events: see `SAMPLE_FLOOD`. The program raises the mask, the daemon lowers it.
#[btf_map]
pub(crate) static SAMPLE: Array<u32, 1> = Array::new();

/// Events that found the ring buffer full. The program adds, the daemon reads.
#[btf_map]
pub(crate) static LOST: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Sampled drops (256 KiB), each a `DropEvent`. The program writes, the daemon polls: it is never woken by a packet.
/// The type is given where events are made, because libbpf refuses a ring buffer that declares one.
#[btf_map]
pub(crate) static EVENTS: RingBuf<(), { 256 * 1024 }> = RingBuf::new();

/// What there is to look for behind a positive verdict: `GUARD_BANS`, `GUARD_BUDGETS`. The daemon writes it, and the
/// program reads it once for a packet of an allowed source; while it is 0, that is all that the defence costs.
#[btf_map]
pub(crate) static GUARD: Array<u32, 1> = Array::new();

/// Banned sources (700 KiB). The daemon writes, the program reads; hash, because a ban must not be forgotten for
/// another.
#[btf_map]
pub(crate) static BANS: HashMap<Source, Ban, { BANNED as usize }> = HashMap::new();

/// Budgets of new connections by listener (12 KiB). The daemon writes rates, the program what is left.
#[btf_map]
pub(crate) static BUDGETS: Array<Budget, { MAX_LISTENERS as usize }> = Array::new();

/// What is left of each source's share (1.5 MiB). The program writes; LRU, because the sources of a wide list are more
/// than any table holds.
#[btf_map]
pub(crate) static SHARES: LruHashMap<Source, u64, { BUDGETED_SOURCES as usize }> = LruHashMap::new();

/// The interface that this instance is attached to, set before it is loaded. A bond's members belong to the bond, so
/// the index cannot be taken from the packet.
#[unsafe(no_mangle)]
pub(crate) static INTERFACE: Global<u32> = Global::new(0);

/// Length of the header before the network header on this instance's interface: Ethernet's, or 0 where packets have
/// none (WireGuard, tun). Set before it is loaded; only the classifier asks.
#[unsafe(no_mangle)]
pub(crate) static LINK_HEADER: Global<u32> = Global::new(14);
