//! `/v1/dns`: what the name server would answer, and every record that it has.

use std::rc::Rc;

use serde_json::json as value;

use super::json;
use crate::{
    api::{Context, request::Request, route::Reply},
    base::Refusal,
    observe::dns::NameSource,
};

pub(in crate::api) fn query(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let name = request.query.required("name")?;
    let kind = request.query.value("type").unwrap_or("A");
    json(&names(context)?.query(name, kind, request.query.value("vpc"))?)
}

pub(in crate::api) fn records(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let names = names(context)?;
    let items = names.records(request.query.value("vpc"))?;
    json(&value!({ "generation": names.status().generation, "items": items }))
}

fn names(context: &Context) -> Result<&Rc<dyn NameSource>, Refusal> {
    let absent = || Refusal::new("unavailable", "this daemon has no name server");
    context.sources.names.as_ref().ok_or_else(absent)
}
