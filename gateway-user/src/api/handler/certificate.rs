//! `/v1/certificates`.

use super::{json, plain};
use crate::{
    api::{Context, request::Request, route::Reply},
    base::Refusal,
    control::Edit,
};

pub(in crate::api) fn list(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().certificates())
}

pub(in crate::api) fn show(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().certificate(request.segment())?)
}

pub(in crate::api) fn add(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let replace = request.query.flag("replace")?;
    let edit = Edit::CertificateAdd { certificate: request.json()?, replace };
    plain(&context.edit(request, edit)?, request.dry_run()?)
}

pub(in crate::api) fn delete(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let outcome = context.edit(request, Edit::CertificateDelete { certificate: request.name()? })?;
    plain(&outcome, request.dry_run()?)
}
