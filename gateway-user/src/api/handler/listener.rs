//! `/v1/listeners`.

use std::time::Duration;

use serde::Deserialize;

use super::{json, plain};
use crate::{
    api::{Context, request::Request, route::Reply},
    base::Refusal,
    control::Edit,
    resource::{Patch, duration},
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

pub(in crate::api) fn update(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let edit = Edit::ListenerUpdate { listener: request.listener()?, patch: request.json()? };
    plain(&context.edit(request, edit)?, request.dry_run()?)
}

/// A change of limits alone.
pub(in crate::api) fn limit(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let patch = Patch::one("limits", serde_json::Value::Object(request.json()?));
    let edit = Edit::ListenerUpdate { listener: request.listener()?, patch };
    plain(&context.edit(request, edit)?, request.dry_run()?)
}

/// For how long a listener is monitored.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Monitor {
    r#for: Option<String>,
    #[serde(default)]
    off: bool,
}

/// How long where nothing is said.
const MONITOR: Duration = Duration::from_secs(600);

pub(in crate::api) fn monitor(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let body: Monitor = request.json_or_default()?;
    let wait = match (body.off, body.r#for.as_deref()) {
        (true, Some(_)) => {
            return Err(Refusal::new("conflict", "monitoring is on for a while or off").field("off", true));
        }
        (true, None) => None,
        (false, given) => Some(given.map(duration::parse).transpose()?.unwrap_or(MONITOR)),
    };
    let listener = request.listener()?;
    let edit = Edit::Monitor { listener: listener.clone(), wait };
    let (outcome, dry_run) = (context.edit(request, edit)?, request.dry_run()?);
    if let Some(wait) = wait.filter(|_| outcome.changed && !dry_run) {
        tracing::warn!(%listener, ?wait, "the listener is monitored: its allowlist drops nobody");
    }
    plain(&outcome, dry_run)
}
