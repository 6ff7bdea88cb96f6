//! `gateway drops`: dropped packets by reason, and samples of them.

use std::ops::ControlFlow;

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
}

impl DropsArgs {
    pub(super) fn run(&self, session: &Session) -> Done {
        if self.follow { follow(session) } else { once(session) }
    }
}

fn once(session: &Session) -> Done {
    let reply = session.client.send(Call::get(&["drops"]))?;
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

fn follow(session: &Session) -> Done {
    let json = session.json;
    session.client.follow(Call::get(&["drops"]).query("follow", true), |event| {
        if json {
            print_json_line(&event);
        } else {
            print_line(&line(&event));
        }
        ControlFlow::Continue(())
    })?;
    Ok(DONE)
}

fn line(event: &Value) -> String {
    format!(
        "{}  {} > {} on {}: {} (listener {}, {} bytes, generation {})",
        field(event, "time"),
        address(event, "source"),
        address(event, "destination"),
        field(event, "interface"),
        field(event, "reason"),
        field(event, "listener"),
        field(event, "length"),
        field(event, "generation"),
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
