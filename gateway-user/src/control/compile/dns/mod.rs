//! Pure: what the name servers answer, from what the rest of the snapshot says.
//!
//! All names of the gateway stand in one zone, the setting `dns_zone`. A custom domain and an endpoint's name are zones
//! of their own: the gateway has the last word on them inside private networks, and none on the names around them.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use crate::{
    base::Site,
    snapshot::{
        Exposure, Snapshot, Vpc,
        dns::{DnsData, DnsPlace, DnsPlan, DnsView, DnsZone},
        filter::ListenAddress,
        http::Domain,
        names::{Names, fits},
    },
};

type Records = BTreeMap<String, Vec<DnsData>>;

/// The plan of a snapshot that is complete but for it.
pub(super) fn plan(snapshot: &Snapshot, site: &Site, previous: &DnsPlan) -> DnsPlan {
    let private = snapshot.vpcs.iter().map(|vpc| inside(snapshot, site, vpc));
    let views = std::iter::once(outside(snapshot, site)).chain(private);
    let same = |view: DnsView| match previous.view(view.vpc.as_ref()) {
        Some(held) if **held == view => Arc::clone(held),
        Some(_) | None => Arc::new(view),
    };
    DnsPlan { serial: snapshot.generation.low32(), ttl: site.dns_ttl, views: views.map(same).collect() }
}

/// What those who are in no private network are told: public names, and those of the one network that says so.
fn outside(snapshot: &Snapshot, site: &Site) -> DnsView {
    let mut records = public(snapshot, site);
    let mut zones = Vec::new();
    let servers = site.dns.iter().map(|socket| DnsData::Address(socket.ip())).collect::<Vec<_>>();
    if let Some(vpc) = snapshot.vpcs.iter().find(|vpc| vpc.authoritative_dns) {
        records.extend(private(snapshot, site, vpc));
        zones.extend(own_zones(snapshot, site, vpc, &servers));
    }
    zones.extend(gateway_zone(site, records, &servers));
    DnsView { vpc: None, place: None, zones: sorted(zones) }
}

/// What the clients of a private network are told.
fn inside(snapshot: &Snapshot, site: &Site, vpc: &Vpc) -> DnsView {
    let servers = [DnsData::Address(vpc.address.addr())];
    let mut records = public(snapshot, site);
    records.extend(private(snapshot, site, vpc));
    let mut zones = own_zones(snapshot, site, vpc, &servers);
    zones.extend(gateway_zone(site, records, &servers));
    DnsView {
        vpc: Some(vpc.name.clone()),
        place: Some(DnsPlace { interface: vpc.interface.clone(), address: vpc.address.addr() }),
        zones: sorted(zones),
    }
}

/// The zone of the gateway's own names, with the name server that the asker asks.
fn gateway_zone(site: &Site, mut records: Records, servers: &[DnsData]) -> Option<DnsZone> {
    let origin = site.dns_zone.clone()?;
    let name_server = server_name(&origin);
    if !servers.is_empty() {
        records.insert(name_server.clone(), servers.to_vec());
    }
    records.retain(|name, data| fits(name) && !data.is_empty());
    Some(DnsZone { origin, wildcard: false, name_server, records })
}

fn server_name(origin: &str) -> String {
    format!("ns.{origin}")
}

/// Gateways lead to their balancer, and that to the public listeners.
fn public(snapshot: &Snapshot, site: &Site) -> Records {
    let mut records = Records::new();
    let Some(names) = Names::of(site) else { return records };
    for listener in snapshot.listeners.iter().filter(|listener| listener.exposure == Exposure::Public) {
        let balancer = names.gateway_balancer(&listener.gateway);
        records.insert(names.gateway_public(&listener.gateway), vec![DnsData::Alias(balancer.clone())]);
        let addresses = records.entry(balancer).or_default();
        for address in &listener.addresses {
            let (v4, v6) = match address {
                ListenAddress::Any => (true, true),
                ListenAddress::Ip(ip) if ip.is_unspecified() => (ip.is_ipv4(), ip.is_ipv6()),
                ListenAddress::Ip(ip) => {
                    add(addresses, DnsData::Address(*ip));
                    continue;
                }
            };
            add(addresses, DnsData::Interface { interface: listener.interface.clone(), v4, v6 });
        }
    }
    records
}

/// The names that mean something in this network only: the gateway's endpoint there, and instances of services.
fn private(snapshot: &Snapshot, site: &Site, vpc: &Vpc) -> Records {
    let mut records = Records::new();
    let Some(names) = Names::of(site) else { return records };
    let endpoint = names.vpc_endpoint(&vpc.name, &vpc.gateway);
    // A name that is too long for DNS has no record, and then nothing leads to it.
    if fits(&endpoint) {
        records.insert(names.gateway_private(&vpc.gateway), vec![DnsData::Alias(endpoint.clone())]);
        records.insert(endpoint, vec![DnsData::Address(vpc.address.addr())]);
    }
    let here = Exposure::Vpc(vpc.name.clone());
    let services = snapshot.services.iter().filter(|service| service.gateway == vpc.gateway);
    for service in services.filter(|service| service.visibility.admits(&here)) {
        let addresses = service.instances.iter().filter_map(|instance| instance.host.parse::<IpAddr>().ok());
        let mut data = Vec::new();
        addresses.for_each(|ip| add(&mut data, DnsData::Address(ip)));
        records.insert(names.service_direct(&service.name, &service.gateway), data);
    }
    records
}

/// Zones of a single name each: custom domains that are bound to the network, and its endpoints of platform services.
fn own_zones(snapshot: &Snapshot, site: &Site, vpc: &Vpc, servers: &[DnsData]) -> Vec<DnsZone> {
    let here = Exposure::Vpc(vpc.name.clone());
    let bound = |domain: &&Arc<Domain>| domain.gateway == vpc.gateway && domain.visibility.admits(&here);
    let mut apexes: BTreeMap<&str, Vec<DnsData>> = BTreeMap::new();
    for domain in snapshot.domains.iter().filter(bound) {
        apexes.insert(&domain.host, vec![DnsData::Address(vpc.address.addr())]);
    }
    for endpoint in snapshot.endpoints.iter().filter(|endpoint| endpoint.vpc == vpc.name) {
        let data = endpoint.subnets.iter().map(|subnet| DnsData::Watched {
            interface: subnet.interface.clone(),
            address: subnet.address.addr(),
        });
        apexes.entry(&endpoint.fqdn).or_default().extend(data);
    }
    let zone = |(host, data): (&str, Vec<DnsData>)| {
        let parent = host.strip_prefix("*.");
        let name_server = server_name(site.dns_zone.as_deref().or(parent).unwrap_or(host));
        let mut records = Records::from([(host.to_owned(), data)]);
        // Without a zone of the gateway's the name server has to have its name in this one; a wildcard covers it.
        if site.dns_zone.is_none() && parent.is_none() {
            records.insert(name_server.clone(), servers.to_vec());
        }
        DnsZone { origin: host.to_owned(), wildcard: parent.is_some(), name_server, records }
    };
    // The apex of the gateway's own zone is taken.
    let free = |host: &str| site.dns_zone.as_deref() != Some(host);
    apexes.into_iter().filter(|(host, _)| free(host) && fits(host)).map(zone).collect()
}

fn add(data: &mut Vec<DnsData>, datum: DnsData) {
    if !data.contains(&datum) {
        data.push(datum);
    }
}

fn sorted(mut zones: Vec<DnsZone>) -> Vec<DnsZone> {
    zones.sort_by(|left, right| left.origin.cmp(&right.origin));
    zones
}

#[cfg(test)]
mod tests;
