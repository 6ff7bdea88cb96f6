//! `gateway domain …`: custom host names.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    DONE, Done, Manner, REFUSED, Session,
    arguments::Named,
    change::Object,
    output::{Table, field, print_json, print_line, print_text},
};
use crate::api::client::Call;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a host name
    Add(Add),
    /// Check name resolution, certificate and listener of a host name; exit 1 if one fails
    Check {
        /// The host name
        host: String,
    },
    /// List all host names
    List,
    /// Show one host name
    Show {
        /// The host name
        host: String,
    },
    /// Delete a host name
    Delete(Named),
}

#[derive(Debug, Args)]
pub struct Add {
    /// The host name; `*.example.org` stands for one more label
    host: String,
    /// Where it answers: public, vpc (all of them) or vpc:NAME
    #[arg(long, default_value = "public")]
    exposure: String,
    /// Certificate for HTTPS
    #[arg(long, value_name = "NAME")]
    cert: Option<String>,
    /// Redirect HTTP to HTTPS
    #[arg(long)]
    https_only: bool,
    /// Change the host name that is there, in place
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    manner: Manner,
}

impl Verb {
    pub(super) fn run(&self, session: &Session) -> Done {
        match self {
            Self::Add(add) => {
                let mut body = Object::default();
                body.set("host", add.host.as_str())
                    .set("exposure", add.exposure.as_str())
                    .maybe("cert", add.cert.as_deref());
                if add.https_only {
                    body.set("https_only", true);
                }
                let call = Call::post(&["domains"]).json(&body.finish());
                let call = if add.replace { call.query("replace", true) } else { call };
                let host = &add.host;
                session.change(
                    call,
                    &add.manner,
                    &format!("domain {host} is added; point its DNS record here, then `gateway domain check {host}`"),
                )
            }
            Self::Check { host } => check(session, host),
            Self::List => session.list(
                Call::get(&["domains"]),
                &[
                    ("HOST", "host"),
                    ("EXPOSURE", "exposure"),
                    ("CERTIFICATE", "cert"),
                    ("HTTPS ONLY", "https_only"),
                ],
                "no domains; add one with `gateway domain add HOST --exposure public --cert NAME`",
            ),
            Self::Show { host } => session.show(Call::get(&["domains", host])),
            Self::Delete(named) => session.delete("domains", named, "domain"),
        }
    }
}

fn check(session: &Session, host: &str) -> Done {
    let reply = session.client.send(Call::get(&["domains", host, "check"]))?;
    let ok = reply.get("ok").and_then(Value::as_bool).unwrap_or(false);
    if session.json {
        print_json(&reply);
    } else {
        let mut table = Table::new(&["CHECK", "RESULT", "DETAIL", "WHAT TO DO"]);
        for check in reply.get("checks").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) {
            let passed = check.get("ok").and_then(Value::as_bool).unwrap_or(false);
            let result = if passed { "ok" } else { "FAILED" };
            table.row([
                field(check, "name"),
                result.to_owned(),
                field(check, "message"),
                field(check, "remedy"),
            ]);
        }
        print_text(&table.render());
        print_line(if ok { "all checks passed" } else { "some checks failed" });
    }
    Ok(if ok { DONE } else { REFUSED })
}
