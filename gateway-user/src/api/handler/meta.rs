//! `/v1/status`, `/v1/version`, `/v1/gateways` and the description of the API itself.

use serde_json::json as value;

use super::{explain, json};
use crate::{
    api::{
        Context, openapi as description,
        request::Request,
        route::Reply,
        wire::{
            AddressStatus, ConfirmStatus, EnforcerStatus, FilterStatus, ListenerStatus, NameSocket,
            StatusReply,
        },
    },
    base::{Refusal, clock},
    observe::{address::AddressState, instances::InstanceStatus},
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

pub(in crate::api) fn gateway(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().gateway(request.segment())?)
}

pub(in crate::api) fn status(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    let listeners = listeners(context);
    let control = context.control.borrow().status();
    let filter = context.sources.filter.as_ref().map(|filter| filter.status()).unwrap_or_default();
    let mut warnings = filter.warnings;
    let behind = control.enforcers.iter().filter(|one| one.generation != control.generation);
    warnings.extend(
        behind.map(|one| {
            format!("{} serves generation {}, not {}", one.name, one.generation, control.generation)
        }),
    );
    warnings.extend(context.stuck());
    let addresses = context.sources.addresses.as_ref().map(|addresses| addresses()).unwrap_or_default();
    let missing = addresses.iter().filter(|address| address.state != AddressState::Held);
    warnings.extend(missing.map(|address| {
        let detail = address.detail.as_deref().unwrap_or_default();
        format!("{} on {} is {}: {detail}", address.address, address.interface, address.state.name())
    }));
    let names = context.sources.names.as_ref().map(|names| names.status()).unwrap_or_default();
    warnings.extend(names.sockets.iter().filter_map(|socket| socket.detail.clone()));
    warnings.extend(control.failure.as_ref().map(ToString::to_string));
    warnings.extend(instances_out(context));
    let load = context.sources.traffic.as_ref().map(|traffic| traffic.load.report());
    warnings.extend(load.and_then(|load| load.warning()));
    warnings.extend(listeners.iter().filter_map(|status| {
        let left = status.monitored?;
        Some(format!("listener {} is MONITORED for {left} s: its allowlist drops nobody", status.listener))
    }));
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
        addresses: addresses
            .into_iter()
            .map(|address| AddressStatus {
                interface: address.interface,
                address: address.address,
                state: address.state.name().to_owned(),
                detail: address.detail,
            })
            .collect(),
        dns: names
            .sockets
            .into_iter()
            .map(|socket| NameSocket {
                view: socket.view,
                interface: socket.interface,
                address: socket.address.to_string(),
                state: socket.state.to_owned(),
                generation: names.generation,
                detail: socket.detail,
            })
            .collect(),
        enforcers: control
            .enforcers
            .iter()
            .map(|one| EnforcerStatus { name: one.name.to_owned(), generation: one.generation })
            .collect(),
        workers: context.workers(),
        listeners,
        vpcs: super::vpc::status(context),
        domains: control.domains,
        certificates: control.certificates,
        services: control.services,
        routes: control.routes,
        confirm: control.confirm.map(|confirm| ConfirmStatus {
            by: confirm.by,
            left: confirm.left,
            back_to: confirm.back_to,
        }),
        warnings,
    })
}

/// The instances that take no requests now.
fn instances_out(context: &Context) -> Vec<String> {
    let report = context.sources.traffic.as_ref().map(|traffic| traffic.report()).unwrap_or_default();
    let mut out = Vec::new();
    for service in &report.services {
        let not_up = service.instances.iter().filter(|instance| instance.status != InstanceStatus::Up);
        out.extend(not_up.map(|instance| {
            format!("service {}: instance {} is {}", service.name, instance.instance, instance.status.name())
        }));
    }
    out
}

/// Every listener with the state of its sockets.
fn listeners(context: &Context) -> Vec<ListenerStatus> {
    let sockets = context.sources.sockets.as_ref().map(|sockets| sockets()).unwrap_or_default();
    let views = context.control.borrow().listeners().items.into_iter();
    let status = views.map(|view| {
        let socket = sockets.iter().find(|socket| socket.listener == view.name.as_str());
        let interface = view.interface;
        ListenerStatus {
            listener: view.name.to_string(),
            addresses: view.addresses.iter().map(ToString::to_string).collect(),
            open: view.open,
            state: socket.map_or("unknown", |socket| &socket.state).to_owned(),
            tier: explain::tier(context, Some(&interface)).to_owned(),
            interface,
            detail: socket.and_then(|socket| socket.error.clone()),
            entries: view.entries,
            monitored: view.monitor_until.map(|until| until.saturating_sub(clock::unix().as_secs())),
        }
    });
    status.collect()
}
