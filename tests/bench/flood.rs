//! CPU per dropped packet on a veth pair: the filter against an nftables set at the netdev ingress hook.
//!
//! The receiving end's NAPI runs in a kernel thread pinned to core 1; its run time divided by the packets it took is
//! the figure, which holds whether or not the sender saturates the receiver. The sender, on core 0, is
//! `BPF_PROG_TEST_RUN` with live frames: SYNs from random sources with valid checksums (a wrong checksum would make a
//! host without a filter look cheap).

use std::{fs, time::Duration};

use anyhow::{Context as _, ensure};
use aya::{
    Ebpf, EbpfLoader,
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, xdp::XdpMode},
};
use harness::NetNs;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde::Serialize;

use crate::{
    frames::{self, syn},
    policy, report,
};

/// How long to flood.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds; the order of the candidates changes from round to round.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Packets per flood.
    #[arg(long, default_value_t = 3_000_000)]
    packets: u32,
}

pub(crate) const SENDER: &str = "src0";
pub(crate) const RECEIVER: &str = "dst0";

#[derive(Serialize)]
struct Flood {
    candidate: &'static str,
    round: usize,
    packets: u64,
    cpu_ns_per_packet: f64,
}

/// A sender and a receiver on one cable, the receiver's NAPI in a kernel thread of its own on core 1.
pub(crate) fn cable() -> anyhow::Result<(NetNs, NetNs, Pid)> {
    let (sender, receiver) = (NetNs::new("sender"), NetNs::new("receiver"));
    harness::netns::batch(
        None,
        &format!(
            "link add {SENDER} netns {} numtxqueues 1 numrxqueues 1 address 02:00:00:00:00:02 type veth \
             peer name {RECEIVER} netns {} numtxqueues 1 numrxqueues 1 address 02:00:00:00:00:01\n",
            sender.name(),
            receiver.name()
        ),
    );
    for (namespace, interface) in [(&sender, SENDER), (&receiver, RECEIVER)] {
        namespace.ip(&["link", "set", interface, "up"]);
    }
    receiver.ip(&["addr", "add", "192.0.2.1/24", "dev", RECEIVER]);
    // GRO turns the receive NAPI on also without an XDP program, so both candidates take packets the same way.
    receiver.check("ethtool", &["-K", RECEIVER, "gro", "on"]);
    let threaded = format!("echo 1 > /sys/class/net/{RECEIVER}/threaded");
    harness::process::check("ip", &["netns", "exec", receiver.name(), "sh", "-c", &threaded]);
    let napi = napi_thread()?;
    pin(napi, 1)?;
    Ok((sender, receiver, napi))
}

/// What stands in the flood's way.
#[derive(Clone, Copy)]
enum Filter {
    /// The shipped program.
    Gateway,
    Nftables,
    /// A program of the bench's own object.
    Floor(&'static str),
}

const XDP: &str = "gateway (native XDP)";
const EMPTY: &str = "empty XDP program (what veth itself costs)";
const READS: &str = "reads the headers, drops (what the frame itself costs)";
const COUNTS: &str = "reads the headers, counts, drops (the least that a filter can do)";
const NFTABLES: &str = "nftables netdev ingress, interval set";

const CANDIDATES: [(&str, Filter); 5] = [
    (EMPTY, Filter::Floor("empty")),
    (READS, Filter::Floor("reads")),
    (COUNTS, Filter::Floor("counts")),
    (XDP, Filter::Gateway),
    (NFTABLES, Filter::Nftables),
];

/// The entry point that the daemon attaches where the kernel takes it.
pub(crate) const SHIPPED: &str = "gateway_frags";

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let (sender, receiver, napi) = cable()?;
    let mut floods = Vec::new();
    for round in 0..options.rounds {
        for step in 0..CANDIDATES.len() {
            let (candidate, filter) = CANDIDATES[(round + step) % CANDIDATES.len()];
            let flood = || flood(options, candidate, round, &sender, &receiver, napi);
            floods.push(behind(filter, &receiver, flood).with_context(|| candidate.to_owned())?);
        }
    }
    print(&floods);
    println!("\n{}; {} floods of {} packets each", report::Machine::this(), options.rounds, options.packets);
    report::keep(&crate::output_directory(), "flood", &floods)
}

/// Floods the receiver behind `filter`, which must have dropped nearly all of it.
fn behind(
    filter: Filter,
    receiver: &NetNs,
    flood: impl FnOnce() -> anyhow::Result<Flood> + Send,
) -> anyhow::Result<Flood> {
    let (flood, dropped) = match filter {
        Filter::Nftables => {
            load_rules(receiver)?;
            let flood = flood();
            let dropped = unload_rules(receiver)?;
            (flood?, dropped)
        }
        Filter::Gateway => receiver.within(|| {
            let mut ebpf = policy::load(nix::net::if_::if_nametoindex(RECEIVER)?)?;
            attach(&mut ebpf, SHIPPED)?;
            let flood = flood()?;
            anyhow::Ok((flood, policy::not_allowed(&ebpf)?))
        })?,
        Filter::Floor(program) => receiver.within(|| {
            let mut ebpf = EbpfLoader::new().load(&policy::object("gateway-bench")?)?;
            attach(&mut ebpf, program)?;
            let flood = flood()?;
            let all = flood.packets;
            anyhow::Ok((flood, all))
        })?,
    };
    ensure!(dropped >= flood.packets * 99 / 100, "{dropped} of {} were dropped", flood.packets);
    Ok(flood)
}

/// Puts a program on the receiver, in the driver; it comes off with `ebpf` at the end of the round.
pub(crate) fn attach(ebpf: &mut Ebpf, name: &'static str) -> anyhow::Result<()> {
    let program: &mut Xdp = ebpf.program_mut(name).context(name)?.try_into()?;
    program.load()?;
    program.attach(RECEIVER, XdpMode::Driver)?;
    Ok(())
}

/// The same policy as an interval set of nftables at the netdev ingress hook.
pub(crate) fn load_rules(receiver: &NetNs) -> anyhow::Result<()> {
    let entries: Vec<String> =
        (0..policy::ENTRIES).map(policy::entry_v4).map(|(net, length)| format!("{net}/{length}")).collect();
    // nft 1.0.6 wants a newline between closing braces; a rule set that failed to load would look like a good filter.
    let rules = format!(
        "table netdev bench {{\n  set allowed {{ type ipv4_addr; flags interval; elements = {{ {} }}; }}\n  counter dropped {{ }}\n  \
         chain ingress {{\n    type filter hook ingress device \"{RECEIVER}\" priority 0; policy accept;\n    \
         tcp dport {} ip saddr != @allowed counter name dropped drop\n  }}\n}}\n",
        entries.join(", "),
        policy::PORT
    );
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), rules)?;
    let path = file.path().to_str().context("a temporary path in UTF-8")?;
    receiver.check("nft", &["-f", path]);
    Ok(())
}

/// Takes the rules away and says how many packets they dropped.
pub(crate) fn unload_rules(receiver: &NetNs) -> anyhow::Result<u64> {
    let counted = receiver.check("nft", &["list", "counter", "netdev", "bench", "dropped"]);
    receiver.check("nft", &["delete", "table", "netdev", "bench"]);
    counted
        .split_whitespace()
        .skip_while(|word| *word != "packets")
        .nth(1)
        .and_then(|count| count.parse().ok())
        .with_context(|| format!("nft said: {counted}"))
}

/// Sends the flood and reads what the receiving thread spent on it.
fn flood(
    options: &Options,
    candidate: &'static str,
    round: usize,
    sender: &NetNs,
    receiver: &NetNs,
    napi: Pid,
) -> anyhow::Result<Flood> {
    let (cpu_before, packets_before) = (run_time(napi)?, received(receiver)?);
    sender.within(|| send(options.packets))?;
    // What is still in the ring is taken within a few milliseconds.
    std::thread::sleep(Duration::from_millis(100));
    let packets = received(receiver)? - packets_before;
    let cpu = run_time(napi)? - cpu_before;
    ensure!(packets > u64::from(options.packets) / 100, "only {packets} packets arrived");
    Ok(Flood { candidate, round, packets, cpu_ns_per_packet: cpu as f64 / packets as f64 })
}

fn send(packets: u32) -> anyhow::Result<()> {
    pin(Pid::from_raw(0), 0)?;
    let target = nix::net::if_::if_nametoindex(SENDER)?;
    let frame = syn(std::net::Ipv4Addr::UNSPECIFIED.into(), policy::PORT);
    let (ip, tcp) = frames::sums(&frame);
    let mut bench = EbpfLoader::new()
        .override_global("TARGET", &target, true)
        .override_global("IP_SUM", &ip, true)
        .override_global("TCP_SUM", &tcp, true)
        .load(&policy::object("gateway-bench")?)?;
    let source: &mut Xdp = bench.program_mut("source").context("source")?.try_into()?;
    source.load()?;
    source.test_run(TestRunOptions {
        data_in: Some(&frame),
        repeat: packets,
        attrs: TestRunAttrs::new().xdp_live_frames(64),
        ..TestRunOptions::new()
    })?;
    Ok(())
}

fn print(floods: &[Flood]) {
    let cost = |candidate: &'static str| floods.iter().filter(move |flood| flood.candidate == candidate);
    println!("\n| SYN flood on veth | receiver's CPU, ns per dropped packet [min..max] |\n|---|---|");
    for (candidate, _) in CANDIDATES {
        let spread = report::Spread::of(cost(candidate).map(|flood| flood.cpu_ns_per_packet));
        println!("| {candidate} | {:.0} [{:.0}..{:.0}] |", spread.median, spread.min, spread.max);
    }
    for (name, ours) in [
        ("**nftables / gateway**, per round", XDP),
        ("nftables / reads: no filter on this machine gets beyond", READS),
        ("nftables / reads and counts", COUNTS),
    ] {
        let ratio = report::Spread::of(cost(ours).filter_map(|ours| {
            cost(NFTABLES)
                .find(|theirs| theirs.round == ours.round)
                .map(|theirs| theirs.cpu_ns_per_packet / ours.cpu_ns_per_packet)
        }));
        println!("| {name} | **{:.1}** [{:.1}..{:.1}] |", ratio.median, ratio.min, ratio.max);
    }
}

// === the receiving thread ===

/// The kernel thread that runs the receiver's NAPI: `napi/<interface>-<id>`.
fn napi_thread() -> anyhow::Result<Pid> {
    let prefix = format!("napi/{RECEIVER}-");
    for entry in fs::read_dir("/proc")?.flatten() {
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if comm.starts_with(&prefix) {
            return Ok(Pid::from_raw(entry.file_name().to_string_lossy().parse()?));
        }
    }
    anyhow::bail!("the kernel made no thread `{prefix}…`: it needs threaded NAPI (Linux 5.12)")
}

pub(crate) fn pin(thread: Pid, core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(sched_setaffinity(thread, &cores)?)
}

/// Nanoseconds that a thread has run (`/proc/<pid>/schedstat`).
pub(crate) fn run_time(thread: Pid) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{thread}/schedstat"))?;
    Ok(text.split_whitespace().next().context("schedstat is empty")?.parse()?)
}

/// Packets that the receiver's ring has handed to NAPI.
fn received(receiver: &NetNs) -> anyhow::Result<u64> {
    let text = receiver.check("ethtool", &["-S", RECEIVER]);
    text.lines()
        .find_map(|line| line.trim().strip_prefix("rx_queue_0_xdp_packets:")?.trim().parse().ok())
        .with_context(|| format!("ethtool said: {text}"))
}
