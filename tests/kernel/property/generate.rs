//! Pure: random policies, and random frames that have something to do with them.

use std::sync::Arc;

use gateway_user::snapshot::filter::{
    Echo, FilterEntry, FilterListener, FilterPlan, LargeList, ListenAddress, ListenerOptions, check,
};
use harness::random::Random;
use ipnet::IpNet;

use crate::{
    packet::{Extension, Frame, Upper, protocol},
    policy,
};

const ADDRESSES: [&str; 8] = [
    "198.51.100.1",
    "198.51.100.2",
    "198.51.100.3",
    "203.0.113.1",
    "2001:db8:1::1",
    "2001:db8:1::2",
    "2001:db8:9::1",
    "fe80::1",
];
const WILDCARDS: [&str; 3] = ["*", "0.0.0.0", "::"];
const PORTS: [u16; 4] = [80, 443, 8443, 65535];
/// Sources lie near these, and so do entries.
const NEIGHBOURHOODS: [&str; 6] =
    ["10.1.2.3", "10.1.3.7", "192.0.2.200", "2001:db8:2::1", "2001:db8:2:8000::1", "fd00::1234"];

/// A policy that fits the tables.
pub(crate) fn plan(random: &mut Random, generation: u64) -> FilterPlan {
    loop {
        let count = if random.chance(20) { 5 + random.below(12) } else { 1 + random.below(5) };
        let listeners = (0..count).map(|number| listener(random, number as u16 * 3 + 1)).collect();
        let plan = policy::plan(generation, listeners);
        // Two listeners on one endpoint are refused by whoever compiles a policy.
        if check(&plan).is_ok() && policy::build(&plan).is_ok() {
            return plan;
        }
    }
}

fn listener(random: &mut Random, id: u16) -> FilterListener {
    let mut addresses = Vec::new();
    for _ in 0..1 + random.below(3) {
        addresses.push(if random.chance(20) { random.one(&WILDCARDS) } else { random.one(&ADDRESSES) });
    }
    let interface = random.one(&["wan", "wan", "wan", "wan", "wan.5", "wan.5", "lan", "gone"]);
    let mut ports = PORTS.to_vec();
    ports.retain(|_| random.chance(70));
    FilterListener {
        ports,
        open: random.chance(85),
        echo: random.one(&[Echo::Everybody, Echo::Allowlist, Echo::Allowlist, Echo::Silent]),
        entries: entries(random),
        options: ListenerOptions { monitor: random.chance(15), ..ListenerOptions::default() },
        large: random.chance(30).then(|| large(random)),
        ..policy::listener(id, interface, &addresses, &[])
    }
}

fn entries(random: &mut Random) -> Vec<FilterEntry> {
    let mut entries: Vec<FilterEntry> = Vec::new();
    let count = if random.chance(20) { 0 } else { random.below(31) };
    for _ in 0..count {
        let cidr = prefix(random);
        if entries.iter().all(|entry| entry.cidr != cidr) {
            let id = entries.len() as u8;
            entries.push(FilterEntry { cidr, id, draining: random.chance(25) });
        }
    }
    entries
}

/// A large list: at times of one family, or empty, and rarely a long one.
fn large(random: &mut Random) -> Arc<LargeList> {
    let count = if random.chance(5) { 2_500 } else { random.below(80) };
    Arc::new(LargeList::new((0..count).map(|_| prefix(random)).collect()))
}

fn prefix(random: &mut Random) -> IpNet {
    let address = {
        let spread = random_spread(random);
        address(random, spread)
    };
    let width = if address.is_ipv4() { 32 } else { 128 };
    let length = if random.chance(5) { random.below(8) } else { 8 + random.below(width - 7) };
    IpNet::new(address, length as u8).unwrap().trunc()
}

fn random_spread(random: &mut Random) -> usize {
    if random.chance(5) { 128 } else { random.below(20) }
}

/// An address that shares all but its last `spread` bits with a neighbourhood's.
fn address(random: &mut Random, spread: usize) -> std::net::IpAddr {
    let noise = u128::from(random.next()) << 64 | u128::from(random.next());
    match random.pick(&NEIGHBOURHOODS).parse().unwrap() {
        std::net::IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(spread.min(32) as u32).unwrap_or(0);
            std::net::Ipv4Addr::from_bits(address.to_bits() & mask | noise as u32 & !mask).into()
        }
        std::net::IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(spread as u32).unwrap_or(0);
            std::net::Ipv6Addr::from_bits(address.to_bits() & mask | noise & !mask).into()
        }
    }
}

/// A frame; at times one with wrong bytes, and at times nothing but bytes.
pub(crate) fn frame(random: &mut Random, plan: &FilterPlan) -> Vec<u8> {
    if random.chance(3) {
        return (0..14 + random.below(120)).map(|_| random.next() as u8).collect();
    }
    let mut frame = described(random);
    if random.chance(70) {
        aim(random, plan, &mut frame);
    }
    let mut bytes = frame.bytes();
    if random.chance(25) {
        for _ in 0..1 + random.below(3) {
            let reach = bytes.len().min(110);
            let place = 12 + random.below(reach - 12);
            bytes[place] =
                if random.chance(50) { random.next() as u8 } else { bytes[place] ^ 1 << random.below(8) };
        }
    }
    bytes
}

fn described(random: &mut Random) -> Frame {
    let source = {
        let spread = random_spread(random);
        address(random, spread)
    };
    let destination = loop {
        let spread = if random.chance(90) { 0 } else { random.below(4) };
        let mut destination = random.pick(&ADDRESSES).parse().unwrap();
        if spread != 0 {
            destination = match destination {
                std::net::IpAddr::V4(it) => {
                    std::net::Ipv4Addr::from_bits(it.to_bits() ^ spread as u32).into()
                }
                std::net::IpAddr::V6(it) => {
                    std::net::Ipv6Addr::from_bits(it.to_bits() ^ spread as u128).into()
                }
            };
        }
        if destination.is_ipv4() == source.is_ipv4() {
            break destination;
        }
    };
    let depth = match random.below(10) {
        0..6 => 0,
        6..9 => 1 + random.below(2),
        _ => 3 + random.below(4),
    };
    let tag = |random: &mut Random| {
        let id = random.one(&[0, 5, 5, 5, 6, 0xfff]);
        (random.one(&[0x8100, 0x88a8]), id | (random.below(16) as u16) << 12)
    };
    let mut frame = Frame {
        tags: (0..depth).map(|_| tag(random)).collect(),
        source,
        destination,
        options: if random.chance(70) { 0 } else { random.below(11) as u8 },
        fragment: random.one(&[0x4000, 0x4000, 0x4000, 0, 0x2000, 0x2001, 0x0001, 0x1fff, 0x8000]),
        chain: Vec::new(),
        upper: upper(random),
        cut: None,
    };
    if destination.is_ipv6() && random.chance(50) {
        frame.chain = (0..random.below(11)).map(|_| extension(random)).collect();
    }
    if random.chance(15) {
        frame.cut = Some(14 + random.below(frame.bytes().len() - 13));
    }
    frame
}

/// Makes `frame` one to a listener's endpoint, and often one from a listed source.
fn aim(random: &mut Random, plan: &FilterPlan, frame: &mut Frame) {
    let listener = &plan.listeners[random.below(plan.listeners.len())];
    let addresses = listener.addresses.iter().filter_map(|address| match address {
        ListenAddress::Ip(ip) if !ip.is_unspecified() && ip.is_ipv4() == frame.source.is_ipv4() => Some(*ip),
        ListenAddress::Ip(_) | ListenAddress::Any => None,
    });
    let addresses = addresses.collect::<Vec<_>>();
    if !addresses.is_empty() {
        frame.destination = random.one(&addresses);
    }
    let entries = listener.entries.iter().map(|entry| entry.cidr.network());
    let entries = entries.filter(|source| source.is_ipv4() == frame.source.is_ipv4()).collect::<Vec<_>>();
    if !entries.is_empty() && random.chance(50) {
        frame.source = random.one(&entries);
    }
    if let Upper::Tcp { port, .. } = &mut frame.upper
        && !listener.ports.is_empty()
    {
        *port = random.one(&listener.ports);
    }
}

fn extension(random: &mut Random) -> Extension {
    match random.below(10) {
        0 | 1 => Extension::fragment(random.one(&[0, 0, 0, 1, 0x1fff]), random.chance(30)),
        2 => Extension::authentication(random.below(6) as u8),
        3 => Extension::of(protocol::DESTINATION, random.one(&[0, 1, 17])),
        _ => {
            let number = random.one(&[protocol::HOP_BY_HOP, protocol::ROUTING, protocol::DESTINATION]);
            Extension::of(number, random.below(3) as u8)
        }
    }
}

fn upper(random: &mut Random) -> Upper {
    let port = if random.chance(90) { random.one(&PORTS) } else { random.next() as u16 };
    match random.below(10) {
        0 => Upper::Udp { port },
        1 => Upper::Icmp { kind: random.one(&[8, 128, 8, 128, 0, 3, 2, 135]) },
        2 => {
            let number = random.one(&[0, 1, 6, 17, 43, 44, 50, 51, 58, 59, 60, 4, 41, 255]);
            Upper::Raw {
                protocol: number,
                bytes: (0..random.below(40)).map(|_| random.next() as u8).collect(),
            }
        }
        _ => Upper::Tcp {
            source_port: random.next() as u16,
            port,
            flags: random.one(&[0x02, 0x10, 0x12, 0x18, 0x04, 0xc2, 0]),
        },
    }
}
