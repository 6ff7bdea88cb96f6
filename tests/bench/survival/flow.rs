//! The allowed client and its server, both on core 1: a stream, then request and response, on connections that stand.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use harness::NetNs;
use nix::unistd::Pid;
use serde::Serialize;

use super::cable::{Lost, Watch};
use crate::{flood, policy};

/// How long the stream runs before it is measured, how long it is, and how long questions are asked.
const WARM: Duration = Duration::from_millis(250);
const STREAM: Duration = Duration::from_millis(2500);
const ASK: Duration = Duration::from_millis(1200);
/// A stretch of the stream in which nothing arrives counts as stalled.
const STRETCH: Duration = Duration::from_millis(10);

/// First byte of a connection: what it is for.
const BULK: u8 = 1;
const ECHO: u8 = 2;

/// An allowed client's figures.
#[derive(Serialize)]
pub(super) struct Flow {
    pub(super) gbit_per_second: f64,
    /// How long nothing arrived, in stretches of 10 ms: TCP waits 200 ms where a whole window was lost.
    stalled_ms: u64,
    /// The share of core 1 that the receiving thread had meanwhile.
    pub(super) napi: f64,
    /// What the full ring lost meanwhile.
    lost: Lost,
    requests: usize,
    p50_us: f64,
    pub(super) p99_us: f64,
    /// The longest wait, also of a request that was never answered.
    pub(super) longest_us: f64,
}

/// Both connections of the allowed client.
pub(super) struct Client {
    bulk: TcpStream,
    questions: TcpStream,
}

// === impl Client ===

impl Client {
    pub(super) fn connect(namespace: &NetNs) -> anyhow::Result<Self> {
        let connect = |purpose: u8| -> anyhow::Result<TcpStream> {
            let address = (policy::ADDRESS_V4, policy::PORT).into();
            let mut stream =
                namespace.within(|| TcpStream::connect_timeout(&address, Duration::from_secs(3)))?;
            stream.set_nodelay(true)?;
            stream.write_all(&[purpose])?;
            Ok(stream)
        };
        Ok(Self { bulk: connect(BULK)?, questions: connect(ECHO)? })
    }

    /// Throughput, then waits.
    pub(super) fn measure(&mut self, server: &Server, watch: &Watch<'_>) -> anyhow::Result<Flow> {
        let poured = self.pour(&server.received, watch)?;
        let mut waits = self.ask()?;
        waits.sort();
        let at = |share: f64| {
            let index = ((waits.len() as f64 * share) as usize).min(waits.len() - 1);
            waits[index].as_secs_f64() * 1e6
        };
        let (requests, p50_us, p99_us, longest_us) = (waits.len(), at(0.5), at(0.99), at(1.0));
        Ok(Flow { requests, p50_us, p99_us, longest_us, ..poured })
    }

    /// Writes as fast as it goes; what the server read in the window counts.
    fn pour(&mut self, received: &AtomicU64, watch: &Watch<'_>) -> anyhow::Result<Flow> {
        let stream = &mut self.bulk;
        stream.set_write_timeout(Some(Duration::from_millis(50)))?;
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| -> anyhow::Result<()> {
                flood::pin(Pid::from_raw(0), 1)?;
                let bytes = vec![0_u8; 128 * 1024];
                while !stop.load(Ordering::Relaxed) {
                    match stream.write(&bytes) {
                        Err(error)
                            if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                        {
                            return Err(error.into());
                        }
                        _ => {}
                    }
                }
                Ok(())
            });
            thread::sleep(WARM);
            let before = watch.look()?;
            let (first, start) = (received.load(Ordering::Relaxed), Instant::now());
            let (mut last, mut stalled) = (first, Duration::ZERO);
            while start.elapsed() < STREAM {
                thread::sleep(STRETCH);
                let now = received.load(Ordering::Relaxed);
                if now == last {
                    stalled += STRETCH;
                }
                last = now;
            }
            let (bytes, elapsed) = (received.load(Ordering::Relaxed) - first, start.elapsed());
            let after = watch.look()?;
            stop.store(true, Ordering::Relaxed);
            writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
            Ok(Flow {
                gbit_per_second: bytes as f64 * 8.0 / elapsed.as_secs_f64() / 1e9,
                stalled_ms: stalled.as_millis() as u64,
                napi: (after.napi - before.napi) as f64 / elapsed.as_nanos() as f64,
                lost: after.lost.since(before.lost),
                requests: 0,
                p50_us: 0.0,
                p99_us: 0.0,
                longest_us: 0.0,
            })
        })
    }

    /// One byte there, one byte back. A request without an answer counts with the time it waited.
    fn ask(&mut self) -> anyhow::Result<Vec<Duration>> {
        let stream = &mut self.questions;
        thread::scope(|scope| {
            let asker = scope.spawn(|| -> anyhow::Result<Vec<Duration>> {
                flood::pin(Pid::from_raw(0), 1)?;
                let mut waits = Vec::new();
                let end = Instant::now() + ASK;
                loop {
                    let start = Instant::now();
                    let left = end.saturating_duration_since(start);
                    if left.is_zero() && !waits.is_empty() {
                        return Ok(waits);
                    }
                    stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
                    let answered = stream.write_all(&[1]).is_ok() && stream.read_exact(&mut [0]).is_ok();
                    waits.push(start.elapsed());
                    if !answered {
                        return Ok(waits);
                    }
                }
            });
            asker.join().map_err(|_| anyhow::anyhow!("the asker panicked"))?
        })
    }
}

/// Reads what comes and counts it, or answers byte by byte.
pub(super) struct Server {
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

// === impl Server ===

impl Server {
    pub(super) fn start(namespace: &NetNs) -> anyhow::Result<Self> {
        let address = SocketAddr::from((policy::ADDRESS_V4, policy::PORT));
        let listener = namespace.within(|| TcpListener::bind(address))?;
        let (received, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped) = (Arc::clone(&received), Arc::clone(&stop));
        let worker = thread::spawn(move || {
            let both: Vec<_> = (0..2)
                .filter_map(|_| listener.accept().ok())
                .map(|(stream, _)| {
                    let (count, stopped) = (Arc::clone(&count), Arc::clone(&stopped));
                    thread::spawn(move || converse(stream, &count, &stopped))
                })
                .collect();
            for one in both {
                let _ = one.join();
            }
        });
        Ok(Self { received, stop, worker: Some(worker) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

fn converse(mut stream: TcpStream, received: &AtomicU64, stop: &AtomicBool) {
    let _ = flood::pin(Pid::from_raw(0), 1);
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
    let mut bytes = vec![0_u8; 256 * 1024];
    let mut kind = None;
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            // What follows the first byte may come with it.
            Ok(read) => {
                let first = usize::from(kind.is_none());
                let rest = &bytes[first..read];
                match *kind.get_or_insert(bytes[0]) {
                    BULK => {
                        received.fetch_add(rest.len() as u64, Ordering::Relaxed);
                    }
                    _ => {
                        let _ = stream.write_all(rest);
                    }
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}
