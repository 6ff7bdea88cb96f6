//! `gateway vpc …`: attached private networks.

use clap::{Args, Subcommand};
use http::Method;

use super::{
    Done, Manner, Session,
    arguments::{Item, Named, Ports, Proxies},
    change::Object,
    output::{field, print_line},
};
use crate::api::client::Call;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Attach a private network: its endpoint is open to everybody within that network
    Add(Box<Add>),
    /// Change some fields of a network; its entries stay
    Update(Box<Update>),
    /// Show one network
    Show(Item),
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
    #[command(flatten)]
    fields: Fields,
    /// Leave the endpoint closed at first
    #[arg(long)]
    closed: bool,
    /// Who may connect [default: everybody within the network]; repeat it or separate by commas
    #[arg(long, value_name = "CIDRS")]
    allow: Vec<String>,
    #[command(flatten)]
    manner: Manner,
}

#[derive(Debug, Args)]
pub struct Update {
    /// Name of the network
    name: String,
    /// Network interface that its packets come in through
    #[arg(long, value_name = "IF")]
    interface: Option<String>,
    /// Address of the private endpoint and its subnet
    #[arg(long, value_name = "VIP/LEN")]
    address: Option<String>,
    /// Zone of the vswitch
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    #[command(flatten)]
    fields: Fields,
    #[command(flatten)]
    manner: Manner,
}

/// What a network may have beside where it is.
#[derive(Debug, Args)]
struct Fields {
    /// The vswitch, or `off` [default: vsw-NAME]
    #[arg(long, value_name = "ID")]
    vswitch: Option<String>,
    /// Owner of the network [default: default]
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Region of the network, or `off` [default: the site's]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Address of the network that answers echo while it can be reached, or `off`
    #[arg(long, value_name = "ADDR")]
    probe: Option<String>,
    /// Let clients outside every private network ask for this network's names; one network may
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    authoritative_dns: Option<bool>,
    #[command(flatten)]
    ports: Ports,
    #[command(flatten)]
    proxies: Proxies,
}

impl Verb {
    pub(super) fn run(&self, session: &Session) -> Done {
        match self {
            Self::Add(add) => add.run(session),
            Self::Update(update) => update.run(session),
            Self::Show(item) => session.show_item("vpcs", item),
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

impl Fields {
    fn write(&self, body: &mut Object) {
        body.or_off("vswitch", self.vswitch.as_deref())
            .maybe("account", self.account.as_deref())
            .or_off("region", self.region.as_deref())
            .or_off("probe", self.probe.as_deref())
            .maybe("authoritative_dns", self.authoritative_dns);
        self.ports.write(body);
        self.proxies.write(body);
    }
}

impl Add {
    fn run(&self, session: &Session) -> Done {
        let mut body = Object::default();
        body.set("name", self.name.as_str())
            .set("interface", self.interface.as_str())
            .set("address", self.address.as_str())
            .set("zone", self.zone.as_str());
        self.fields.write(&mut body);
        if self.closed {
            body.set("open", false);
        }
        if !self.allow.is_empty() {
            body.set("allow", self.allow.join(","));
        }
        let call = Call::post(&["vpcs"]).json(&body.finish_new());
        session.change_then(call, &self.manner, &format!("vpc {} is attached", self.name), |reply| {
            print_line(&format!("endpoint {} at {}", field(reply, "endpoint"), field(reply, "address")));
        })
    }
}

impl Update {
    fn run(&self, session: &Session) -> Done {
        let mut body = Object::default();
        body.maybe("interface", self.interface.as_deref())
            .maybe("address", self.address.as_deref())
            .maybe("zone", self.zone.as_deref());
        self.fields.write(&mut body);
        let call = Call::new(Method::PATCH, &["vpcs", &self.name]).json(&body.finish());
        session.change(call, &self.manner, &format!("vpc {} is updated", self.name))
    }
}
