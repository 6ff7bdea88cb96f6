//! `gateway listener …`: where clients connect.

use clap::{Args, Subcommand};
use http::Method;

use super::{
    Done, Manner, Session,
    arguments::{Count, Item, Named, Ports, Proxies},
    change::Object,
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
    /// Change where it is reached, and which proxies stand before it
    Update(Update),
    /// Show one listener
    Show(Item),
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
    #[command(flatten)]
    ports: Ports,
    /// Open it at once
    #[arg(long)]
    open: bool,
    /// Do not insist that the interface has the address already
    #[arg(long)]
    wait_address: bool,
    #[command(flatten)]
    proxies: Proxies,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    manner: Manner,
}

#[derive(Debug, Args)]
pub struct Update {
    /// Name of the listener
    name: String,
    /// Network interface that clients come in through
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// Address of that interface, `*` for all; repeat it for several
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    address: Vec<String>,
    #[command(flatten)]
    ports: Ports,
    /// Do not insist that the interface has the address already
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    wait_address: Option<bool>,
    #[command(flatten)]
    proxies: Proxies,
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
    syn_rate: Option<Count>,
    /// New connections per second that each source may always open [default: an eighth of --syn-rate]
    #[arg(long, value_name = "N/s")]
    syn_rate_per_source: Option<Count>,
    /// Open connections; `off` for no limit
    #[arg(long, value_name = "N")]
    max_connections: Option<Count>,
    /// Open connections of each source
    #[arg(long, value_name = "N")]
    max_connections_per_source: Option<Count>,
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
            body.maybe(key, rate);
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
            Self::Update(update) => update.run(session),
            Self::Show(item) => session.show_item("listeners", item),
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
        self.ports.write(&mut body);
        self.proxies.write(&mut body);
        if self.open {
            body.set("open", true);
        }
        if self.wait_address {
            body.set("wait_address", true);
        }
        body.table("limits", self.limits.body());
        let call = Call::post(&["listeners"]).json(&body.finish_new());
        let name = &self.name;
        let next = if self.open {
            format!("listener {name} is open; nobody is allowed yet: `gateway allow add {name} CIDR`")
        } else {
            format!("listener {name} is added, closed; open it with `gateway listener open {name}`")
        };
        session.change(call, &self.manner, &next)
    }
}

impl Update {
    fn run(&self, session: &Session) -> Done {
        let mut body = Object::default();
        body.maybe("interface", self.interface.as_deref()).maybe("wait_address", self.wait_address);
        if !self.address.is_empty() {
            body.set("addresses", self.address.clone());
        }
        self.ports.write(&mut body);
        self.proxies.write(&mut body);
        let call = Call::new(Method::PATCH, &["listeners", &self.name]).json(&body.finish());
        session.change(call, &self.manner, &format!("listener {} is updated", self.name))
    }
}
