//! `gateway vpc …`: attached private networks.

use clap::{Args, Subcommand};

use super::{
    Done, Manner, Session,
    change::{Named, Object},
    listener::port,
    output::{field, print_line},
};
use crate::api::client::Call;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Attach a private network: its endpoint is open to everybody within that network
    Add(Box<Add>),
    /// Show one network
    Show {
        /// Name of the network
        name: String,
    },
    /// List all networks
    List,
    /// Detach a network; its endpoint is silent from then on
    Delete(Named),
}

#[derive(Debug, Args)]
pub struct Add {
    /// Name of the network; its listener is vpc:NAME
    name: String,
    /// Network interface that its packets come in through
    #[arg(long, value_name = "IF")]
    interface: String,
    /// Address of the private endpoint and its subnet; the gateway adds it to the interface
    #[arg(long, value_name = "VIP/LEN")]
    address: String,
    /// Zone of the vswitch
    #[arg(long, value_name = "ZONE")]
    zone: String,
    /// The vswitch [default: vsw-NAME]
    #[arg(long, value_name = "ID")]
    vswitch: Option<String>,
    /// Owner of the network [default: default]
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Region of the network [default: the site's]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Address of the network that answers echo while it can be reached
    #[arg(long, value_name = "ADDR")]
    probe: Option<String>,
    /// Let clients outside every private network ask for this network's names; one network may
    #[arg(long)]
    authoritative_dns: bool,
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
    /// Leave the endpoint closed at first
    #[arg(long)]
    closed: bool,
    /// Who may connect [default: everybody within the network]; repeat it or separate by commas
    #[arg(long, value_name = "CIDRS")]
    allow: Vec<String>,
    #[command(flatten)]
    manner: Manner,
}

impl Verb {
    pub(super) fn run(&self, session: &Session) -> Done {
        match self {
            Self::Add(add) => add.run(session),
            Self::Show { name } => session.show(Call::get(&["vpcs", name])),
            Self::List => session.list(
                Call::get(&["vpcs"]),
                &[
                    ("NAME", "name"),
                    ("ACCOUNT", "account"),
                    ("INTERFACE", "interface"),
                    ("ADDRESS", "address"),
                    ("ZONE", "zone"),
                    ("REGION", "region"),
                    ("STATE", "state"),
                    ("OPEN", "open"),
                    ("ENTRIES", "entries"),
                ],
                "no private networks; attach one with `gateway vpc add NAME --interface IF --address VIP/LEN --zone Z`",
            ),
            Self::Delete(named) => session.delete("vpcs", named, "vpc"),
        }
    }
}

impl Add {
    fn run(&self, session: &Session) -> Done {
        let mut body = Object::default();
        body.set("name", self.name.as_str())
            .set("interface", self.interface.as_str())
            .set("address", self.address.as_str())
            .set("zone", self.zone.as_str())
            .maybe("vswitch", self.vswitch.as_deref())
            .maybe("account", self.account.as_deref())
            .maybe("region", self.region.as_deref())
            .maybe("probe", self.probe.as_deref());
        if self.authoritative_dns {
            body.set("authoritative_dns", true);
        }
        port(&mut body, "http", self.http, self.no_http);
        port(&mut body, "https", self.https, self.no_https);
        if self.closed {
            body.set("open", false);
        }
        if !self.allow.is_empty() {
            body.set("allow", self.allow.join(","));
        }
        let call = Call::post(&["vpcs"]).json(&body.finish());
        session.change_then(call, &self.manner, &format!("vpc {} is attached", self.name), |reply| {
            print_line(&format!("endpoint {} at {}", field(reply, "endpoint"), field(reply, "address")));
        })
    }
}
