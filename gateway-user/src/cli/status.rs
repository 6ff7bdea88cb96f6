//! `gateway status`: the daemon at a glance.

use serde_json::Value;

use super::{
    DONE, Done, Session,
    output::{Table, field, print_json, print_text},
};
use crate::api::client::Call;

pub(super) fn run(session: &Session) -> Done {
    let reply = session.client.send(Call::get(&["status"]))?;
    if session.json {
        print_json(&reply);
        return Ok(DONE);
    }
    let mut head = format!(
        "gateway {}, generation {}, up {} s, state {}\n",
        field(&reply, "version"),
        field(&reply, "generation"),
        field(&reply, "uptime_seconds"),
        field(&reply, "state"),
    );
    head.push_str(&urgent(&reply));
    let enforcers = reply.get("enforcers").and_then(Value::as_array).into_iter().flatten();
    let enforcers: Vec<String> =
        enforcers.map(|one| format!("{} {}", field(one, "name"), field(one, "generation"))).collect();
    if !enforcers.is_empty() {
        head.push_str(&format!("\ngeneration in force: {}\n", enforcers.join(", ")));
    }
    if reply.get("vpcs").and_then(Value::as_array).is_some_and(|vpcs| !vpcs.is_empty()) {
        head.push_str(&section(&reply, "vpcs", &["vpc", "interface", "address", "state", "detail"]));
    }
    head.push_str(&section(&reply, "filter", &["interface", "mode", "generation", "detail"]));
    head.push_str(&section(&reply, "addresses", &["interface", "address", "state", "detail"]));
    head.push_str(&section(
        &reply,
        "dns",
        &["view", "interface", "address", "state", "generation", "detail"],
    ));
    head.push_str(&section(&reply, "workers", &["worker", "generation"]));
    head.push_str(&section(
        &reply,
        "listeners",
        &["listener", "interface", "addresses", "state", "tier", "entries", "detail"],
    ));
    print_text(&head);
    Ok(DONE)
}

/// What wants an answer comes first: a change to confirm, and warnings.
pub(super) fn urgent(reply: &Value) -> String {
    let mut text = String::new();
    if let Some(confirm) = reply.get("confirm") {
        text.push_str(&format!(
            "\nthis generation is undone in {} s (back to generation {}) unless you run `gateway confirm`\n",
            field(confirm, "left"),
            field(confirm, "back_to"),
        ));
    }
    for warning in reply.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        text.push_str(&format!("\nwarning: {}\n", super::output::plain(warning)));
    }
    text
}

fn section(reply: &Value, key: &str, columns: &[&str]) -> String {
    let Some(rows) = reply.get(key).and_then(Value::as_array).filter(|rows| !rows.is_empty()) else {
        return format!("\nno {key}\n");
    };
    let headings: Vec<String> = columns.iter().map(|column| column.to_uppercase()).collect();
    let mut table = Table::new(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    for row in rows {
        table.row(columns.iter().map(|column| field(row, column)));
    }
    format!("\n{}", table.render())
}
