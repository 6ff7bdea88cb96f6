//! Workers that fail: they are threads of this process, and the proxy goes on with what they had.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    num::NonZeroUsize,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use super::{Command, Config, Proxy};
use crate::{
    base::{Generation, Name},
    observe::access::Target,
    snapshot::{
        Caps, Exposure, FilterPlan, Listener, Snapshot, Subscriber as _,
        filter::{Echo, FilterEntry, FilterListener, ListenAddress, ListenerOptions},
    },
};

/// A proxy with one worker and a listener on loopback that is open to it.
fn proxy() -> (Proxy, SocketAddr) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let (name, ip) = (Name::new("front").unwrap(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    let listener = Listener {
        gateway: Name::new("default").unwrap(),
        name: name.clone(),
        id: 1,
        exposure: Exposure::Public,
        interface: "lo".into(),
        addresses: vec![ListenAddress::Ip(ip)],
        http: Some(address.port()),
        https: None,
        open: true,
        wait_address: false,
        caps: Caps::default(),
        proxy_protocol: false,
        forwarders: Arc::default(),
    };
    let filter = FilterListener {
        large: None,
        id: 1,
        name,
        interface: "lo".into(),
        addresses: listener.addresses.clone(),
        ports: vec![address.port()],
        open: true,
        echo: Echo::Everybody,
        options: ListenerOptions::default(),
        entries: vec![FilterEntry { cidr: "127.0.0.0/8".parse().unwrap(), id: 0, draining: false }],
    };
    let mut proxy = Proxy::start(Config {
        workers: NonZeroUsize::new(1),
        access_log: Target::Off,
        drop_capabilities: false,
        ..Config::default()
    })
    .unwrap();
    let generation = Generation(7);
    let snapshot = Snapshot {
        generation,
        listeners: vec![Arc::new(listener)],
        filter: Arc::new(FilterPlan { generation, listeners: vec![filter] }),
        ..Snapshot::default()
    };
    proxy.stage(&Arc::new(snapshot)).unwrap();
    proxy.commit().unwrap();
    (proxy, address)
}

fn ask(stream: &mut TcpStream) -> String {
    let mut answer = [0; 4096];
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x.example\r\n\r\n").unwrap();
    let length = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

fn eventually(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        sleep(Duration::from_millis(5));
    }
}

/// A worker that panics is counted and starts anew with the sockets and the view that it had, and nothing of what its
/// connections held is lost: neither their places nor their memory.
#[test]
fn a_worker_that_panics_starts_anew_and_loses_no_place_and_no_memory() {
    let (proxy, address) = proxy();
    for round in 1..=3 {
        let mut open: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
        for stream in &mut open {
            assert!(ask(stream).starts_with("HTTP/1.1 404 "));
        }
        assert_eq!((proxy.shared.seats.open(), proxy.traffic().listeners[0].live), (5, 5));
        assert!(proxy.workers[0].commands.send(Command::Panic).is_ok());
        for stream in &mut open {
            let mut rest = Vec::new();
            // Closed or reset: it is gone, and nobody answers on it any more.
            let _ = stream.read_to_end(&mut rest);
            assert!(rest.is_empty());
        }
        eventually("it is counted", || proxy.traffic().worker_panics == round);
        assert!(ask(&mut TcpStream::connect(address).unwrap()).starts_with("HTTP/1.1 404 "));
        eventually("the places are free", || {
            proxy.shared.seats.open() == 0 && proxy.traffic().listeners[0].live == 0
        });
        assert!(
            proxy.shared.budget.used() <= 2 << 20,
            "only what the purse holds: {}",
            proxy.shared.budget.used()
        );
        assert_eq!(proxy.workers(), [Generation(7)]);
    }
    let budget = Arc::clone(&proxy.shared.budget);
    proxy.shutdown(Duration::ZERO);
    assert_eq!(budget.used(), 0);
}
