//! `gateway account …` and `gateway grant …`: tenants who own private networks.

use clap::{Args, Subcommand};
use http::Method;

use super::{
    Done, Manner, Session,
    arguments::{Item, Named},
    change::Object,
};
use crate::api::{
    client::Call,
    wire::{AccountPatch, GrantsRequest},
};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Add a tenant; its networks can be attached when it has granted all that is needed
    Add(Add),
    /// Let the networks of a tenant be attached, or not any more
    Update(Update),
    /// Show one tenant
    Show(Item),
    /// List all tenants
    List,
    /// Delete a tenant that has no network here
    Delete(Named),
}

#[derive(Debug, Args)]
pub struct Add {
    /// Name of the account
    name: String,
    /// Let its networks be attached although the site's `cross_account` is off
    #[arg(long)]
    cross_account: bool,
    /// What it grants: gateway, private_link, private_zone
    #[arg(long, value_name = "GRANT", value_delimiter = ',')]
    grant: Vec<String>,
    #[command(flatten)]
    manner: Manner,
}

#[derive(Debug, Args)]
pub struct Update {
    /// Name of the account
    name: String,
    /// Whether its networks may be attached although the site's `cross_account` is off
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set)]
    cross_account: bool,
    #[command(flatten)]
    manner: Manner,
}

#[derive(Debug, Subcommand)]
pub enum GrantVerb {
    /// Note that a tenant grants something
    Add(Grants),
    /// Take grants back: the tenant's networks are torn down
    Remove(Grants),
    /// List what a tenant has granted
    List {
        /// Name of the account
        account: String,
    },
}

#[derive(Debug, Args)]
pub struct Grants {
    /// Name of the account
    account: String,
    /// gateway, private_link, private_zone
    #[arg(required = true, value_delimiter = ',')]
    grants: Vec<String>,
    #[command(flatten)]
    manner: Manner,
}

impl Verb {
    pub(super) fn run(&self, session: &Session) -> Done {
        match self {
            Self::Add(Add { name, cross_account, grant, manner }) => {
                let mut body = Object::default();
                body.set("name", name.as_str()).set("cross_account", *cross_account);
                if !grant.is_empty() {
                    body.set("grants", grant.clone());
                }
                let call = Call::post(&["accounts"]).json(&body.finish());
                session.change(call, manner, &format!("account {name} is added"))
            }
            Self::Update(Update { name, cross_account, manner }) => {
                let patch = AccountPatch { cross_account: *cross_account };
                let call = Call::new(Method::PATCH, &["accounts", name]).json(&patch);
                let can = if *cross_account { "can" } else { "cannot" };
                session.change(call, manner, &format!("networks of account {name} {can} be attached"))
            }
            Self::Show(item) => session.show_item("accounts", item),
            Self::List => session.list(
                Call::get(&["accounts"]),
                &[
                    ("NAME", "name"),
                    ("CROSS-ACCOUNT", "cross_account"),
                    ("GRANTS", "grants"),
                    ("MISSING", "missing"),
                    ("NETWORKS", "vpcs"),
                ],
                "no accounts",
            ),
            Self::Delete(named) => session.delete("accounts", named, "account"),
        }
    }
}

impl GrantVerb {
    pub(super) fn run(&self, session: &Session) -> Done {
        let call = |method: Method, grants: &Grants| {
            Call::new(method, &["accounts", &grants.account, "grants"])
                .json(&GrantsRequest { grants: grants.grants.clone() })
        };
        match self {
            Self::Add(grants) => {
                let done = format!("account {} grants {}", grants.account, grants.grants.join(", "));
                session.change(call(Method::POST, grants), &grants.manner, &done)
            }
            Self::Remove(grants) => {
                let done = format!("account {} grants {} no more", grants.account, grants.grants.join(", "));
                session.change(call(Method::DELETE, grants), &grants.manner, &done)
            }
            Self::List { account } => session.list(
                Call::get(&["accounts", account, "grants"]),
                &[("GRANT", "grant"), ("GRANTED", "granted")],
                "no grants",
            ),
        }
    }
}
