//! `/v1/services`: services, their tokens, and how to call them.

use serde_json::{Map, Value, json as value};

use super::{changed, json, plain};
use crate::{
    api::{Context, request::Request, route::Reply, wire::TokenRequest},
    base::{Name, Refusal},
    control::{Edit, Outcome},
    resource::{Secret, Service},
};

pub(in crate::api) fn list(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().services())
}

pub(in crate::api) fn show(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let view = context.control.borrow().service(request.segment())?;
    let reply = json(&view)?;
    let Reply::Json(Value::Object(mut item)) = reply else { return Ok(reply) };
    if request.query.flag("examples")? {
        item.insert("examples".to_owned(), examples(&view.endpoints, view.no_auth));
    }
    Ok(Reply::Json(Value::Object(item)))
}

pub(in crate::api) fn add(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let service: Box<Service> = request.json()?;
    let name = service.name.clone();
    let outcome = context.edit(request, Edit::ServiceAdd(service))?;
    reached(context, request, &name, &outcome)
}

pub(in crate::api) fn update(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let name = request.name()?;
    let edit = Edit::ServiceUpdate { service: name.clone(), patch: request.json()? };
    let outcome = context.edit(request, edit)?;
    reached(context, request, &name, &outcome)
}

pub(in crate::api) fn delete(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let outcome = context.edit(request, Edit::ServiceDelete { service: request.name()? })?;
    plain(&outcome, request.dry_run()?)
}

pub(in crate::api) fn rotate(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let name = request.name()?;
    let body: TokenRequest = request.json_or_default()?;
    let token = body.token.as_deref().map(Secret::new).transpose()?;
    let outcome = context.edit(request, Edit::TokenRotate { service: name.clone(), token })?;
    reached(context, request, &name, &outcome)
}

/// The answer to a change of a service: its name, where it is reached and, if one was made, its token.
fn reached(context: &Context, request: &Request, name: &Name, outcome: &Outcome) -> Result<Reply, Refusal> {
    let dry_run = request.dry_run()?;
    let mut more = Map::new();
    more.insert("name".to_owned(), name.as_str().into());
    // A dry run's service is not there to be asked, but its item says the same.
    let endpoints = match context.control.borrow().service(name) {
        Ok(view) => value!(view.endpoints),
        Err(_) => outcome.item.get("endpoints").cloned().unwrap_or_else(|| value!([])),
    };
    more.insert("endpoints".to_owned(), endpoints);
    let token = outcome.tokens.iter().find(|issued| issued.service == *name);
    // The token of a dry run would not work, so it is not shown.
    if let Some(issued) = token.filter(|_| !dry_run) {
        more.insert("token".to_owned(), issued.token.reveal().into());
    }
    changed(outcome, dry_run, more)
}

fn examples(endpoints: &[String], no_auth: bool) -> Value {
    let each = endpoints.iter().map(|url| {
        let token = if no_auth { "" } else { " -H \"Authorization: $TOKEN\"" };
        // The default certificate is self-signed, and an address is never in a certificate's names by itself.
        let insecure = if url.starts_with("https://") { " --insecure" } else { "" };
        value!({
            "title": if url.starts_with("https://") {
                "over HTTPS; leave --insecure out once the host has a certificate"
            } else {
                "over HTTP"
            },
            "command": format!("curl -sS{insecure}{token} {url}"),
        })
    });
    Value::Array(each.collect())
}
