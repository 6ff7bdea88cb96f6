//! Pure: views of a state.

use std::net::IpAddr;

use super::{
    AccountView, AllowView, CertificateView, DomainView, DrainView, EndpointServiceView, EndpointView,
    EntryView, GatewayView, ListenerView, PrivateNameView, RouteView, ServiceView, SubnetView, TokenView,
    VpcView,
};
use crate::{
    base::{Generation, Name, Site},
    control::{
        compile,
        state::{CertificateRecord, EndpointRecord, ListenerRecord, ServiceRecord, State},
    },
    resource::{
        Account, Address, Domain, EndpointService, Exposure, Grant, Route, Vpc, gateway, upstream::Balance,
    },
    snapshot::names::{self, Names},
};

/// Most entries that the view of a listener shows; `allow list` has all.
const SHOWN: usize = 15;

/// The addresses of an interface, to show where a wildcard listener is reached.
pub type Resolve<'a> = &'a dyn Fn(&str) -> Vec<IpAddr>;

#[must_use]
pub fn gateways(state: &State, site: &Site) -> Vec<GatewayView> {
    let name = gateway::default_name();
    let names = Names::of(site);
    let private_names = names.map(|names| {
        let own = |vpc: &std::sync::Arc<Vpc>| PrivateNameView {
            vpc: vpc.name.clone(),
            name: names.gateway_private(&name),
            target: names.vpc_endpoint(&vpc.name, &name),
        };
        state.vpcs.values().map(own).collect()
    });
    vec![GatewayView {
        listeners: state.listeners.len(),
        services: state.services.len(),
        region: names::region(site).to_owned(),
        dns_zone: site.dns_zone.clone(),
        public_name: names.map(|names| names.gateway_public(&name)),
        public_target: names.map(|names| names.gateway_balancer(&name)),
        private_names: private_names.unwrap_or_default(),
        name,
    }]
}

#[must_use]
pub fn endpoint_service(state: &State, service: &EndpointService) -> EndpointServiceView {
    let users = state.endpoints.values().filter(|record| record.endpoint.service == service.name);
    EndpointServiceView {
        name: service.name.clone(),
        gateway: service.gateway.clone(),
        service_name: service.service_name.clone(),
        dns: service.dns.clone(),
        regions: service.regions.clone(),
        service: service.service.clone(),
        cert: service.cert.clone(),
        endpoints: users.map(|record| record.endpoint.name.clone()).collect(),
    }
}

/// An endpoint of a served state; one that contradicts it has no view.
#[must_use]
pub fn endpoint(state: &State, record: &EndpointRecord, site: &Site) -> Option<EndpointView> {
    let endpoint = &record.endpoint;
    let compiled = compile::endpoint::compile(state, record, site)?;
    let listeners = state.endpoint_listeners(endpoint);
    let listener = listeners.first()?;
    let entries = listener.entries.cidrs().map(|cidr| cidr.to_string());
    let subnets = endpoint.subnets.iter().zip(&compiled.subnets).map(|(subnet, compiled)| SubnetView {
        zone: subnet.zone.clone(),
        vswitch: subnet.vswitch.clone(),
        address: subnet.address,
        interface: compiled.interface.clone(),
    });
    Some(EndpointView {
        name: endpoint.name.clone(),
        gateway: endpoint.gateway.clone(),
        listener: listener.listener.name.clone(),
        kind: endpoint.kind,
        ip_version: endpoint.ip_version,
        service: endpoint.service.clone(),
        region: compiled.region,
        vpc: endpoint.vpc.clone(),
        subnets: subnets.collect(),
        security_group: entries.collect(),
        http: endpoint.http,
        https: endpoint.https,
        open: listener.listener.open,
        zone_redundancy: endpoint.subnets.len() > 1,
        client_token: endpoint.client_token.clone(),
        urls: urls(&compiled.fqdn, endpoint.https, endpoint.http, ""),
        service_name: compiled.service_name,
        fqdn: compiled.fqdn,
    })
}

#[must_use]
pub fn listener(record: &ListenerRecord) -> ListenerView {
    let listener = &record.listener;
    ListenerView {
        name: listener.name.clone(),
        gateway: listener.gateway.clone(),
        id: record.id,
        exposure: listener.exposure.clone(),
        interface: listener.interface.clone(),
        addresses: listener.addresses.clone(),
        http: listener.http,
        https: listener.https,
        open: listener.open,
        wait_address: listener.wait_address,
        limits: listener.limits,
        proxy_protocol: listener.proxy_protocol,
        trusted_forwarders: listener.trusted_forwarders.clone(),
        monitor_until: record.monitor,
        entries: record.entries.len(),
        allow: record.entries.cidrs().take(SHOWN).map(|cidr| cidr.to_string()).collect(),
        draining: record
            .draining
            .iter()
            .map(|drain| DrainView { cidr: drain.cidr.to_string(), id: drain.id, until: drain.until })
            .collect(),
    }
}

/// Every account; the gateway's own comes first.
#[must_use]
pub fn accounts(state: &State, site: &Site) -> Vec<AccountView> {
    let own = Account { name: gateway::default_name(), cross_account: true, grants: Grant::ALL.into() };
    std::iter::once(&own)
        .chain(state.accounts.values().map(|account| &**account))
        .map(|account| self::account(state, account, site))
        .collect()
}

fn account(state: &State, account: &Account, site: &Site) -> AccountView {
    AccountView {
        name: account.name.clone(),
        cross_account: account.cross_account || site.cross_account,
        grants: account.grants.clone(),
        missing: Grant::ALL.into_iter().filter(|grant| !account.grants.contains(grant)).collect(),
        vpcs: state
            .vpcs
            .values()
            .filter(|vpc| vpc.account == account.name)
            .map(|vpc| vpc.name.clone())
            .collect(),
    }
}

#[must_use]
pub fn vpc(state: &State, vpc: &Vpc, site: &Site) -> VpcView {
    let record = state.vpc_listener(vpc);
    let compiled = compile::vpc::compile(vpc, site);
    VpcView {
        name: vpc.name.clone(),
        gateway: vpc.gateway.clone(),
        account: vpc.account.clone(),
        listener: vpc.listener_name(),
        interface: vpc.interface.clone(),
        address: vpc.address,
        zone: vpc.zone.clone(),
        vswitch: vpc.vswitch(),
        channel: compiled.channel(),
        region: compiled.region,
        names: Names::of(site)
            .map(|names| {
                vec![names.gateway_private(&vpc.gateway), names.vpc_endpoint(&vpc.name, &vpc.gateway)]
            })
            .unwrap_or_default(),
        probe: vpc.probe,
        authoritative_dns: vpc.authoritative_dns,
        http: vpc.http,
        https: vpc.https,
        revoked: state.attachable(vpc, site).err().map(|refusal| refusal.message),
        open: record.is_some_and(|record| record.listener.open),
        proxy_protocol: record.is_some_and(|record| record.listener.proxy_protocol),
        trusted_forwarders: record
            .map(|record| record.listener.trusted_forwarders.clone())
            .unwrap_or_default(),
        entries: record.map_or(0, |record| record.entries.len()),
    }
}

/// The allowlist from entry `offset` on, at most `limit` of them; draining ones follow the last.
#[must_use]
pub fn allowlist(record: &ListenerRecord, generation: Generation, offset: usize, limit: usize) -> AllowView {
    let counted = record.entries.counted();
    let allowed =
        record.entries.cidrs().enumerate().skip(offset).take(limit).map(|(place, cidr)| EntryView {
            cidr: cidr.to_string(),
            id: counted.get(place).map(|entry| entry.id),
            draining: false,
            until: None,
        });
    let draining = record.draining.iter().map(|drain| EntryView {
        cidr: drain.cidr.to_string(),
        id: Some(drain.id),
        draining: true,
        until: Some(drain.until),
    });
    let left = offset.saturating_add(limit).saturating_sub(record.entries.len());
    AllowView {
        listener: record.listener.name.clone(),
        generation,
        id: record.id,
        total: record.entries.len(),
        counted: record.entries.large().is_none(),
        items: allowed.chain(draining.take(left)).collect(),
    }
}

/// A certificate of a served state; one without its material has no view.
#[must_use]
pub fn certificate(state: &State, record: &CertificateRecord) -> Option<CertificateView> {
    let chain = &record.material.as_ref()?.chain;
    let users = state.domains.values().filter(|domain| domain.cert.as_ref() == Some(&record.name));
    Some(CertificateView {
        name: record.name.clone(),
        gateway: record.gateway.clone(),
        names: chain.names.clone(),
        subject: chain.subject.clone(),
        issuer: chain.issuer.clone(),
        not_before: chain.not_before,
        not_after: chain.not_after,
        key_fingerprint: record.key_fingerprint.clone(),
        domains: users.map(|domain| domain.host.clone()).collect(),
    })
}

#[must_use]
pub fn domain(state: &State, domain: &Domain) -> DomainView {
    let routes = state.routes.values().filter(|route| route.host.as_ref() == Some(&domain.host));
    DomainView {
        host: domain.host.clone(),
        gateway: domain.gateway.clone(),
        exposure: domain.exposure.clone(),
        cert: domain.cert.clone(),
        https_only: domain.https_only,
        routes: routes.map(|route| route.name.clone()).collect(),
    }
}

#[must_use]
pub fn service(state: &State, site: &Site, record: &ServiceRecord, resolve: Resolve<'_>) -> ServiceView {
    let service = &record.service;
    let routes = |leads: fn(&Route, &Name) -> bool| {
        let found = state.routes.values().filter(move |route| leads(route, &service.name));
        found.map(|route| route.name.clone()).collect()
    };
    let authorities = service.tls_ca.as_ref().map(|authorities| authorities.subjects().to_vec());
    let hashed = service.balance == Balance::Hash;
    ServiceView {
        name: service.name.clone(),
        gateway: service.gateway.clone(),
        instances: service.instances.clone(),
        protocol: service.protocol,
        exposure: service.exposure.clone(),
        body_limit: service.body_limit,
        qps: service.qps,
        no_auth: service.no_auth,
        forward_token: service.forward_token,
        timeouts: service.timeouts,
        tls: service.tls,
        tls_server_name: service.tls_server_name.clone(),
        tls_ca_subjects: authorities.unwrap_or_default(),
        balance: service.balance,
        hash_on: hashed.then(|| service.hash_on.clone().unwrap_or_default()),
        health: service.health.clone(),
        outlier: service.outlier,
        retry: service.retry,
        bounds: service.bounds,
        slow_start: service.slow_start,
        compression: service.compression.clone(),
        decompress: service.decompress,
        tokens: record
            .tokens
            .iter()
            .map(|token| TokenView { fingerprint: token.hash.fingerprint(), created: token.created })
            .collect(),
        endpoints: endpoints(state, site, record, resolve),
        routes: routes(Route::leads_to),
        mirrored_by: routes(Route::mirrors_to),
    }
}

#[must_use]
pub fn route(route: &Route) -> RouteView {
    RouteView {
        name: route.name.clone(),
        gateway: route.gateway.clone(),
        host: route.host.clone(),
        path_prefix: route.path_prefix.clone(),
        methods: route.methods.clone(),
        headers: route.headers.clone(),
        strip_prefix: route.strip_prefix,
        services: route.services.clone(),
        mirror: route.mirror.clone(),
        retry_unsafe: route.retry_unsafe,
    }
}

/// The URLs that a service is called at: custom domains first, then the gateway's own names, endpoints, and addresses;
/// TLS first.
fn endpoints(state: &State, site: &Site, record: &ServiceRecord, resolve: Resolve<'_>) -> Vec<String> {
    let service = &record.service;
    let path = format!("/api/predict/{}", service.name);
    let listeners = || {
        let visible =
            |one: &&std::sync::Arc<ListenerRecord>| meets(&service.exposure, &one.listener.exposure);
        state.listeners.values().filter(visible).map(|one| &one.listener)
    };
    let mut out = Vec::new();
    for domain in state.domains.values().filter(|domain| !domain.host.is_wildcard()) {
        for listener in listeners().filter(|listener| meets(&domain.exposure, &listener.exposure)) {
            let https = listener.https.filter(|_| domain.cert.is_some());
            let http = listener.http.filter(|_| !domain.https_only);
            out.extend(urls(domain.host.as_str(), https, http, &path));
        }
    }
    if let Some(names) = Names::of(site) {
        for listener in listeners() {
            let host = match listener.exposure {
                Exposure::Public => names.gateway_public(&listener.gateway),
                Exposure::VpcNamed(_) => names.gateway_private(&listener.gateway),
                Exposure::All | Exposure::Vpc | Exposure::Endpoint | Exposure::EndpointNamed(_) => continue,
            };
            out.extend(urls(&host, listener.https, listener.http, &path));
        }
    }
    for record in state.endpoints.values() {
        let offer = state.endpoint_services.get(&record.endpoint.service);
        if offer.is_some_and(|offer| offer.service == service.name)
            && let Some(compiled) = compile::endpoint::compile(state, record, site)
        {
            out.extend(urls(&compiled.fqdn, record.endpoint.https, record.endpoint.http, ""));
        }
    }
    for listener in listeners() {
        let addresses = listener.addresses.iter().flat_map(|address| match address {
            Address::Ip(ip) if !ip.is_unspecified() => vec![*ip],
            Address::Ip(ip) => {
                let family = |one: &IpAddr| one.is_ipv4() == ip.is_ipv4();
                resolve(&listener.interface).into_iter().filter(family).collect()
            }
            Address::Any => resolve(&listener.interface),
        });
        for ip in addresses {
            let host = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            out.extend(urls(&host, listener.https, listener.http, &path));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    out.retain(|url| seen.insert(url.clone()));
    out
}

fn urls(host: &str, https: Option<u16>, http: Option<u16>, path: &str) -> Vec<String> {
    let url = |scheme: &str, port: u16, usual: u16| {
        if port == usual {
            format!("{scheme}://{host}{path}")
        } else {
            format!("{scheme}://{host}:{port}{path}")
        }
    };
    https
        .map(|port| url("https", port, 443))
        .into_iter()
        .chain(http.map(|port| url("http", port, 80)))
        .collect()
}

/// Whether what is visible on `one` answers on a listener of exposure `listener`.
fn meets(one: &Exposure, listener: &Exposure) -> bool {
    match (one, listener) {
        (Exposure::All, Exposure::EndpointNamed(_)) => false,
        (Exposure::All, _)
        | (Exposure::Public, Exposure::Public)
        | (Exposure::Vpc, Exposure::VpcNamed(_)) => true,
        (Exposure::VpcNamed(mine), Exposure::VpcNamed(theirs)) => mine == theirs,
        (
            Exposure::Public
            | Exposure::Vpc
            | Exposure::VpcNamed(_)
            | Exposure::Endpoint
            | Exposure::EndpointNamed(_),
            _,
        ) => false,
    }
}
