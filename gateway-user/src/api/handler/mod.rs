//! What each operation does, one file per kind of resource. Handlers decode, ask `control`, and encode: they decide
//! nothing about the configuration.

pub(super) mod account;
pub(super) mod allow;
pub(super) mod ban;
pub(super) mod certificate;
pub(super) mod check;
pub(super) mod dns;
pub(super) mod domain;
pub(super) mod endpoint;
pub(super) mod explain;
pub(super) mod listener;
pub(super) mod meta;
pub(super) mod route;
pub(super) mod service;
pub(super) mod stats;
pub(super) mod store;
pub(super) mod vpc;

use serde::Serialize;
use serde_json::Value;

use super::route::Reply;
use crate::{base::Refusal, control::Outcome};

/// An answer that is serialised as it is.
fn json(value: &impl Serialize) -> Result<Reply, Refusal> {
    serde_json::to_value(value)
        .map(Reply::Json)
        .map_err(|error| Refusal::new("internal", format!("the answer cannot be written: {error}")))
}

/// The answer to a change: `{"generation", "changed", …}` and the fields of `more`.
fn changed(outcome: &Outcome, dry_run: bool, more: serde_json::Map<String, Value>) -> Result<Reply, Refusal> {
    let Reply::Json(Value::Object(mut reply)) = json(outcome)? else {
        return Err(Refusal::new("internal", "an outcome is not an object"));
    };
    if let Some(diff) = reply.remove("diff") {
        reply.insert("changes".to_owned(), diff);
    }
    if dry_run {
        reply.insert("dry_run".to_owned(), true.into());
    }
    reply.extend(more);
    Ok(Reply::Json(Value::Object(reply)))
}

/// The answer to a change that has nothing more to say.
fn plain(outcome: &Outcome, dry_run: bool) -> Result<Reply, Refusal> {
    changed(outcome, dry_run, serde_json::Map::new())
}
