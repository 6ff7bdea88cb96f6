//! `gateway ban …`: sources that are kept out for a while although the allowlist admits them.

use clap::{Args, Subcommand};

use super::{
    DONE, Done, Session,
    change::Object,
    output::{field, print_json, print_line, print_text},
};
use crate::api::client::Call;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List who is banned, or would be (`ban = "observe"`), and until when
    List,
    /// Ban a source for a while
    Add(Add),
    /// End a ban
    Lift(Lift),
    /// Show what was banned, spared and lifted of late
    History,
}

#[derive(Debug, Args)]
pub struct Add {
    /// An address; an IPv6 address stands for its /64
    source: String,
    /// For how long, at most 24h [default: 10m]
    #[arg(long = "for", value_name = "DURATION")]
    wait: Option<String>,
    /// Why, for the others
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Lift {
    /// An address; an IPv6 address stands for its /64
    source: String,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Verb {
    pub(super) fn run(&self, session: &Session) -> Done {
        match self {
            Self::List => session.list(
                Call::get(&["bans"]),
                &[
                    ("SOURCE", "source"),
                    ("CAUSE", "cause"),
                    ("ENFORCED", "enforced"),
                    ("SINCE", "since"),
                    ("UNTIL", "until"),
                    ("REPEATS", "repeats"),
                    ("ACTOR", "actor"),
                    ("NOTE", "note"),
                ],
                "nobody is banned",
            ),
            Self::History => history(session),
            Self::Add(add) => {
                let mut body = Object::default();
                body.set("source", add.source.as_str())
                    .maybe("for", add.wait.clone())
                    .maybe("reason", add.reason.clone());
                let call = Call::post(&["bans"]).json(&body.finish());
                tell(session, call, add.dry_run, "is banned")
            }
            Self::Lift(lift) => tell(session, Call::delete(&["bans", &lift.source]), lift.dry_run, "is free"),
        }
    }
}

fn tell(session: &Session, call: Call, dry_run: bool, done: &str) -> Done {
    let call = if dry_run { call.query("dry_run", true) } else { call };
    let reply = session.client.send(call)?;
    if session.json {
        print_json(&reply);
        return Ok(DONE);
    }
    let item = reply.get("item").cloned().unwrap_or_default();
    let would = if dry_run { "dry run, nothing was changed; it would be: " } else { "" };
    print_line(&format!("{would}{} {done} (until {})", field(&item, "source"), field(&item, "until")));
    Ok(DONE)
}

fn history(session: &Session) -> Done {
    let reply = session.client.send(Call::get(&["bans"]))?;
    if session.json {
        print_json(reply.get("history").unwrap_or(&reply));
        return Ok(DONE);
    }
    let columns = ["at", "action", "source", "cause", "actor", "note"];
    let headings = ["AT", "ACTION", "SOURCE", "CAUSE", "ACTOR", "NOTE"];
    let mut table = super::output::Table::new(&headings);
    for row in reply.get("history").and_then(serde_json::Value::as_array).into_iter().flatten() {
        table.row(columns.iter().map(|column| field(row, column)));
    }
    print_text(&table.render());
    Ok(DONE)
}
