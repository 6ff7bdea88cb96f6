//! Pure: services.

use crate::{
    control::state::ServiceRecord,
    resource,
    snapshot::{
        http::{Access, Instance, Protocol, Service, Timeouts},
        upstream::Upstream,
    },
};

pub(super) fn compile(record: &ServiceRecord) -> Service {
    let service = &record.service;
    Service {
        gateway: service.gateway.clone(),
        name: service.name.clone(),
        visibility: super::visibility(&service.exposure),
        protocol: match service.protocol {
            resource::Protocol::Http => Protocol::Http,
            resource::Protocol::Grpc => Protocol::Grpc,
        },
        instances: service
            .instances
            .iter()
            .map(|instance| Instance { host: instance.host.clone(), port: instance.port, weight: 1 })
            .collect(),
        access: if service.no_auth {
            Access::Open
        } else {
            Access::Tokens(record.tokens.iter().map(|token| token.hash.0).collect())
        },
        forward_token: service.forward_token,
        body_limit: service.body_limit,
        qps: service.qps,
        timeouts: Timeouts {
            connect: service.timeouts.connect,
            first_byte: service.timeouts.first_byte,
            idle: service.timeouts.idle,
        },
        upstream: Upstream::default(),
        compression: Vec::new(),
        decompress: false,
    }
}
