//! What verbs have in common: sending a change and saying what it did, listing, showing.

use serde_json::Value;

use super::{
    DONE, Done, Manner, Session,
    arguments::{Item, Named},
    caller,
    output::{Table, field, item_lines, items_table, plain, print_json, print_line, print_text},
};
use crate::{
    api::client::{Call, Failure},
    base::Refusal,
};

impl Session {
    /// Sends a change and prints `done` (a sentence without full stop) with the generation, or that nothing was to do.
    pub(super) fn change(&self, call: Call, manner: &Manner, done: &str) -> Done {
        self.change_then(call, manner, done, |_| ())
    }

    /// Deletes one of a `collection`, a `kind` of resource.
    pub(super) fn delete(&self, collection: &str, named: &Named, kind: &str) -> Done {
        let call = Call::delete(&[collection, &named.name]);
        self.change(call, &named.manner, &format!("{kind} {} is deleted", named.name))
    }

    /// As [`Session::change`], and lets `more` print what else people need of the answer.
    pub(super) fn change_then(
        &self,
        call: Call,
        manner: &Manner,
        done: &str,
        more: impl FnOnce(&Value),
    ) -> Done {
        self.report(manner.of(call), done, |reply| {
            more(reply);
            if let Some(wait) = manner.confirm.as_ref().filter(|_| reply.get("confirm_by").is_some()) {
                print_line(&format!("undone in {wait} unless you run `gateway confirm`"));
            }
        })
    }

    /// Sends a change as it is, prints what it did and then `more`.
    pub(super) fn report(&self, call: Call, done: &str, more: impl FnOnce(&Value)) -> Done {
        let reply = self.client.send(call)?;
        if self.json {
            print_json(&reply);
            return Ok(DONE);
        }
        let generation = field(&reply, "generation");
        let is = |key: &str| reply.get(key).and_then(Value::as_bool);
        match (is("changed"), is("dry_run")) {
            (Some(false), _) => print_line(&format!("nothing to change (generation {generation})")),
            (_, Some(true)) => print_line(&format!("dry run, nothing was changed; it would be: {done}")),
            (_, _) => print_line(&format!("{done} (generation {generation})")),
        }
        print_text(&difference(&reply));
        print_text(&consequences(&reply));
        more(&reply);
        Ok(DONE)
    }

    /// Prints a list as a table.
    pub(super) fn list(&self, call: Call, columns: &[(&str, &str)], empty: &str) -> Done {
        let reply = self.client.send(call)?;
        if self.json {
            print_json(&reply);
        } else if super::output::items(&reply).is_empty() {
            print_line(empty);
        } else {
            print_text(&items_table(&reply, columns));
        }
        Ok(DONE)
    }

    /// Prints one of a `collection`.
    pub(super) fn show_item(&self, collection: &str, item: &Item) -> Done {
        self.show(Call::get(&[collection, &item.name]))
    }

    /// Prints one item.
    pub(super) fn show(&self, call: Call) -> Done {
        let reply = self.client.send(call)?;
        if self.json {
            print_json(&reply);
        } else {
            print_text(&item_lines(&reply));
        }
        Ok(DONE)
    }
}

impl Manner {
    /// Says to the daemon how the change is made.
    fn of(&self, mut call: Call) -> Call {
        if self.dry_run {
            call = call.query("dry_run", true);
        }
        if let Some(wait) = &self.confirm {
            call = call.query("confirm", wait);
        }
        if self.force {
            call = call.query("force", true);
        }
        if let Some(connection) = caller::connection() {
            call = call.query("caller", connection);
        }
        call
    }
}

/// The lines of a change's difference: `+ listener edge`, `~ service chat.qps: 5 -> 10`.
pub(super) fn difference(reply: &Value) -> String {
    let changes = reply.get("changes").and_then(Value::as_array).into_iter().flatten();
    changes.map(|change| format!("  {}\n", line(change))).collect()
}

/// Whom a change would keep out, and what else is to be known of it.
pub(super) fn consequences(reply: &Value) -> String {
    let lost = reply.get("would_cut").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut text = String::new();
    if !lost.is_empty() {
        let mut table = Table::new(&["SOURCE", "LISTENER", "CONNECTIONS", "CUT", "LAST SEEN", "REASON"]);
        for one in lost {
            table.row(
                ["source", "listener", "connections", "cut", "last_seen", "reason"]
                    .map(|key| field(one, key)),
            );
        }
        let total = reply.get("would_cut_total").and_then(Value::as_u64).unwrap_or_default();
        let shown = if total > lost.len() as u64 {
            format!(" ({} of {total} are shown)", lost.len())
        } else {
            String::new()
        };
        text.push_str(&format!("these sources would be kept out{shown}:\n{}", table.render()));
    }
    for note in reply.get("notes").and_then(Value::as_array).into_iter().flatten() {
        text.push_str(&format!("note: {}\n", plain(note)));
    }
    text
}

fn line(change: &Value) -> String {
    let (old, new) = (change.get("old"), change.get("new"));
    let (sign, values) = match (old, new) {
        (None, Some(new)) => ('+', plain(new)),
        (Some(old), None) => ('-', plain(old)),
        (Some(old), Some(new)) => ('~', format!("{} -> {}", plain(old), plain(new))),
        (None, None) => ('~', String::new()),
    };
    let (kind, name) = (field(change, "kind"), field(change, "name"));
    match change.get("field") {
        Some(key) => format!("{sign} {kind} {name}.{}: {values}", plain(key)),
        // A whole resource: its name says enough.
        None => format!("{sign} {kind} {name}"),
    }
}

/// Reads a file, or stdin for `-`.
pub(super) fn read_text(path: &std::path::Path, field: &str) -> Result<String, Failure> {
    use std::io::Read as _;

    let result = if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    result.map_err(|error| {
        Failure::Refused(
            Refusal::new("unreadable_file", format!("cannot read the file: {error}"))
                .field(field, path.display())
                .remedy("check the path and its permissions"),
        )
    })
}

/// A JSON object that leaves out what was not said.
#[derive(Default)]
pub(super) struct Object(serde_json::Map<String, Value>);

impl Object {
    /// Sets a field.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// Sets a field if there is a value.
    pub(super) fn maybe(&mut self, key: &str, value: Option<impl Into<Value>>) -> &mut Self {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }

    /// Sets a field if there is a value; `off` takes it back to its default.
    pub(super) fn or_off(&mut self, key: &str, value: Option<&str>) -> &mut Self {
        match value {
            Some("off") => self.set(key, Value::Null),
            value => self.maybe(key, value),
        }
    }

    /// Sets a field to a table unless nothing is in it.
    pub(super) fn table(&mut self, key: &str, Self(table): Self) -> &mut Self {
        if table.is_empty() { self } else { self.set(key, table) }
    }

    /// Leaves out what is taken back to its default: of a new resource it is there already.
    pub(super) fn finish_new(&mut self) -> Value {
        self.0.retain(|_, value| !value.is_null());
        self.finish()
    }

    /// The object.
    pub(super) fn finish(&mut self) -> Value {
        Value::Object(std::mem::take(&mut self.0))
    }
}
