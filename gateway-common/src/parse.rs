//! From the bytes of a frame to a [`Packet`]: what the filter must know, and nothing else.
//!
//! The parser is generic over where the bytes are: a frame under XDP, or a slice on the host. It does not check what
//! the kernel checks anyway before a packet reaches a socket (versions, lengths, checksums); it finds the ports that
//! the kernel will find, and whatever keeps it from finding them towards a listener has a [`Kind`] of its own.

use crate::packet::{Address, Family, Kind, MAX_EXTENSIONS, MAX_TAGS_READ, Packet};

/// The bytes of a frame. Each read is checked against the frame's end.
pub trait Bytes {
    /// Walks an IPv6 chain: [`walk`], unless the source of the bytes wants it elsewhere. The XDP program makes a function
    /// of it that the verifier checks once, instead of once for every way that leads there.
    #[inline(always)]
    fn walk(&self, next: u8, offset: usize) -> Upper {
        walk(self, next, offset)
    }

    /// The byte at `offset`.
    fn byte(&self, offset: usize) -> Option<u8>;
    /// Two bytes at `offset`, as they came off the wire.
    fn half(&self, offset: usize) -> Option<u16>;
    /// Four bytes at `offset`, as they came off the wire.
    fn word(&self, offset: usize) -> Option<u32>;
}

// EtherTypes (IEEE 802, RFC 7042 appendix B).
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;

// IP protocol numbers (IANA).
const HOP_BY_HOP: u8 = 0;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const ICMPV6: u8 = 58;
const DESTINATION_OPTIONS: u8 = 60;

/// ICMP echo request (RFC 792).
const ECHO_REQUEST: u8 = 8;
/// ICMPv6 echo request (RFC 4443 §4.1).
const ECHO_REQUEST_V6: u8 = 128;

/// TCP flags, in the byte at offset 13 (RFC 9293 §3.1).
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

const ETHERNET_HEADER: usize = 14;
const VLAN_TAG: usize = 4;
const IPV6_HEADER: usize = 40;

/// Reads a frame that begins with its Ethernet header. `None`: it ends before the IP header does.
#[inline(always)]
pub fn parse<B: Bytes + ?Sized>(bytes: &B) -> Option<Packet> {
    parse_behind(bytes, Packet::OTHER, u16::from_be(bytes.half(12)?), ETHERNET_HEADER)
}

/// Reads a frame from `offset` on, where what `ethertype` names begins. `packet` says which tags were before it.
#[inline(always)]
pub fn parse_behind<B: Bytes + ?Sized>(
    bytes: &B,
    mut packet: Packet,
    mut ethertype: u16,
    mut offset: usize,
) -> Option<Packet> {
    while ethertype == VLAN || ethertype == SERVICE_VLAN {
        if packet.tags == MAX_TAGS_READ {
            packet.kind = Kind::VlanDepth;
            return Some(packet);
        }
        packet.tags += 1;
        let id = u16::from_be(bytes.half(offset)?) & 0x0fff;
        if packet.vlan == 0 {
            packet.vlan = id;
        }
        ethertype = u16::from_be(bytes.half(offset + 2)?);
        offset += VLAN_TAG;
    }
    match ethertype {
        IPV4 => ipv4(bytes, offset, packet),
        IPV6 => ipv6(bytes, offset, packet),
        _ => Some(packet),
    }
}

#[inline(always)]
fn ipv4<B: Bytes + ?Sized>(bytes: &B, at: usize, mut packet: Packet) -> Option<Packet> {
    packet.destination = [bytes.word(at + 16)?, 0, 0, 0];
    packet.source = [bytes.word(at + 12)?, 0, 0, 0];
    let first = bytes.byte(at)?;
    let length = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || length < 20 {
        return Some(packet);
    }
    let fragment = u16::from_be(bytes.half(at + 6)?);
    let more = fragment & 0x2000 != 0;
    let later = fragment & 0x1fff != 0;
    let upper = match bytes.byte(at + 9)? {
        TCP if later => Upper::of(Kind::LaterFragment),
        TCP => tcp(bytes, at + length, more),
        // A fragmented echo request is answered like a whole one: the first fragment carries the type.
        ICMP if !later => icmp(bytes, at + length, ECHO_REQUEST),
        _ => Upper::of(Kind::Other),
    };
    Some(upper.complete(packet))
}

#[inline(always)]
fn ipv6<B: Bytes + ?Sized>(bytes: &B, at: usize, mut packet: Packet) -> Option<Packet> {
    packet.family = Family::V6;
    packet.destination = address(bytes, at + 24)?;
    packet.source = address(bytes, at + 8)?;
    if bytes.byte(at)? >> 4 != 6 {
        return Some(packet);
    }
    let next = bytes.byte(at + 6)?;
    let offset = at + IPV6_HEADER;
    let upper = match next {
        TCP => tcp(bytes, offset, false),
        ICMPV6 => icmp(bytes, offset, ECHO_REQUEST_V6),
        _ if is_extension(next) => bytes.walk(next, offset),
        _ => Upper::of(Kind::Other),
    };
    Some(upper.complete(packet))
}

/// Walks the extension headers that begin with the header `next` at `offset`.
#[inline(always)]
pub fn walk<B: Bytes + ?Sized>(bytes: &B, mut next: u8, mut offset: usize) -> Upper {
    let mut fragmented = false;
    for _ in 0..MAX_EXTENSIONS {
        // The first four bytes of every extension header; none is shorter than eight.
        let Some(header) = bytes.word(offset) else { return Upper::of(Kind::Truncated) };
        let [following, length, high, low] = header.to_ne_bytes();
        let length = usize::from(length);
        offset += match next {
            FRAGMENT => {
                let fragment = u16::from_be_bytes([high, low]);
                if fragment & 0xfff8 != 0 {
                    let may_be_tcp = following == TCP || is_extension(following);
                    return Upper::of(if may_be_tcp { Kind::LaterFragment } else { Kind::Other });
                }
                // Neither offset nor more fragments: an atomic fragment (RFC 6946), a whole packet.
                fragmented |= fragment & 1 != 0;
                8
            }
            AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        next = following;
        match next {
            TCP => return tcp(bytes, offset, fragmented),
            ICMPV6 => return icmp(bytes, offset, ECHO_REQUEST_V6),
            _ if is_extension(next) => {}
            // No next header, ESP, UDP and whatever else the filter has no say about.
            _ => return Upper::of(Kind::Other),
        }
    }
    Upper::of(Kind::ExtChain)
}

/// Whether another header follows this one. ESP hides what does, and is judged when it has been decrypted.
#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}

/// A TCP header. Of a first fragment only the ports are needed: all of it is dropped if they are a listener's.
#[inline(always)]
fn tcp<B: Bytes + ?Sized>(bytes: &B, at: usize, fragmented: bool) -> Upper {
    let Some(ports) = bytes.word(at) else { return Upper::of(Kind::Truncated) };
    if fragmented {
        return Upper::tcp(Kind::TcpFragment, u32::from_be(ports), false);
    }
    let Some(flags) = bytes.byte(at + 13) else { return Upper::of(Kind::Truncated) };
    Upper::tcp(Kind::Tcp, u32::from_be(ports), flags & (SYN | ACK) == SYN)
}

/// An ICMP header of either version: errors and neighbour discovery are none of the filter's business.
#[inline(always)]
fn icmp<B: Bytes + ?Sized>(bytes: &B, at: usize, echo: u8) -> Upper {
    let Some(kind) = bytes.byte(at) else { return Upper::of(Kind::Truncated) };
    Upper::of(if kind == echo { Kind::Echo } else { Kind::Other })
}

/// What stands behind the IP header, in one word that a function of the XDP program can return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper(u64);

impl Upper {
    /// The headers end too early.
    pub const TRUNCATED: Self = Self::of(Kind::Truncated);

    #[inline(always)]
    const fn of(kind: Kind) -> Self {
        Self((kind as u64) << 33)
    }

    #[inline(always)]
    const fn tcp(kind: Kind, ports: u32, syn: bool) -> Self {
        Self(Self::of(kind).0 | (syn as u64) << 32 | ports as u64)
    }

    /// The word, for [`Self::from_word`].
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Takes what [`Self::word`] gave.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[inline(always)]
    const fn complete(self, mut packet: Packet) -> Packet {
        packet.source_port = (self.0 >> 16) as u16;
        packet.port = self.0 as u16;
        packet.syn = self.0 >> 32 & 1 != 0;
        packet.kind = Kind::from_number((self.0 >> 33) as u8);
        packet
    }
}

#[inline(always)]
fn address<B: Bytes + ?Sized>(bytes: &B, at: usize) -> Option<Address> {
    // The last word first: one check then covers all four.
    let last = bytes.word(at + 12)?;
    Some([bytes.word(at)?, bytes.word(at + 4)?, bytes.word(at + 8)?, last])
}

// === impl Bytes ===

impl Bytes for [u8] {
    #[inline(always)]
    fn byte(&self, offset: usize) -> Option<u8> {
        self.get(offset).copied()
    }

    #[inline(always)]
    fn half(&self, offset: usize) -> Option<u16> {
        self.get(offset..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
    }

    #[inline(always)]
    fn word(&self, offset: usize) -> Option<u32> {
        self.get(offset..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
    }
}
