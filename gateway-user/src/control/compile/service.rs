//! Pure: services.

use crate::{
    control::state::ServiceRecord,
    resource,
    snapshot::http::{Access, Encoding, Instance, Protocol, Service, Timeouts},
};

pub(super) fn compile(record: &ServiceRecord) -> Service {
    let service = &record.service;
    Service {
        gateway: service.gateway.clone(),
        name: service.name.clone(),
        visibility: super::visibility(&service.exposure),
        protocol: match service.protocol {
            resource::Protocol::Http => Protocol::Http,
            resource::Protocol::Http2 => Protocol::Http2,
            resource::Protocol::Grpc => Protocol::Grpc,
        },
        instances: service
            .instances
            .iter()
            .map(|one| Instance { host: one.host.clone(), port: one.port, weight: one.weight })
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
        upstream: super::upstream::compile(service),
        compression: service.compression.iter().map(|one| encoding(*one)).collect(),
        decompress: service.decompress,
    }
}

fn encoding(encoding: resource::upstream::Encoding) -> Encoding {
    match encoding {
        resource::upstream::Encoding::Gzip => Encoding::Gzip,
        resource::upstream::Encoding::Br => Encoding::Brotli,
        resource::upstream::Encoding::Zstd => Encoding::Zstd,
    }
}
