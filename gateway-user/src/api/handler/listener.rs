//! `/v1/listeners`.

use super::{json, plain};
use crate::{
    api::{Context, request::Request, route::Reply},
    base::Refusal,
    control::Edit,
};

pub(in crate::api) fn list(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().listeners())
}

pub(in crate::api) fn show(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().listener(request.segment())?)
}

pub(in crate::api) fn add(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let outcome = context.edit(request, Edit::ListenerAdd(request.json()?))?;
    plain(&outcome, request.dry_run()?)
}

pub(in crate::api) fn delete(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let outcome = context.edit(request, Edit::ListenerDelete { listener: request.listener()? })?;
    plain(&outcome, request.dry_run()?)
}

pub(in crate::api) fn open(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let outcome = context.edit(request, Edit::ListenerOpen { listener: request.listener()? })?;
    plain(&outcome, request.dry_run()?)
}

pub(in crate::api) fn close(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let outcome = context.edit(request, Edit::ListenerClose { listener: request.listener()? })?;
    plain(&outcome, request.dry_run()?)
}
