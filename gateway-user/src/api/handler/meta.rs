//! `/v1/status`, `/v1/version`, `/v1/gateways` and the description of the API itself.

use serde_json::json as value;

use super::json;
use crate::{
    api::{
        Context, openapi as description,
        request::Request,
        route::Reply,
        wire::{FilterStatus, StatusReply},
    },
    base::Refusal,
};

pub(in crate::api) fn openapi(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    Ok(Reply::Json(description::document(context.process.version)))
}

pub(in crate::api) fn version(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    json(&value!({ "version": context.process.version, "api": "v1" }))
}

pub(in crate::api) fn gateways(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().gateways())
}

pub(in crate::api) fn status(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    let control = context.control.borrow().status();
    let filter = context.sources.filter.as_ref().map(|filter| filter.status()).unwrap_or_default();
    let mut warnings = filter.warnings;
    warnings.extend(control.failure.as_ref().map(ToString::to_string));
    json(&StatusReply {
        version: context.process.version.to_owned(),
        generation: control.generation,
        uptime_seconds: context.uptime(),
        state: context.process.state.display().to_string(),
        filter: filter
            .interfaces
            .into_iter()
            .map(|interface| FilterStatus {
                mode: interface.mode.name().to_owned(),
                interface: interface.interface,
                device: interface.device,
                vlan: interface.vlan,
                generation: interface.generation,
                detail: interface.detail,
            })
            .collect(),
        workers: context.sources.workers.as_ref().map(|workers| workers()).unwrap_or_default(),
        listeners: context.sources.listeners.as_ref().map(|listeners| listeners()).unwrap_or_default(),
        domains: control.domains,
        certificates: control.certificates,
        services: control.services,
        routes: control.routes,
        warnings,
    })
}
