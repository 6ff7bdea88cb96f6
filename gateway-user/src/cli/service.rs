//! `gateway service …` and `gateway token …`: what is called and who may call it.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::{
    DONE, Done, Manner, Session,
    arguments::{Count, Item, Named},
    change::{Object, read_text},
    output::{field, item_lines, print_json, print_line, print_text},
    upstream::Upstream,
};
use crate::api::{
    client::{Call, Failure},
    wire::TokenRequest,
};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a service; prints where it is reached and, once, its token
    Add(Box<Add>),
    /// Show one service, with `--examples` also how to call it
    Show {
        #[command(flatten)]
        item: Item,
        /// Print curl commands
        #[arg(long)]
        examples: bool,
    },
    /// Change some fields of a service
    Update(Box<Update>),
    /// List all services
    List,
    /// Delete a service that no route uses
    Delete(Named),
}

#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    /// Replace a service's token; prints the new one, once; the old one stops working at once
    Rotate(Rotate),
}

#[derive(Debug, Args)]
struct Fields {
    /// Instance and its weight [default weight: 1]; repeat it or use commas for several
    #[arg(long, value_name = "HOST:PORT[=WEIGHT]", value_delimiter = ',')]
    instance: Vec<String>,
    /// What the instances speak: http, http2 or grpc [default: http]
    #[arg(long)]
    protocol: Option<String>,
    /// Where it can be called from: all, public, vpc or vpc:NAME [default: all]
    #[arg(long)]
    exposure: Option<String>,
    /// Largest request body [default: 1MiB]
    #[arg(long, value_name = "SIZE")]
    body_limit: Option<String>,
    /// Requests per second, or `off` [default: no limit]
    #[arg(long, value_name = "N")]
    qps: Option<Count>,
    /// Pass the client's Authorization header on
    #[arg(long)]
    forward_token: bool,
    /// Time to connect to an instance
    #[arg(long, value_name = "DURATION")]
    connect_timeout: Option<String>,
    /// Time to the first byte of the response
    #[arg(long, value_name = "DURATION")]
    first_byte_timeout: Option<String>,
    /// Time between two pieces of the response
    #[arg(long, value_name = "DURATION")]
    idle_timeout: Option<String>,
    #[command(flatten)]
    upstream: Upstream,
}

#[derive(Debug, Args)]
pub struct Add {
    /// Name of the service
    name: String,
    #[command(flatten)]
    fields: Fields,
    /// Use the token in this file (`-`: stdin) instead of a random one
    #[arg(long, value_name = "FILE", conflicts_with = "no_auth")]
    token_file: Option<PathBuf>,
    /// Let everybody call it who reaches a listener
    #[arg(long)]
    no_auth: bool,
    #[command(flatten)]
    manner: Manner,
}

#[derive(Debug, Args)]
pub struct Update {
    /// Name of the service
    name: String,
    #[command(flatten)]
    fields: Fields,
    /// What `--qps off` was called
    #[arg(long, hide = true, conflicts_with = "qps")]
    no_qps: bool,
    /// Strip the client's Authorization header again
    #[arg(long, conflicts_with = "forward_token")]
    strip_token: bool,
    /// Ask for a token, or let everybody in
    #[arg(long, value_name = "true|false")]
    no_auth: Option<bool>,
    #[command(flatten)]
    manner: Manner,
}

#[derive(Debug, Args)]
pub struct Rotate {
    /// Name of the service
    service: String,
    /// Use the token in this file (`-`: stdin) instead of a random one
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    manner: Manner,
}

impl Fields {
    fn write(&self, body: &mut Object) -> Result<(), Failure> {
        if !self.instance.is_empty() {
            body.set("instances", self.instance.clone());
        }
        body.maybe("protocol", self.protocol.as_deref())
            .maybe("exposure", self.exposure.as_deref())
            .maybe("body_limit", self.body_limit.as_deref())
            .maybe("qps", self.qps);
        if self.forward_token {
            body.set("forward_token", true);
        }
        let mut timeouts = Object::default();
        timeouts
            .maybe("connect", self.connect_timeout.as_deref())
            .maybe("first_byte", self.first_byte_timeout.as_deref())
            .maybe("idle", self.idle_timeout.as_deref());
        body.table("timeouts", timeouts);
        self.upstream.write(body)
    }
}

impl Verb {
    pub(super) fn run(&self, session: &Session) -> Done {
        match self {
            Self::Add(add) => add.run(session),
            Self::Show { item, examples } => show(session, &item.name, *examples),
            Self::Update(update) => {
                let mut body = Object::default();
                update.fields.write(&mut body)?;
                if update.no_qps {
                    body.set("qps", Value::Null);
                }
                if update.strip_token {
                    body.set("forward_token", false);
                }
                body.maybe("no_auth", update.no_auth);
                let call = Call::new(Method::PATCH, &["services", &update.name]).json(&body.finish());
                session.change_then(
                    call,
                    &update.manner,
                    &format!("service {} is updated", update.name),
                    secrets,
                )
            }
            Self::List => session.list(
                Call::get(&["services"]),
                &[
                    ("NAME", "name"),
                    ("PROTOCOL", "protocol"),
                    ("EXPOSURE", "exposure"),
                    ("INSTANCES", "instances"),
                    ("QPS", "qps"),
                    ("NO AUTH", "no_auth"),
                ],
                "no services; add one with `gateway service add NAME --instance HOST:PORT`",
            ),
            Self::Delete(named) => session.delete("services", named, "service"),
        }
    }
}

impl TokenVerb {
    pub(super) fn run(&self, session: &Session) -> Done {
        let Self::Rotate(rotate) = self;
        let token = token(rotate.token_file.as_deref())?;
        let call = Call::post(&["services", &rotate.service, "token"]).json(&TokenRequest { token });
        session.change_then(
            call,
            &rotate.manner,
            &format!("service {} has a new token; the old one is refused", rotate.service),
            secrets,
        )
    }
}

impl Add {
    fn run(&self, session: &Session) -> Done {
        let mut body = Object::default();
        body.set("name", self.name.as_str());
        self.fields.write(&mut body)?;
        body.maybe("token", token(self.token_file.as_deref())?);
        if self.no_auth {
            body.set("no_auth", true);
        }
        let call = Call::post(&["services"]).json(&body.finish_new());
        session.change_then(call, &self.manner, &format!("service {} is added", self.name), secrets)
    }
}

/// Where the service is reached, and its token if the answer carries one.
fn secrets(reply: &Value) {
    for url in endpoints(reply) {
        print_line(&format!("  {url}"));
    }
    if let Some(token) = reply.get("token").and_then(Value::as_str) {
        print_line(&format!("token (shown this once): {token}"));
    }
}

fn endpoints(value: &Value) -> impl Iterator<Item = &str> {
    value.get("endpoints").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn show(session: &Session, name: &str, examples: bool) -> Done {
    let mut call = Call::get(&["services", name]);
    if examples {
        call = call.query("examples", true);
    }
    let reply = session.client.send(call)?;
    if session.json {
        print_json(&reply);
        return Ok(DONE);
    }
    let mut item = reply.clone();
    if let Some(map) = item.as_object_mut() {
        map.remove("examples");
    }
    print_text(&item_lines(&item));
    if examples {
        for example in reply.get("examples").and_then(Value::as_array).into_iter().flatten() {
            print_line(&format!("\n# {}\n{}", field(example, "title"), field(example, "command")));
        }
    }
    Ok(DONE)
}

fn token(file: Option<&Path>) -> Result<Option<String>, Failure> {
    // The daemon takes the newline off; here it is only carried.
    file.map(|path| read_text(path, "token_file")).transpose()
}
