//! Pure: addresses and prefixes as the kernel tables hold them, the bytes in the order in which they cross the wire.

use std::net::{IpAddr, SocketAddr};

use gateway_common::{
    packet::{Address, Family, Kind, Packet, halves},
    table::{Entry4, Entry6},
};
use ipnet::{Ipv4Net, Ipv6Net};

/// The family and the words of `address`.
#[must_use]
pub fn words(address: IpAddr) -> (Family, Address) {
    match address {
        IpAddr::V4(address) => (Family::V4, [u32::from_ne_bytes(address.octets()), 0, 0, 0]),
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
            let words = [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]];
            (Family::V6, words.map(u32::from_ne_bytes))
        }
    }
}

/// The prefix of an IPv4 entry.
#[must_use]
pub fn entry4(net: Ipv4Net) -> Entry4 {
    let ([net, ..], [mask, ..]) = (words(net.network().into()).1, words(net.netmask().into()).1);
    Entry4 { net, mask }
}

/// The prefix of an IPv6 entry.
#[must_use]
pub fn entry6(net: Ipv6Net) -> Entry6 {
    let (net, mask) = (words(net.network().into()).1, words(net.netmask().into()).1);
    Entry6 { net: halves(&net), mask: halves(&mask) }
}

/// The first segment of a connection, as it would arrive with the outer tag `vlan` (0: untagged).
#[must_use]
pub fn connection(source: IpAddr, destination: SocketAddr, vlan: u16) -> Packet {
    let (family, target) = words(destination.ip());
    Packet {
        family,
        source: words(source).1,
        destination: target,
        port: destination.port(),
        syn: true,
        vlan,
        tags: u8::from(vlan != 0),
        kind: Kind::Tcp,
        ..Packet::OTHER
    }
}

#[cfg(test)]
mod tests {
    use super::{entry4, entry6, words};
    use gateway_common::packet::{Family, halves};

    #[test]
    fn words_keep_the_order_of_the_wire() {
        let (family, address) = words("10.1.2.3".parse().unwrap());
        assert_eq!(family, Family::V4);
        assert_eq!(address[0].to_ne_bytes(), [10, 1, 2, 3]);
        let (family, address) = words("2001:db8::1".parse().unwrap());
        assert_eq!(family, Family::V6);
        assert_eq!(address[0].to_ne_bytes(), [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(address[3].to_ne_bytes(), [0, 0, 0, 1]);
    }

    #[test]
    fn a_prefix_matches_its_own_addresses_and_no_others() {
        let entry = entry4("10.1.2.0/23".parse().unwrap());
        let matches = |text: &str| words(text.parse().unwrap()).1[0] & entry.mask == entry.net;
        assert!(matches("10.1.2.0") && matches("10.1.3.255"));
        assert!(!matches("10.1.4.0") && !matches("10.1.1.255"));

        let entry = entry6("2001:db8:0:8000::/49".parse().unwrap());
        let matches = |text: &str| {
            let [first, second] = halves(&words(text.parse().unwrap()).1);
            first & entry.mask[0] == entry.net[0] && second & entry.mask[1] == entry.net[1]
        };
        assert!(matches("2001:db8:0:8000::") && matches("2001:db8:0:ffff:ffff::1"));
        assert!(!matches("2001:db8:0:7fff:ffff::1") && !matches("2001:db8:1:8000::"));
    }
}
