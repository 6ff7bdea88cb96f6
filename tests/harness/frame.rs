//! Pure: Ethernet frames by hand, whole and with right checksums, in the shapes that try to get round a filter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::topology::{GHOST_MAC, Mac, PUBLIC_MAC};

pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;
pub const RST: u8 = 0x04;
/// 802.1Q and 802.1ad.
pub const DOT1Q: u16 = 0x8100;
pub const DOT1AD: u16 = 0x88a8;

/// What the Ethernet header says.
#[derive(Clone, Debug)]
pub struct Link {
    pub source: Mac,
    pub destination: Mac,
    /// Outermost first: (ethertype of the tag, VLAN id).
    pub tags: Vec<(u16, u16)>,
}

impl Default for Link {
    /// From the ghost to the gateway's public interface, untagged.
    fn default() -> Self {
        Self { source: GHOST_MAC, destination: PUBLIC_MAC, tags: Vec::new() }
    }
}

// === impl Link ===

impl Link {
    #[must_use]
    pub fn tagged(tags: &[(u16, u16)]) -> Self {
        Self { tags: tags.to_vec(), ..Self::default() }
    }

    fn frame(&self, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + payload.len());
        bytes.extend(self.destination);
        bytes.extend(self.source);
        for (kind, id) in &self.tags {
            bytes.extend(kind.to_be_bytes());
            bytes.extend(id.to_be_bytes());
        }
        bytes.extend(ethertype.to_be_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().max(60), 0);
        bytes
    }

    /// A frame of any kind.
    #[must_use]
    pub fn bare(&self, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        self.frame(ethertype, payload)
    }

    /// A frame around an IPv4 packet.
    #[must_use]
    pub fn v4(&self, packet: &[u8]) -> Vec<u8> {
        self.frame(0x0800, packet)
    }

    /// A frame around an IPv6 packet.
    #[must_use]
    pub fn v6(&self, packet: &[u8]) -> Vec<u8> {
        self.frame(0x86dd, packet)
    }

    /// A frame around `segment` between two addresses of one family, without options or extension headers.
    #[must_use]
    pub fn around(&self, source: IpAddr, destination: IpAddr, protocol: u8, segment: &[u8]) -> Vec<u8> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.v4(&Ipv4 { source, destination, protocol, ..Ipv4::new() }.packet(segment))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.v6(&ipv6(source, destination, &[], protocol, segment))
            }
            _ => panic!("{source} and {destination} are of different families"),
        }
    }
}

/// An IPv4 header.
#[derive(Clone, Debug)]
pub struct Ipv4 {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub protocol: u8,
    /// 32-bit words of options, all "no operation".
    pub option_words: u8,
    pub id: u16,
    /// Flags and fragment offset as in the header.
    pub fragment: u16,
}

impl Default for Ipv4 {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Ipv4 ===

impl Ipv4 {
    /// TCP, do not fragment, no addresses yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            source: Ipv4Addr::UNSPECIFIED,
            destination: Ipv4Addr::UNSPECIFIED,
            protocol: 6,
            option_words: 0,
            id: 0x4711,
            fragment: 0x4000,
        }
    }

    #[must_use]
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header = 20 + usize::from(self.option_words) * 4;
        let total = u16::try_from(header + payload.len()).expect("a packet is short");
        let mut bytes = vec![0x45 + self.option_words, 0];
        bytes.extend(total.to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([64, self.protocol, 0, 0]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.resize(header, 1);
        let sum = checksum(&[&bytes]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(payload);
        bytes
    }
}

/// An IPv6 packet with a chain of extension headers: (their protocol number, their bytes after the next-header field).
#[must_use]
pub fn ipv6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    chain: &[(u8, Vec<u8>)],
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut body = Vec::new();
    for (position, (_, rest)) in chain.iter().enumerate() {
        body.push(chain.get(position + 1).map_or(protocol, |(next, _)| *next));
        body.extend(rest);
    }
    body.extend(payload);
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend(u16::try_from(body.len()).expect("a packet is short").to_be_bytes());
    bytes.extend([chain.first().map_or(protocol, |(first, _)| *first), 64]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(body);
    bytes
}

/// Extension headers for [`ipv6`].
pub mod extension {
    /// Hop-by-hop (0) or destination options (60) with one PadN that fills eight bytes.
    #[must_use]
    pub fn options(kind: u8) -> (u8, Vec<u8>) {
        (kind, vec![0, 1, 4, 0, 0, 0, 0])
    }

    /// A fragment header: offset in 8-byte units, whether more follow.
    #[must_use]
    pub fn fragment(offset: u16, more: bool, id: u32) -> (u8, Vec<u8>) {
        let mut bytes = vec![0];
        bytes.extend((offset << 3 | u16::from(more)).to_be_bytes());
        bytes.extend(id.to_be_bytes());
        (44, bytes)
    }
}

/// A TCP header without options.
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
}

// === impl Tcp ===

impl Tcp {
    #[must_use]
    pub const fn syn() -> Self {
        Self { flags: SYN, sequence: 0x1000_0000, acknowledgement: 0 }
    }

    /// The segment with its checksum for these ends.
    #[must_use]
    pub fn segment(&self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(20 + payload.len());
        bytes.extend(source.port().to_be_bytes());
        bytes.extend(destination.port().to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgement.to_be_bytes());
        bytes.extend([5 << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(payload);
        let sum = checksum(&[&pseudo_header(source.ip(), destination.ip(), 6, bytes.len()), &bytes]);
        bytes[16..18].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

/// A SYN in a frame of its own.
#[must_use]
pub fn syn(link: &Link, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    link.around(source.ip(), destination.ip(), 6, &Tcp::syn().segment(source, destination, &[]))
}

/// A UDP datagram in a frame of its own.
#[must_use]
pub fn udp(link: &Link, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    bytes.extend(u16::try_from(length).expect("a datagram is short").to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    let sum = checksum(&[&pseudo_header(source.ip(), destination.ip(), 17, length), &bytes]);
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    link.around(source.ip(), destination.ip(), 17, &bytes)
}

/// Writes the checksum of an ICMP message into it.
pub fn seal_icmp(message: &mut [u8]) {
    let sum = checksum(&[message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
}

/// Writes the checksum of an ICMPv6 message between two addresses into it.
pub fn seal_icmpv6(message: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) {
    let header = pseudo_header(source.into(), destination.into(), 58, message.len());
    let sum = checksum(&[&header, message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
}

fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    // The IPv4 form has a 16-bit length; four bytes with leading zeros add up to the same sum.
    bytes.extend(u32::try_from(length).expect("a packet is short").to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

/// The Internet checksum (RFC 1071) over the parts, each of even length but the last.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or_default());
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
