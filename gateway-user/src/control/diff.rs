//! Pure: the difference between two states, field by field.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::{
    Change,
    state::{State, export::Secrets},
};
use crate::resource::{Kind, token::Fingerprint};

type Rows = BTreeMap<String, BTreeMap<String, Value>>;

/// Every field that differs, by kind and name.
#[must_use]
pub fn diff(before: &State, after: &State) -> Vec<Change> {
    let mut out = Vec::new();
    for ((kind, old), (_, new)) in rows(before).iter().zip(rows(after).iter()) {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            compare(*kind, name, old.get(name), new.get(name), &mut out);
        }
    }
    out
}

fn compare(
    kind: Kind,
    name: &str,
    old: Option<&BTreeMap<String, Value>>,
    new: Option<&BTreeMap<String, Value>>,
    out: &mut Vec<Change>,
) {
    let change = |field: Option<&str>, old: Option<Value>, new: Option<Value>| Change {
        kind,
        name: name.to_owned(),
        field: field.map(str::to_owned),
        old,
        new,
    };
    let whole = |fields: &BTreeMap<String, Value>| Value::Object(fields.clone().into_iter().collect());
    let (Some(old), Some(new)) = (old, new) else {
        out.push(change(None, old.map(whole), new.map(whole)));
        return;
    };
    let fields: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for field in fields {
        match (old.get(field), new.get(field)) {
            (left, right) if left == right => {}
            // An allowlist is a set: each entry is a line of its own.
            (Some(Value::Array(left)), Some(Value::Array(right)))
                if field == "allow" || field == "draining" =>
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

fn rows(state: &State) -> [(Kind, Rows); 5] {
    let document = state.export(Secrets::Fingerprints);
    let mut listeners = by_name(&document.listener, "name");
    for (name, record) in &state.listeners {
        let draining = record
            .draining
            .iter()
            .map(|drain| Value::String(format!("{} until {}", drain.cidr, drain.until)))
            .collect();
        if let Some(fields) = listeners.get_mut(name.as_str()) {
            fields.insert("draining".to_owned(), Value::Array(draining));
        }
    }
    let mut certificates = by_name(&document.certificate, "name");
    for fields in certificates.values_mut() {
        // A chain is pages of base64; its fingerprint tells whether it differs.
        if let Some(Value::String(chain)) = fields.get_mut("chain") {
            *chain = Fingerprint::of(b"chain", chain.as_bytes()).to_string();
        }
    }
    [
        (Kind::Listener, listeners),
        (Kind::Certificate, certificates),
        (Kind::Domain, by_name(&document.domain, "host")),
        (Kind::Service, by_name(&document.service, "name")),
        (Kind::Route, by_name(&document.route, "name")),
    ]
}

fn by_name<T: Serialize>(items: &[T], key: &str) -> Rows {
    let row = |item: &T| {
        let Ok(Value::Object(fields)) = serde_json::to_value(item) else { return None };
        let name = fields.get(key)?.as_str()?.to_owned();
        Some((name, fields.into_iter().filter(|(field, _)| field != key).collect()))
    };
    items.iter().filter_map(row).collect()
}
