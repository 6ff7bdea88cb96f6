//! Pure: what is served where: hosts, their routes and the visible services of one gateway on one exposure.
//!
//! Listeners with the same gateway and exposure share one [`Sites`], and an edit that touches neither routes, domains
//! nor services takes it over from the previous view: an allowlist edit costs the same with ten routes or ten thousand.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::{
    http::head::{Fields, Head},
    route::{self, Entry, HostMatch},
};
use crate::{
    base::Name,
    snapshot::{
        Exposure, Snapshot,
        http::{Backend, Route},
    },
};

/// Hosts and services of one gateway on one exposure.
#[derive(Default)]
pub(crate) struct Sites {
    hosts: HashMap<Box<str>, Vhost>,
    /// Keyed by the part after `*`, which begins with a dot.
    wildcards: HashMap<Box<str>, Vhost>,
    /// The listener's own address.
    address: Vhost,
    /// Services that are visible here, by name.
    pub(crate) services: HashMap<Name, usize>,
}

/// What is served under one host name.
#[derive(Clone, Default)]
pub(crate) struct Vhost {
    /// `/api/predict/<service>` answers here.
    pub(crate) predict: bool,
    pub(crate) https_only: bool,
    /// In the order of precedence: for this very host, for a wildcard that covers it, for any host.
    routes: [Arc<[Entry]>; 3],
}

// === impl Sites ===

impl Sites {
    pub(crate) fn build(gateway: &Name, exposure: &Exposure, snapshot: &Snapshot) -> Self {
        if let Exposure::Endpoint(name) = exposure {
            return Self::of_endpoint(gateway, name, snapshot);
        }
        let services: HashMap<Name, usize> = snapshot
            .services
            .iter()
            .enumerate()
            .filter(|(_, service)| service.gateway == *gateway && service.visibility.admits(exposure))
            .map(|(index, service)| (service.name.clone(), index))
            .collect();
        let domains: HashMap<&str, bool> = snapshot
            .domains
            .iter()
            .filter(|domain| domain.gateway == *gateway && domain.visibility.admits(exposure))
            .map(|domain| (domain.host.as_str(), domain.https_only))
            .collect();
        let mut by_host: HashMap<Option<&str>, Vec<Entry>> = HashMap::new();
        for route in snapshot.routes.iter().filter(|route| route.gateway == *gateway) {
            let host = match &route.host {
                None => HostMatch::Any,
                Some(host) if host.starts_with('*') => HostMatch::Wildcard,
                Some(_) => HostMatch::Exact,
            };
            let any = |wanted: &Name| {
                snapshot.services.iter().position(|one| one.gateway == *gateway && one.name == *wanted)
            };
            let entry = Entry::new(route, host, |service| services.get(service).copied()).mirrored(any);
            by_host.entry(route.host.as_deref()).or_default().push(entry);
        }
        let routes: HashMap<Option<&str>, Arc<[Entry]>> = by_host
            .into_iter()
            .map(|(host, mut entries)| {
                route::order(&mut entries);
                (host, entries.into())
            })
            .collect();
        let of = |host: Option<&str>| routes.get(&host).cloned().unwrap_or_default();
        let any = of(None);
        let vhost = |name: &str| {
            // A host under a wildcard domain has what that domain has, unless it is a domain of its own.
            let wildcard = parent(name).filter(|_| !name.starts_with('*')).map(|suffix| format!("*{suffix}"));
            let domain = domains.get(name).or_else(|| wildcard.as_deref().and_then(|name| domains.get(name)));
            let covering = wildcard.as_deref().map(|wildcard| of(Some(wildcard))).unwrap_or_default();
            Vhost {
                predict: domain.is_some(),
                https_only: domain == Some(&true),
                routes: [of(Some(name)), covering, Arc::clone(&any)],
            }
        };
        let mut sites = Self {
            address: Vhost {
                predict: true,
                https_only: false,
                routes: [Arc::default(), Arc::default(), Arc::clone(&any)],
            },
            services: HashMap::new(),
            ..Self::default()
        };
        let own = snapshot.own_hosts.iter();
        for own in own.filter(|own| own.gateway == *gateway && own.exposure == *exposure) {
            // What the operator says of the name goes first.
            if !domains.contains_key(own.host.as_str()) && !routes.contains_key(&Some(own.host.as_str())) {
                sites.hosts.insert(own.host.as_str().into(), sites.address.clone());
            }
        }
        for name in domains.keys().copied().chain(routes.keys().copied().flatten()) {
            let (map, key) = match name.strip_prefix('*') {
                Some(suffix) => (&mut sites.wildcards, suffix),
                None => (&mut sites.hosts, name),
            };
            map.entry(key.into()).or_insert_with(|| vhost(name));
        }
        sites.services = services;
        sites
    }

    /// An endpoint leads to one service, whatever the path, under its host name and its address.
    fn of_endpoint(gateway: &Name, name: &Name, snapshot: &Snapshot) -> Self {
        let found = snapshot.endpoints.iter().find(|one| one.gateway == *gateway && one.name == *name);
        let Some(endpoint) = found else { return Self::default() };
        let service = |wanted: &Name| {
            snapshot.services.iter().position(|one| one.gateway == *gateway && one.name == *wanted)
        };
        let route = Arc::new(Route {
            gateway: gateway.clone(),
            name: name.clone(),
            host: Some(endpoint.fqdn.clone()),
            path_prefix: "/".to_owned(),
            methods: Vec::new(),
            headers: Vec::new(),
            strip_prefix: false,
            backends: vec![Backend { service: endpoint.service.clone(), weight: 1 }],
            mirror: None,
            retry_unsafe: false,
        });
        let entries: Arc<[Entry]> = [Entry::new(&route, HostMatch::Exact, service)].into();
        let vhost = Vhost { routes: [entries, Arc::default(), Arc::default()], ..Vhost::default() };
        Self {
            hosts: [(endpoint.fqdn.as_str().into(), vhost.clone())].into(),
            address: vhost,
            ..Self::default()
        }
    }

    /// Whether sites built of `left` hold for `right`: the indices of services and everything that is matched agree.
    pub(crate) fn same(left: &Snapshot, right: &Snapshot) -> bool {
        fn all<T>(left: &[Arc<T>], right: &[Arc<T>], same: impl Fn(&Arc<T>, &Arc<T>) -> bool) -> bool {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        all(&left.routes, &right.routes, |a, b| Arc::ptr_eq(a, b) || a == b)
            && all(&left.own_hosts, &right.own_hosts, |a, b| Arc::ptr_eq(a, b) || a == b)
            && all(&left.endpoints, &right.endpoints, |a, b| Arc::ptr_eq(a, b) || a == b)
            && all(&left.domains, &right.domains, |a, b| Arc::ptr_eq(a, b) || a == b)
            && all(&left.services, &right.services, |a, b| {
                Arc::ptr_eq(a, b)
                    || (&a.gateway, &a.name, &a.visibility) == (&b.gateway, &b.name, &b.visibility)
            })
    }

    /// What is served under `host` to a connection that reached us at `local`.
    pub(crate) fn host(&self, host: &str, local: &LocalName) -> Option<&Vhost> {
        if let Some(vhost) = self.hosts.get(host) {
            return Some(vhost);
        }
        if local.is(host) {
            return Some(&self.address);
        }
        parent(host).and_then(|suffix| self.wildcards.get(suffix))
    }

    /// What is served to a request that names no host (HTTP/1.0).
    pub(crate) fn address(&self) -> &Vhost {
        &self.address
    }
}

// === impl Vhost ===

impl Vhost {
    /// The route that takes the request.
    pub(crate) fn route<F: Fields>(&self, head: &Head<'_, F>) -> Option<&Entry> {
        self.routes.iter().flat_map(|entries| entries.iter()).find(|entry| entry.matches(head))
    }
}

/// The host without its first label, beginning with the dot.
fn parent(host: &str) -> Option<&str> {
    host.find('.').and_then(|dot| host.get(dot..)).filter(|suffix| suffix.len() > 1 && !host.starts_with('.'))
}

/// Whether a certificate with `names` covers `host`: a wildcard stands for exactly one label (RFC 6125 §6.4.3).
pub(crate) fn covers(names: &[String], host: &str) -> bool {
    names.iter().any(|name| match name.strip_prefix('*') {
        Some(suffix) => parent(host) == Some(suffix),
        None => name == host,
    })
}

/// The address at which a connection reached us, as a Host may spell it.
#[derive(Debug)]
pub(crate) struct LocalName {
    /// As the host of a URI (RFC 3986 §3.2.2): an IPv6 address is in brackets.
    text: String,
    address: IpAddr,
}

// === impl LocalName ===

impl LocalName {
    pub(crate) fn new(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let text = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        Self { text, address }
    }

    /// The address as a Host or a URI has it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is this host, which has no brackets.
    fn is(&self, host: &str) -> bool {
        host == self.text
            || (self.address.is_loopback() && host == "localhost")
            // IPv6 has many spellings of one address.
            || (host.contains(':') && host.parse() == Ok(self.address))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{LocalName, Sites, covers, parent};
    use crate::{
        base::Name,
        proxy::http::{
            framing::Version,
            head::{Head, List},
        },
        snapshot::{
            Endpoint, Exposure, Snapshot, Visibility,
            http::{Backend, Domain, OwnHost, Route},
        },
    };

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn route(text: &str, host: Option<&str>, prefix: &str) -> Arc<Route> {
        Arc::new(Route {
            gateway: name("default"),
            name: name(text),
            host: host.map(str::to_owned),
            path_prefix: prefix.into(),
            methods: vec![],
            headers: vec![],
            strip_prefix: false,
            backends: vec![Backend { service: name("s"), weight: 1 }],
            mirror: None,
            retry_unsafe: false,
        })
    }

    fn domain(host: &str, visibility: Visibility) -> Arc<Domain> {
        let gateway = name("default");
        Arc::new(Domain {
            gateway,
            host: host.into(),
            visibility,
            certificate: None,
            https_only: host == "only.example",
        })
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            routes: vec![
                route("any", None, "/a/b/c"),
                route("wild", Some("*.w.example"), "/a/b"),
                route("exact", Some("x.w.example"), "/a"),
                route("alone", Some("alone.example"), "/"),
            ],
            domains: vec![
                domain("*.w.example", Visibility::All),
                domain("only.example", Visibility::Public),
                domain("private.example", Visibility::AnyVpc),
            ],
            ..Snapshot::default()
        }
    }

    #[test]
    fn the_host_decides_before_the_prefix() {
        let sites = Sites::build(&name("default"), &Exposure::Public, &snapshot());
        let local = LocalName::new("10.0.0.1".parse().unwrap());
        let found = |host: &str, path: &str| {
            let fields = List(&[]);
            let head =
                Head { method: "GET", path, authority: None, version: Version::Http11, fields: &fields };
            sites.host(host, &local)?.route(&head).map(|entry| entry.route.name.to_string())
        };
        assert_eq!(found("x.w.example", "/a/b/c").as_deref(), Some("exact"));
        assert_eq!(found("y.w.example", "/a/b/c").as_deref(), Some("wild"));
        assert_eq!(found("y.w.example", "/a").as_deref(), None);
        assert_eq!(found("10.0.0.1", "/a/b/c").as_deref(), Some("any"));
        assert_eq!(found("alone.example", "/").as_deref(), Some("alone"));
        assert_eq!(found("only.example", "/a/b/c/d").as_deref(), Some("any"));
    }

    #[test]
    fn predict_needs_a_domain_or_the_address() {
        let sites = Sites::build(&name("default"), &Exposure::Public, &snapshot());
        let local = LocalName::new("10.0.0.1".parse().unwrap());
        let predict = |host: &str| sites.host(host, &local).map(|vhost| (vhost.predict, vhost.https_only));
        assert_eq!(predict("x.w.example"), Some((true, false)), "covered by a wildcard domain");
        assert_eq!(predict("only.example"), Some((true, true)));
        assert_eq!(predict("alone.example"), Some((false, false)), "a route's host is no domain");
        assert_eq!(predict("10.0.0.1"), Some((true, false)));
        assert_eq!(predict("private.example"), None);
        assert_eq!(predict("w.example"), None);
    }

    #[test]
    fn pl_1_an_endpoint_leads_every_path_to_its_one_service() {
        let endpoint = Endpoint {
            gateway: name("default"),
            name: name("e"),
            vpc: name("s1"),
            region: name("r"),
            endpoint_service: name("o"),
            service_name: "com.example.o".into(),
            fqdn: "o.example".into(),
            service: name("s"),
            certificate: None,
            subnets: vec![],
        };
        let mut snapshot = Snapshot { endpoints: vec![Arc::new(endpoint)], ..snapshot() };
        let exposure = Exposure::Endpoint(name("e"));
        let sites = Sites::build(&name("default"), &exposure, &snapshot);
        let local = LocalName::new("10.0.0.1".parse().unwrap());
        for host in ["o.example", "10.0.0.1"] {
            let vhost = sites.host(host, &local).unwrap();
            assert!(!vhost.predict, "{host}");
            for path in ["/", "/api/predict/other/x", "/a/b/c"] {
                let head = Head {
                    method: "GET",
                    path,
                    authority: None,
                    version: Version::Http11,
                    fields: &List(&[]),
                };
                let entry = vhost.route(&head).unwrap();
                assert_eq!(entry.route.backends[0].service.as_str(), "s", "{host}{path}");
                assert!(!entry.route.strip_prefix);
            }
        }
        for host in ["x.w.example", "only.example", "alone.example", "10.0.0.2"] {
            assert!(sites.host(host, &local).is_none(), "{host}");
        }
        // What is not configured leads nowhere, and another endpoint's change is noticed.
        let unknown = Sites::build(&name("default"), &Exposure::Endpoint(name("f")), &snapshot);
        assert!(unknown.host("10.0.0.1", &local).unwrap().route(&head_of("/")).is_none());
        let before = snapshot.clone();
        snapshot.endpoints.clear();
        assert!(!Sites::same(&before, &snapshot));
    }

    fn head_of(path: &str) -> Head<'_, List<'static>> {
        Head { method: "GET", path, authority: None, version: Version::Http11, fields: &List(&[]) }
    }

    #[test]
    fn the_gateways_own_names_answer_where_they_belong_unless_the_operator_says_otherwise() {
        let own = |host: &str, exposure: Exposure| {
            Arc::new(OwnHost { gateway: name("default"), host: host.into(), exposure })
        };
        let snapshot = Snapshot {
            own_hosts: vec![
                own("gw.example", Exposure::Public),
                own("gw-vpc.example", Exposure::Vpc(name("s1"))),
                own("only.example", Exposure::Public),
            ],
            ..snapshot()
        };
        let local = LocalName::new("10.0.0.1".parse().unwrap());
        let answers = |exposure: &Exposure, host: &str| {
            let sites = Sites::build(&name("default"), exposure, &snapshot);
            sites.host(host, &local).map(|vhost| (vhost.predict, vhost.https_only))
        };
        assert_eq!(answers(&Exposure::Public, "gw.example"), Some((true, false)));
        assert_eq!(answers(&Exposure::Public, "gw-vpc.example"), None);
        assert_eq!(answers(&Exposure::Public, "only.example"), Some((true, true)), "the domain's word");
        assert_eq!(answers(&Exposure::Vpc(name("s1")), "gw-vpc.example"), Some((true, false)));
        assert_eq!(answers(&Exposure::Vpc(name("s2")), "gw-vpc.example"), None);
    }

    #[test]
    fn sites_hold_until_something_that_is_matched_changes() {
        let before = snapshot();
        let mut after = before.clone();
        assert!(Sites::same(&before, &after));
        after.routes.remove(0);
        assert!(!Sites::same(&before, &after));
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        let names = ["example.org".to_owned(), "*.example.org".to_owned()];
        assert!(covers(&names, "example.org") && covers(&names, "a.example.org"));
        assert!(!covers(&names, "a.b.example.org") && !covers(&names, ".example.org"));
        assert!(!covers(&names, "example.com"));
        assert_eq!(parent("localhost"), None);
    }

    #[test]
    fn the_local_address_is_known_in_every_spelling() {
        let local = LocalName::new("::1".parse().unwrap());
        assert!(local.is("::1") && local.is("0:0::0:1") && local.is("localhost") && !local.is("::2"));
        assert_eq!(local.text(), "[::1]");
        let local = LocalName::new("10.0.0.1".parse().unwrap());
        assert!(local.is("10.0.0.1") && !local.is("localhost") && !local.is("10.0.0.2"));
    }
}
