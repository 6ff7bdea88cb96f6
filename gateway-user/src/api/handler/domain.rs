//! `/v1/domains`.

use super::{json, plain};
use crate::{
    api::{Context, request::Request, route::Reply},
    base::Refusal,
    control::Edit,
};

pub(in crate::api) fn list(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().domains())
}

pub(in crate::api) fn show(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().domain(request.segment())?)
}

pub(in crate::api) fn add(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let replace = request.query.flag("replace")?;
    let edit = Edit::DomainAdd { domain: request.json()?, replace };
    plain(&context.edit(request, edit)?, request.dry_run()?)
}

pub(in crate::api) fn delete(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let edit = Edit::DomainDelete { host: request.segment().parse()? };
    plain(&context.edit(request, edit)?, request.dry_run()?)
}
