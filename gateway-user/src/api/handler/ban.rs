//! `/v1/bans`: sources that the allowlist admits and that are kept out for a while.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json as value;

use super::json;
use crate::{
    api::{Context, request::Request, route::Reply},
    base::Refusal,
    defence::{Ban, Bans, Order, Source},
    resource::duration,
};

/// How long a ban by hand is where nothing is said.
const WAIT: Duration = Duration::from_secs(600);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    source: String,
    r#for: Option<String>,
    reason: Option<String>,
}

pub(in crate::api) fn list(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    let Reply::Json(mut reply) = json(&bans(context)?.overview())? else {
        return Err(Refusal::new("internal", "an overview is not an object"));
    };
    if let Some(reply) = reply.as_object_mut() {
        reply.insert("generation".to_owned(), json_number(context));
    }
    Ok(Reply::Json(reply))
}

pub(in crate::api) fn add(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let body: Body = request.json()?;
    let source: Source = body.source.parse()?;
    let order = Order {
        source,
        wait: body.r#for.as_deref().map(duration::parse).transpose()?.unwrap_or(WAIT),
        note: body.reason.unwrap_or_default(),
        actor: Some(request.uid),
    };
    let dry_run = request.dry_run()?;
    let ban = bans(context)?.ban(order, dry_run)?;
    Ok(changed(context, &ban, dry_run))
}

pub(in crate::api) fn lift(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let (source, dry_run) = (request.segment().parse::<Source>()?, request.dry_run()?);
    let ban = bans(context)?.lift(source, Some(request.uid), dry_run)?;
    Ok(changed(context, &ban, dry_run))
}

/// Bans are no part of the configuration: the generation in the answer is the one that they are seen with.
fn changed(context: &Context, ban: &Ban, dry_run: bool) -> Reply {
    let mut reply = value!({ "generation": json_number(context), "changed": true, "item": ban });
    if let Some(reply) = reply.as_object_mut().filter(|_| dry_run) {
        reply.insert("dry_run".to_owned(), true.into());
    }
    Reply::Json(reply)
}

fn json_number(context: &Context) -> serde_json::Value {
    context.control.borrow().generation().0.into()
}

fn bans(context: &Context) -> Result<&dyn Bans, Refusal> {
    let bans = context.sources.bans.as_deref();
    bans.ok_or_else(|| Refusal::new("unavailable", "there is no data plane to ban anybody from"))
}
