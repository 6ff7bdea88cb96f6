//! `gateway explain`: what would happen to a packet, and why. Exit 0 for either verdict.

use clap::Args;

use super::{
    DONE, Done, Session,
    output::{field, print_json, print_line},
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
}

impl ExplainArgs {
    pub(super) fn run(&self, session: &Session) -> Done {
        let mut call =
            Call::get(&["explain"]).query("source", &self.source).query("destination", &self.destination);
        if let Some(interface) = &self.interface {
            call = call.query("interface", interface);
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
        }
        Ok(DONE)
    }
}
