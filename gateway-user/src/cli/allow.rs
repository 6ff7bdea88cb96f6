//! `gateway allow …`: who may connect to a listener. The daemon splits and parses the CIDRs, not this file.

use std::path::Path;

use clap::{Args, Subcommand};
use http::Method;

use super::{
    DONE, Done, Manner, Session,
    change::read_text,
    output::{field, items, items_table, print_json, print_line, print_text},
};
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
        /// Print at most so many entries [default: 1000, with --json all]
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Leave out the first entries
        #[arg(long, value_name = "N", default_value_t = 0)]
        offset: usize,
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
            Self::List { listener, limit, offset } => list(session, listener, *limit, *offset),
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

/// Entries that are printed for people.
const PAGE: usize = 1000;

/// Prints a part of a list, and says so when it is not all.
fn list(session: &Session, listener: &str, limit: Option<usize>, offset: usize) -> Done {
    let limit = limit.unwrap_or(if session.json { usize::MAX } else { PAGE });
    let call = Call::get(&["listeners", listener, "allow"]).query("limit", limit).query("offset", offset);
    let reply = session.client.send(call)?;
    if session.json {
        print_json(&reply);
        return Ok(DONE);
    }
    let total = reply.get("total").and_then(serde_json::Value::as_u64).unwrap_or_default();
    let shown = items(&reply).len();
    if shown == 0 && total == 0 {
        print_line(&format!("nobody is allowed; allow somebody with `gateway allow add {listener} CIDR`"));
        return Ok(DONE);
    }
    if reply.get("packets").is_some() {
        // A long list has no counter per entry.
        print_text(&items_table(&reply, &[("CIDR", "cidr"), ("DRAINING", "draining")]));
        let (packets, bytes) = (field(&reply, "packets"), field(&reply, "bytes"));
        print_line(&format!("all {total} entries together: {packets} packets, {bytes} bytes"));
    } else {
        let columns =
            [("CIDR", "cidr"), ("PACKETS", "packets"), ("BYTES", "bytes"), ("DRAINING", "draining")];
        print_text(&items_table(&reply, &columns));
    }
    if (offset as u64).saturating_add(shown as u64) < total {
        print_line(&format!("{shown} of {total} entries; `--limit` and `--offset` show others"));
    }
    Ok(DONE)
}

/// The arguments as they are, with `-` replaced by stdin.
pub(super) fn texts(arguments: &[String]) -> Result<Texts, Failure> {
    let mut texts = Vec::new();
    for argument in arguments {
        texts.push(match argument.as_str() {
            "-" => read_text(Path::new("-"), "cidrs")?,
            text => text.to_owned(),
        });
    }
    Ok(Texts::Many(texts))
}
