//! Pure: the sockets to hold.

use crate::{
    control::state::ListenerRecord,
    resource::{self, Address},
    snapshot::{Caps, Exposure, Listener, filter::ListenAddress},
};

pub(super) fn compile(record: &ListenerRecord) -> Listener {
    let listener = &record.listener;
    Listener {
        gateway: listener.gateway.clone(),
        name: listener.name.clone(),
        id: record.id,
        exposure: match &listener.exposure {
            resource::Exposure::VpcNamed(vpc) => Exposure::Vpc(vpc.clone()),
            resource::Exposure::EndpointNamed(endpoint) => Exposure::Endpoint(endpoint.clone()),
            // `Listener::validate` lets nothing else in.
            resource::Exposure::Public
            | resource::Exposure::All
            | resource::Exposure::Vpc
            | resource::Exposure::Endpoint => Exposure::Public,
        },
        interface: listener.interface.clone(),
        addresses: listener.addresses.iter().map(address).collect(),
        http: listener.http,
        https: listener.https,
        open: listener.open,
        wait_address: listener.wait_address,
        caps: Caps {
            connections: listener.limits.max_connections,
            per_source: listener.limits.max_connections_per_source,
        },
        proxy_protocol: listener.proxy_protocol,
        forwarders: listener.trusted_forwarders.iter().collect(),
    }
}

pub(super) fn address(address: &Address) -> ListenAddress {
    match address {
        Address::Any => ListenAddress::Any,
        Address::Ip(ip) => ListenAddress::Ip(*ip),
    }
}
