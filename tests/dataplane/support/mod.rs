//! A proxy with a snapshot that a test edits, clients and instances.

pub(crate) mod client;
pub(crate) mod fault;
pub(crate) mod instance;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    num::NonZeroUsize,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use gateway_user::{
    base::{Generation, Name, Refusal},
    observe::{access::Target, traffic::Report},
    proxy::{Config, Limits, Proxy},
    snapshot::{
        Exposure, FilterPlan, Listener, Snapshot, Subscriber, Visibility,
        filter::{Echo, FilterEntry, FilterListener, ListenAddress, ListenerOptions},
        http::{Access, Backend, Certificate, Domain, Instance, Protocol, Route, Service, Timeouts},
    },
};
use harness::ca::{Authority, Leaf};

pub(crate) use client::{Client, PATIENCE, Reply};
pub(crate) use fault::{Fault, Faulty};
pub(crate) use instance::Upstream;

/// Longer than a test waits for anything: what takes so long by its settings and happens none the less has another cause.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(3600);

/// The token of every service that `service` makes.
pub(crate) const TOKEN: &str = "sesame";

/// A running proxy and the snapshot that it serves.
pub(crate) struct World {
    pub(crate) proxy: Option<Proxy>,
    pub(crate) next: Snapshot,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) authority: Authority,
    leaves: BTreeMap<String, Leaf>,
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Settings with two workers and no log.
pub(crate) fn config() -> Config {
    Config {
        workers: NonZeroUsize::new(2),
        access_log: Target::Off,
        drop_capabilities: false,
        ..Config::default()
    }
}

/// A service with the usual token.
pub(crate) fn service(text: &str, instances: &[SocketAddr]) -> Service {
    Service {
        gateway: name("default"),
        name: name(text),
        visibility: Visibility::All,
        protocol: Protocol::Http,
        instances: instances
            .iter()
            .map(|at| Instance { host: at.ip().to_string(), port: at.port(), weight: 1 })
            .collect(),
        access: Access::Tokens(vec![digest(TOKEN)]),
        forward_token: false,
        body_limit: 1 << 20,
        qps: None,
        timeouts: Timeouts {
            connect: Duration::from_millis(500),
            first_byte: Duration::from_secs(5),
            idle: Duration::from_secs(5),
        },
        upstream: gateway_user::snapshot::upstream::Upstream::default(),
        compression: Vec::new(),
        decompress: false,
    }
}

pub(crate) fn digest(token: &str) -> [u8; 32] {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes()).as_ref().try_into().unwrap()
}

pub(crate) fn route(text: &str, prefix: &str, backends: &[(&str, u32)]) -> Route {
    Route {
        gateway: name("default"),
        name: name(text),
        host: None,
        path_prefix: prefix.into(),
        methods: vec![],
        headers: vec![],
        strip_prefix: false,
        backends: backends
            .iter()
            .map(|(service, weight)| Backend { service: name(service), weight: *weight })
            .collect(),
        mirror: None,
        retry_unsafe: false,
    }
}

pub(crate) fn domain(host: &str) -> Domain {
    Domain {
        gateway: name("default"),
        host: host.into(),
        visibility: Visibility::All,
        certificate: None,
        https_only: false,
    }
}

/// A listener on loopback with its filter policy.
pub(crate) fn listener(
    text: &str,
    id: u16,
    http: Option<u16>,
    https: Option<u16>,
) -> (Listener, FilterListener) {
    let addresses = vec![ListenAddress::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST))];
    let listener = Listener {
        gateway: name("default"),
        name: name(text),
        id,
        exposure: Exposure::Public,
        interface: "lo".into(),
        addresses: addresses.clone(),
        http,
        https,
        open: true,
        wait_address: false,
        caps: gateway_user::snapshot::Caps::default(),
        proxy_protocol: false,
        forwarders: Arc::default(),
    };
    let filter = FilterListener {
        large: None,
        id,
        name: name(text),
        interface: "lo".into(),
        addresses,
        ports: http.into_iter().chain(https).collect(),
        open: true,
        echo: Echo::Everybody,
        options: ListenerOptions::default(),
        entries: vec![entry("127.0.0.0/8", 0)],
    };
    (listener, filter)
}

pub(crate) fn entry(cidr: &str, id: u8) -> FilterEntry {
    FilterEntry { cidr: cidr.parse().unwrap(), id, draining: false }
}

/// Waits for something that other threads bring about.
#[track_caller]
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < client::PATIENCE, "{what}");
        sleep(Duration::from_millis(5));
    }
}

// === impl World ===

impl World {
    /// A proxy with one open listener and one service `test` at `instances`.
    pub(crate) fn new(instances: &[SocketAddr]) -> Self {
        Self::with(config(), instances)
    }

    /// The same with limits of the test's own.
    pub(crate) fn limited(instances: &[SocketAddr], limits: Limits) -> Self {
        Self::with(Config { limits, ..config() }, instances)
    }

    pub(crate) fn with(config: Config, instances: &[SocketAddr]) -> Self {
        let (http, https) = (free_port(), free_port());
        let mut world = Self {
            proxy: Some(Proxy::start(config).unwrap()),
            next: Snapshot::default(),
            http: (Ipv4Addr::LOCALHOST, http).into(),
            https: (Ipv4Addr::LOCALHOST, https).into(),
            authority: Authority::new(),
            leaves: BTreeMap::new(),
        };
        let (public, filter) = listener("public", 1, Some(http), Some(https));
        world.next.listeners = vec![Arc::new(public)];
        world.next.filter = Arc::new(FilterPlan { generation: Generation(0), listeners: vec![filter] });
        world.next.services = vec![Arc::new(service("test", instances))];
        world.publish().unwrap();
        world
    }

    /// Makes `next` live.
    pub(crate) fn publish(&mut self) -> Result<(), Refusal> {
        let generation = self.next.generation.next();
        let mut snapshot = self.next.clone();
        snapshot.generation = generation;
        let snapshot = Arc::new(snapshot);
        let proxy = self.proxy();
        proxy.stage(&snapshot)?;
        proxy.commit()?;
        assert_eq!(proxy.generation(), generation);
        self.next.generation = generation;
        Ok(())
    }

    pub(crate) fn proxy(&mut self) -> &mut Proxy {
        self.proxy.as_mut().unwrap()
    }

    pub(crate) fn traffic(&self) -> Report {
        self.proxy.as_ref().unwrap().traffic()
    }

    /// Edits the service `test`.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Service)) {
        let service = self.next.services.iter_mut().find(|service| &*service.name == "test").unwrap();
        let mut edited = Service::clone(service);
        change(&mut edited);
        *service = Arc::new(edited);
        self.publish().unwrap();
    }

    /// Edits the filter policy of the first listener.
    pub(crate) fn filter(&mut self, change: impl FnOnce(&mut FilterListener)) {
        let mut plan = FilterPlan::clone(&self.next.filter);
        change(&mut plan.listeners[0]);
        self.next.filter = Arc::new(plan);
        self.publish().unwrap();
    }

    /// Edits the first listener.
    pub(crate) fn edit_listener(&mut self, change: impl FnOnce(&mut Listener)) {
        let mut edited = Listener::clone(&self.next.listeners[0]);
        change(&mut edited);
        self.next.listeners[0] = Arc::new(edited);
        self.publish().unwrap();
    }

    pub(crate) fn add_route(&mut self, route: Route) {
        self.next.routes.push(Arc::new(route));
        self.publish().unwrap();
    }

    /// Adds or replaces the certificate `text` for these names.
    pub(crate) fn certificate(&mut self, text: &str, names: &[&str]) -> Leaf {
        let leaf = self.authority.leaf(names);
        let pem = |text: &str| client::der(text);
        let certificate = Certificate {
            name: name(text),
            chain: pem(&leaf.chain),
            key: client::key(&leaf.key).into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            not_after: i64::MAX,
        };
        self.next.certificates.retain(|old| &*old.name != text);
        self.next.certificates.push(Arc::new(certificate));
        self.leaves.insert(text.to_owned(), leaf.clone());
        leaf
    }

    pub(crate) fn add_domain(&mut self, domain: Domain) {
        self.next.domains.retain(|old| old.host != domain.host);
        self.next.domains.push(Arc::new(domain));
    }

    /// A new plain connection.
    pub(crate) fn plain(&self) -> Client {
        Client::plain(self.http)
    }

    /// A new TLS connection that asks for `sni`.
    pub(crate) fn tls(&self, sni: Option<&str>) -> Client {
        Client::tls(self.https, sni, &[]).unwrap()
    }

    /// One request with the token on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Reply {
        let host = self.http;
        self.plain().call(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {TOKEN}\r\n\r\n"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            proxy.shutdown(Duration::ZERO);
        }
    }
}
