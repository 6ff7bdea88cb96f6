//! The shipped object, loaded with one listener whose allowlist has 15 entries per family, none of which matches.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use anyhow::Context as _;
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, ArrayOfMaps, MapData, PerCpuArray},
};
use gateway_common::{
    counters::{Counter, verdict_index},
    reason::Reason,
    table::{
        Entry4, Entry6, PORT_GENERATION, PORT_MARKS, PORT_WORDS, PortMarks, SLOT_OPEN, Slot, place,
        port_index, port_mark,
    },
};

pub(crate) const PORT: u16 = 443;
pub(crate) const ADDRESS_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// Entries of each family.
pub(crate) const ENTRIES: usize = 15;
const LISTENER: u32 = 1;

/// Objects that `cargo xtask build-ebpf` and `cargo xtask bench` make.
pub(crate) fn object(name: &str) -> anyhow::Result<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bpf").join(name);
    std::fs::read(&path).with_context(|| format!("{} is missing: cargo xtask bench", path.display()))
}

/// A /24 of 10.200.0.0/16, which no bench sends from; also used for the nftables set.
pub(crate) fn entry_v4(index: usize) -> (Ipv4Addr, u8) {
    (Ipv4Addr::new(10, 200, index as u8, 0), 24)
}

/// Loads the shipped object for `interface` and publishes the policy.
pub(crate) fn load(interface: u32) -> anyhow::Result<Ebpf> {
    let bytes = object("gateway-ebpf")?;
    let mut ebpf = EbpfLoader::new().override_global("INTERFACE", &interface, true).load(&bytes)?;
    let mut slot = Slot {
        flags: SLOT_OPEN,
        addr4: u32::from_ne_bytes(ADDRESS_V4.octets()),
        mask4: u32::MAX,
        addr6: words(ADDRESS_V6),
        mask6: u64::MAX,
        place: place(interface, 0),
        refused: verdict_index(LISTENER, Reason::NotAllowed),
        listener: LISTENER,
        count4: ENTRIES as u32,
        count6: ENTRIES as u32,
        // The entries are /24 and /64 and differ in the last eight bits of these: one bucket for each.
        shift4: 8,
        shift6: 0,
        buckets4: [(1 << ENTRIES) - 1, 0, 0, 0],
        buckets6: [(1 << ENTRIES) - 1, 0, 0, 0],
        ..Slot::EMPTY
    };
    for index in 0..ENTRIES {
        let (net, length) = entry_v4(index);
        slot.entries4[index] = Entry4 {
            net: u32::from_ne_bytes(net.octets()),
            mask: u32::from_ne_bytes((u32::MAX << (32 - length)).to_be_bytes()),
        };
        slot.entries6[index] = Entry6 {
            net: words(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, index as u16, 0, 0, 0, 0)),
            mask: words(Ipv6Addr::new(0xffff, 0xffff, 0xffff, 0xffff, 0, 0, 0, 0)),
        };
        slot.ids4[index] = index as u8;
        slot.ids6[index] = index as u8;
    }
    Array::<_, Slot>::try_from(ebpf.map_mut("SLOTS").context("SLOTS")?)?.set(1, slot, 0)?;
    let mut ports = Array::<MapData, u32>::create(PORT_WORDS, 0)?;
    ports.set(port_index(PORT), 1, 0)?;
    ports.set(PORT_GENERATION, 1, 0)?;
    let mut marks: PortMarks = [0; PORT_MARKS as usize];
    let (word, mark) = port_mark(port_index(PORT));
    marks[word as usize] = mark;
    Array::<_, PortMarks>::try_from(ebpf.map_mut(".data.MARKS").context("MARKS")?)?.set(0, marks, 0)?;
    let mut live = ArrayOfMaps::try_from(ebpf.map_mut("PORTS").context("PORTS")?)?;
    live.set(0, &ports, 0)?;
    Ok(ebpf)
}

/// Lets the slot refer to large lists (number and near buckets of each family) in place of its entries.
pub(crate) fn refer(
    ebpf: &mut Ebpf,
    interface: u32,
    (list4, buckets4): (u32, [u64; 4]),
    (list6, buckets6): (u32, [u64; 4]),
) -> anyhow::Result<()> {
    let slot = Slot {
        flags: SLOT_OPEN,
        addr4: u32::from_ne_bytes(ADDRESS_V4.octets()),
        mask4: u32::MAX,
        addr6: words(ADDRESS_V6),
        mask6: u64::MAX,
        place: place(interface, 0),
        refused: verdict_index(LISTENER, Reason::NotAllowed),
        listener: LISTENER,
        shift4: 24,
        shift6: 56,
        buckets4,
        buckets6,
        list4,
        list6,
        ..Slot::EMPTY
    };
    Ok(Array::<_, Slot>::try_from(ebpf.map_mut("SLOTS").context("SLOTS")?)?.set(1, slot, 0)?)
}

/// Packets that the program dropped because their source was not on the list.
pub(crate) fn not_allowed(ebpf: &Ebpf) -> anyhow::Result<u64> {
    let counters = PerCpuArray::<_, Counter>::try_from(ebpf.map("VERDICTS").context("VERDICTS")?)?;
    let values = counters.get(&verdict_index(LISTENER, Reason::NotAllowed), 0)?;
    Ok(values.iter().map(|counter| counter.packets).sum())
}

fn words(address: Ipv6Addr) -> [u64; 2] {
    let octets = address.octets();
    let mut words = [0; 2];
    for (word, bytes) in words.iter_mut().zip(octets.chunks_exact(8)) {
        *word = u64::from_ne_bytes(bytes.try_into().unwrap());
    }
    words
}
