//! What a flood of outsiders leaves of an allowed flow: with the gateway's filter, with the same list in nftables at the
//! netdev ingress hook, and without any filter.
//!
//! The attacker has core 0 to itself. The receiver's NAPI thread, the server and the allowed client share core 1, so
//! that what a dropped packet costs is taken from the flow. The flow comes through the same receive ring as the flood,
//! which on veth needs the sender's segmentation offload off. Each candidate's figures under flood are set against its
//! own quiet ones and against the others of the same round.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp},
};
use harness::NetNs;
use nix::unistd::Pid;
use serde::Serialize;

use crate::{
    flood::{self, RECEIVER, SENDER},
    frames::{self, syn},
    policy, report,
};

/// How hard and how often.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds; the order of the candidates changes from round to round.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Packets per second of the flood.
    #[arg(long, default_value_t = 900_000)]
    rate: u64,
}

const GATEWAY: &str = "gateway (native XDP)";
const NFTABLES: &str = "nftables netdev ingress, interval set";
const NOTHING: &str = "no filter";

/// Within the first entry of the policy.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 2);

/// How long a flow is measured, quiet and under flood, and how long it runs before that.
const STREAM: Duration = Duration::from_millis(2500);
const ASK: Duration = Duration::from_millis(1200);
const WARM: Duration = Duration::from_millis(250);
/// However wrong a round goes, its flood ends after this time.
const LONGEST: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Survival {
    candidate: &'static str,
    round: usize,
    /// What the flood's sender achieved, in millions of packets per second.
    flood_mpps: f64,
    quiet: Flow,
    flooded: Flow,
}

/// An allowed client's figures.
#[derive(Serialize)]
struct Flow {
    gbit_per_second: f64,
    requests: usize,
    p50_us: f64,
    p99_us: f64,
    /// The longest wait, also of a request that was never answered.
    longest_us: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let (sender, receiver, _napi) = flood::cable()?;
    sender.check("ethtool", &["-K", SENDER, "tso", "off"]);
    sender.ip(&["addr", "add", &format!("{CLIENT}/24"), "dev", SENDER]);
    sender.ip(&["route", "add", &policy::ADDRESS_V4.to_string(), "dev", SENDER]);
    receiver.ip(&["route", "add", "10.200.0.0/24", "dev", RECEIVER]);
    // A host without a filter answers outsiders; the answers go somewhere, as they do in life.
    receiver.ip(&[
        "neigh",
        "add",
        "192.0.2.254",
        "lladdr",
        "02:00:00:00:00:fe",
        "dev",
        RECEIVER,
        "nud",
        "permanent",
    ]);
    receiver.ip(&["route", "add", "default", "via", "192.0.2.254"]);

    let mut all = Vec::new();
    for round in 0..options.rounds {
        let candidates = [GATEWAY, NFTABLES, NOTHING];
        for step in 0..candidates.len() {
            let candidate = candidates[(round + step) % candidates.len()];
            let one = survive(options, candidate, round, &sender, &receiver)?;
            println!(
                "round {round}, {candidate}: {:.2} -> {:.2} Gbit/s, p99 {:.0} -> {:.0} us, flood {:.2} Mpps",
                one.quiet.gbit_per_second,
                one.flooded.gbit_per_second,
                one.quiet.p99_us,
                one.flooded.p99_us,
                one.flood_mpps
            );
            all.push(one);
        }
    }
    print(&all);
    println!(
        "\n{}; {} rounds, flood paced at {} packets a second",
        report::Machine::this(),
        options.rounds,
        options.rate
    );
    report::keep(&crate::output_directory(), "survival", &all)
}

/// One candidate in one round: quiet, then under flood, on connections that were made before the flood.
fn survive(
    options: &Options,
    candidate: &'static str,
    round: usize,
    sender: &NetNs,
    receiver: &NetNs,
) -> anyhow::Result<Survival> {
    let filter = match candidate {
        GATEWAY => Some(receiver.within(|| -> anyhow::Result<Ebpf> {
            let mut ebpf = policy::load(nix::net::if_::if_nametoindex(RECEIVER)?)?;
            flood::attach(&mut ebpf, "gateway")?;
            Ok(ebpf)
        })?),
        NFTABLES => {
            flood::load_rules(receiver)?;
            None
        }
        _ => None,
    };
    let measured = measure(options, sender, receiver);
    let dropped = match (candidate, &filter) {
        (GATEWAY, Some(ebpf)) => Some(policy::not_allowed(ebpf)?),
        (NFTABLES, _) => Some(flood::unload_rules(receiver)?),
        _ => None,
    };
    let (quiet, flooded, flood_mpps, sent) = measured?;
    // What the full ring loses never reaches the filter; but a filter that did not load would drop nothing at all.
    if let Some(dropped) = dropped {
        ensure!(dropped > sent / 10, "{candidate} dropped {dropped} of {sent}");
    }
    Ok(Survival { candidate, round, flood_mpps, quiet, flooded })
}

fn measure(options: &Options, sender: &NetNs, receiver: &NetNs) -> anyhow::Result<(Flow, Flow, f64, u64)> {
    let server = Server::start(receiver)?;
    let connect = || -> anyhow::Result<TcpStream> {
        let stream = sender.within(|| {
            TcpStream::connect_timeout(&(policy::ADDRESS_V4, policy::PORT).into(), Duration::from_secs(3))
        })?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let (mut bulk, mut questions) = (connect()?, connect()?);
    bulk.write_all(&[BULK])?;
    questions.write_all(&[ECHO])?;
    let quiet = flow(&mut bulk, &mut questions, &server)?;

    let flood = Flood::start(sender, options.rate)?;
    thread::sleep(Duration::from_millis(300));
    let flooded = flow(&mut bulk, &mut questions, &server)?;
    ensure!(!flood.ended(), "the flood ended before the measurement did");
    let (sent, elapsed) = flood.stop()?;
    Ok((quiet, flooded, sent as f64 / elapsed.as_secs_f64() / 1e6, sent))
}

/// Throughput, then request and response, on connections that stand.
fn flow(bulk: &mut TcpStream, questions: &mut TcpStream, server: &Server) -> anyhow::Result<Flow> {
    let gbit_per_second = pour(bulk, &server.received)?;
    let mut waits = ask(questions)?;
    waits.sort();
    let at = |share: f64| {
        let index = ((waits.len() as f64 * share) as usize).min(waits.len() - 1);
        waits[index].as_secs_f64() * 1e6
    };
    Ok(Flow {
        gbit_per_second,
        requests: waits.len(),
        p50_us: at(0.5),
        p99_us: at(0.99),
        longest_us: at(1.0),
    })
}

/// Writes as fast as it goes, from core 1; what the server read in the window counts.
fn pour(stream: &mut TcpStream, received: &AtomicU64) -> anyhow::Result<f64> {
    stream.set_write_timeout(Some(Duration::from_millis(50)))?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| -> anyhow::Result<()> {
            flood::pin(Pid::from_raw(0), 1)?;
            let bytes = vec![0_u8; 128 * 1024];
            while !stop.load(Ordering::Relaxed) {
                match stream.write(&bytes) {
                    Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        return Err(error.into());
                    }
                    _ => {}
                }
            }
            Ok(())
        });
        thread::sleep(WARM);
        let (before, start) = (received.load(Ordering::Relaxed), Instant::now());
        thread::sleep(STREAM);
        let (bytes, elapsed) = (received.load(Ordering::Relaxed) - before, start.elapsed());
        stop.store(true, Ordering::Relaxed);
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        Ok(bytes as f64 * 8.0 / elapsed.as_secs_f64() / 1e9)
    })
}

/// One byte there, one byte back, from core 1. A request without an answer counts with the time it waited.
fn ask(stream: &mut TcpStream) -> anyhow::Result<Vec<Duration>> {
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

// === the server ===

/// First byte of a connection: what it is for.
const BULK: u8 = 1;
const ECHO: u8 = 2;

/// Reads what comes and counts it, or answers byte by byte; every thread on core 1.
struct Server {
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

// === impl Server ===

impl Server {
    fn start(namespace: &NetNs) -> anyhow::Result<Self> {
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
    let mut kind = 0;
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(read) if kind == 0 => {
                kind = bytes[0];
                debug_assert_eq!(read, 1, "the client waits after its first byte");
            }
            Ok(read) if kind == BULK => {
                received.fetch_add(read as u64, Ordering::Relaxed);
            }
            Ok(read) => {
                let _ = stream.write_all(&bytes[..read]);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

// === the attacker ===

/// A paced flood from core 0, until it is stopped or has lasted too long.
struct Flood {
    pace: Array<MapData, u64>,
    sender: Option<JoinHandle<anyhow::Result<()>>>,
    start: Instant,
}

// === impl Flood ===

impl Flood {
    fn start(namespace: &NetNs, rate: u64) -> anyhow::Result<Self> {
        let frame = syn(Ipv4Addr::UNSPECIFIED.into(), policy::PORT);
        let (ip, tcp) = frames::sums(&frame);
        let target = namespace.within(|| nix::net::if_::if_nametoindex(SENDER))?;
        let mut bench = EbpfLoader::new()
            .override_global("TARGET", &target, true)
            .override_global("IP_SUM", &ip, true)
            .override_global("TCP_SUM", &tcp, true)
            .override_global("GAP", &(1_000_000_000 / rate), true)
            .load(&policy::object("gateway-bench")?)?;
        let program: &mut Xdp = bench.program_mut("paced").context("paced")?.try_into()?;
        program.load()?;
        let mut pace = Array::try_from(bench.take_map("PACE").context("PACE")?)?;
        pace.set(1, 0, 0)?;
        let repeat = u32::try_from(rate * LONGEST.as_secs())?;
        let path = namespace.path();
        let sender = thread::spawn(move || {
            harness::netns::within_path(&path, || -> anyhow::Result<()> {
                flood::pin(Pid::from_raw(0), 0)?;
                let program: &mut Xdp = bench.program_mut("paced").context("paced")?.try_into()?;
                program.test_run(TestRunOptions {
                    data_in: Some(&frame),
                    repeat,
                    // Few at once: the receiver's ring has 256 places, and a burst is not a pace.
                    attrs: TestRunAttrs::new().xdp_live_frames(16),
                    ..TestRunOptions::new()
                })?;
                Ok(())
            })
        });
        Ok(Self { pace, sender: Some(sender), start: Instant::now() })
    }

    /// Whether it ended by itself.
    fn ended(&self) -> bool {
        self.sender.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends it; frames sent and for how long.
    fn stop(mut self) -> anyhow::Result<(u64, Duration)> {
        let elapsed = self.start.elapsed();
        let sent = self.pace.get(&2, 0)?;
        self.end()?;
        Ok((sent, elapsed))
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.pace.set(1, 1, 0)?;
        match self.sender.take() {
            Some(sender) => sender.join().map_err(|_| anyhow::anyhow!("the flood's sender panicked"))?,
            None => Ok(()),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("the flood could not be ended: {error:#}");
        }
    }
}

fn print(all: &[Survival]) {
    let of = |candidate: &'static str| all.iter().filter(move |one| one.candidate == candidate);
    let kept = |one: &Survival| one.flooded.gbit_per_second / one.quiet.gbit_per_second;
    println!(
        "\n| allowed flow under a SYN flood | quiet, Gbit/s | flooded, Gbit/s | kept | p99 quiet, us | p99 flooded, us | longest wait, ms | flood, Mpps |\n\
         |---|---|---|---|---|---|---|---|"
    );
    for candidate in [GATEWAY, NFTABLES, NOTHING] {
        let spread = |figure: fn(&Survival) -> f64| report::Spread::of(of(candidate).map(figure));
        let quiet = spread(|one| one.quiet.gbit_per_second);
        let flooded = spread(|one| one.flooded.gbit_per_second);
        let share = report::Spread::of(of(candidate).map(kept));
        let (before, after) = (spread(|one| one.quiet.p99_us), spread(|one| one.flooded.p99_us));
        let longest = spread(|one| one.flooded.longest_us / 1000.0);
        let rate = spread(|one| one.flood_mpps);
        println!(
            "| {candidate} | {:.1} | {:.1} [{:.1}..{:.1}] | **{:.2}** [{:.2}..{:.2}] | {:.0} | {:.0} [{:.0}..{:.0}] | {:.1} [{:.1}..{:.1}] | {:.2} |",
            quiet.median,
            flooded.median,
            flooded.min,
            flooded.max,
            share.median,
            share.min,
            share.max,
            before.median,
            after.median,
            after.min,
            after.max,
            longest.median,
            longest.min,
            longest.max,
            rate.median
        );
    }
    let pairs = |figure: fn(&Survival) -> f64| {
        report::Spread::of(of(GATEWAY).filter_map(|ours| {
            of(NFTABLES).find(|theirs| theirs.round == ours.round).map(|theirs| figure(ours) / figure(theirs))
        }))
    };
    for (what, ratio) in [
        ("throughput under flood, gateway / nftables", pairs(|one| one.flooded.gbit_per_second.max(1e-3))),
        ("p99 under flood, gateway / nftables", pairs(|one| one.flooded.p99_us)),
    ] {
        println!("{what}, per round: **{:.2}** [{:.2}..{:.2}]", ratio.median, ratio.min, ratio.max);
    }
}
