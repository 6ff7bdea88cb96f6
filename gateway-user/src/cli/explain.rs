//! `gateway explain`: what would happen to a packet, and why. Exit 0 for either verdict.

use clap::Args;
use serde_json::Value;

use super::{
    DONE, Done, Session,
    output::{field, plain, print_json, print_line, print_text},
};
use crate::api::client::Call;

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Source address
    source: String,
    /// Destination address and port; IPv6 as [ADDR]:PORT
    #[arg(value_name = "DST:PORT")]
    destination: String,
    /// Interface that the packet comes in through [default: that of the listener with this address]
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// Outer VLAN tag of the frame on that interface
    #[arg(long, value_name = "ID", requires = "interface", value_parser = clap::value_parser!(u16).range(0..4095))]
    vlan: Option<u16>,
}

impl ExplainArgs {
    pub(super) fn run(&self, session: &Session) -> Done {
        let mut call =
            Call::get(&["explain"]).query("source", &self.source).query("destination", &self.destination);
        if let Some(interface) = &self.interface {
            call = call.query("interface", interface);
        }
        if let Some(vlan) = self.vlan {
            call = call.query("vlan", vlan);
        }
        let reply = session.client.send(call)?;
        if session.json {
            print_json(&reply);
        } else {
            print_line(&format!(
                "{}: {} (listener {}, entry {}, interface {}, decided by {}, generation {})",
                field(&reply, "verdict"),
                field(&reply, "reason"),
                field(&reply, "listener"),
                field(&reply, "entry"),
                field(&reply, "interface"),
                field(&reply, "tier"),
                field(&reply, "generation"),
            ));
            print_text(&evidence(&reply));
        }
        Ok(DONE)
    }
}

/// What the verdict rests on.
fn evidence(reply: &Value) -> String {
    let told = |tier: &str| match reply.get(tier).filter(|verdict| verdict.is_object()) {
        Some(verdict) => format!("{}, {}", field(verdict, "verdict"), field(verdict, "reason")),
        None => "does not judge".to_owned(),
    };
    let mut text = format!("  in the kernel: {}; at accept: {}\n", told("kernel"), told("host"));
    let seen = field(reply, "last_seen");
    let seen = if seen == "-" { "not seen lately".to_owned() } else { format!("last seen {seen}") };
    text.push_str(&format!("  this source: {seen}, {} open connections\n", field(reply, "connections")));
    if let Some(count) = reply.get("count").filter(|count| count.is_object()) {
        let of = match field(count, "of").as_str() {
            "entry" => "packets of this entry",
            "connections" => "connections of this listener with this verdict at accept",
            _ => "packets of this listener for this reason",
        };
        text.push_str(&format!("  so far: {} {of}\n", field(count, "packets")));
    }
    for warning in reply.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        text.push_str(&format!("  warning: {}\n", plain(warning)));
    }
    text
}
