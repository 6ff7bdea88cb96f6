//! `gateway apply|diff|export|history|rollback`: the configuration as a whole.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::Value;

use super::{
    DONE, Done, Manner, REFUSED, Session, caller,
    change::{consequences, difference, read_text},
    output::{field, print_json, print_line, print_text},
};
use crate::{
    api::{
        client::{Call, Failure},
        wire::RollbackRequest,
    },
    base::{Generation, Refusal},
};

#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Declarative file (TOML); `-` reads stdin
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    manner: Manner,
}

#[derive(Debug, Args)]
pub struct ConfirmArgs {}

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Declarative file (TOML); `-` reads stdin
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Write everything, keys and token hashes included, into this file (0600)
    #[arg(long, value_name = "FILE")]
    with_secrets: Option<PathBuf>,
    /// Print the allowlists as an nftables ruleset instead
    #[arg(long, conflicts_with = "with_secrets")]
    nft: bool,
}

#[derive(Debug, Args)]
pub struct HistoryArgs {}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Generation to return to (see `gateway history`)
    generation: u64,
    /// Accept that access becomes wider
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    manner: Manner,
}

impl ApplyArgs {
    pub(super) fn run(&self, session: &Session) -> Done {
        let text = read_text(&self.file, "file")?;
        let call = Call::post(&["apply"]).toml(text);
        session.change_then(call, &self.manner, &format!("applied {}", self.file.display()), |reply| {
            for token in reply.get("tokens").and_then(Value::as_array).into_iter().flatten() {
                let (service, token) = (field(token, "service"), field(token, "token"));
                print_line(&format!("token of service {service} (shown this once): {token}"));
            }
        })
    }
}

impl ConfirmArgs {
    #[expect(clippy::unused_self, reason = "one shape for every verb")]
    pub(super) fn run(&self, session: &Session) -> Done {
        session.report(Call::post(&["confirm"]), "confirmed: it stays", |_| ())
    }
}

impl DiffArgs {
    pub(super) fn run(&self, session: &Session) -> Done {
        let text = read_text(&self.file, "file")?;
        let mut call = Call::post(&["diff"]).toml(text);
        if let Some(connection) = caller::connection() {
            call = call.query("caller", connection);
        }
        let reply = session.client.send(call)?;
        let changed = reply.get("changed").and_then(Value::as_bool).unwrap_or(true);
        if session.json {
            print_json(&reply);
        } else if changed {
            print_text(&difference(&reply));
            print_text(&consequences(&reply));
        } else {
            print_line(&format!("no difference to generation {}", field(&reply, "generation")));
        }
        Ok(if changed { REFUSED } else { DONE })
    }
}

impl ExportArgs {
    pub(super) fn run(&self, session: &Session) -> Done {
        let mut call = Call::get(&["export"]);
        if self.with_secrets.is_some() {
            call = call.query("with_secrets", true);
        }
        if self.nft {
            call = call.query("nft", true);
        }
        let mut reply = session.client.send(call)?;
        let text = reply
            .get(if self.nft { "nft" } else { "toml" })
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let Some(file) = &self.with_secrets else {
            if session.json {
                print_json(&reply);
            } else {
                print_text(&text);
            }
            return Ok(DONE);
        };
        write_secret(file, &text)?;
        if session.json {
            // The secrets are in the file and nowhere else.
            if let Some(map) = reply.as_object_mut() {
                map.remove("toml");
                map.insert("file".to_owned(), file.display().to_string().into());
            }
            print_json(&reply);
        } else {
            print_line(&format!("the whole configuration, secrets included, is in {}", file.display()));
        }
        Ok(DONE)
    }
}

impl HistoryArgs {
    pub(super) fn run(&self, session: &Session) -> Done {
        session.list(
            Call::get(&["history"]),
            &[("GENERATION", "generation"), ("TIME", "time"), ("UID", "actor"), ("CHANGE", "summary")],
            "no history yet",
        )
    }
}

impl RollbackArgs {
    pub(super) fn run(&self, session: &Session) -> Done {
        let request = RollbackRequest { generation: Generation(self.generation), yes: self.yes };
        let call = Call::post(&["rollback"]).json(&request);
        session.change(
            call,
            &self.manner,
            &format!("the configuration is that of generation {} again", self.generation),
        )
    }
}

/// Writes into a file that only the owner can read, from its first byte on.
fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        // An old file with a looser mode would keep it, so it goes first.
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| {
        Failure::Refused(
            Refusal::new("unwritable", format!("cannot write the file: {error}"))
                .field("with_secrets", path.display())
                .remedy("name a file in a directory that you may write to"),
        )
    })
}
