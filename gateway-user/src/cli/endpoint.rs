//! `gateway endpoint-service …` and `gateway endpoint …`: private ways to platform services.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::{
    Done, Manner, Session,
    allow::texts,
    arguments::{Item, Named, Ports},
    change::Object,
    output::{field, print_line},
};
use crate::api::{client::Call, wire::CidrsRequest};

#[derive(Debug, Subcommand)]
pub enum ServiceVerb {
    /// Register a platform service that endpoints may lead to
    Add(AddService),
    /// Show one service
    Show(Item),
    /// List the services
    List {
        /// Only those with this text in one of their names
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Delete a service that no endpoint uses
    Delete(Named),
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Give a private network a private way to a service
    Add(Box<Add>),
    /// Show one endpoint and the state of its zones
    Show(Item),
    /// List all endpoints
    List,
    /// Delete an endpoint; its addresses are silent from then on
    Delete(Named),
    /// Its security group: who within the network may connect
    #[command(subcommand)]
    Allow(AllowVerb),
}

#[derive(Debug, Subcommand)]
pub enum AllowVerb {
    /// Allow CIDRs
    Add(Rules),
    /// Stop allowing CIDRs and cut their connections
    Remove(Rules),
}

#[derive(Debug, Args)]
pub struct Rules {
    /// Name of the endpoint
    endpoint: String,
    /// CIDRs or addresses, separated by comma, space or newline; `-` reads stdin
    #[arg(required = true)]
    cidrs: Vec<String>,
    #[command(flatten)]
    manner: Manner,
}

#[derive(Debug, Args)]
pub struct AddService {
    /// Name of the endpoint service
    name: String,
    /// What it is called in a region, like com.example.privatelink.{region}.dsw
    #[arg(long, value_name = "TEMPLATE")]
    service_name: String,
    /// Host name that clients use, like dsw-vpc.{region}.example.com
    #[arg(long, value_name = "TEMPLATE")]
    dns: String,
    /// Region that it is offered in [default: all]; repeat it or separate by commas
    #[arg(long, value_name = "REGION", value_delimiter = ',')]
    region: Vec<String>,
    /// Service of the gateway that answers
    #[arg(long, value_name = "NAME")]
    service: String,
    /// Certificate for the host names
    #[arg(long, value_name = "NAME")]
    cert: Option<String>,
    /// Change the one that is there, in place
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    manner: Manner,
}

#[derive(Debug, Args)]
pub struct Add {
    /// Name of the endpoint; its listener is endpoint:NAME
    name: String,
    /// The endpoint service
    #[arg(long, value_name = "NAME")]
    service: String,
    /// The private network
    #[arg(long, value_name = "NAME")]
    vpc: String,
    /// An address in one zone, on an interface of its own with @IF; repeat it for more zones
    #[arg(long, value_name = "ZONE[:VSWITCH]=ADDR/LEN[@IF]", required = true, value_delimiter = ',')]
    subnet: Vec<String>,
    /// Who within the network may connect [default: nobody]; repeat it or separate by commas
    #[arg(long, value_name = "CIDRS")]
    allow: Vec<String>,
    /// Region of the service [default: the network's]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Address family; this profile has ipv4 only
    #[arg(long, value_name = "ipv4")]
    ip_version: Option<String>,
    /// Makes a repeated creation one: same token, same parameters, same endpoint
    #[arg(long, value_name = "TOKEN")]
    client_token: Option<String>,
    #[command(flatten)]
    ports: Ports,
    #[command(flatten)]
    manner: Manner,
}

impl ServiceVerb {
    pub(super) fn run(&self, session: &Session) -> Done {
        match self {
            Self::Add(add) => {
                let mut body = Object::default();
                body.set("name", add.name.as_str())
                    .set("service_name", add.service_name.as_str())
                    .set("dns", add.dns.as_str())
                    .set("regions", add.region.clone())
                    .set("service", add.service.as_str())
                    .maybe("cert", add.cert.as_deref());
                let call = Call::post(&["endpoint-services"]).json(&body.finish());
                let call = if add.replace { call.query("replace", true) } else { call };
                session.change(call, &add.manner, &format!("endpoint service {} is registered", add.name))
            }
            Self::Show(item) => session.show_item("endpoint-services", item),
            Self::List { search } => {
                let call = Call::get(&["endpoint-services"]);
                let call = match search {
                    Some(text) => call.query("search", text),
                    None => call,
                };
                session.list(
                    call,
                    &[
                        ("NAME", "name"),
                        ("SERVICE NAME", "service_name"),
                        ("DNS", "dns"),
                        ("REGIONS", "regions"),
                        ("SERVICE", "service"),
                        ("ENDPOINTS", "endpoints"),
                    ],
                    "no endpoint services; register one with `gateway endpoint-service add NAME`",
                )
            }
            Self::Delete(named) => session.delete("endpoint-services", named, "endpoint service"),
        }
    }
}

impl Verb {
    pub(super) fn run(&self, session: &Session) -> Done {
        match self {
            Self::Add(add) => add.run(session),
            Self::Show(item) => session.show_item("endpoints", item),
            Self::List => session.list(
                Call::get(&["endpoints"]),
                &[
                    ("NAME", "name"),
                    ("SERVICE", "service"),
                    ("VPC", "vpc"),
                    ("REGION", "region"),
                    ("FQDN", "fqdn"),
                    ("SECURITY GROUP", "security_group"),
                    ("OPEN", "open"),
                ],
                "no endpoints; add one with `gateway endpoint add NAME --service S --vpc V --subnet ZONE=ADDR/LEN`",
            ),
            Self::Delete(named) => session.delete("endpoints", named, "endpoint"),
            Self::Allow(AllowVerb::Add(rules)) => rules.run(session, Method::POST, "longer"),
            Self::Allow(AllowVerb::Remove(rules)) => {
                rules.run(session, Method::DELETE, "shorter; their connections are cut")
            }
        }
    }
}

impl Rules {
    fn run(&self, session: &Session, method: Method, how: &str) -> Done {
        let request = CidrsRequest { cidrs: texts(&self.cidrs)?, allow_empty: false, drain: None };
        let listener = format!("endpoint:{}", self.endpoint);
        let call = Call::new(method, &["listeners", &listener, "allow"]).json(&request);
        session.change(call, &self.manner, &format!("security group of endpoint {} is {how}", self.endpoint))
    }
}

impl Add {
    fn run(&self, session: &Session) -> Done {
        let mut body = Object::default();
        body.set("name", self.name.as_str())
            .set("service", self.service.as_str())
            .set("vpc", self.vpc.as_str())
            .set("subnets", self.subnet.clone())
            .maybe("region", self.region.as_deref())
            .maybe("ip_version", self.ip_version.as_deref())
            .maybe("client_token", self.client_token.as_deref());
        if !self.allow.is_empty() {
            body.set("security_group", self.allow.join(","));
        }
        self.ports.write(&mut body);
        let call = Call::post(&["endpoints"]).json(&body.finish());
        session.change_then(call, &self.manner, &format!("endpoint {} is added", self.name), |reply| {
            for url in reply.get("urls").and_then(Value::as_array).into_iter().flatten() {
                print_line(&format!("  {}", super::output::plain(url)));
            }
            print_line(&format!("service {}", field(reply, "service_name")));
        })
    }
}
