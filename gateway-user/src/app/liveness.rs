//! Looks at the interfaces that the gateway's private addresses are on. An address is dead while its interface is gone,
//! down or without a carrier, or does not have it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags, sys::socket::SockaddrStorage};

use crate::{
    observe::liveness::{Dead, Liveness},
    snapshot::Snapshot,
};

/// Looks once and tells `liveness`; called once a second.
pub(super) fn look(snapshot: &Snapshot, liveness: &Liveness) {
    // What cannot be looked at is not declared dead: that would take every name away.
    let Ok(interfaces) = interfaces() else { return };
    let next = dead(snapshot, &interfaces);
    let before = liveness.dead();
    if !liveness.update(next.clone()) {
        return;
    }
    for (interface, address) in pairs(&next).difference(&pairs(&before)) {
        tracing::warn!(interface, %address, "a private address cannot be reached; DNS leaves it out");
    }
    for (interface, address) in pairs(&before).difference(&pairs(&next)) {
        tracing::info!(interface, %address, "a private address can be reached again");
    }
}

fn pairs(dead: &Dead) -> BTreeSet<(&str, IpAddr)> {
    dead.iter().flat_map(|(name, all)| all.iter().map(move |ip| (name.as_str(), *ip))).collect()
}

/// Interfaces that run, with their addresses.
type Interfaces = BTreeMap<String, BTreeSet<IpAddr>>;

fn dead(snapshot: &Snapshot, interfaces: &Interfaces) -> Dead {
    let mut dead = Dead::new();
    for owned in &snapshot.addresses {
        let address = owned.address.addr();
        if interfaces.get(&owned.interface).is_none_or(|held| !held.contains(&address)) {
            dead.entry(owned.interface.clone()).or_default().insert(address);
        }
    }
    dead
}

fn interfaces() -> nix::Result<Interfaces> {
    let running = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    let mut out = Interfaces::new();
    for one in getifaddrs()?.filter(|one| one.flags.contains(running)) {
        let held = out.entry(one.interface_name).or_default();
        held.extend(one.address.as_ref().and_then(ip));
    }
    Ok(out)
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

#[cfg(test)]
mod tests {
    use super::{dead, interfaces};
    use crate::snapshot::{OwnedAddress, Snapshot};

    #[test]
    fn pl_7_an_address_is_dead_without_its_interface_or_where_the_interface_has_it_not() {
        let own = |interface: &str, address: &str| OwnedAddress {
            interface: interface.to_owned(),
            address: format!("{address}/24").parse().unwrap(),
        };
        let snapshot = Snapshot {
            addresses: vec![own("a", "10.0.0.1"), own("a", "10.0.0.2"), own("b", "10.0.0.1")],
            ..Snapshot::default()
        };
        let there = [("a".to_owned(), ["10.0.0.1".parse().unwrap()].into())].into();
        let dead = dead(&snapshot, &there);
        let text = format!("{dead:?}");
        assert_eq!(text, r#"{"a": {10.0.0.2}, "b": {10.0.0.1}}"#);
    }

    #[test]
    fn the_loopback_interface_runs_and_has_its_address() {
        assert!(interfaces().unwrap()["lo"].contains(&"127.0.0.1".parse().unwrap()));
    }
}
