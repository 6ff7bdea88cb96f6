//! Pure: the configuration and its only mutator.
//!
//! [`State::edit`] works on a clone: a refused edit leaves the state as it was. Time, randomness, history and keys come
//! in through [`Context`]. Records sit behind `Arc`s, so a clone is cheap and an untouched record stays the same object.

mod accounts;
mod allow;
mod apply;
mod check;
mod domains;
mod endpoints;
pub mod entries;
pub mod export;
mod listeners;
mod monitor;
mod record;
mod services;
pub mod silent;
mod touched;
mod vpcs;
mod widen;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

pub use entries::{Entries, Large};
pub use record::{
    CertificateRecord, Draining, EndpointRecord, Entry, ListenerRecord, Material, ServiceRecord,
};
pub use silent::Silent;

use super::{Document, Edit, Issued};
use crate::{
    base::{Generation, Name, Refusal, Site},
    resource::{
        Account, Domain, EndpointService, Host, Kind, Route, Vpc, certificate::Key, gateway,
        token::Fingerprint,
    },
};

/// Every resource of the configuration.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Also the listeners of private networks, `vpc:NAME`, and of endpoints, `endpoint:NAME`.
    pub(super) listeners: BTreeMap<Name, Arc<ListenerRecord>>,
    /// Tenants beside the gateway's own.
    pub(super) accounts: BTreeMap<Name, Arc<Account>>,
    pub(super) vpcs: BTreeMap<Name, Arc<Vpc>>,
    pub(super) certificates: BTreeMap<Name, Arc<CertificateRecord>>,
    pub(super) domains: BTreeMap<Host, Arc<Domain>>,
    pub(super) services: BTreeMap<Name, Arc<ServiceRecord>>,
    pub(super) routes: BTreeMap<Name, Arc<Route>>,
    pub(super) endpoint_services: BTreeMap<Name, Arc<EndpointService>>,
    pub(super) endpoints: BTreeMap<Name, Arc<EndpointRecord>>,
    /// Endpoints of private networks that are gone, oldest first.
    pub(super) silent: Vec<Silent>,
    /// The last listener id that was handed out; the next one is looked for behind it.
    pub(super) last_listener: u16,
}

/// What an edit may know of the world.
pub struct Context<'a> {
    /// Time since the Unix epoch.
    pub now: Duration,
    /// The gateway's own addresses beside its listeners.
    pub own: &'a [SocketAddr],
    pub site: &'a Site,
    /// 256 random bits.
    pub random: &'a dyn Fn() -> Result<[u8; 32], Refusal>,
    /// What a generation was.
    pub history: &'a dyn Fn(Generation) -> Result<Document, Refusal>,
    /// A private key that is not in the state but still held (a change that waits for its confirmation).
    pub key: &'a dyn Fn(&Fingerprint) -> Option<Key>,
}

/// What an edit did beside changing the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// The item that the edit was about.
    pub item: Option<(Kind, String)>,
    pub tokens: Vec<Issued>,
    pub notes: Vec<String>,
}

// === impl State ===

impl State {
    /// Makes one change, or none.
    ///
    /// # Errors
    /// The edit is refused and the state is as before.
    pub fn edit(&mut self, edit: Edit, context: &Context<'_>) -> Result<Effect, Refusal> {
        let mut next = self.clone();
        let effect = next.perform(edit, context)?;
        next.keep_silent(self, context.now);
        next.check(self, context)?;
        next.assert_invariants();
        *self = next;
        Ok(effect)
    }

    fn perform(&mut self, edit: Edit, context: &Context<'_>) -> Result<Effect, Refusal> {
        match edit {
            Edit::ListenerAdd(listener) => self.listener_add(listener),
            Edit::ListenerOpen { listener } => {
                self.each(&listener, |state, name| state.listener_switch(name, true))
            }
            Edit::ListenerClose { listener } => {
                self.each(&listener, |state, name| state.listener_switch(name, false))
            }
            Edit::ListenerUpdate { listener, patch } => {
                self.each(&listener, |state, name| state.listener_update(name, &patch))
            }
            Edit::Monitor { listener, wait } => {
                self.each(&listener, |state, name| state.monitor(name, wait, context.now))
            }
            Edit::EndMonitor { now } => Ok(self.end_monitor(now)),
            Edit::ListenerDelete { listener } => self.listener_delete(&listener),
            Edit::AccountAdd(account) => self.account_add(account),
            Edit::AccountUpdate { account, cross_account } => self.account_update(&account, cross_account),
            Edit::AccountDelete { account } => self.account_delete(&account),
            Edit::GrantAdd { account, grants } => self.grant_add(&account, &grants),
            Edit::GrantRemove { account, grants } => self.grant_remove(&account, &grants),
            Edit::VpcAdd(vpc) => self.vpc_add(vpc, context),
            Edit::VpcUpdate { vpc, patch } => self.vpc_update(&vpc, &patch, context),
            Edit::VpcDelete { vpc } => self.vpc_delete(&vpc),
            Edit::EndpointServiceAdd { service, replace } => self.endpoint_service_add(service, replace),
            Edit::EndpointServiceDelete { service } => self.endpoint_service_delete(&service),
            Edit::EndpointAdd(endpoint) => self.endpoint_add(endpoint, context),
            Edit::EndpointDelete { endpoint } => self.endpoint_delete(&endpoint),
            Edit::EndSilence { now } => Ok(self.end_silence(now)),
            Edit::AllowAdd { listener, cidrs } => {
                self.each(&listener, |state, name| state.allow_add(name, &cidrs))
            }
            Edit::AllowRemove { listener, cidrs, drain } => {
                self.each(&listener, |state, name| state.allow_remove(name, &cidrs, drain, context.now))
            }
            Edit::AllowSet { listener, cidrs, allow_empty } => {
                self.each(&listener, |state, name| state.allow_set(name, &cidrs, allow_empty))
            }
            Edit::EndDrain { drains } => self.end_drain(&drains),
            Edit::CertificateAdd { certificate, replace } => {
                self.certificate_add(certificate, replace, context)
            }
            Edit::CertificateDelete { certificate } => self.certificate_delete(&certificate),
            Edit::DomainAdd { domain, replace } => self.domain_add(domain, replace),
            Edit::DomainDelete { host } => self.domain_delete(&host),
            Edit::ServiceAdd(service) => self.service_add(*service, context),
            Edit::ServiceUpdate { service, patch } => self.service_update(&service, &patch, context),
            Edit::ServiceDelete { service } => self.service_delete(&service),
            Edit::TokenRotate { service, token } => self.token_rotate(&service, token, context),
            Edit::RouteAdd(route) => self.route_add(route),
            Edit::RouteReplace(route) => self.route_replace(route),
            Edit::RouteUpdate { route, patch } => self.route_update(&route, &patch),
            Edit::RouteDelete { route } => self.route_delete(&route),
            Edit::Apply(document) => self.apply(*document, context),
            Edit::Rollback { generation, yes } => self.rollback(generation, yes, context),
        }
    }

    /// Whether the two configurations are the same; where ids are handed out next does not count.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.listeners == other.listeners
            && self.accounts == other.accounts
            && self.vpcs == other.vpcs
            && self.silent == other.silent
            && self.certificates == other.certificates
            && self.domains == other.domains
            && self.services == other.services
            && self.routes == other.routes
            && self.endpoint_services == other.endpoint_services
            && self.endpoints == other.endpoints
    }

    /// The drains that have ended at `now`.
    #[must_use]
    pub fn ended_drains(&self, now: Duration) -> Vec<(Name, ipnet::IpNet)> {
        let ended = |record: &Arc<ListenerRecord>| {
            let name = record.listener.name.clone();
            let over = record.draining.iter().filter(|drain| drain.until <= now.as_secs());
            over.map(|drain| (name.clone(), drain.cidr)).collect::<Vec<_>>()
        };
        self.listeners.values().flat_map(ended).collect()
    }

    /// When the first drain ends.
    #[must_use]
    pub fn next_drain(&self) -> Option<Duration> {
        let drains = self.listeners.values().flat_map(|record| &record.draining);
        drains.map(|drain| Duration::from_secs(drain.until)).min()
    }
}

impl Effect {
    fn of(kind: Kind, name: impl ToString) -> Self {
        Self { item: Some((kind, name.to_string())), ..Self::default() }
    }
}

/// The refusal of a name that nothing has.
pub(super) fn not_found(kind: Kind, name: &str) -> Refusal {
    Refusal::new("not_found", format_args!("there is no {kind} `{}`", crate::resource::clip(name)))
        .field(kind, crate::resource::clip(name))
        .remedy(format_args!("`gateway {} list` shows what there is", verb(kind)))
}

/// The refusal of a name that something has already.
fn exists(kind: Kind, name: &str, remedy: &str) -> Refusal {
    Refusal::new("exists", format_args!("there is a {kind} `{name}` already"))
        .field(kind, name)
        .remedy(remedy)
}

/// The refusal to delete what others use.
fn in_use(kind: Kind, name: &str, users: &[String]) -> Refusal {
    Refusal::new("in_use", format_args!("{kind} `{name}` is in use by {}", users.join(", ")))
        .field(kind, name)
        .remedy("change or delete its users first")
}

/// The CLI's word for a kind.
const fn verb(kind: Kind) -> &'static str {
    match kind {
        Kind::Certificate => "cert",
        Kind::EndpointService => "endpoint-service",
        Kind::Gateway
        | Kind::Listener
        | Kind::Account
        | Kind::Vpc
        | Kind::Domain
        | Kind::Service
        | Kind::Route
        | Kind::Endpoint => kind.word(),
    }
}

/// Only the gateway `default` exists.
fn known_gateway(name: &Name) -> Result<(), Refusal> {
    if name.as_str() == gateway::DEFAULT {
        return Ok(());
    }
    Err(not_found(Kind::Gateway, name).limit(gateway::DEFAULT).remedy("leave it out or use `default`"))
}
