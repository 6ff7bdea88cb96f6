//! `gateway stats` and `gateway top`: packets and requests, as totals and as rates.

use std::{collections::BTreeMap, thread, time::Duration};

use clap::Args;
use serde_json::Value;

use super::{
    DONE, Done, Session,
    output::{Table, field, plain, print_json, print_json_line, print_text},
};
use crate::api::client::{Call, Failure};

#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Print anew until interrupted
    #[arg(long)]
    watch: bool,
    /// Seconds between two prints
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
}

#[derive(Debug, Args)]
pub struct TopArgs {
    /// Seconds between two prints
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
}

impl StatsArgs {
    pub(super) fn run(&self, session: &Session) -> Done {
        loop {
            let reply = read(session)?;
            match (session.json, self.watch) {
                (true, true) => print_json_line(&reply),
                (true, false) => print_json(&reply),
                (false, _) => print_text(&tables(&reply, None)),
            }
            if !self.watch {
                return Ok(DONE);
            }
            thread::sleep(Duration::from_secs(self.interval));
        }
    }
}

impl TopArgs {
    pub(super) fn run(&self, session: &Session) -> Done {
        let mut before = read(session)?;
        loop {
            thread::sleep(Duration::from_secs(self.interval));
            let now = read(session)?;
            if session.json {
                print_json_line(&now);
            } else {
                // Home, print, clear what is left of the last frame: no flicker.
                let status = session.client.send(Call::get(&["status"]))?;
                let rates = tables(&now, Some((&before, self.interval)));
                let frame = format!("{}{}{rates}", tiers(&status), super::status::urgent(&status));
                print_text(&format!("\u{1b}[H{}\u{1b}[J", frame.replace('\n', "\u{1b}[K\n")));
            }
            before = now;
        }
    }
}

/// Which tier guards each listener, on one line.
fn tiers(status: &Value) -> String {
    let each = rows(status, "listeners").iter();
    let each = each
        .map(|row| format!("{} {} by {}", field(row, "listener"), field(row, "state"), field(row, "tier")));
    let each: Vec<String> = each.collect();
    if each.is_empty() { "no listeners\n".to_owned() } else { format!("{}\n", each.join(", ")) }
}

fn read(session: &Session) -> Result<Value, Failure> {
    session.client.send(Call::get(&["stats"]))
}

/// All tables; with an earlier answer the counters are per second.
fn tables(reply: &Value, before: Option<(&Value, u64)>) -> String {
    let mut text = format!("generation {}\n", field(reply, "generation"));
    for (key, named, none) in [
        ("filter", &["listener", "verdict", "reason"][..], "no packet was judged by the filter yet"),
        ("listeners", &["name"], "no listener has had a connection yet"),
        ("services", &["name"], "no service was called yet"),
    ] {
        text.push('\n');
        text.push_str(&section(key, rows(reply, key), named, before).unwrap_or_else(|| format!("{none}\n")));
    }
    // Levels and totals of each instance, the same with and without an earlier answer: who is out is what matters.
    if let Some(table) = section("instances", &instances(reply), &["service", "instance", "status"], None) {
        text.push('\n');
        text.push_str(&table);
    }
    text
}

/// Every service's instances, as rows of one table.
fn instances(reply: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for service in rows(reply, "services") {
        for row in rows(service, "instances") {
            let Value::Object(mut row) = row.clone() else { continue };
            row.insert("service".to_owned(), field(service, "name").into());
            all.push(Value::Object(row));
        }
    }
    all
}

/// One table: the columns that name a row, then its figures.
fn section(key: &str, rows_now: &[Value], named: &[&str], before: Option<(&Value, u64)>) -> Option<String> {
    if rows_now.is_empty() {
        return None;
    }
    let old = before.map(|(value, _)| rows_by(value, key, named));
    let seconds = before.map_or(1, |(_, seconds)| seconds);
    let columns = numeric_columns(rows_now);
    let figures = columns.iter().map(|column| {
        let per_second = before.is_some() && !LEVELS.contains(&column.as_str());
        format!("{}{}", column.to_uppercase(), if per_second { "/S" } else { "" })
    });
    // `name` says nothing above a table of several kinds.
    let names = named.iter().map(|name| match (*name, key) {
        ("name", "services") => "SERVICE".to_owned(),
        ("name", _) => "LISTENER".to_owned(),
        (name, _) => name.to_uppercase(),
    });
    let headings: Vec<String> = names.chain(figures).collect();
    let mut table = Table::new(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    for row in rows_now {
        let old = old.as_ref().and_then(|old| old.get(&identify(row, named)).copied());
        let names = named.iter().map(|name| field(row, name));
        table.row(names.chain(columns.iter().map(|column| figure(row, column, old, seconds))));
    }
    Some(table.render())
}

fn rows<'a>(reply: &'a Value, key: &str) -> &'a [Value] {
    reply.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn rows_by<'a>(reply: &'a Value, key: &str, identity: &[&str]) -> BTreeMap<String, &'a Value> {
    rows(reply, key).iter().map(|row| (identify(row, identity), row)).collect()
}

fn identify(row: &Value, identity: &[&str]) -> String {
    identity.iter().map(|key| field(row, key)).collect::<Vec<_>>().join("\u{0}")
}

fn numeric_columns(rows: &[Value]) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for (key, value) in rows.iter().filter_map(Value::as_object).flatten() {
        if value.is_number() && !columns.contains(key) {
            columns.push(key.clone());
        }
    }
    columns
}

/// Figures that stand for themselves: their growth per second says nothing.
const LEVELS: [&str; 6] = ["active", "live", "mean_us", "p50_us", "p99_us", "success_rate"];

/// A number as it is, or its growth per second.
fn figure(row: &Value, key: &str, old: Option<&Value>, seconds: u64) -> String {
    let now = row.get(key);
    let old = old.filter(|_| !LEVELS.contains(&key));
    match (now.and_then(Value::as_u64), old.and_then(|old| old.get(key)).and_then(Value::as_u64)) {
        (Some(now), Some(old)) => (now.saturating_sub(old) / seconds.max(1)).to_string(),
        (Some(_) | None, _) => now.map_or_else(|| "-".to_owned(), plain),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::tables;

    #[test]
    fn totals_and_rates() {
        let old = json!({"generation": 1, "filter": [{"listener": "a", "reason": "allowed", "verdict": "pass",
            "packets": 10, "bytes": 100}], "services": [{"name": "s", "requests": 4, "p50_us": 9}]});
        let mut new = old.clone();
        new["filter"][0]["packets"] = json!(30);
        new["services"][0]["requests"] = json!(8);
        let totals = tables(&new, None);
        assert!(totals.contains("a         pass     allowed  100    30\n"), "{totals}");
        assert!(totals.contains("no listener has had a connection yet"), "{totals}");
        let rates = tables(&new, Some((&old, 2)));
        assert!(rates.contains("LISTENER  VERDICT  REASON   BYTES/S  PACKETS/S\n"), "{rates}");
        assert!(rates.contains("a         pass     allowed  0        10\n"), "{rates}");
        assert!(rates.contains("SERVICE  P50_US  REQUESTS/S\ns        9       2\n"), "{rates}");
        new["services"][0]["instances"] =
            json!([{"instance": "10.0.0.1:80", "status": "ejected", "active": 2}]);
        let rates = tables(&new, Some((&old, 2)));
        let table = "SERVICE  INSTANCE     STATUS   ACTIVE\ns        10.0.0.1:80  ejected  2\n";
        assert!(rates.contains(table), "{rates}");
    }
}
