//! `/v1/endpoint-services` and `/v1/endpoints`.

use serde_json::{Map, Value, json as value};

use super::{changed, json, plain};
use crate::{
    api::{Context, request::Request, route::Reply},
    base::Refusal,
    control::{Edit, view::EndpointView},
};

pub(in crate::api) fn services(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().endpoint_services(request.query.value("search")))
}

pub(in crate::api) fn show_service(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().endpoint_service(request.segment())?)
}

pub(in crate::api) fn add_service(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let replace = request.query.flag("replace")?;
    let edit = Edit::EndpointServiceAdd { service: request.json()?, replace };
    plain(&context.edit(request, edit)?, request.dry_run()?)
}

pub(in crate::api) fn delete_service(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let outcome = context.edit(request, Edit::EndpointServiceDelete { service: request.name()? })?;
    plain(&outcome, request.dry_run()?)
}

pub(in crate::api) fn list(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().endpoints())
}

/// The endpoint, and for each subnet whether its address can be reached now.
pub(in crate::api) fn show(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let view = context.control.borrow().endpoint(request.segment())?;
    let reply = json(&view)?;
    let Reply::Json(Value::Object(mut item)) = reply else { return Ok(reply) };
    item.insert("zones".to_owned(), zones(context, &view));
    Ok(Reply::Json(Value::Object(item)))
}

/// The answer names the endpoint, its host name and its addresses.
pub(in crate::api) fn add(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let outcome = context.edit(request, Edit::EndpointAdd(request.json()?))?;
    let mut more = Map::new();
    for key in ["name", "fqdn", "service_name", "urls"] {
        if let Some(value) = outcome.item.get(key) {
            more.insert(key.to_owned(), value.clone());
        }
    }
    changed(&outcome, request.dry_run()?, more)
}

pub(in crate::api) fn delete(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let outcome = context.edit(request, Edit::EndpointDelete { endpoint: request.name()? })?;
    plain(&outcome, request.dry_run()?)
}

fn zones(context: &Context, view: &EndpointView) -> Value {
    let state = |subnet: &crate::control::view::SubnetView| {
        let liveness = context.sources.liveness.as_ref();
        let dead = liveness.map(|one| one.is_dead(&subnet.interface, subnet.address.addr()));
        let state = match dead {
            None => "unknown",
            Some(true) => "down",
            Some(false) => "up",
        };
        value!({ "zone": subnet.zone, "address": subnet.address.addr(), "state": state })
    };
    Value::Array(view.subnets.iter().map(state).collect())
}
