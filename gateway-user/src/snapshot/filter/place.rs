//! Pure: where a listener is reached, and which place goes first.
//!
//! A place is what one slot describes: an interface, and an address of either family or all addresses of either. A
//! listener's first IPv4 and first IPv6 address share a place, and so on: a dual-stack listener takes one slot.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use gateway_common::packet::{Address, Family};

use super::{Echo, FilterListener, FilterPlan, ListenAddress, address, tables::Attachment};

/// One place of one listener.
#[derive(Clone, Debug)]
pub(super) struct Place<'p> {
    pub(super) listener: &'p FilterListener,
    /// `None` while the interface does not exist: the address is guarded against other interfaces all the same.
    pub(super) attachment: Option<Attachment>,
    pub(super) wildcard: bool,
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

/// All places of `plan`, the most specific first: exact addresses before wildcards, with a VLAN before without, live
/// listeners before silent ones; else in the order of the plan.
pub(super) fn places<'p>(
    plan: &'p FilterPlan,
    attachments: &BTreeMap<&str, Option<Attachment>>,
) -> Vec<Place<'p>> {
    let mut places = Vec::new();
    for listener in &plan.listeners {
        let attachment = attachments.get(listener.interface.as_str()).copied().flatten();
        let place = |wildcard, v4, v6| Place { listener, attachment, wildcard, v4, v6 };
        let all = Addresses::of(listener);
        for index in 0..all.v4.len().max(all.v6.len()) {
            places.push(place(false, all.v4.get(index).copied(), all.v6.get(index).copied()));
        }
        if (all.any4 || all.any6) && attachment.is_some() {
            places.push(place(
                true,
                all.any4.then_some(Ipv4Addr::UNSPECIFIED),
                all.any6.then_some(Ipv6Addr::UNSPECIFIED),
            ));
        }
    }
    places.sort_by_key(|place| {
        let untagged = place.attachment.is_none_or(|attachment| attachment.vlan == 0);
        (place.wildcard, untagged, place.listener.echo == Echo::Silent)
    });
    places
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
