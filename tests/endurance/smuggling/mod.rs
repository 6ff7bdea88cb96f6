//! No instance ever sees another request than the one that the gateway parsed: the corpus of hostile requests
//! (`tests/corpus`) goes through it to two lenient servers, to nginx and to HAProxy. Behind each hostile request follows a
//! harmless one, the marker, on the same connection.
//!
//! Three logs are held against each other: what the gateway says that it forwarded, what the servers read, and what the
//! peers between them noted. Whatever was read has the gateway's id, is its method, target and length, and was read once.

mod corpus;
mod frames;
mod judge;
mod lenient;
mod peers;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

use crate::scene::{HOST, Scene, TOKEN};
use corpus::{Case, Run};
use judge::{Logs, Trial};
use lenient::{Lenient, Prefers};
use peers::Peer;

const FILES: [(&str, &str); 8] = [
    ("framing.http", include_str!("../../corpus/framing.http")),
    ("lengths.http", include_str!("../../corpus/lengths.http")),
    ("chunks.http", include_str!("../../corpus/chunks.http")),
    ("lines.http", include_str!("../../corpus/lines.http")),
    ("fields.http", include_str!("../../corpus/fields.http")),
    ("targets.http", include_str!("../../corpus/targets.http")),
    ("hosts.http", include_str!("../../corpus/hosts.http")),
    ("http2.h2", include_str!("../../corpus/http2.h2")),
];
/// Fewer would be a corpus that lost some.
const LEAST: usize = 150;
/// Connections at once.
const AT_ONCE: usize = 16;
/// After so long without a byte a connection says no more.
const SILENCE: Duration = Duration::from_secs(2);

/// What came back over a connection.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// Our port, by which the gateway's log knows the connection: no other connection of the run has it.
    pub(crate) port: u16,
    /// All bytes of HTTP/1.1; nothing of HTTP/2.
    pub(crate) answer: Vec<u8>,
    /// The gateway has closed the connection.
    pub(crate) ended: bool,
    /// HTTP/2: the hostile stream was reset, or the whole connection given up.
    pub(crate) reset: bool,
}

#[test]
fn no_instance_sees_another_request_than_the_one_that_was_parsed() {
    let cases: Vec<Arc<Case>> =
        FILES.iter().flat_map(|(file, text)| corpus::read(file, text)).map(Arc::new).collect();
    assert!(cases.len() >= LEAST, "the corpus has {} cases", cases.len());
    let scene = Scene::new();
    scene.run(async || {
        let encoding = Lenient::start(Prefers::Encoding).await;
        let length = Lenient::start(Prefers::Length).await;
        let behind_nginx = Lenient::start(Prefers::Encoding).await;
        let behind_haproxy = Lenient::start(Prefers::Length).await;
        let nginx = Peer::nginx(&scene.desk, behind_nginx.address);
        let haproxy = Peer::haproxy(&scene.desk, behind_haproxy.address);
        let doors = [
            ("encoding", encoding.address),
            ("length", length.address),
            ("nginx", nginx.address),
            ("haproxy", haproxy.address),
        ];
        for (service, address) in doors {
            scene.serve(service, &[address], &["--body-limit", "1MiB"]);
        }
        let mut trials = Vec::new();
        for (service, _) in doors {
            trials.extend(run(&cases, service, scene.plain().address).await);
        }
        let mut logs = Logs::read(&whole_log(&scene).await);
        for (service, server) in [
            ("encoding", &encoding),
            ("length", &length),
            ("nginx", &behind_nginx),
            ("haproxy", &behind_haproxy),
        ] {
            logs.add(service, server.seen());
        }
        logs.note("nginx", nginx.noted());
        logs.note("haproxy", haproxy.noted());

        let mut faults = logs.strangers();
        faults.extend(trials.iter().flat_map(|trial| trial.faults(&logs)));
        println!("{} cases, {} trials, {} requests forwarded", cases.len(), trials.len(), logs.forwarded());
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    });
}

/// The gateway's log, which a thread of its own writes: it is whole when nothing has come for a while.
async fn whole_log(scene: &Scene) -> String {
    let mut log = scene.desk.gateway.log();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = scene.desk.gateway.log();
        if now.len() == log.len() {
            break;
        }
        log = now;
    }
    log
}

/// Every case, once, at one service.
async fn run(cases: &[Arc<Case>], service: &'static str, gateway: SocketAddr) -> Vec<Trial> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for (number, case) in cases.iter().enumerate() {
        let (places, case, run) = (Arc::clone(&places), Arc::clone(case), Run { service, number });
        running.spawn(async move {
            let _place = places.acquire().await.unwrap();
            let exchange = if case.is_http2() {
                frames::exchange(gateway, &case.filled(&run), &run.path("marker")).await
            } else {
                bytes(gateway, &case.bytes(&run), &run.path("marker")).await
            };
            let exchange = exchange.unwrap_or_else(|error| panic!("{}: {error}", case.name));
            Trial { case, run, exchange }
        });
    }
    running.join_all().await
}

/// A connection from a port of its own. One that the kernel chooses may come again in the same run, and two connections
/// would be one in the gateway's log; these lie below its range (ip_local_port_range).
async fn connect(gateway: SocketAddr) -> io::Result<(TcpStream, Exchange)> {
    static NEXT: AtomicU16 = AtomicU16::new(12_000);
    loop {
        let port = NEXT.fetch_add(1, Relaxed);
        assert!(port < 32_000, "no port is left");
        let socket = TcpSocket::new_v4()?;
        match socket.bind((Ipv4Addr::LOCALHOST, port).into()) {
            Ok(()) => return Ok((socket.connect(gateway).await?, Exchange { port, ..Exchange::default() })),
            // Somebody else's, or an earlier run's that the kernel has not forgotten.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends the bytes and the marker behind them, and takes what comes.
async fn bytes(gateway: SocketAddr, hostile: &[u8], marker: &str) -> io::Result<Exchange> {
    let (mut stream, mut exchange) = connect(gateway).await?;
    let marker = format!(
        "GET {marker} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: {TOKEN}\r\nConnection: close\r\n\r\n"
    );
    // The gateway may close before it has read everything, and the write may fail then.
    let _ = timeout(SILENCE, stream.write_all(&[hostile, marker.as_bytes()].concat())).await;
    let mut buffer = [0; 16 * 1024];
    loop {
        match timeout(SILENCE, stream.read(&mut buffer)).await {
            Err(_) => return Ok(exchange),
            Ok(Ok(0) | Err(_)) => {
                exchange.ended = true;
                return Ok(exchange);
            }
            Ok(Ok(length)) => exchange.answer.extend_from_slice(&buffer[..length]),
        }
    }
}
