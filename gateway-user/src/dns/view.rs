//! Pure: a view of the plan, made ready for answering: names parsed, addresses of interfaces filled in, and the empty
//! names between an origin and its records made explicit, because they exist too (RFC 8020 §3.1).

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use hickory_proto::rr::{
    Name, RData, RecordType,
    rdata::{A, AAAA, CNAME, NS, SOA},
};

use super::name;
use crate::snapshot::dns::{DnsData, DnsView, DnsZone};

/// How often secondaries would ask, were there any: transfers are refused, the figures are what RFC 1912 §2.2 takes.
const REFRESH: i32 = 3600;
const RETRY: i32 = 600;
const EXPIRE: i32 = 604_800;

/// Reads the addresses of an interface.
pub(super) type Addresses<'a> = &'a dyn Fn(&str) -> Vec<IpAddr>;
/// Whether an address cannot be reached by an interface.
pub(super) type Dead<'a> = &'a dyn Fn(&str, IpAddr) -> bool;

/// A view, ready to answer from.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) ttl: u32,
    /// By the key of the origin; a wildcard zone by that of its parent.
    zones: HashMap<Vec<u8>, Zone>,
    wildcards: HashMap<Vec<u8>, Zone>,
}

/// One zone of a view.
#[derive(Debug)]
pub(super) struct Zone {
    pub(super) soa: SOA,
    nodes: HashMap<Vec<u8>, Node>,
}

/// What a name has. A name that has nothing exists because something below it does.
#[derive(Debug, Default)]
pub(super) struct Node(Vec<Datum>);

#[derive(Debug)]
enum Datum {
    Fixed(RData),
    Watched { interface: String, address: IpAddr },
}

/// Where a name is.
pub(super) struct Place<'a> {
    pub(super) zone: &'a Zone,
    /// The zone's apex, in the letters that the asker used.
    pub(super) origin: Name,
    /// `None`: there is no such name.
    pub(super) node: Option<&'a Node>,
}

// === impl View ===

impl View {
    pub(super) fn load(view: &DnsView, serial: u32, ttl: u32, addresses: Addresses<'_>) -> Self {
        let mut loaded = Self { ttl, ..Self::default() };
        for zone in &view.zones {
            let origin = if zone.wildcard { zone.origin.trim_start_matches("*.") } else { &zone.origin };
            let (Some(origin), Some(ready)) = (name::parse(origin), Zone::load(zone, serial, ttl, addresses))
            else {
                continue;
            };
            let table = if zone.wildcard { &mut loaded.wildcards } else { &mut loaded.zones };
            table.insert(name::key(&origin), ready);
        }
        loaded
    }

    /// The zone that a name belongs to, and the name's place in it; `None` where the view has no say.
    pub(super) fn find(&self, name: &Name) -> Option<Place<'_>> {
        let key = name::key(name);
        let (mut suffix, mut labels) = (&key[..], name.iter().count());
        loop {
            if let Some(zone) = self.zones.get(suffix) {
                let origin = name.trim_to(labels);
                return Some(Place { zone, origin, node: zone.nodes.get(&key) });
            }
            let parent = name::parent(suffix)?;
            if let Some(zone) = self.wildcards.get(parent) {
                let origin = name.trim_to(labels);
                // Every name that the wildcard stands for has what stands at the apex, and nothing below it.
                let node = (suffix.len() == key.len()).then(|| zone.nodes.get(parent)).flatten();
                return Some(Place { zone, origin, node });
            }
            (suffix, labels) = (parent, labels.saturating_sub(1));
        }
    }
}

// === impl Zone ===

impl Zone {
    fn load(zone: &DnsZone, serial: u32, ttl: u32, addresses: Addresses<'_>) -> Option<Self> {
        let apex = name::parse(zone.origin.trim_start_matches("*."))?;
        let server = name::parse(&zone.name_server)?;
        let mailbox = Name::from_ascii("hostmaster").ok()?.append_domain(&server.base_name()).ok()?;
        let soa = SOA::new(server.clone(), mailbox, serial, REFRESH, RETRY, EXPIRE, ttl);
        let mut nodes: HashMap<Vec<u8>, Node> = HashMap::new();
        let apex_key = name::key(&apex);
        let at_apex = [RData::SOA(soa.clone()), RData::NS(NS(server))];
        nodes.entry(apex_key.clone()).or_default().0.extend(at_apex.into_iter().map(Datum::Fixed));
        for (owner, data) in &zone.records {
            let owner = owner.strip_prefix("*.").filter(|_| zone.wildcard).unwrap_or(owner);
            let Some(owner) = name::parse(owner) else { continue };
            if !apex.zone_of(&owner) {
                continue;
            }
            let key = name::key(&owner);
            let mut above = name::parent(&key);
            while let Some(name) = above.filter(|name| name.len() > apex_key.len()) {
                nodes.entry(name.to_vec()).or_default();
                above = name::parent(name);
            }
            nodes.entry(key).or_default().0.extend(data.iter().flat_map(|one| ready(one, addresses)));
        }
        Some(Self { soa, nodes })
    }
}

fn ready(data: &DnsData, addresses: Addresses<'_>) -> Vec<Datum> {
    match data {
        DnsData::Address(ip) => vec![Datum::Fixed(address(*ip))],
        DnsData::Watched { interface, address } => {
            vec![Datum::Watched { interface: interface.clone(), address: *address }]
        }
        DnsData::Interface { interface, v4, v6 } => addresses(interface)
            .into_iter()
            .filter(|ip| if ip.is_ipv4() { *v4 } else { *v6 })
            .map(|ip| Datum::Fixed(address(ip)))
            .collect(),
        DnsData::Alias(target) => {
            name::parse(target).map(|target| Datum::Fixed(RData::CNAME(CNAME(target)))).into_iter().collect()
        }
    }
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

// === impl Node ===

impl Node {
    /// The data of one type.
    pub(super) fn data(&self, kind: RecordType, dead: Dead<'_>) -> Vec<RData> {
        let alive = |datum: &Datum| match datum {
            Datum::Fixed(_) => true,
            Datum::Watched { interface, address } => !dead(interface, *address),
        };
        // Where nothing can be reached an address is still better than none: it may be the watch that is wrong.
        let any = self.0.iter().any(|datum| matches!(datum, Datum::Watched { .. }) && alive(datum));
        self.0
            .iter()
            .filter(|datum| alive(datum) || !any)
            .map(|datum| match datum {
                Datum::Fixed(data) => data.clone(),
                Datum::Watched { address: ip, .. } => address(*ip),
            })
            .filter(|data| data.record_type() == kind)
            .collect()
    }

    /// The type of the first record, which is the answer to a query for any (RFC 8482 §4.1).
    pub(super) fn first(&self) -> Option<RecordType> {
        self.0.first().map(|datum| match datum {
            Datum::Fixed(data) => data.record_type(),
            Datum::Watched { address: ip, .. } => address(*ip).record_type(),
        })
    }

    /// Where a CNAME leads.
    pub(super) fn alias(&self) -> Option<&Name> {
        self.0.iter().find_map(|datum| match datum {
            Datum::Fixed(RData::CNAME(target)) => Some(&target.0),
            Datum::Fixed(_) | Datum::Watched { .. } => None,
        })
    }
}

/// A view that is swapped while it is answered from.
pub(super) type Slot = Arc<arc_swap::ArcSwap<View>>;
