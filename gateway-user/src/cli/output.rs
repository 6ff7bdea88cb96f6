//! Printing: aligned tables, JSON, errors. The only file that writes to stdout.
//!
//! A reader that goes away (`gateway drops --follow | head`) ends the process quietly instead of panicking.

use std::{
    io::{self, Write as _},
    process,
};

use serde_json::Value;

use crate::{api::wire::ErrorReply, base::Refusal};

/// Writes text to stdout.
pub fn print_text(text: &str) {
    let mut out = io::stdout().lock();
    let result = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = result {
        // Nobody reads any more: that is how a pipe ends. Any other failure has no better place than the exit code.
        process::exit(i32::from(error.kind() != io::ErrorKind::BrokenPipe));
    }
}

/// Writes one line to stdout.
pub(super) fn print_line(line: &str) {
    print_text(&format!("{line}\n"));
}

/// Writes a value as indented JSON.
pub fn print_json(value: &Value) {
    print_line(&format!("{value:#}"));
}

/// Writes a value as one line of JSON.
pub(super) fn print_json_line(value: &Value) {
    print_line(&value.to_string());
}

/// Writes a refusal as prose to stderr and, with `json`, as an error object to stdout.
pub fn print_error(refusal: &Refusal, json: bool) {
    // stderr may be closed; there is nobody left to tell.
    let _ = writeln!(io::stderr(), "gateway: {refusal}");
    if json {
        print_error_json(refusal);
    }
}

/// Writes the error object of a refusal to stdout.
pub(super) fn print_error_json(refusal: &Refusal) {
    if let Ok(value) = serde_json::to_value(ErrorReply { error: refusal.clone() }) {
        print_json(&value);
    }
}

/// Columns aligned on their widest cell.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(super) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// The table as text, a line per row.
    pub(super) fn render(&self) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                let width = cell.chars().count();
                match widths.get_mut(column) {
                    Some(widest) => *widest = width.max(*widest),
                    None => widths.push(width),
                }
            }
        }
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Control characters from elsewhere (a header in a log, a name in a certificate) must not drive the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Fields that are seconds since the Unix epoch, wherever they stand.
const TIMES: [&str; 6] = ["time", "created", "until", "not_before", "not_after", "last_seen"];

/// A field of an answer as text for people: `-` when it is absent.
pub(super) fn field(value: &Value, key: &str) -> String {
    let value = value.get(key);
    match value.and_then(Value::as_f64).filter(|_| TIMES.contains(&key)) {
        Some(seconds) => date(seconds),
        None => value.map_or_else(|| "-".to_owned(), plain),
    }
}

/// A time as `2026-11-20 14:05:09Z` (RFC 3339 with a space).
fn date(seconds: f64) -> String {
    // Times beyond year 9999 are nonsense from a certificate; they are shown as the number they are.
    if !(0.0..253_402_300_800.0).contains(&seconds) {
        return seconds.to_string();
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked above")]
    let seconds = seconds as i64;
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a civil date by 400-year eras that begin on 1 March (Howard Hinnant, "chrono-compatible algorithms").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

/// A value as text for people.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => printable(text),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        // A route's target in the form of the command line.
        Value::Object(map) if map.len() == 2 && map.contains_key("service") && map.contains_key("weight") => {
            format!("{}={}", field(value, "service"), field(value, "weight"))
        }
        Value::Object(map) => {
            map.keys().map(|key| format!("{key}={}", field(value, key))).collect::<Vec<_>>().join(" ")
        }
    }
}

/// The `items` of a list as a table: a heading and a field per column.
pub(super) fn items_table(reply: &Value, columns: &[(&str, &str)]) -> String {
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let mut table = Table::new(&headings);
    for item in items(reply) {
        table.row(columns.iter().map(|(_, key)| field(item, key)));
    }
    table.render()
}

/// The `items` of a list.
pub(super) fn items(reply: &Value) -> &[Value] {
    reply.get("items").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// One item, a field per line, the name first.
pub(super) fn item_lines(item: &Value) -> String {
    let mut table = Table { rows: Vec::new() };
    let Some(map) = item.as_object() else { return format!("{}\n", plain(item)) };
    let first = map.iter().filter(|(key, _)| matches!(key.as_str(), "name" | "host"));
    let rest = map.iter().filter(|(key, _)| !matches!(key.as_str(), "name" | "host"));
    for (key, _) in first.chain(rest) {
        table.row([key.clone(), field(item, key)]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Table, field, item_lines, items_table};

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_space() {
        let mut table = Table::new(&["NAME", "OPEN"]);
        table.row(["a-long-name".to_owned(), "yes".to_owned()]);
        table.row(["b".to_owned(), String::new()]);
        assert_eq!(table.render(), "NAME         OPEN\na-long-name  yes\nb\n");
    }

    #[test]
    fn absent_and_empty_fields_are_dashes_and_control_characters_are_gone() {
        let reply = json!({"items": [{"a": "x\u{1b}[2J", "b": []}, {"b": [1, true]}]});
        assert_eq!(items_table(&reply, &[("A", "a"), ("B", "b")]), "A      B\nx [2J  -\n-      1, yes\n");
    }

    #[test]
    fn times_are_dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (1_795_183_509, "2026-11-20 14:05:09Z"),
            (4_107_542_399_i64, "2100-02-28 23:59:59Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(field(&json!({ "not_after": seconds }), "not_after"), text);
        }
        assert_eq!(field(&json!({"time": -1, "packets": 5}), "time"), "-1");
        assert_eq!(field(&json!({"time": 1, "packets": 5}), "packets"), "5");
    }

    #[test]
    fn an_item_begins_with_its_name() {
        let text = item_lines(&json!({"aaa": 1, "name": "n"}));
        assert!(text.starts_with("name  n\n"), "{text}");
    }
}
