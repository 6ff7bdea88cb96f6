//! What the filter needs to know of a packet: the parser's output and [`crate::decide::decide`]'s input.

/// A source or destination address as it came off the wire; IPv4 in the first word, the rest zero.
pub type Address = [u32; 4];

/// VLAN tags that a frame to a listener may carry; more of them are dropped as `vlan_depth`.
pub const MAX_TAGS: u8 = 2;
/// VLAN tags that the parser reads in search of the IP header.
pub const MAX_TAGS_READ: u8 = 4;
/// IPv6 extension headers that the parser follows.
pub const MAX_EXTENSIONS: u32 = 8;

/// The address family of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// What the parser could tell about the part behind the IP header.
///
/// The variants have no fields: a field that only some variants have is undefined in the others, and LLVM may move its
/// use before the test of the variant, which the verifier refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A TCP segment with its ports and flags.
    Tcp,
    /// The first fragment of a TCP segment, parsed to its ports.
    TcpFragment,
    /// A later fragment that is TCP (IPv6: or whose upper layer is unknown).
    LaterFragment,
    /// ICMP or ICMPv6 echo request.
    Echo,
    /// TCP, ICMP or an unknown upper layer whose header ends before what a verdict needs: port and flags, or type.
    Truncated,
    /// More than [`MAX_EXTENSIONS`] IPv6 extension headers.
    ExtChain,
    /// More than [`MAX_TAGS_READ`] VLAN tags: nothing behind them was read.
    VlanDepth,
    /// Anything else: UDP, ICMP errors, neighbour discovery, other protocols.
    Other,
}

impl Kind {
    /// The kind with this number; what is not a number of a kind is none of the filter's business.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Tcp,
            1 => Self::TcpFragment,
            2 => Self::LaterFragment,
            3 => Self::Echo,
            4 => Self::Truncated,
            5 => Self::ExtChain,
            6 => Self::VlanDepth,
            _ => Self::Other,
        }
    }
}

/// A classified packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub family: Family,
    pub source: Address,
    pub destination: Address,
    /// TCP ports in host order, 0 where there are none.
    pub source_port: u16,
    pub port: u16,
    /// A TCP segment that opens a connection (SYN without ACK).
    pub syn: bool,
    /// The outer VLAN tag's id, 0 when untagged. Tags with id 0 carry a priority and name no VLAN (802.1Q §9.6), so the
    /// first id that is not 0 counts, as it does for the kernel (`__netif_receive_skb_core`).
    pub vlan: u16,
    /// Number of VLAN tags that were read.
    pub tags: u8,
    pub kind: Kind,
}

impl Packet {
    /// A packet that is not IP, or whose IP header cannot be read: none of the filter's business.
    pub const OTHER: Self = Self {
        family: Family::V4,
        source: [0; 4],
        destination: [0; 4],
        source_port: 0,
        port: 0,
        syn: false,
        vlan: 0,
        tags: 0,
        kind: Kind::Other,
    };
}

/// An address as two words, in the order in which it came off the wire.
#[inline(always)]
#[must_use]
pub const fn halves(address: &Address) -> [u64; 2] {
    let [a, b, c, d] = *address;
    [half(a, b), half(c, d)]
}

#[inline(always)]
const fn half(first: u32, second: u32) -> u64 {
    if cfg!(target_endian = "little") {
        first as u64 | (second as u64) << 32
    } else {
        (first as u64) << 32 | second as u64
    }
}
