//! `/v1/listeners/{name}/allow`: the allowlist and the counters of its entries.

use super::{json, plain};
use crate::{
    api::{
        Context,
        request::Request,
        route::Reply,
        wire::{AllowItem, AllowReply, CidrsRequest},
    },
    base::Refusal,
    control::Edit,
    observe::filter::Count,
    resource::{Allowlist, duration},
    snapshot::filter::Reason,
};

pub(in crate::api) fn list(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let number = |key: &str| {
        let number = request.query.number(key)?;
        Ok::<_, Refusal>(number.map(|number| usize::try_from(number).unwrap_or(usize::MAX)))
    };
    let (offset, limit) = (number("offset")?.unwrap_or(0), number("limit")?.unwrap_or(usize::MAX));
    let view = context.control.borrow().allowlist(request.segment(), offset, limit)?;
    let report = context.sources.filter.as_ref().map(|filter| filter.report());
    let counts = report.iter().flat_map(|report| &report.listeners).find(|listener| listener.id == view.id);
    let items = view.items.into_iter().map(|entry| {
        // A CIDR that was removed with a drain and added again has a row of each kind for a while.
        let rows = counts.map_or(&[][..], |counts| &counts.entries);
        let row = entry.id.and_then(|_| {
            rows.iter().find(|row| row.draining == entry.draining && row.cidr.to_string() == entry.cidr)
        });
        let Count { packets, bytes } = row.map(|row| row.count).unwrap_or_default();
        AllowItem { cidr: entry.cidr, packets, bytes, draining: entry.draining, until: entry.until }
    });
    let items = items.collect();
    // A large list is counted as a whole.
    let allowed = counts.filter(|_| !view.counted).map(|counts| {
        let allowed = counts.reasons.iter().find(|row| row.reason == Reason::Allowed.name());
        allowed.map(|row| row.count).unwrap_or_default()
    });
    json(&AllowReply {
        listener: view.listener.to_string(),
        generation: view.generation,
        total: view.total,
        packets: allowed.map(|count| count.packets),
        bytes: allowed.map(|count| count.bytes),
        items,
    })
}

pub(in crate::api) fn add(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let body = decode(request)?;
    refuse_field("allow_empty", body.allow_empty)?;
    refuse_field("drain", body.drain.is_some())?;
    let edit = Edit::AllowAdd { listener: request.listener()?, cidrs: some(&body)? };
    plain(&context.edit(request, edit)?, request.dry_run()?)
}

pub(in crate::api) fn remove(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let body = decode(request)?;
    refuse_field("allow_empty", body.allow_empty)?;
    let drain = body.drain.as_deref().map(duration::parse).transpose()?;
    let edit = Edit::AllowRemove { listener: request.listener()?, cidrs: some(&body)?, drain };
    plain(&context.edit(request, edit)?, request.dry_run()?)
}

pub(in crate::api) fn set(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let body = decode(request)?;
    refuse_field("drain", body.drain.is_some())?;
    let edit =
        Edit::AllowSet { listener: request.listener()?, cidrs: cidrs(&body)?, allow_empty: body.allow_empty };
    plain(&context.edit(request, edit)?, request.dry_run()?)
}

fn decode(request: &Request) -> Result<CidrsRequest, Refusal> {
    request.json()
}

fn cidrs(body: &CidrsRequest) -> Result<Allowlist, Refusal> {
    Allowlist::parse(&body.cidrs.joined())
}

/// The CIDRs of a request that is about some.
fn some(body: &CidrsRequest) -> Result<Allowlist, Refusal> {
    let cidrs = cidrs(body)?;
    if cidrs.is_empty() {
        return Err(Refusal::new("missing_field", "no CIDR is given")
            .field("cidrs", "")
            .remedy("give at least one, like 192.0.2.0/24"));
    }
    Ok(cidrs)
}

fn refuse_field(field: &str, given: bool) -> Result<(), Refusal> {
    if given {
        return Err(Refusal::new("unknown_field", format!("`{field}` has no meaning for this operation"))
            .field("key", field)
            .remedy("leave it out"));
    }
    Ok(())
}
