//! `/v1/accounts`: tenants and their grants.

use std::collections::BTreeSet;

use serde_json::json as value;

use super::{json, plain};
use crate::{
    api::{
        Context,
        request::Request,
        route::Reply,
        wire::{AccountPatch, GrantsRequest},
    },
    base::Refusal,
    control::Edit,
    resource::Grant,
};

pub(in crate::api) fn list(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().accounts())
}

pub(in crate::api) fn show(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().account(request.segment())?)
}

pub(in crate::api) fn add(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    plain(&context.edit(request, Edit::AccountAdd(request.json()?))?, request.dry_run()?)
}

pub(in crate::api) fn update(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let AccountPatch { cross_account } = request.json()?;
    let edit = Edit::AccountUpdate { account: request.name()?, cross_account };
    plain(&context.edit(request, edit)?, request.dry_run()?)
}

pub(in crate::api) fn delete(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let edit = Edit::AccountDelete { account: request.name()? };
    plain(&context.edit(request, edit)?, request.dry_run()?)
}

pub(in crate::api) fn grants(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let control = context.control.borrow();
    let account = control.account(request.segment())?;
    let items =
        Grant::ALL.map(|grant| value!({ "grant": grant, "granted": account.grants.contains(&grant) }));
    json(&value!({ "account": account.name, "generation": control.generation(), "items": items }))
}

pub(in crate::api) fn grant(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let edit = Edit::GrantAdd { account: request.name()?, grants: named(request)? };
    plain(&context.edit(request, edit)?, request.dry_run()?)
}

pub(in crate::api) fn revoke(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let edit = Edit::GrantRemove { account: request.name()?, grants: named(request)? };
    plain(&context.edit(request, edit)?, request.dry_run()?)
}

fn named(request: &Request) -> Result<BTreeSet<Grant>, Refusal> {
    let GrantsRequest { grants } = request.json()?;
    if grants.is_empty() {
        return Err(Refusal::new("missing_field", "no grant is given")
            .field("grants", "[]")
            .limit(Grant::ALL.map(Grant::word).join(", "))
            .remedy("give at least one"));
    }
    grants.iter().map(|grant| grant.parse()).collect()
}
