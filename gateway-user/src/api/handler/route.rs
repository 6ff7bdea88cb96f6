//! `/v1/routes`.

use super::{json, plain};
use crate::{
    api::{Context, request::Request, route::Reply},
    base::Refusal,
    control::Edit,
    resource::Route,
};

pub(in crate::api) fn list(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().routes())
}

pub(in crate::api) fn show(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().route(request.segment())?)
}

pub(in crate::api) fn add(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let outcome = context.edit(request, Edit::RouteAdd(request.json()?))?;
    plain(&outcome, request.dry_run()?)
}

pub(in crate::api) fn update(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let edit = Edit::RouteUpdate { route: request.name()?, patch: request.json()? };
    plain(&context.edit(request, edit)?, request.dry_run()?)
}

pub(in crate::api) fn replace(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let route: Route = request.json()?;
    if route.name != request.name()? {
        return Err(Refusal::new("invalid", "the name in the body is not the one in the path")
            .field("name", &route.name)
            .limit(request.segment())
            .remedy("a route cannot be renamed; add a new one and delete the old one"));
    }
    plain(&context.edit(request, Edit::RouteReplace(route))?, request.dry_run()?)
}

pub(in crate::api) fn delete(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let outcome = context.edit(request, Edit::RouteDelete { route: request.name()? })?;
    plain(&outcome, request.dry_run()?)
}
