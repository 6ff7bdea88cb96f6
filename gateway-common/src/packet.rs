//! What the filter needs to know of a packet: the parser's output and [`crate::decide::decide`]'s input.

/// A source or destination address as it came off the wire; IPv4 in the first word, the rest zero.
pub type Address = [u32; 4];

/// The address family of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// What the parser could tell about the part behind the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TCP segment with its ports and flags.
    Tcp { port: u16, syn: bool },
    /// The first fragment of a TCP segment, parsed to its port.
    TcpFragment { port: u16 },
    /// A later fragment that is TCP (IPv6: or whose upper layer is unknown).
    LaterFragment,
    /// ICMP or ICMPv6 echo request.
    Echo,
    /// TCP or an unknown upper layer whose header ends before port and flags.
    Truncated,
    /// More than eight IPv6 extension headers.
    ExtChain,
    /// Anything else: UDP, ICMP errors, neighbour discovery, other protocols.
    Other,
}

/// A classified packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub family: Family,
    pub source: Address,
    pub destination: Address,
    /// Source port for events, 0 where there is none.
    pub source_port: u16,
    /// The outer VLAN tag's id, 0 when untagged.
    pub vlan: u16,
    /// Number of VLAN tags that were read.
    pub tags: u8,
    pub kind: Kind,
}
