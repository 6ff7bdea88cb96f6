//! A real proxy in this process for the targets that speak to one, so that what is fuzzed is what is served: sockets,
//! protocol choice, parsers, pipeline, refusals. Coverage counters belong to the process, whatever thread they are in.
//! Targets that ask a parser directly are thousands of times faster, and hold what it says against [`wire`]'s opinion.
//!
//! A new target is a file in `targets/`, an entry in `Cargo.toml` and a folder of seeds; `cargo xtask fuzz` finds it by the
//! entry.
#![expect(clippy::unwrap_used, reason = "a fuzz target panics where it fails")]

pub mod wire;

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    num::NonZeroUsize,
    sync::{Arc, OnceLock},
    time::Duration,
};

use gateway_user::{
    base::{Generation, Name},
    observe::access::Target,
    proxy::{Config, Limits, Proxy},
    snapshot::{
        Caps, Exposure, FilterPlan, Listener, Snapshot, Subscriber as _, Visibility,
        filter::{Echo, FilterEntry, FilterListener, ListenAddress, ListenerOptions},
        http::{Access, Protocol, Service, Timeouts},
    },
};

/// Longer than any answer takes; whoever waits for so long has found something.
const PATIENCE: Duration = Duration::from_secs(8);

/// Sends bytes to the plain port of a gateway with one service, and takes in all that it answers until it closes.
///
/// # Panics
/// The gateway does not close the connection although nothing more is sent.
pub fn talk(bytes: &[u8]) {
    let mut stream = TcpStream::connect(address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    // It may have closed already: that is an answer, too.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut block = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut block) {
            Ok(1..) => {}
            Ok(0) => return,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the gateway keeps a connection whose client has gone")
            }
            Err(_) => return,
        }
    }
}

/// The plain port of the gateway, started at the first call.
fn address() -> SocketAddr {
    static GATEWAY: OnceLock<(Proxy, SocketAddr)> = OnceLock::new();
    GATEWAY.get_or_init(start).1
}

fn start() -> (Proxy, SocketAddr) {
    let address = Ipv4Addr::LOCALHOST;
    let port = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
    let config = Config {
        workers: NonZeroUsize::new(1),
        access_log: Target::Off,
        drop_capabilities: false,
        // Less than a target's patience: what hangs is closed by its deadline, and that is no finding.
        limits: Limits {
            handshake: Duration::from_secs(1),
            header: Duration::from_secs(1),
            keep_alive: Duration::from_secs(1),
            body_idle: Duration::from_secs(1),
            ..Limits::default()
        },
        ..Config::default()
    };
    let mut proxy = Proxy::start(config).unwrap();
    proxy.stage(&Arc::new(snapshot(address.into(), port))).unwrap();
    proxy.commit().unwrap();
    (proxy, (address, port).into())
}

/// One listener, and one service without an instance: every request that gets through is refused at the last stage.
fn snapshot(address: IpAddr, port: u16) -> Snapshot {
    let name = |text: &str| Name::new(text).unwrap();
    let addresses = vec![ListenAddress::Ip(address)];
    let filter = FilterListener {
        large: None,
        id: 1,
        name: name("public"),
        interface: "lo".into(),
        addresses: addresses.clone(),
        ports: vec![port],
        open: true,
        echo: Echo::Everybody,
        options: ListenerOptions::default(),
        entries: vec![FilterEntry { cidr: "127.0.0.0/8".parse().unwrap(), id: 0, draining: false }],
    };
    let listener = Listener {
        gateway: name("default"),
        name: name("public"),
        id: 1,
        exposure: Exposure::Public,
        interface: "lo".into(),
        addresses,
        http: Some(port),
        https: None,
        open: true,
        wait_address: false,
        caps: Caps::default(),
        proxy_protocol: false,
        forwarders: Arc::from(["127.0.0.0/8".parse().unwrap()]),
    };
    let service = Service {
        gateway: name("default"),
        name: name("a"),
        visibility: Visibility::All,
        protocol: Protocol::Http,
        instances: Vec::new(),
        access: Access::Open,
        forward_token: false,
        body_limit: 1 << 20,
        qps: None,
        timeouts: Timeouts::default(),
        upstream: Default::default(),
        compression: Vec::new(),
        decompress: true,
    };
    Snapshot {
        generation: Generation(1),
        filter: Arc::new(FilterPlan { generation: Generation(1), listeners: vec![filter] }),
        listeners: vec![Arc::new(listener)],
        services: vec![Arc::new(service)],
        ..Snapshot::default()
    }
}
