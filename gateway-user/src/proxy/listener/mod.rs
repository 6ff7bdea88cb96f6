//! Sockets: what to bind, how, who may connect, and which connections are live.

pub(crate) mod admission;
pub(crate) mod bind;
pub(crate) mod gate;
mod holder;
pub(crate) mod hush;
pub(crate) mod live;
pub(crate) mod outflow;
pub(crate) mod recent;
pub(crate) mod seats;
pub(crate) mod socket;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::view::Scheme;
use crate::snapshot::{Listener, filter::ListenAddress};

/// Names one bound address for its whole life, whatever listener it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SocketId(pub(crate) u64);

/// What a socket is bound to. Two snapshots that want the same key share the socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SocketKey {
    pub(crate) interface: String,
    pub(crate) address: SocketAddr,
    pub(crate) scheme: Scheme,
}

/// The sockets that `listener` wants; `*` is one per family.
pub(crate) fn wanted(listener: &Listener) -> Vec<SocketKey> {
    let ips = listener.addresses.iter().flat_map(|address| match address {
        ListenAddress::Any => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        ListenAddress::Ip(ip) => vec![*ip],
    });
    let ports = [(listener.http, Scheme::Http), (listener.https, Scheme::Https)];
    ips.flat_map(|ip| {
        ports
            .into_iter()
            .filter_map(move |(port, scheme)| port.map(|port| (SocketAddr::new(ip, port), scheme)))
    })
    .map(|(address, scheme)| SocketKey { interface: listener.interface.clone(), address, scheme })
    .collect()
}
