//! Pure: what holds between resources, checked after every edit.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::{Context, ListenerRecord, State, not_found};
use crate::{
    base::{Name, Refusal},
    resource::{Address, Instance, Kind, Limits, Listener, Vpc, allowlist, gateway},
};

impl State {
    /// Refuses a state whose resources contradict each other.
    pub(super) fn check(&self, before: &Self, context: &Context<'_>) -> Result<(), Refusal> {
        self.check_vpcs()?;
        self.check_endpoints()?;
        self.check_references()?;
        self.check_endpoint_services()?;
        self.check_private_endpoints(context.site)?;
        self.check_routes()?;
        self.check_loops(before, context)
    }

    /// No endpoint (interface, address, port) belongs to two listeners.
    fn check_endpoints(&self) -> Result<(), Refusal> {
        let mut taken: BTreeMap<(&str, SocketAddr), &Name> = BTreeMap::new();
        for record in self.listeners.values() {
            for socket in sockets(record) {
                let name = &record.listener.name;
                let Some(holder) = taken.insert((&record.listener.interface, socket), name) else { continue };
                let message = if holder == name {
                    format!("listener `{name}` has the endpoint twice")
                } else {
                    format!("listeners `{holder}` and `{name}` would share an endpoint")
                };
                return Err(Refusal::new("conflict", message)
                    .field("endpoint", format_args!("{socket} on {}", record.listener.interface))
                    .remedy("give one of them another address or port"));
            }
        }
        Ok(())
    }

    /// What is named exists, and a domain's certificate covers it.
    fn check_references(&self) -> Result<(), Refusal> {
        for vpc in self.vpcs.values().filter(|vpc| vpc.account.as_str() != gateway::DEFAULT) {
            if !self.accounts.contains_key(&vpc.account) {
                return Err(not_found(Kind::Account, &vpc.account)
                    .remedy(format_args!("vpc `{}` is of this account; delete it first", vpc.name)));
            }
        }
        for domain in self.domains.values() {
            let Some(name) = &domain.cert else { continue };
            let Some(record) = self.certificates.get(name) else {
                return Err(not_found(Kind::Certificate, name).remedy(format_args!(
                    "add it first: `gateway cert add {name} --chain FILE --key FILE`"
                )));
            };
            let Some(material) = &record.material else { continue };
            let names = &material.chain.names;
            if !names.iter().any(|certified| domain.host.is_covered_by(certified)) {
                let message = format!("certificate `{name}` does not cover `{}`", domain.host);
                return Err(Refusal::new("not_covered", message)
                    .field("cert", name)
                    .limit(format_args!(
                        "it covers {}",
                        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
                    ))
                    .remedy("give a certificate with this name, `gateway cert add` first"));
            }
        }
        for route in self.routes.values() {
            let mirrored = route.mirror.iter().map(|mirror| &mirror.service);
            for service in route.services.iter().map(|target| &target.service).chain(mirrored) {
                if !self.services.contains_key(service) {
                    return Err(not_found(Kind::Service, service)
                        .remedy(format_args!("add it before route `{}` leads to it", route.name)));
                }
            }
        }
        Ok(())
    }

    /// No two routes match exactly the same requests: which of them answered would be chance.
    fn check_routes(&self) -> Result<(), Refusal> {
        let mut seen = BTreeMap::new();
        for route in self.routes.values() {
            let methods: BTreeSet<&String> = route.methods.iter().collect();
            let prefix = route.path_prefix.trim_end_matches('/');
            if let Some(other) = seen.insert((&route.host, prefix, methods, &route.headers), &route.name) {
                let message = format!("routes `{other}` and `{}` match the same requests", route.name);
                return Err(Refusal::new("conflict", message)
                    .field("path_prefix", &route.path_prefix)
                    .remedy(
                        "give one of them another host, path, method or header, or join their services",
                    ));
            }
        }
        Ok(())
    }

    /// No instance is the gateway itself: a request would go round until something breaks.
    fn check_loops(&self, before: &Self, context: &Context<'_>) -> Result<(), Refusal> {
        let refused = |service: &Name, instance: &Instance, what: &str| {
            let message = format!("an instance of service `{service}` is the gateway's own address: a loop");
            Refusal::new("loop", message)
                .field("instances", instance)
                .limit(format_args!("not {what}"))
                .remedy("give the address of the service itself")
        };
        for (name, record) in &self.services {
            let known = before.services.get(name).is_some_and(|held| held.service == record.service);
            for instance in &record.service.instances {
                for ip in literal(&instance.host) {
                    let address = SocketAddr::new(ip, instance.port);
                    for listener in self.listeners.values() {
                        if reaches(listener, address) {
                            let what = format!("listener `{}`", listener.listener.name);
                            return Err(refused(name, instance, &what));
                        }
                    }
                    // The daemon may have been given another admin address since; that must not block other edits.
                    let own = |own: &&SocketAddr| {
                        own.port() == address.port()
                            && (own.ip() == ip || (own.ip().is_unspecified() && ip.is_loopback()))
                    };
                    if !known && context.own.iter().any(|one| own(&one)) {
                        return Err(refused(name, instance, "the admin address"));
                    }
                }
            }
        }
        Ok(())
    }

    /// What every edit must keep, whatever it was: swept in debug builds and tests.
    pub(super) fn assert_invariants(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        let mut ids = BTreeSet::new();
        for (name, record) in &self.listeners {
            debug_assert_eq!(name, &record.listener.name, "a listener is filed under its name");
            debug_assert!(ids.insert(record.id) && record.id > 0, "listener ids are distinct");
            debug_assert!(
                name.vpc().is_none_or(|vpc| self.vpcs.contains_key(vpc)),
                "a private network's listener is of one that is there"
            );
            debug_assert!(
                name.endpoint().is_none_or(|endpoint| self.endpoints.contains_key(endpoint)),
                "an endpoint's listener is of one that is there"
            );
            debug_assert!(record.listener.allow.is_empty(), "entries have a place of their own");
            debug_assert!(record.entries.len() <= record.limit(), "the limit of entries holds");
            let many = record.entries.len() > allowlist::MAX_COUNTED;
            debug_assert_eq!(
                record.entries.large().is_some(),
                many,
                "a list is large if and only if it is long"
            );
            debug_assert!(record.draining.len() <= allowlist::MAX_DRAINING, "the limit of drains holds");
            let all = record.entries.counted().iter().map(|entry| (entry.cidr, entry.id));
            let all: Vec<_> = all.chain(record.draining.iter().map(|drain| (drain.cidr, drain.id))).collect();
            let cidrs: BTreeSet<_> = all.iter().map(|(cidr, _)| *cidr).collect();
            let counters: BTreeSet<_> = all.iter().map(|(_, id)| *id).collect();
            debug_assert!(
                cidrs.len() == all.len() && counters.len() == all.len(),
                "entries and ids are distinct"
            );
            debug_assert!(all.iter().all(|(cidr, _)| cidr.trunc() == *cidr), "entries are canonical");
        }
        for (name, vpc) in &self.vpcs {
            debug_assert_eq!(name, &vpc.name, "a private network is filed under its name");
            debug_assert!(
                Vpc::clone(vpc).bare() == **vpc,
                "its listener has the switch, the entries, the limits and the proxies"
            );
            let record = self.vpc_listener(vpc);
            debug_assert!(
                record.is_some_and(|record| vpc.with(&record.listener).listener() == record.listener),
                "a private network has its listener"
            );
        }
        for (name, record) in &self.endpoints {
            let endpoint = &record.endpoint;
            debug_assert_eq!(name, &endpoint.name, "an endpoint is filed under its name");
            debug_assert!(
                endpoint.open && endpoint.security_group.is_empty(),
                "its listeners have the switch and the entries"
            );
            let held = self.endpoint_listeners(endpoint);
            let plain = |held: &&std::sync::Arc<ListenerRecord>| Listener {
                open: true,
                limits: Limits::default(),
                ..held.listener.clone()
            };
            let forms: Vec<Listener> = held.iter().map(plain).collect();
            debug_assert_eq!(forms, endpoint.listeners(), "an endpoint has its listeners");
            let list = |held: &&ListenerRecord| {
                let cidrs = held.entries.cidrs().collect::<Vec<_>>();
                (cidrs, held.listener.open)
            };
            let lists: BTreeSet<_> = held.iter().map(|held| list(&&***held)).collect();
            debug_assert!(lists.len() <= 1, "the listeners of an endpoint are alike");
        }
        for silent in &self.silent {
            debug_assert!(ids.insert(silent.id) && silent.id > 0, "the ids of silent endpoints are distinct");
        }
        for (name, record) in &self.services {
            debug_assert_eq!(name, &record.service.name, "a service is filed under its name");
            debug_assert!(record.service.no_auth || !record.tokens.is_empty(), "a service has a token");
            debug_assert!(record.service.token.is_none(), "no plain token is kept");
        }
        for record in self.certificates.values() {
            debug_assert!(record.material.is_some(), "a certificate has its key");
        }
    }
}

/// The sockets of a listener; `*` is both families' unspecified address.
fn sockets(record: &ListenerRecord) -> impl Iterator<Item = SocketAddr> + '_ {
    let addresses = record.listener.addresses.iter().flat_map(|address| match address {
        Address::Any => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        Address::Ip(ip) => vec![*ip],
    });
    addresses.flat_map(|ip| record.listener.ports().map(move |port| SocketAddr::new(ip, port)))
}

/// Whether a connection to `target` from this host would surely end at the listener. Of a wildcard only loopback is sure:
/// which other addresses the interface has is not known here.
fn reaches(record: &ListenerRecord, target: SocketAddr) -> bool {
    let loopback = record.listener.interface == "lo" && target.ip().is_loopback();
    sockets(record).any(|socket| {
        socket.port() == target.port()
            && (socket.ip() == target.ip()
                || (socket.ip().is_unspecified() && loopback && socket.is_ipv4() == target.is_ipv4()))
    })
}

/// The addresses that a host stands for without asking anyone.
fn literal(host: &str) -> Vec<IpAddr> {
    if host == "localhost" || host.ends_with(".localhost") {
        // RFC 6761 §6.3.
        return vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    }
    host.parse().into_iter().collect()
}
