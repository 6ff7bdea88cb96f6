//! Pure: an allowlist of more entries than a slot holds in line.

use std::net::IpAddr;

use ipnet::IpNet;

/// Sorted, distinct, canonical CIDRs of both families. It is made once and shared between generations.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LargeList {
    cidrs: Box<[IpNet]>,
}

impl LargeList {
    /// The list of these entries, in any order.
    #[must_use]
    pub fn new(mut cidrs: Vec<IpNet>) -> Self {
        cidrs.sort_unstable();
        cidrs.dedup();
        Self { cidrs: cidrs.into() }
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
}

#[cfg(test)]
mod tests {
    use super::LargeList;

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
