//! `/v1/vpcs`.

use super::{changed, json, plain};
use crate::{
    api::{Context, request::Request, route::Reply},
    base::Refusal,
    control::Edit,
};

pub(in crate::api) fn list(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().vpcs())
}

pub(in crate::api) fn show(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().vpc(request.segment())?)
}

/// The answer names the private endpoint: its DNS name, or its listener where there is no zone, and its address.
pub(in crate::api) fn add(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let outcome = context.edit(request, Edit::VpcAdd(request.json()?))?;
    let mut more = serde_json::Map::new();
    let item = &outcome.item;
    let names = item.get("names").and_then(serde_json::Value::as_array);
    let endpoint = names.and_then(|names| names.first()).or_else(|| item.get("listener"));
    for (key, value) in [("name", item.get("name")), ("endpoint", endpoint), ("address", item.get("address"))]
    {
        more.extend(value.map(|value| (key.to_owned(), value.clone())));
    }
    changed(&outcome, request.dry_run()?, more)
}

pub(in crate::api) fn delete(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let outcome = context.edit(request, Edit::VpcDelete { vpc: request.name()? })?;
    plain(&outcome, request.dry_run()?)
}
