//! Pure: an allowlist of more entries than a slot holds in line: its CIDRs, and the form in which the program searches
//! them (see `gateway_common::list`).

use std::{fmt, net::IpAddr, sync::OnceLock};

use gateway_common::{
    build::{Table, table4, table6},
    list::{LISTED, Listed, NO_LIST, SIZES, length4, length6, listed4, listed6},
};
use ipnet::IpNet;

/// Sorted, distinct, canonical CIDRs of both families. It is made once and shared between generations by `Arc`: whoever
/// changes something else uploads nothing.
#[derive(Default)]
pub struct LargeList {
    cidrs: Box<[IpNet]>,
    /// Made when it is first asked for: lists of old generations never are.
    tables: OnceLock<Tables>,
}

/// What the program searches.
struct Tables {
    v4: Option<Table<u32>>,
    v6: Option<Table<u64>>,
}

impl LargeList {
    /// The list of these entries, in any order.
    #[must_use]
    pub fn new(mut cidrs: Vec<IpNet>) -> Self {
        cidrs.sort_unstable();
        cidrs.dedup();
        Self { cidrs: cidrs.into(), tables: OnceLock::new() }
    }

    /// The entries, IPv4 first, each family by address, then by length.
    #[must_use]
    pub fn cidrs(&self) -> &[IpNet] {
        &self.cidrs
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cidrs.len()
    }

    /// Whether nobody is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cidrs.is_empty()
    }

    /// The longest entry that has `source` in it.
    #[must_use]
    pub fn entry(&self, source: IpAddr) -> Option<IpNet> {
        let host = IpNet::from(source);
        (0..=host.prefix_len()).rev().find_map(|length| {
            let net = match host {
                IpNet::V4(net) => IpNet::V4(ipnet::Ipv4Net::new(net.addr(), length).ok()?.trunc()),
                IpNet::V6(net) => IpNet::V6(ipnet::Ipv6Net::new(net.addr(), length).ok()?.trunc()),
            };
            self.cidrs.binary_search(&net).is_ok().then_some(net)
        })
    }

    /// Bytes that it takes in the kernel, and about as many here.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let v4 = self.v4().map_or(0, |table| table.value.len() * 4);
        v4 + self.v6().map_or(0, |table| table.value.len() * 8)
    }

    /// Its IPv4 part, if it has one.
    #[must_use]
    pub fn v4(&self) -> Option<&Table<u32>> {
        self.tables().v4.as_ref()
    }

    /// Its IPv6 part.
    #[must_use]
    pub fn v6(&self) -> Option<&Table<u64>> {
        self.tables().v6.as_ref()
    }

    /// Whether `address` is on it: what the program would say.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.listed4(address.to_bits()) == LISTED,
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                self.listed6([(bits >> 64) as u64, bits as u64]) == LISTED
            }
        }
    }

    fn tables(&self) -> &Tables {
        self.tables.get_or_init(|| {
            let (mut v4, mut v6) = (Vec::new(), Vec::new());
            for cidr in &self.cidrs {
                match cidr {
                    IpNet::V4(net) => {
                        v4.push((net.network().to_bits().into(), net.broadcast().to_bits().into()));
                    }
                    IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
                }
            }
            Tables { v4: table4(v4), v6: table6(v6) }
        })
    }

    pub(super) fn listed4(&self, source: u32) -> Listed {
        let Some(Table { size, value, .. }) = self.v4() else { return NO_LIST };
        match size {
            0 => searched(value, |value| listed4::<{ SIZES[0] }, { length4(SIZES[0]) }>(value, source)),
            1 => searched(value, |value| listed4::<{ SIZES[1] }, { length4(SIZES[1]) }>(value, source)),
            2 => searched(value, |value| listed4::<{ SIZES[2] }, { length4(SIZES[2]) }>(value, source)),
            _ => searched(value, |value| listed4::<{ SIZES[3] }, { length4(SIZES[3]) }>(value, source)),
        }
    }

    pub(super) fn listed6(&self, source: [u64; 2]) -> Listed {
        let Some(Table { size, value, .. }) = self.v6() else { return NO_LIST };
        match size {
            0 => searched(value, |value| listed6::<{ SIZES[0] }, { length6(SIZES[0]) }>(value, source)),
            1 => searched(value, |value| listed6::<{ SIZES[1] }, { length6(SIZES[1]) }>(value, source)),
            2 => searched(value, |value| listed6::<{ SIZES[2] }, { length6(SIZES[2]) }>(value, source)),
            _ => searched(value, |value| listed6::<{ SIZES[3] }, { length6(SIZES[3]) }>(value, source)),
        }
    }
}

impl PartialEq for LargeList {
    fn eq(&self, other: &Self) -> bool {
        self.cidrs == other.cidrs
    }
}

impl Eq for LargeList {}

impl fmt::Debug for LargeList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "LargeList({} CIDRs)", self.cidrs.len())
    }
}

fn searched<N, const LENGTH: usize>(value: &[N], search: impl FnOnce(&[N; LENGTH]) -> Listed) -> Listed {
    value.try_into().map_or(NO_LIST, search)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::LargeList;
    use ipnet::IpNet;

    fn list(cidrs: &[&str]) -> LargeList {
        LargeList::new(cidrs.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state ^ (*state >> 29)
    }

    #[test]
    fn a_list_holds_its_cidrs_and_their_neighbours_not() {
        let list = list(&["10.1.2.0/24", "10.1.3.0/24", "192.0.2.7/32", "2001:db8::/64", "fd00::1/128"]);
        for inside in ["10.1.2.0", "10.1.3.255", "192.0.2.7", "2001:db8::ffff", "fd00::1"] {
            assert!(list.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "10.1.1.255",
            "10.1.4.0",
            "192.0.2.6",
            "192.0.2.8",
            "255.255.255.255",
            "2001:db8:0:1::",
            "fd00::",
            "::",
        ] {
            assert!(!list.contains(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn both_ends_of_the_address_space_count() {
        let ends = list(&["0.0.0.0/32", "255.255.255.255/32", "::/128", "ffff::/16"]);
        for inside in ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
            assert!(ends.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["0.0.0.1", "255.255.255.254", "::1", "fffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
            assert!(!ends.contains(outside.parse().unwrap()), "{outside}");
        }
        let everybody = list(&["0.0.0.0/0", "::/0"]);
        for inside in ["0.0.0.0", "10.0.0.1", "255.255.255.255", "::", "2001::1"] {
            assert!(everybody.contains(inside.parse().unwrap()), "{inside}");
        }
        let nobody = list(&[]);
        assert!(nobody.is_empty() && !nobody.contains("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_list_of_every_size_agrees_with_its_cidrs() {
        let mut state = 7;
        for count in [1, 3, 2_000, 3_000, 30_000] {
            for spread in [0, 8, 16] {
                let cidrs: Vec<IpNet> = (0..count)
                    .map(|_| {
                        let bits = next(&mut state);
                        if bits & 1 == 0 {
                            let address = Ipv4Addr::from_bits((next(&mut state) >> 32) as u32 >> spread);
                            IpNet::new(address.into(), 16 + (bits >> 8) as u8 % 17).unwrap().trunc()
                        } else {
                            let address = u128::from(next(&mut state)) << 64 >> spread | u128::from(bits);
                            IpNet::new(Ipv6Addr::from_bits(address).into(), 40 + (bits >> 8) as u8 % 89)
                                .unwrap()
                                .trunc()
                        }
                    })
                    .collect();
                let list = LargeList::new(cidrs.clone());
                let mut tried = Vec::new();
                for cidr in cidrs.iter().take(300) {
                    match cidr {
                        IpNet::V4(net) => {
                            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                            for bits in [first, last, first.wrapping_sub(1), last.wrapping_add(1)] {
                                tried.push(IpAddr::V4(bits.into()));
                            }
                        }
                        IpNet::V6(net) => {
                            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                            for bits in [first, last, first.wrapping_sub(1), last.wrapping_add(1)] {
                                tried.push(IpAddr::V6(bits.into()));
                            }
                        }
                    }
                }
                for address in tried {
                    let expected = cidrs.iter().any(|cidr| cidr.contains(&address));
                    assert_eq!(list.contains(address), expected, "{address} of {count}, spread {spread}");
                }
            }
        }
    }

    #[test]
    fn the_longest_entry_of_the_sources_family_is_found() {
        let list = ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "2001:db8::/32", "10.1.0.0/16"];
        let list = LargeList::new(list.iter().map(|cidr| cidr.parse().unwrap()).collect());
        assert_eq!(list.len(), 4);
        for (source, entry) in [
            ("10.1.2.3", Some("10.1.0.0/16")),
            ("10.2.2.3", Some("10.0.0.0/8")),
            ("11.0.0.1", Some("0.0.0.0/0")),
            ("2001:db8::1", Some("2001:db8::/32")),
            ("2001:db9::1", None),
        ] {
            let found = list.entry(source.parse().unwrap());
            assert_eq!(found.map(|net| net.to_string()).as_deref(), entry, "{source}");
        }
    }
}
