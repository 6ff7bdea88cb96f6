//! `gateway listener …`: where clients connect.

use clap::{Args, Subcommand};
use http::Method;

use super::{
    Done, Manner, Session,
    change::{Named, Object},
};
use crate::api::client::Call;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a listener; it is closed and its allowlist is empty until you say otherwise
    Add(Add),
    /// Let allowed sources connect
    Open(Named),
    /// Refuse everybody, also allowed sources
    Close(Named),
    /// Limit new and open connections of allowed sources
    Limit(Limit),
    /// Show one listener
    Show {
        /// Name of the listener
        name: String,
    },
    /// List all listeners
    List,
    /// Delete a listener and its allowlist
    Delete(Named),
}

#[derive(Debug, Args)]
pub struct Add {
    /// Name of the listener
    name: String,
    /// Where clients come from
    #[arg(long, value_name = "public", default_value = "public")]
    exposure: String,
    /// Network interface that clients come in through
    #[arg(long, value_name = "IF")]
    interface: String,
    /// Address of that interface, `*` for all; repeat it for several
    #[arg(long, value_name = "ADDR", required = true, value_delimiter = ',')]
    address: Vec<String>,
    /// Port for HTTP [default: 80]
    #[arg(long, value_name = "PORT", conflicts_with = "no_http")]
    http: Option<u16>,
    /// No HTTP port
    #[arg(long)]
    no_http: bool,
    /// Port for HTTPS [default: 443]
    #[arg(long, value_name = "PORT", conflicts_with = "no_https")]
    https: Option<u16>,
    /// No HTTPS port
    #[arg(long)]
    no_https: bool,
    /// Open it at once
    #[arg(long)]
    open: bool,
    /// Do not insist that the interface has the address already
    #[arg(long)]
    wait_address: bool,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    manner: Manner,
}

#[derive(Debug, Args)]
pub struct Limit {
    /// Name of the listener
    name: String,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    manner: Manner,
}

/// What a listener spends on sources that its allowlist admits.
#[derive(Debug, Args)]
struct Limits {
    /// New connections per second, of all sources together; bites only sources over their share; `off` for no limit
    #[arg(long, value_name = "N/s")]
    syn_rate: Option<Rate>,
    /// New connections per second that each source may always open [default: an eighth of --syn-rate]
    #[arg(long, value_name = "N/s")]
    syn_rate_per_source: Option<Rate>,
    /// Open connections; `off` for no limit
    #[arg(long, value_name = "N")]
    max_connections: Option<Rate>,
    /// Open connections of each source
    #[arg(long, value_name = "N")]
    max_connections_per_source: Option<Rate>,
}

/// A number, with `/s` or without, or `off`.
#[derive(Clone, Copy, Debug)]
struct Rate(Option<u32>);

impl std::str::FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self(None));
        }
        let number = text.strip_suffix("/s").unwrap_or(text).parse().ok().filter(|number| *number > 0);
        number.map(|number| Self(Some(number))).ok_or("give a number like 100 or 100/s, or `off`")
    }
}

impl Limits {
    /// The limits that were named; null takes one off.
    fn body(&self) -> Object {
        let mut body = Object::default();
        for (key, rate) in [
            ("syn_rate", self.syn_rate),
            ("syn_rate_per_source", self.syn_rate_per_source),
            ("max_connections", self.max_connections),
            ("max_connections_per_source", self.max_connections_per_source),
        ] {
            body.maybe(key, rate.map(|Rate(number)| number));
        }
        body
    }
}

impl Verb {
    pub(super) fn run(&self, session: &Session) -> Done {
        match self {
            Self::Add(add) => add.run(session),
            Self::Open(named) => {
                let call = Call::post(&["listeners", &named.name, "open"]);
                session.change(
                    call,
                    &named.manner,
                    &format!("listener {} is open to its allowlist", named.name),
                )
            }
            Self::Close(named) => {
                let call = Call::post(&["listeners", &named.name, "close"]);
                session.change(
                    call,
                    &named.manner,
                    &format!("listener {} is closed to everybody", named.name),
                )
            }
            Self::Delete(named) => session.delete("listeners", named, "listener"),
            Self::Limit(limit) => {
                let call = Call::new(Method::PATCH, &["listeners", &limit.name, "limits"]);
                let body = limit.limits.body().finish();
                session.change(
                    call.json(&body),
                    &limit.manner,
                    &format!("limits of listener {} are set", limit.name),
                )
            }
            Self::Show { name } => session.show(Call::get(&["listeners", name])),
            Self::List => session.list(
                Call::get(&["listeners"]),
                &[
                    ("NAME", "name"),
                    ("EXPOSURE", "exposure"),
                    ("INTERFACE", "interface"),
                    ("ADDRESSES", "addresses"),
                    ("HTTP", "http"),
                    ("HTTPS", "https"),
                    ("OPEN", "open"),
                    ("ALLOW", "allow"),
                ],
                "no listeners; add one with `gateway listener add NAME --interface IF --address ADDR`",
            ),
        }
    }
}

impl Add {
    fn run(&self, session: &Session) -> Done {
        let mut body = Object::default();
        body.set("name", self.name.as_str())
            .set("exposure", self.exposure.as_str())
            .set("interface", self.interface.as_str())
            .set("addresses", self.address.clone());
        port(&mut body, "http", self.http, self.no_http);
        port(&mut body, "https", self.https, self.no_https);
        if self.open {
            body.set("open", true);
        }
        if self.wait_address {
            body.set("wait_address", true);
        }
        let limits = self.limits.body().finish();
        if limits.as_object().is_some_and(|limits| !limits.is_empty()) {
            body.set("limits", limits);
        }
        let call = Call::post(&["listeners"]).json(&body.finish());
        let name = &self.name;
        let next = if self.open {
            format!("listener {name} is open; nobody is allowed yet: `gateway allow add {name} CIDR`")
        } else {
            format!("listener {name} is added, closed; open it with `gateway listener open {name}`")
        };
        session.change(call, &self.manner, &next)
    }
}

pub(super) fn port(body: &mut Object, key: &str, port: Option<u16>, none: bool) {
    if none {
        // The declarative form of "no such port".
        body.set(key, false);
    } else {
        body.maybe(key, port);
    }
}
