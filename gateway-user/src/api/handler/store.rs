//! `/v1/apply`, `/v1/confirm`, `/v1/diff`, `/v1/export`, `/v1/history`, `/v1/rollback`: the configuration as a whole.

use serde_json::{Map, Value, json as value};

use super::{changed, json, plain};
use crate::{
    api::{Context, nft, request::Request, route::Reply, wire::RollbackRequest},
    base::Refusal,
    control::{Document, Edit},
};

pub(in crate::api) fn apply(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let document = Document::parse(request.text()?)?;
    let outcome = context.edit(request, Edit::Apply(Box::new(document)))?;
    let dry_run = request.dry_run()?;
    let mut more = Map::new();
    if !outcome.tokens.is_empty() && !dry_run {
        let tokens = outcome.tokens.iter();
        let tokens = tokens.map(|issued| value!({"service": issued.service, "token": issued.token.reveal()}));
        more.insert("tokens".to_owned(), Value::Array(tokens.collect()));
    }
    changed(&outcome, dry_run, more)
}

pub(in crate::api) fn confirm(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let generation = context.control.borrow_mut().confirm()?;
    tracing::info!(uid = request.uid, generation = generation.0, "confirmed");
    json(&value!({ "generation": generation, "changed": true }))
}

pub(in crate::api) fn diff(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let document = Document::parse(request.text()?)?;
    let control = context.control.borrow();
    let difference = control.diff(document, request.caller()?.as_ref())?;
    let changed = !difference.changes.is_empty();
    let Reply::Json(mut reply) = json(&difference)? else {
        return Err(Refusal::new("internal", "a difference is not an object"));
    };
    if let Some(map) = reply.as_object_mut() {
        map.insert("generation".to_owned(), control.generation().0.into());
        map.insert("changed".to_owned(), changed.into());
    }
    Ok(Reply::Json(reply))
}

pub(in crate::api) fn export(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let secrets = request.query.flag("with_secrets")?;
    let control = context.control.borrow();
    if request.query.flag("nft")? {
        if secrets {
            return Err(Refusal::new("invalid", "a ruleset has no secrets")
                .field("with_secrets", "true")
                .remedy("ask for one of the two"));
        }
        let snapshot = control.snapshot();
        return json(&value!({ "generation": snapshot.generation, "nft": nft::ruleset(&snapshot.filter) }));
    }
    let document = control.export(secrets);
    if secrets {
        // Audited: who took the secrets, and when.
        tracing::warn!(uid = request.uid, generation = control.generation().0, "export with secrets");
    }
    json(&value!({ "generation": control.generation(), "toml": document.text()? }))
}

pub(in crate::api) fn history(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    json(&context.control.borrow().history()?)
}

pub(in crate::api) fn rollback(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let RollbackRequest { generation, yes } = request.json()?;
    plain(&context.edit(request, Edit::Rollback { generation, yes })?, request.dry_run()?)
}
