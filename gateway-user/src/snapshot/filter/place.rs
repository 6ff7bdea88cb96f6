//! Pure: where a listener is reached, and which place goes first.
//!
//! A place is what one slot describes: an interface, and an address of either family or all addresses of either. A
//! listener's first IPv4 and first IPv6 address share a place, and so on: a dual-stack listener takes one slot.
//!
//! A private listener's address is reached by its own interface and VLAN only. Where a wildcard of another one would take
//! it, a barred place stands before the wildcard: it has the wildcard's attachment and ports and the private address, and
//! refuses everybody on the private listener's account. An address that somebody names at the wildcard's own attachment
//! is his there: networks may overlap.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use gateway_common::packet::{Address, Family};

use super::{Echo, FilterListener, FilterPlan, ListenAddress, address, tables::Attachment};

/// What a listener has to do with the packets of a place, in the order in which places are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    /// It takes them: they are for an address that it names.
    Exact,
    /// They are for an address that it names elsewhere, and nobody gets them.
    Barred,
    /// It takes them, whatever their address is.
    Wildcard,
}

/// One place of one listener.
#[derive(Clone, Debug)]
pub(super) struct Place<'p> {
    pub(super) listener: &'p FilterListener,
    pub(super) claim: Claim,
    /// The listener's; of a barred place the wildcard's that it stands before.
    pub(super) ports: &'p [u16],
    /// `None` while the interface does not exist: the address is guarded against other interfaces all the same.
    pub(super) attachment: Option<Attachment>,
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
}

impl Place<'_> {
    /// The families and addresses of this place; an unspecified address is the wildcard of its family.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (Family, Address)> {
        let v4 = self.v4.map(|it| address::words(IpAddr::V4(it)));
        let v6 = self.v6.map(|it| address::words(IpAddr::V6(it)));
        v4.into_iter().chain(v6)
    }
}

/// All places of `plan`, the most specific first: exact addresses before barred ones before wildcards, with a VLAN
/// before without, live listeners before silent ones; else in the order of the plan.
pub(super) fn places<'p>(
    plan: &'p FilterPlan,
    attachments: &BTreeMap<&str, Option<Attachment>>,
) -> Vec<Place<'p>> {
    let mut places = Vec::new();
    for listener in &plan.listeners {
        let attachment = attachments.get(listener.interface.as_str()).copied().flatten();
        let place = |claim, v4, v6| Place { listener, claim, ports: &listener.ports, attachment, v4, v6 };
        let all = Addresses::of(listener);
        for index in 0..all.v4.len().max(all.v6.len()) {
            places.push(place(Claim::Exact, all.v4.get(index).copied(), all.v6.get(index).copied()));
        }
        if (all.any4 || all.any6) && attachment.is_some() {
            places.push(place(
                Claim::Wildcard,
                all.any4.then_some(Ipv4Addr::UNSPECIFIED),
                all.any6.then_some(Ipv6Addr::UNSPECIFIED),
            ));
        }
    }
    places.extend(barred(&places));
    places.sort_by_key(|place| {
        let untagged = place.attachment.is_none_or(|attachment| attachment.vlan == 0);
        (place.claim, untagged, place.listener.echo == Echo::Silent)
    });
    places
}

/// For every wildcard among `places`, the private addresses that it must not take.
fn barred<'p>(places: &[Place<'p>]) -> Vec<Place<'p>> {
    let of = |claim| places.iter().filter(move |place| place.claim == claim);
    let mut named = BTreeSet::<(Attachment, IpAddr)>::new();
    for place in of(Claim::Exact) {
        let addresses = place.v4.map(IpAddr::V4).into_iter().chain(place.v6.map(IpAddr::V6));
        named.extend(addresses.filter_map(|address| Some((place.attachment?, address))));
    }
    let mut barred = Vec::new();
    for wildcard in of(Claim::Wildcard) {
        let Some(attachment) = wildcard.attachment else { continue };
        // What is named for the whole interface is named for its VLANs, too.
        let elsewhere = |address: IpAddr| {
            let whole = Attachment { vlan: 0, ..attachment };
            !named.contains(&(attachment, address)) && !named.contains(&(whole, address))
        };
        for private in of(Claim::Exact).filter(|place| place.listener.echo != Echo::Everybody) {
            let v4 = private.v4.filter(|address| wildcard.v4.is_some() && elsewhere((*address).into()));
            let v6 = private.v6.filter(|address| wildcard.v6.is_some() && elsewhere((*address).into()));
            if v4.is_some() || v6.is_some() {
                let (claim, ports) = (Claim::Barred, wildcard.ports);
                barred.push(Place {
                    claim,
                    ports,
                    attachment: wildcard.attachment,
                    v4,
                    v6,
                    ..private.clone()
                });
            }
        }
    }
    barred
}

/// A listener's addresses by family, without repetitions.
#[derive(Default)]
struct Addresses {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
    any4: bool,
    any6: bool,
}

impl Addresses {
    fn of(listener: &FilterListener) -> Self {
        let mut all = Self::default();
        for listen in &listener.addresses {
            match listen {
                ListenAddress::Any => (all.any4, all.any6) = (true, true),
                ListenAddress::Ip(IpAddr::V4(ip)) if ip.is_unspecified() => all.any4 = true,
                ListenAddress::Ip(IpAddr::V6(ip)) if ip.is_unspecified() => all.any6 = true,
                ListenAddress::Ip(IpAddr::V4(ip)) if !all.v4.contains(ip) => all.v4.push(*ip),
                ListenAddress::Ip(IpAddr::V6(ip)) if !all.v6.contains(ip) => all.v6.push(*ip),
                ListenAddress::Ip(_) => {}
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Attachment, Echo, FilterEntry, FilterListener, FilterPlan, FilterTables, ListenAddress,
        ListenerOptions, Reason, address::connection,
    };
    use crate::base::{Generation, Name};
    use gateway_common::{decide::decide, packet::Kind};

    const NETWORKS: [(&str, u32, u16); 5] =
        [("wan", 7, 0), ("wan.5", 7, 5), ("red", 8, 0), ("blue", 9, 0), ("other", 10, 0)];
    const VIP4: &str = "10.1.0.1";
    const VIP6: &str = "fd00::1";

    /// Open to everybody of IPv4 and IPv6.
    fn listener(id: u16, interface: &str, addresses: &[&str], ports: &[u16], echo: Echo) -> FilterListener {
        let entry = |cidr: &str, id| FilterEntry { cidr: cidr.parse().unwrap(), id, draining: false };
        let address = |text: &&str| match *text {
            "*" => ListenAddress::Any,
            text => ListenAddress::Ip(text.parse().unwrap()),
        };
        FilterListener {
            id,
            name: Name::new(&format!("l{id}")).unwrap(),
            interface: interface.to_owned(),
            addresses: addresses.iter().map(address).collect(),
            ports: ports.to_vec(),
            open: true,
            echo,
            options: ListenerOptions::default(),
            entries: vec![entry("0.0.0.0/0", 0), entry("::/0", 1)],
            large: None,
        }
    }

    fn build(listeners: &[FilterListener]) -> FilterTables {
        let plan = FilterPlan { generation: Generation(1), listeners: listeners.to_vec() };
        FilterTables::build(&plan, |name| {
            let found = NETWORKS.iter().find(|(network, ..)| *network == name);
            Ok(found.map(|(_, ifindex, vlan)| Attachment { ifindex: *ifindex, vlan: *vlan }))
        })
        .unwrap()
    }

    /// What becomes of a connection, or with port 0 of a ping.
    fn judge(tables: &FilterTables, interface: &str, target: &str, port: u16) -> (Reason, u32) {
        let (_, ifindex, vlan) = *NETWORKS.iter().find(|(network, ..)| *network == interface).unwrap();
        let target: std::net::IpAddr = target.parse().unwrap();
        let source = if target.is_ipv4() { "192.0.2.1" } else { "2001:db8::1" };
        let mut packet = connection(source.parse().unwrap(), (target, port).into(), vlan);
        if port == 0 {
            packet.kind = Kind::Echo;
        }
        let verdict = decide(tables, ifindex, &packet);
        (verdict.reason, verdict.listener)
    }

    /// Listeners beside those of a test, of which none has to do with them: in line, and by the endpoint table.
    fn crowds() -> [Vec<FilterListener>; 2] {
        let of = |number: u16| {
            let address = format!("198.51.100.{number}");
            listener(100 + number, "wan", &[&address], &[80, 443, 8443], Echo::Everybody)
        };
        [Vec::new(), (1..9).map(of).collect()]
    }

    #[test]
    fn a_wildcard_of_another_interface_takes_nothing_for_a_private_address() {
        for crowd in crowds() {
            for (echo, own) in [(Echo::Allowlist, Reason::Allowed), (Echo::Silent, Reason::Silent)] {
                let mut all = crowd.clone();
                all.push(listener(1, "wan", &["*"], &[443, 8443], Echo::Everybody));
                all.push(listener(2, "red", &[VIP4, VIP6], &[80, 443], echo));
                let tables = build(&all);
                for vip in [VIP4, VIP6] {
                    let case = format!("{vip}, {echo:?}, beside {}", crowd.len());
                    for (interface, port, expected) in [
                        ("wan", 443, (Reason::WrongInterface, 2)),
                        ("wan", 80, (Reason::WrongInterface, 2)),
                        // The wildcard's own port, which the private listener does not have.
                        ("wan", 8443, (Reason::WrongInterface, 2)),
                        ("wan.5", 443, (Reason::WrongInterface, 2)),
                        ("wan", 0, (Reason::Silent, 2)),
                        ("red", 443, (own, 2)),
                        ("other", 443, (Reason::WrongInterface, 2)),
                        // That port of the address is nobody's on its own interface, and the host's business.
                        ("red", 8443, (Reason::NotListener, 0)),
                    ] {
                        assert_eq!(
                            judge(&tables, interface, vip, port),
                            expected,
                            "{interface}:{port}, {case}"
                        );
                    }
                }
                for public in ["203.0.113.1", "2001:db8::2"] {
                    assert_eq!(judge(&tables, "wan", public, 443), (Reason::Allowed, 1));
                    assert_eq!(judge(&tables, "wan", public, 8443), (Reason::Allowed, 1));
                    assert_eq!(judge(&tables, "wan", public, 0), (Reason::Echo, 1));
                }
            }
        }
    }

    #[test]
    fn an_address_is_whose_interface_names_it() {
        for crowd in crowds() {
            let mut all = crowd.clone();
            all.push(listener(1, "wan", &["0.0.0.0"], &[443], Echo::Everybody));
            all.push(listener(2, "red", &[VIP4, VIP6], &[80, 443], Echo::Allowlist));
            let alone = build(&all);
            assert_eq!(judge(&alone, "wan", VIP4, 443), (Reason::WrongInterface, 2));
            // A network with the same address on the wildcard's interface has it there.
            all.push(listener(3, "wan", &[VIP4], &[443], Echo::Allowlist));
            let twins = build(&all);
            assert_eq!(judge(&twins, "wan", VIP4, 443), (Reason::Allowed, 3));
            assert_eq!(judge(&twins, "wan", VIP4, 0), (Reason::Echo, 3));
            assert_eq!(judge(&twins, "red", VIP4, 443), (Reason::Allowed, 2));
            assert_eq!(judge(&twins, "wan", VIP6, 443), (Reason::WrongInterface, 2));
        }
    }

    #[test]
    fn a_vlan_is_another_place_and_the_whole_interface_is_not() {
        for crowd in crowds() {
            let wildcard = |interface| listener(1, interface, &["*"], &[443], Echo::Everybody);
            let private = |interface| listener(2, interface, &[VIP4], &[443], Echo::Allowlist);
            let tables = build(&[crowd.clone(), vec![wildcard("wan"), private("wan.5")]].concat());
            assert_eq!(judge(&tables, "wan", VIP4, 443), (Reason::WrongInterface, 2));
            assert_eq!(judge(&tables, "wan", VIP4, 0), (Reason::Silent, 2));
            assert_eq!(judge(&tables, "wan.5", VIP4, 443), (Reason::Allowed, 2));
            let tables = build(&[crowd, vec![wildcard("wan.5"), private("wan")]].concat());
            assert_eq!(judge(&tables, "wan", VIP4, 443), (Reason::Allowed, 2));
            assert_eq!(judge(&tables, "wan.5", VIP4, 443), (Reason::Allowed, 2));
        }
    }

    #[test]
    fn a_public_address_is_taken_by_a_wildcard_where_the_packet_comes_in() {
        for crowd in crowds() {
            let wildcard = listener(1, "wan", &["*"], &[443], Echo::Everybody);
            let public = listener(2, "red", &[VIP4], &[443], Echo::Everybody);
            let tables = build(&[crowd, vec![wildcard, public]].concat());
            assert_eq!(judge(&tables, "wan", VIP4, 443), (Reason::Allowed, 1));
            assert_eq!(judge(&tables, "wan", VIP4, 0), (Reason::Echo, 1));
        }
    }
}
