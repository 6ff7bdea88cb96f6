//! `/v1/vpcs`.

use serde_json::Value;

use super::{changed, json, plain};
use crate::{
    api::{Context, request::Request, route::Reply, wire::VpcStatus},
    base::Refusal,
    control::{Edit, view::VpcView},
    observe::address::AddressState,
};

pub(in crate::api) fn list(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    let list = context.control.borrow().vpcs();
    let items = list.items.into_iter().map(|view| told(context, view)).collect::<Result<Vec<_>, _>>()?;
    json(&serde_json::json!({ "generation": list.generation, "items": items }))
}

pub(in crate::api) fn show(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let view = context.control.borrow().vpc(request.segment())?;
    told(context, view).map(Reply::Json)
}

/// The answer names the private endpoint: its DNS name, or its listener where there is no zone, and its address.
pub(in crate::api) fn add(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let outcome = context.edit(request, Edit::VpcAdd(request.json()?))?;
    let mut more = serde_json::Map::new();
    let item = &outcome.item;
    let names = item.get("names").and_then(Value::as_array);
    let endpoint = names.and_then(|names| names.first()).or_else(|| item.get("listener"));
    for (key, value) in [("name", item.get("name")), ("endpoint", endpoint), ("address", item.get("address"))]
    {
        more.extend(value.map(|value| (key.to_owned(), value.clone())));
    }
    changed(&outcome, request.dry_run()?, more)
}

pub(in crate::api) fn update(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let edit = Edit::VpcUpdate { vpc: request.name()?, patch: request.json()? };
    plain(&context.edit(request, edit)?, request.dry_run()?)
}

pub(in crate::api) fn delete(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let outcome = context.edit(request, Edit::VpcDelete { vpc: request.name()? })?;
    plain(&outcome, request.dry_run()?)
}

/// A network with its state beside it.
fn told(context: &Context, view: VpcView) -> Result<Value, Refusal> {
    let (state, detail) = state(context, &view);
    let Reply::Json(mut value) = json(&view)? else { return Ok(Value::Null) };
    if let Some(map) = value.as_object_mut() {
        map.insert("state".to_owned(), state.into());
        map.extend(detail.map(|detail| ("detail".to_owned(), detail.into())));
    }
    Ok(value)
}

/// Every network for `status`.
pub(super) fn status(context: &Context) -> Vec<VpcStatus> {
    let views = context.control.borrow().vpcs().items;
    let status = |view: VpcView| {
        let (state, detail) = state(context, &view);
        VpcStatus {
            vpc: view.name.to_string(),
            interface: view.interface,
            address: view.address.to_string(),
            state: state.to_owned(),
            detail,
        }
    };
    views.into_iter().map(status).collect()
}

/// `revoked`: its owner or the site does not want it any more; `unreachable`: its interface is down or its probe is
/// silent; `failed`: its address or its sockets are not there; else `running`.
fn state(context: &Context, view: &VpcView) -> (&'static str, Option<String>) {
    if let Some(why) = &view.revoked {
        return ("revoked", Some(why.clone()));
    }
    let reach = context.sources.reach.as_ref().map(|reach| reach()).unwrap_or_default();
    match reach.into_iter().find(|one| one.vpc == view.name) {
        Some(lost) if !lost.reachable => return ("unreachable", lost.detail),
        // An association alone says nothing about the way there: not running before the probe has answered.
        None if view.probe.is_some() => {
            return ("unreachable", Some("the probe has not been asked yet".to_owned()));
        }
        Some(_) | None => {}
    }
    let addresses = context.sources.addresses.as_ref().map(|addresses| addresses()).unwrap_or_default();
    let own = view.address.to_string();
    let missing = addresses.into_iter().find(|one| {
        let gone = matches!(one.state, AddressState::Waiting | AddressState::Failed);
        one.interface == view.interface && one.address == own && gone
    });
    if let Some(missing) = missing {
        return (
            "failed",
            missing.detail.or_else(|| Some(format!("the address is {}", missing.state.name()))),
        );
    }
    let sockets = context.sources.sockets.as_ref().map(|sockets| sockets()).unwrap_or_default();
    let socket = sockets.into_iter().find(|socket| socket.listener == view.listener.as_str());
    match socket.filter(|socket| socket.state == "failed" || socket.state == "waiting") {
        Some(socket) => ("failed", socket.error),
        None => ("running", None),
    }
}
