//! Nanoseconds per packet of the shipped object by `BPF_PROG_TEST_RUN`, against an empty program.
//!
//! The figure is this thread's CPU time around one test run, divided by its repeats: wall time would count the RCU
//! waits of the test run itself, and the kernel's own `duration` is in whole nanoseconds, too coarse at 20.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, ensure};
use aya::{
    Ebpf, EbpfLoader,
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::{frames::syn, lists, policy, report};

/// How long to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Interleaved rounds.
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// Packets per sample.
    #[arg(long, default_value_t = 400_000)]
    repeat: u32,
}

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
/// Programs of the bench's own object.
const EMPTY: &str = "empty";
const READS: &str = "reads";
const COUNTS: &str = "counts";
const ENTRY_POINTS: [&str; 2] = ["gateway", "gateway_frags"];

#[derive(Serialize)]
struct Sample {
    case: String,
    round: usize,
    nanoseconds: f64,
}

struct Case {
    name: String,
    program: &'static str,
    verdict: u32,
    frame: fn(usize) -> Vec<u8>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    // A test run without a context comes in on the loopback device of this namespace.
    let interface = nix::net::if_::if_nametoindex("lo")?;
    let mut gateway = policy::load(interface)?;
    for name in ENTRY_POINTS {
        program(&mut gateway, name)?.load()?;
    }
    let mut bench = EbpfLoader::new().load(&policy::object("gateway-bench")?)?;
    for name in [EMPTY, READS, COUNTS] {
        program(&mut bench, name)?.load()?;
    }

    let cases = cases();
    let mut samples = Vec::new();
    for round in 0..options.rounds {
        for step in 0..cases.len() {
            let case = &cases[(round + step) % cases.len()];
            let of_bench = [EMPTY, READS, COUNTS].contains(&case.program);
            let ebpf = if of_bench { &mut bench } else { &mut gateway };
            let nanoseconds = sample(program(ebpf, case.program)?, case, round, options.repeat)?;
            samples.push(Sample { case: case.name.clone(), round, nanoseconds });
        }
    }
    print(&cases, &samples);
    let random = random_sources(options, interface, &mut bench)?;
    print_random(&random);
    samples.extend(random);
    let dropped = policy::not_allowed(&gateway)?;
    let expected = samples.iter().filter(|sample| sample.case.contains("15 entries")).count() as u64
        * u64::from(options.repeat);
    ensure!(dropped == expected, "the filter counted {dropped} dropped packets of {expected}");
    println!(
        "\n{}; {} rounds × {} packets, median [min..max]",
        report::Machine::this(),
        options.rounds,
        options.repeat
    );
    report::keep(&crate::output_directory(), "filter", &samples)
}

/// Random sources under large lists; the empty program behind the same packets comes first in each round.
fn random_sources(options: &Options, interface: u32, bench: &mut Ebpf) -> anyhow::Result<Vec<Sample>> {
    let mut behind = Vec::new();
    for entries in lists::ENTRIES {
        let mut listed = lists::load(interface, entries)?;
        program(&mut listed.ebpf, ENTRY_POINTS[0])?.load()?;
        println!("{} entries of each family: {} KiB", listed.entries, listed.bytes / 1024);
        behind.push((entries, lists::descriptor(&mut listed.ebpf, ENTRY_POINTS[0])?, listed));
    }
    let empty = lists::descriptor(bench, EMPTY)?;
    for name in ["random4", "random6"] {
        program(bench, name)?.load()?;
    }
    let mut samples = Vec::new();
    let base = Case { name: EMPTY_AGAIN.to_owned(), program: EMPTY, verdict: XDP_DROP, frame: unlisted_v4 };
    let measure = |bench: &mut Ebpf, case: String, v4: bool, round: usize| -> anyhow::Result<Sample> {
        let frame = lists::frame(v4);
        let program = program(bench, if v4 { "random4" } else { "random6" })?;
        let before = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
        let test = TestRunOptions { data_in: Some(&frame), repeat: options.repeat, ..TestRunOptions::new() };
        let result = program.test_run(test)?;
        let after = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
        // The last packet of a run may have an allowed source.
        ensure!([XDP_DROP, XDP_PASS].contains(&result.return_value), "XDP action {}", result.return_value);
        let elapsed = std::time::Duration::from(after) - std::time::Duration::from(before);
        Ok(Sample { case, round, nanoseconds: elapsed.as_nanos() as f64 / f64::from(options.repeat) })
    };
    for round in 0..options.rounds {
        let nanoseconds = sample(program(bench, EMPTY)?, &base, round, options.repeat)?;
        samples.push(Sample { case: base.name.clone(), round, nanoseconds });
        lists::go_on_with(bench, &empty)?;
        for v4 in [true, false] {
            samples.push(measure(bench, random_name(v4, None), v4, round)?);
        }
        for (entries, descriptor, _) in &behind {
            lists::go_on_with(bench, descriptor)?;
            for v4 in [true, false] {
                samples.push(measure(bench, random_name(v4, Some(*entries)), v4, round)?);
            }
        }
    }
    Ok(samples)
}

const EMPTY_AGAIN: &str = "empty program, beside the lists";

fn random_name(v4: bool, entries: Option<usize>) -> String {
    let family = if v4 { "IPv4" } else { "IPv6" };
    match entries {
        Some(entries) => format!("{family}, {entries} entries, random sources"),
        None => format!("{family}, random sources, empty program"),
    }
}

/// What a row costs is the difference to the empty program behind the same packets, and the empty program itself.
fn print_random(samples: &[Sample]) {
    println!(
        "\n| large lists, random sources | ns per packet [min..max] | against the empty program [min..max] |\n|---|---|---|"
    );
    let of = |name: &str| -> Vec<f64> {
        samples.iter().filter(|sample| sample.case == name).map(|sample| sample.nanoseconds).collect()
    };
    let empty = of(EMPTY_AGAIN);
    for v4 in [true, false] {
        let base = of(&random_name(v4, None));
        for entries in lists::ENTRIES {
            let name = random_name(v4, Some(entries));
            let own: Vec<f64> = of(&name)
                .iter()
                .zip(&base)
                .zip(&empty)
                .map(|((row, base), empty)| row - base + empty)
                .collect();
            let cost = report::Spread::of(own.iter().copied());
            let ratio = report::Spread::of(own.iter().zip(&empty).map(|(own, empty)| own / empty));
            println!(
                "| {name} | {:.1} [{:.1}..{:.1}] | **{:.2}** [{:.2}..{:.2}] |",
                cost.median, cost.min, cost.max, ratio.median, ratio.min, ratio.max
            );
        }
    }
}

/// Every row of the table; the first is what the others are compared with.
fn cases() -> Vec<Case> {
    let floor =
        |name: &str, program| Case { name: name.to_owned(), program, verdict: XDP_DROP, frame: unlisted_v4 };
    let mut cases = vec![
        floor("empty program (XDP_DROP)", EMPTY),
        floor("reads the headers, drops", READS),
        floor("reads the headers, counts, drops", COUNTS),
    ];
    for program in ENTRY_POINTS {
        let case = |name: &str, verdict, frame| Case {
            name: format!("{name}, `{program}`"),
            program,
            verdict,
            frame,
        };
        cases.push(case("IPv4, 15 entries, none matches", XDP_DROP, unlisted_v4));
        cases.push(case("IPv4, 15 entries, none matches, in a bucket of one", XDP_DROP, bucket_v4));
        cases.push(case("IPv6, 15 entries, none matches", XDP_DROP, unlisted_v6));
        cases.push(case("IPv6, 15 entries, none matches, in a bucket of one", XDP_DROP, bucket_v6));
        cases.push(case("IPv4, no listener on the port", XDP_PASS, other_port));
    }
    cases
}

// Each sample has a source of its own; none is on the list.

fn unlisted_v4(round: usize) -> Vec<u8> {
    syn(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + (round as u32).wrapping_mul(0x0001_6789))), policy::PORT)
}

fn unlisted_v6(round: usize) -> Vec<u8> {
    let source = 0x2a00_0000_0000_0000_0000_0000_0000_0000_u128 + ((round as u128) << 70);
    syn(IpAddr::V6(Ipv6Addr::from(source)), policy::PORT)
}

// The worst sources: in the bucket of an entry, so that all 15 are compared.

fn bucket_v4(round: usize) -> Vec<u8> {
    syn(IpAddr::V4(Ipv4Addr::from(0x0bc9_0e01 + ((round as u32) << 16))), policy::PORT)
}

fn bucket_v6(round: usize) -> Vec<u8> {
    let source = 0x2a00_0000_0000_000e_0000_0000_0000_0000_u128 + round as u128;
    syn(IpAddr::V6(Ipv6Addr::from(source)), policy::PORT)
}

fn other_port(round: usize) -> Vec<u8> {
    syn(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + round as u32)), 22)
}

fn sample(program: &mut Xdp, case: &Case, round: usize, repeat: u32) -> anyhow::Result<f64> {
    let frame = (case.frame)(round);
    let before = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    let result =
        program.test_run(TestRunOptions { data_in: Some(&frame), repeat, ..TestRunOptions::new() })?;
    let after = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    ensure!(result.return_value == case.verdict, "{}: XDP action {}", case.name, result.return_value);
    let elapsed = std::time::Duration::from(after) - std::time::Duration::from(before);
    Ok(elapsed.as_nanos() as f64 / f64::from(repeat))
}

fn print(cases: &[Case], samples: &[Sample]) {
    println!(
        "\n| BPF_PROG_TEST_RUN | ns per packet [min..max] | ratio per round [min..max] |\n|---|---|---|"
    );
    fn of<'s>(samples: &'s [Sample], name: &'s str) -> impl Iterator<Item = &'s Sample> {
        samples.iter().filter(move |sample| sample.case == name)
    }
    let Some(empty) = cases.first() else { return };
    for case in cases {
        let cost = report::Spread::of(of(samples, &case.name).map(|sample| sample.nanoseconds));
        // Round by round: the machine may change its speed between rounds, but hardly within one.
        let ratio = report::Spread::of(of(samples, &case.name).filter_map(|sample| {
            of(samples, &empty.name)
                .find(|base| base.round == sample.round)
                .map(|base| sample.nanoseconds / base.nanoseconds)
        }));
        println!(
            "| {} | {:.1} [{:.1}..{:.1}] | **{:.2}** [{:.2}..{:.2}] |",
            case.name, cost.median, cost.min, cost.max, ratio.median, ratio.min, ratio.max
        );
    }
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> anyhow::Result<&'e mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("the object has no program `{name}`"))?.try_into()?)
}
