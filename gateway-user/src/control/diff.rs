//! Pure: the difference between two states, field by field.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Change,
    state::{
        State,
        export::{LIST, Secrets},
    },
};
use crate::resource::{Kind, token::Fingerprint};

type Fields = BTreeMap<String, Value>;

/// Every field that differs, by kind and name.
#[must_use]
pub fn diff(before: &State, after: &State) -> Vec<Change> {
    let mut out = Vec::new();
    for (kind, name) in before.touched(after) {
        compare(kind, &name, fields(before, kind, &name), fields(after, kind, &name), &mut out);
    }
    out
}

fn compare(kind: Kind, name: &str, old: Option<Fields>, new: Option<Fields>, out: &mut Vec<Change>) {
    let change = |field: Option<&str>, old: Option<Value>, new: Option<Value>| Change {
        kind,
        name: name.to_owned(),
        field: field.map(str::to_owned),
        old,
        new,
    };
    let whole = |fields: Fields| Value::Object(fields.into_iter().collect());
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (old, new) => {
            out.push(change(None, old.map(whole), new.map(whole)));
            return;
        }
    };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for field in names {
        match (old.get(field), new.get(field)) {
            (left, right) if left == right => {}
            // An allowlist is a set: each entry is a line of its own.
            (Some(Value::Array(left)), Some(Value::Array(right)))
                if ["allow", "security_group", "grants", "draining"].contains(&field.as_str()) =>
            {
                let gone = left.iter().filter(|one| !right.contains(one));
                out.extend(gone.map(|one| change(Some(field), Some(one.clone()), None)));
                let come = right.iter().filter(|one| !left.contains(one));
                out.extend(come.map(|one| change(Some(field), None, Some(one.clone()))));
            }
            (left, right) => out.push(change(Some(field), left.cloned(), right.cloned())),
        }
    }
}

/// The fields of a resource as people compare them.
fn fields(state: &State, kind: Kind, name: &str) -> Option<Fields> {
    let Some(Value::Object(form)) = state.form(kind, name, Secrets::Fingerprints) else { return None };
    // The name is what the row is filed under.
    let mut fields: Fields =
        form.into_iter().filter(|(field, _)| field != "name" && field != "host").collect();
    // Of a large list, its length and the beginning of its digest tell whether it differs.
    if let Some(Value::String(digest)) = fields.remove(LIST) {
        let count =
            state.listeners.get(format!("vpc:{name}").as_str()).map_or(0, |record| record.entries.len());
        let told = format!("{count} entries ({})", digest.get(..12).unwrap_or(&digest));
        fields.insert("allow".to_owned(), Value::String(told));
    }
    match kind {
        Kind::Listener | Kind::Vpc | Kind::Endpoint => {
            let listener = if kind == Kind::Listener { name.to_owned() } else { format!("{kind}:{name}") };
            let draining = state.listeners.get(listener.as_str()).map(|record| &record.draining);
            let draining = draining.into_iter().flatten();
            let told = draining.map(|drain| Value::String(format!("{} until {}", drain.cidr, drain.until)));
            fields.insert("draining".to_owned(), Value::Array(told.collect()));
            let monitor = state.listeners.get(name).and_then(|record| record.monitor);
            fields.extend(monitor.map(|until| ("monitor_until".to_owned(), until.into())));
        }
        Kind::Certificate => {
            // A chain is pages of base64; its fingerprint tells whether it differs.
            if let Some(Value::String(chain)) = fields.get_mut("chain") {
                *chain = Fingerprint::of(b"chain", chain.as_bytes()).to_string();
            }
        }
        Kind::Service => {
            // So are authorities.
            let service = state.services.get(name).map(|record| &record.service);
            let authorities = service.and_then(|service| service.tls_ca.as_ref());
            fields.extend(authorities.map(|one| ("tls_ca".to_owned(), one.fingerprint().to_string().into())));
        }
        Kind::Gateway | Kind::Account | Kind::Domain | Kind::Route | Kind::EndpointService => {}
    }
    Some(fields)
}
