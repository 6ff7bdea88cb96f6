//! `gateway drops`: dropped packets by reason, and samples of them.

use std::{ops::ControlFlow, thread, time::Duration};

use clap::Args;
use serde_json::Value;

use super::{
    DONE, Done, Session,
    output::{Table, field, items_table, print_json, print_json_line, print_line, print_text},
};
use crate::api::client::Call;

#[derive(Debug, Args)]
pub struct DropsArgs {
    /// Print samples as they come, until interrupted
    #[arg(long)]
    follow: bool,
    /// Whom most was dropped of lately, estimated from the samples; with `--follow` anew every two seconds
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "10")]
    top: Option<u64>,
    /// How far `--top` looks back, at most 5m
    #[arg(long, value_name = "DURATION", requires = "top")]
    window: Option<String>,
    /// Only of this listener
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Only for this reason (`not_allowed`, `closed` …)
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
}

impl DropsArgs {
    pub(super) fn run(&self, session: &Session) -> Done {
        match (self.top, self.follow) {
            (None, false) => once(session, self.call(&["drops"])),
            (None, true) => follow(session, self.call(&["drops"])),
            (Some(_), false) => self.top(session),
            (Some(_), true) => loop {
                self.top(session)?;
                thread::sleep(AGAIN);
            },
        }
    }

    fn call(&self, path: &[&str]) -> Call {
        let mut call = Call::get(path);
        if let Some(listener) = &self.listener {
            call = call.query("listener", listener);
        }
        if let Some(reason) = &self.reason {
            call = call.query("reason", reason);
        }
        call
    }

    fn top(&self, session: &Session) -> Done {
        let mut call = self.call(&["drops", "top"]);
        if let Some(limit) = self.top {
            call = call.query("limit", limit);
        }
        if let Some(window) = &self.window {
            call = call.query("window", window);
        }
        let reply = session.client.send(call)?;
        match (session.json, self.follow) {
            (true, true) => print_json_line(&reply),
            (true, false) => print_json(&reply),
            (false, _) => {
                print_line(&format!(
                    "the last {} s, generation {}, {} samples lost since the start",
                    field(&reply, "window_seconds"),
                    field(&reply, "generation"),
                    field(&reply, "lost"),
                ));
                print_text(&items_table(
                    &reply,
                    &[
                        ("SOURCE", "source"),
                        ("LISTENER", "listener"),
                        ("REASON", "reason"),
                        ("PACKETS (ABOUT)", "packets"),
                        ("LAST SEEN", "last_seen"),
                    ],
                ));
            }
        }
        Ok(DONE)
    }
}

/// Between two prints of `--top --follow`.
const AGAIN: Duration = Duration::from_secs(2);

fn once(session: &Session, call: Call) -> Done {
    let reply = session.client.send(call)?;
    if session.json {
        print_json(&reply);
        return Ok(DONE);
    }
    if super::output::items(&reply).is_empty() {
        print_line("nothing was dropped");
    } else {
        print_text(&items_table(
            &reply,
            &[
                ("LISTENER", "listener"),
                ("REASON", "reason"),
                ("BY", "tier"),
                ("PACKETS", "packets"),
                ("BYTES", "bytes"),
            ],
        ));
    }
    let events = reply.get("events").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !events.is_empty() {
        let mut table =
            Table::new(&["TIME", "SOURCE", "DESTINATION", "INTERFACE", "LISTENER", "REASON", "GENERATION"]);
        for event in events {
            table.row([
                field(event, "time"),
                address(event, "source"),
                address(event, "destination"),
                field(event, "interface"),
                field(event, "listener"),
                field(event, "reason"),
                field(event, "generation"),
            ]);
        }
        print_text(&format!("\nsamples:\n{}", table.render()));
    }
    Ok(DONE)
}

fn follow(session: &Session, call: Call) -> Done {
    let json = session.json;
    let mut lost = None;
    session.client.follow(call.query("follow", true), |event| {
        if json {
            print_json_line(&event);
        } else {
            let now = event.get("lost").and_then(Value::as_u64).unwrap_or_default();
            if let Some(more) =
                lost.replace(now).map(|before| now.saturating_sub(before)).filter(|more| *more > 0)
            {
                print_line(&format!("({more} samples were lost: they came faster than they were read)"));
            }
            print_line(&line(&event));
        }
        ControlFlow::Continue(())
    })?;
    Ok(DONE)
}

fn line(event: &Value) -> String {
    format!(
        "{}  {} > {} on {}: {} (listener {}, {} bytes, generation {}, one of {})",
        field(event, "time"),
        address(event, "source"),
        address(event, "destination"),
        field(event, "interface"),
        field(event, "reason"),
        field(event, "listener"),
        field(event, "length"),
        field(event, "generation"),
        field(event, "weight"),
    )
}

/// Address and port; a packet without ports has 0.
fn address(event: &Value, side: &str) -> String {
    let ip = field(event, side);
    match event.get(format!("{side}_port")).and_then(Value::as_u64) {
        None | Some(0) => ip,
        Some(port) if ip.contains(':') => format!("[{ip}]:{port}"),
        Some(port) => format!("{ip}:{port}"),
    }
}
