//! Rows of the table for large lists: random sources under lists of growing length.
//!
//! A test run repeats one frame, so another program gives each packet a random source and tail-calls the filter. What
//! that costs is measured with the empty program behind it, and taken off round by round.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, MapData, ProgramArray},
    programs::{ProgramFd, Xdp},
};
use gateway_common::{
    build::{Table, table4, table6},
    list::{SIZES, length4, length6, number},
};

use crate::{frames::syn, policy};

/// Entries of the lists.
pub(crate) const ENTRIES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// A list and what it is loaded into.
pub(crate) struct Listed {
    pub(crate) ebpf: Ebpf,
    pub(crate) entries: usize,
    /// Of both families, in the kernel.
    pub(crate) bytes: usize,
}

/// Loads the shipped object with a list of so many entries in each family: half /24 (/64), a quarter /32 (/128), the
/// rest /22 and /20 (/56 and /48), all over the unicast space.
pub(crate) fn load(interface: u32, entries: usize) -> anyhow::Result<Listed> {
    let mut state = entries as u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state ^ (state >> 31)
    };
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for _ in 0..entries {
        let (long, short) = match next() % 20 {
            0..10 => (24, 64),
            10..15 => (32, 128),
            15..18 => (22, 56),
            _ => (20, 48),
        };
        let host = u128::from(u32::MAX.checked_shr(long).unwrap_or(0));
        let first = u128::from((next() >> 32) as u32) & !host;
        v4.push((first, first | host));
        let host = u128::MAX.checked_shr(short).unwrap_or(0);
        let address = (u128::from(next()) << 64 | u128::from(next())) >> 3 | 1 << 125;
        v6.push((address & !host, address | host));
    }
    let v4 = table4(v4).context("an IPv4 list")?;
    let v6 = table6(v6).context("an IPv6 list")?;
    let bytes = v4.value.len() * 4 + v6.value.len() * 8;
    let mut ebpf = policy::load(interface)?;
    put4(&mut ebpf, &v4)?;
    put6(&mut ebpf, &v6)?;
    policy::refer(&mut ebpf, interface, (number(v4.size, 1), v4.near), (number(v6.size, 1), v6.near))?;
    Ok(Listed { ebpf, entries, bytes })
}

/// A list as aya takes it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Value<const LENGTH: usize, N>([N; LENGTH]);

// SAFETY: integers.
#[expect(unsafe_code, reason = "aya moves lists into maps as bytes")]
unsafe impl<const LENGTH: usize> aya::Pod for Value<LENGTH, u32> {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "aya moves lists into maps as bytes")]
unsafe impl<const LENGTH: usize> aya::Pod for Value<LENGTH, u64> {}

fn put<const LENGTH: usize, N: Copy>(ebpf: &mut Ebpf, name: &str, value: &[N]) -> anyhow::Result<()>
where
    Value<LENGTH, N>: aya::Pod,
{
    let mut inner = Array::<MapData, Value<LENGTH, N>>::create(1, 0)?;
    inner.set(0, Value(value.try_into()?), 0)?;
    let mut lists = ArrayOfMaps::<_, Array<MapData, Value<LENGTH, N>>>::try_from(
        ebpf.map_mut(name).context("a list's map")?,
    )?;
    Ok(lists.set(1, &inner, 0)?)
}

fn put4(ebpf: &mut Ebpf, table: &Table<u32>) -> anyhow::Result<()> {
    match table.size {
        0 => put::<{ length4(SIZES[0]) }, u32>(ebpf, "LISTS4_S", &table.value),
        1 => put::<{ length4(SIZES[1]) }, u32>(ebpf, "LISTS4_M", &table.value),
        2 => put::<{ length4(SIZES[2]) }, u32>(ebpf, "LISTS4_L", &table.value),
        _ => put::<{ length4(SIZES[3]) }, u32>(ebpf, "LISTS4_X", &table.value),
    }
}

fn put6(ebpf: &mut Ebpf, table: &Table<u64>) -> anyhow::Result<()> {
    match table.size {
        0 => put::<{ length6(SIZES[0]) }, u64>(ebpf, "LISTS6_S", &table.value),
        1 => put::<{ length6(SIZES[1]) }, u64>(ebpf, "LISTS6_M", &table.value),
        2 => put::<{ length6(SIZES[2]) }, u64>(ebpf, "LISTS6_L", &table.value),
        _ => put::<{ length6(SIZES[3]) }, u64>(ebpf, "LISTS6_X", &table.value),
    }
}

/// Lets the bench's programs with a random source go on with `program`.
pub(crate) fn go_on_with(bench: &mut Ebpf, program: &ProgramFd) -> anyhow::Result<()> {
    let mut next = ProgramArray::try_from(bench.map_mut("NEXT").context("NEXT")?)?;
    Ok(next.set(0, program, 0)?)
}

/// The descriptor of a loaded program.
pub(crate) fn descriptor(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<ProgramFd> {
    let program: &mut Xdp = ebpf.program_mut(name).context("a program")?.try_into()?;
    Ok(program.fd()?.try_clone()?)
}

/// The frame whose source the bench's programs replace.
pub(crate) fn frame(v4: bool) -> Vec<u8> {
    let source = if v4 { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
    syn(source, policy::PORT)
}
