//! `gateway cert …`: certificates for HTTPS.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    Done, Manner, Session,
    arguments::{Item, Named},
    change::{Object, read_text},
};
use crate::api::client::Call;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a certificate, or with `--replace` renew one without a restart
    Add(Add),
    /// List all certificates
    List,
    /// Show one certificate; the key is never shown
    Show(Item),
    /// Delete a certificate that no domain uses
    Delete(Named),
}

#[derive(Debug, Args)]
pub struct Add {
    /// Name of the certificate
    name: String,
    /// PEM file with the chain, leaf first
    #[arg(long, value_name = "FILE")]
    chain: PathBuf,
    /// PEM file with the private key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Renew the certificate of this name in place
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
                body.set("name", add.name.as_str())
                    .set("chain", read_text(&add.chain, "chain")?)
                    .set("key", read_text(&add.key, "key")?);
                let call = Call::post(&["certificates"]).json(&body.finish());
                let call = if add.replace { call.query("replace", true) } else { call };
                let name = &add.name;
                session.change(
                    call,
                    &add.manner,
                    &format!(
                        "certificate {name} is there; use it with `gateway domain add HOST --cert {name}`"
                    ),
                )
            }
            Self::List => session.list(
                Call::get(&["certificates"]),
                &[("NAME", "name"), ("NAMES", "names"), ("NOT AFTER", "not_after"), ("DOMAINS", "domains")],
                "no certificates; add one with `gateway cert add NAME --chain FILE --key FILE`",
            ),
            Self::Show(item) => session.show_item("certificates", item),
            Self::Delete(named) => session.delete("certificates", named, "certificate"),
        }
    }
}
