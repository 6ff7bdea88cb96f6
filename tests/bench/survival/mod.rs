//! What a flood of outsiders leaves of an allowed flow: with the gateway's filter, with the same list in nftables at the
//! netdev ingress hook, and without any filter.
//!
//! The attacker has core 0 to itself. The receiver's NAPI thread, the server and the allowed client share core 1, so
//! that what a dropped packet costs is taken from the flow. The flow comes through the same receive ring as the flood,
//! which on veth needs the sender's segmentation offload off. The ring has 256 places and nothing holds the flow's sender
//! back, so packets of the flow are lost there with any filter, also in quiet; the raw figures count them. Each
//! candidate's figures under flood are set against its own quiet ones and against the others of the same round.

mod attacker;
mod cable;
mod flow;

use std::{thread, time::Duration};

use anyhow::ensure;
use aya::Ebpf;
use serde::Serialize;

use self::{
    attacker::Flood,
    cable::{Cable, Watch},
    flow::{Client, Flow, Server},
};
use crate::{
    flood::{self, RECEIVER},
    policy, report,
};

/// How hard and how often.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds; the order of the candidates changes from round to round.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Packets per second of the flood.
    #[arg(long, default_value_t = 900_000)]
    rate: u64,
}

const GATEWAY: &str = "gateway (native XDP)";
const NFTABLES: &str = "nftables netdev ingress, interval set";
const NOTHING: &str = "no filter";
const CANDIDATES: [&str; 3] = [GATEWAY, NFTABLES, NOTHING];

#[derive(Serialize)]
struct Survival {
    candidate: &'static str,
    round: usize,
    /// What the flood's sender achieved, in millions of packets per second.
    flood_mpps: f64,
    quiet: Flow,
    flooded: Flow,
}

// === impl Survival ===

impl Survival {
    fn kept(&self) -> f64 {
        self.flooded.gbit_per_second / self.quiet.gbit_per_second
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let cable = Cable::new()?;
    let mut all = Vec::new();
    for round in 0..options.rounds {
        for step in 0..CANDIDATES.len() {
            let candidate = CANDIDATES[(round + step) % CANDIDATES.len()];
            let one = survive(options, candidate, round, &cable)?;
            println!(
                "round {round}, {candidate}: {:.2} -> {:.2} Gbit/s ({:.2}), p99 {:.0} -> {:.0} us, flood {:.2} Mpps",
                one.quiet.gbit_per_second,
                one.flooded.gbit_per_second,
                one.kept(),
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
    cable: &Cable,
) -> anyhow::Result<Survival> {
    let filter = match candidate {
        GATEWAY => Some(cable.receiver.within(|| -> anyhow::Result<Ebpf> {
            let mut ebpf = policy::load(nix::net::if_::if_nametoindex(RECEIVER)?)?;
            flood::attach(&mut ebpf, flood::SHIPPED)?;
            Ok(ebpf)
        })?),
        NFTABLES => {
            flood::load_rules(&cable.receiver)?;
            None
        }
        _ => None,
    };
    let measured = measure(options, cable);
    let dropped = match (candidate, &filter) {
        (GATEWAY, Some(ebpf)) => Some(policy::not_allowed(ebpf)?),
        (NFTABLES, _) => Some(flood::unload_rules(&cable.receiver)?),
        _ => None,
    };
    let (quiet, flooded, flood_mpps, sent) = measured?;
    // What the full ring loses never reaches the filter; but a filter that did not load would drop nothing at all.
    if let Some(dropped) = dropped {
        ensure!(dropped > sent / 10, "{candidate} dropped {dropped} of {sent}");
    }
    Ok(Survival { candidate, round, flood_mpps, quiet, flooded })
}

fn measure(options: &Options, cable: &Cable) -> anyhow::Result<(Flow, Flow, f64, u64)> {
    let server = Server::start(&cable.receiver)?;
    let mut client = Client::connect(&cable.sender)?;
    let watch = Watch(cable);
    let quiet = client.measure(&server, &watch)?;

    let flood = Flood::start(&cable.sender, options.rate)?;
    thread::sleep(Duration::from_millis(300));
    let flooded = client.measure(&server, &watch)?;
    ensure!(!flood.ended(), "the flood ended before the measurement did");
    let (sent, elapsed) = flood.stop()?;
    Ok((quiet, flooded, sent as f64 / elapsed.as_secs_f64() / 1e6, sent))
}

fn print(all: &[Survival]) {
    let of = |candidate: &'static str| all.iter().filter(move |one| one.candidate == candidate);
    println!(
        "\n| allowed flow under a SYN flood | quiet, Gbit/s | flooded, Gbit/s | kept | p99 quiet, us | p99 flooded, us | longest wait, ms | core 1 for receiving, quiet and flooded | flood, Mpps |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    for candidate in CANDIDATES {
        let spread = |figure: fn(&Survival) -> f64| report::Spread::of(of(candidate).map(figure));
        let quiet = spread(|one| one.quiet.gbit_per_second);
        let flooded = spread(|one| one.flooded.gbit_per_second);
        let share = spread(Survival::kept);
        let (before, after) = (spread(|one| one.quiet.p99_us), spread(|one| one.flooded.p99_us));
        let longest = spread(|one| one.flooded.longest_us / 1000.0);
        let napi = (spread(|one| one.quiet.napi), spread(|one| one.flooded.napi));
        let rate = spread(|one| one.flood_mpps);
        println!(
            "| {candidate} | {:.1} | {:.1} [{:.1}..{:.1}] | **{:.2}** [{:.2}..{:.2}] | {:.0} | {:.0} [{:.0}..{:.0}] | {:.1} [{:.1}..{:.1}] | {:.2}, {:.2} | {:.2} |",
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
            napi.0.median,
            napi.1.median,
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
