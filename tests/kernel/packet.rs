//! Pure: frames described field by field, right or wrong, for the rows and for the property test.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IP protocol numbers.
pub(crate) mod protocol {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const ESP: u8 = 50;
    pub(crate) const AUTHENTICATION: u8 = 51;
    pub(crate) const ICMPV6: u8 = 58;
    pub(crate) const NONE: u8 = 59;
    pub(crate) const DESTINATION: u8 = 60;
}

pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// A frame. `Default` is an untagged SYN from 192.0.2.1:40000 to 198.51.100.1:443.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Outermost first: EtherType of the tag and its 16 bits (priority, DEI, VLAN id).
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// IPv4: 32-bit words of options.
    pub(crate) options: u8,
    /// IPv4: flags and offset as they stand in the header.
    pub(crate) fragment: u16,
    /// IPv6 extension headers: protocol number, the value of the second byte, and how long the header really is.
    pub(crate) chain: Vec<Extension>,
    pub(crate) upper: Upper,
    /// Bytes that are kept; the frame is not padded then.
    pub(crate) cut: Option<usize>,
}

/// An IPv6 extension header.
#[derive(Clone, Debug)]
pub(crate) struct Extension {
    pub(crate) protocol: u8,
    /// Everything behind the next-header byte.
    pub(crate) rest: Vec<u8>,
}

/// What stands behind the IP header.
#[derive(Clone, Debug)]
pub(crate) enum Upper {
    Tcp {
        source_port: u16,
        port: u16,
        flags: u8,
    },
    Udp {
        port: u16,
    },
    /// ICMP or ICMPv6, after the family of the frame.
    Icmp {
        kind: u8,
    },
    /// Any protocol with any bytes.
    Raw {
        protocol: u8,
        bytes: Vec<u8>,
    },
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            source: Ipv4Addr::new(192, 0, 2, 1).into(),
            destination: Ipv4Addr::new(198, 51, 100, 1).into(),
            options: 0,
            fragment: 0x4000,
            chain: Vec::new(),
            upper: Upper::Tcp { source_port: 40000, port: 443, flags: SYN },
            cut: None,
        }
    }
}

impl Extension {
    /// Hop-by-hop, routing or destination options of `8 * (units + 1)` bytes.
    pub(crate) fn of(protocol: u8, units: u8) -> Self {
        let mut rest = vec![0; (usize::from(units) + 1) * 8 - 1];
        rest[0] = units;
        Self { protocol, rest }
    }

    /// An authentication header of `4 * (words + 2)` bytes (RFC 4302 §2.2).
    pub(crate) fn authentication(words: u8) -> Self {
        let mut rest = vec![0; (usize::from(words) + 2) * 4 - 1];
        rest[0] = words;
        Self { protocol: protocol::AUTHENTICATION, rest }
    }

    /// A fragment header: offset in units of eight bytes. The reserved byte is set, as nobody may trust it.
    pub(crate) fn fragment(offset: u16, more: bool) -> Self {
        let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
        Self { protocol: protocol::FRAGMENT, rest: vec![0xff, high, low, 0, 0, 0, 7] }
    }
}

impl Frame {
    /// A frame between two addresses of one family.
    pub(crate) fn between(source: &str, destination: &str) -> Self {
        Self { source: source.parse().unwrap(), destination: destination.parse().unwrap(), ..Self::default() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let v6 = self.destination.is_ipv6();
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for (ethertype, tag) in &self.tags {
            bytes.extend(ethertype.to_be_bytes());
            bytes.extend(tag.to_be_bytes());
        }
        bytes.extend(if v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        let (protocol, upper) = self.upper.bytes(v6);
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.ipv4(source, destination, protocol, &upper, &mut bytes);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.ipv6(source, destination, protocol, &upper, &mut bytes);
            }
            (source, destination) => panic!("{source} and {destination} are of two families"),
        }
        match self.cut {
            Some(length) => bytes.truncate(length),
            None => bytes.resize(bytes.len().max(60), 0),
        }
        bytes
    }

    fn ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, upper: &[u8], out: &mut Vec<u8>) {
        let length = 20 + usize::from(self.options) * 4 + upper.len();
        let start = out.len();
        out.extend([0x45 + self.options, 0]);
        out.extend((length as u16).to_be_bytes());
        out.extend([0, 1]);
        out.extend(self.fragment.to_be_bytes());
        out.extend([64, protocol, 0, 0]);
        out.extend(source.octets());
        out.extend(destination.octets());
        out.resize(start + 20 + usize::from(self.options) * 4, 1);
        out.extend(upper);
    }

    fn ipv6(&self, source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, upper: &[u8], out: &mut Vec<u8>) {
        let length = self.chain.iter().map(|it| it.rest.len() + 1).sum::<usize>() + upper.len();
        let mut nexts = self.chain.iter().map(|it| it.protocol).chain([protocol]);
        out.extend([0x60, 0, 0, 0]);
        out.extend((length as u16).to_be_bytes());
        out.extend([nexts.next().unwrap(), 64]);
        out.extend(source.octets());
        out.extend(destination.octets());
        for (extension, next) in self.chain.iter().zip(nexts) {
            out.push(next);
            out.extend(&extension.rest);
        }
        out.extend(upper);
    }
}

impl Upper {
    fn bytes(&self, v6: bool) -> (u8, Vec<u8>) {
        match self {
            Self::Tcp { source_port, port, flags } => {
                let mut bytes = source_port.to_be_bytes().to_vec();
                bytes.extend(port.to_be_bytes());
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, *flags, 0xff, 0xff, 0, 0, 0, 0]);
                (protocol::TCP, bytes)
            }
            Self::Udp { port } => {
                let mut bytes = 40000_u16.to_be_bytes().to_vec();
                bytes.extend(port.to_be_bytes());
                bytes.extend([0, 8, 0, 0]);
                (protocol::UDP, bytes)
            }
            Self::Icmp { kind } => {
                let number = if v6 { protocol::ICMPV6 } else { protocol::ICMP };
                (number, vec![*kind, 0, 0, 0, 0, 0, 0, 0])
            }
            Self::Raw { protocol, bytes } => (*protocol, bytes.clone()),
        }
    }
}
