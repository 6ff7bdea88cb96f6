//! `gateway monitor`: see what an allowlist would drop before it does.

use clap::Args;

use super::{Done, Manner, Session, change::Object};
use crate::api::client::Call;

#[derive(Debug, Args)]
pub struct MonitorArgs {
    /// Name of the listener
    listener: String,
    /// For how long, at most 24h [default: 10m]
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "off")]
    wait: Option<String>,
    /// End it now
    #[arg(long)]
    off: bool,
    #[command(flatten)]
    manner: Manner,
}

impl MonitorArgs {
    pub(super) fn run(&self, session: &Session) -> Done {
        let mut body = Object::default();
        body.maybe("for", self.wait.clone());
        if self.off {
            body.set("off", true);
        }
        let call = Call::post(&["listeners", &self.listener, "monitor"]).json(&body.finish());
        let (listener, wait) = (&self.listener, self.wait.as_deref().unwrap_or("10m"));
        let done = if self.off {
            format!("the allowlist of listener {listener} drops again")
        } else {
            format!(
                "the allowlist of listener {listener} drops NOBODY for {wait}; `gateway drops` counts as \
                 `monitored` what it would have dropped"
            )
        };
        session.change(call, &self.manner, &done)
    }
}
