//! `gateway allow …`: who may connect to a listener. The daemon splits and parses the CIDRs, not this file.

use std::path::Path;

use clap::{Args, Subcommand};
use http::Method;

use super::{Done, Manner, Session, change::read_text};
use crate::api::{
    client::{Call, Failure},
    wire::{CidrsRequest, Texts},
};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the allowed CIDRs with their packets and bytes
    List {
        /// Name of the listener
        listener: String,
    },
    /// Allow CIDRs
    Add(Change),
    /// Stop allowing CIDRs and cut their connections
    Remove(Remove),
    /// Replace the whole list
    Set(Set),
}

#[derive(Debug, Args)]
pub struct Change {
    /// Name of the listener
    listener: String,
    /// CIDRs or addresses, separated by comma, space or newline; `-` reads stdin
    #[arg(required = true)]
    cidrs: Vec<String>,
    #[command(flatten)]
    manner: Manner,
}

#[derive(Debug, Args)]
pub struct Remove {
    #[command(flatten)]
    change: Change,
    /// Let established connections go on for this long (`30s`, `5m`) instead of cutting them
    #[arg(long, value_name = "DURATION")]
    drain: Option<String>,
}

#[derive(Debug, Args)]
pub struct Set {
    /// Name of the listener
    listener: String,
    /// CIDRs or addresses, separated by comma, space or newline; `-` reads stdin
    #[arg(required_unless_present = "allow_empty")]
    cidrs: Vec<String>,
    /// Accept an empty list: nobody may connect
    #[arg(long)]
    allow_empty: bool,
    #[command(flatten)]
    manner: Manner,
}

impl Verb {
    pub(super) fn run(&self, session: &Session) -> Done {
        match self {
            Self::List { listener } => session.list(
                Call::get(&["listeners", listener, "allow"]),
                &[("CIDR", "cidr"), ("PACKETS", "packets"), ("BYTES", "bytes"), ("DRAINING", "draining")],
                &format!("nobody is allowed; allow somebody with `gateway allow add {listener} CIDR`"),
            ),
            Self::Add(change) => {
                let request = CidrsRequest { cidrs: texts(&change.cidrs)?, allow_empty: false, drain: None };
                let call = call(Method::POST, &change.listener, &request);
                session.change(call, &change.manner, &format!("allowlist of {} is longer", change.listener))
            }
            Self::Remove(Remove { change, drain }) => {
                let request =
                    CidrsRequest { cidrs: texts(&change.cidrs)?, allow_empty: false, drain: drain.clone() };
                let call = call(Method::DELETE, &change.listener, &request);
                let cut = match drain {
                    Some(drain) => format!("; established connections end within {drain}"),
                    None => "; their connections are cut".to_owned(),
                };
                session.change(
                    call,
                    &change.manner,
                    &format!("allowlist of {} is shorter{cut}", change.listener),
                )
            }
            Self::Set(set) => {
                let request =
                    CidrsRequest { cidrs: texts(&set.cidrs)?, allow_empty: set.allow_empty, drain: None };
                let call = call(Method::PUT, &set.listener, &request);
                session.change(call, &set.manner, &format!("allowlist of {} is set", set.listener))
            }
        }
    }
}

fn call(method: Method, listener: &str, request: &CidrsRequest) -> Call {
    Call::new(method, &["listeners", listener, "allow"]).json(request)
}

/// The arguments as they are, with `-` replaced by stdin.
fn texts(arguments: &[String]) -> Result<Texts, Failure> {
    let mut texts = Vec::new();
    for argument in arguments {
        texts.push(match argument.as_str() {
            "-" => read_text(Path::new("-"), "cidrs")?,
            text => text.to_owned(),
        });
    }
    Ok(Texts::Many(texts))
}
