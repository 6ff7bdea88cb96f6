//! Suite `fuzz`: the verdict of the host's `decide` about any bytes whatever is the oracle's. Needs no root; that the
//! program in the kernel decides like the host is the suite `kernel`'s to show, with the same policies and frames.
//!
//! It is a fuzz target that plain cargo builds: [`Target::judge`] takes bytes as a fuzzer gives them, and the driver
//! below stands in for one, so no nightly compiler and no instrumentation is needed. Its frames are well-formed ones
//! aimed at the policy, each again with bits turned over in its headers, and plain noise.
//!
//! - `cargo xtask test fuzz` judges twenty million packets, about a minute's work, (`GATEWAY_FUZZ_PACKETS` for more), on every core.
//! - `GATEWAY_SEED` repeats a run. A failure prints the policy's seed and the frame.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a suite panics where it fails, with a backtrace"
)]

#[expect(dead_code, reason = "shared with the suite kernel, which uses all of it")]
#[path = "../kernel/packet.rs"]
mod packet;
#[expect(dead_code, reason = "shared with the suite kernel, which uses all of it")]
#[path = "../kernel/policy.rs"]
mod policy;
#[path = "../kernel/property"]
mod property {
    pub(crate) mod generate;
    pub(crate) mod oracle;
}

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use gateway_common::{
    decide::{Verdict, decide},
    packet::Packet,
    parse::parse,
    reason::Reason,
};
use gateway_user::snapshot::filter::{FilterPlan, FilterTables};
use harness::random::{self, Random};
use policy::WAN;
use property::{generate, oracle};

const PACKETS: u64 = 20_000_000;
/// Frames per policy, and variants of each.
const FRAMES: u64 = 2_000;
const VARIANTS: u64 = 5;

/// One policy, ready to judge.
struct Target {
    seed: u64,
    plan: FilterPlan,
    tables: FilterTables,
}

impl Target {
    fn new(seed: u64) -> Self {
        let plan = generate::plan(&mut Random::new(seed), 1);
        let tables = policy::build(&plan).unwrap();
        Self { seed, plan, tables }
    }

    /// The target: both opinions about a frame, whatever it holds.
    fn judge(&self, frame: &[u8]) -> Reason {
        let (reason, listener, entry) =
            oracle::judge(&self.plan, |name| policy::resolve(name).unwrap(), WAN, frame);
        let opinion = Verdict { reason, listener, entry: entry.unwrap_or(Verdict::NO_ENTRY) };
        let host = decide(&self.tables, WAN, &parse(frame).unwrap_or(Packet::OTHER));
        assert_eq!(
            host, opinion,
            "host, oracle; seed of the policy {}\n{:#?}\n{frame:02x?}",
            self.seed, self.plan
        );
        reason
    }
}

/// Turns bits of the headers over.
fn vary(random: &mut Random, frame: &mut [u8]) {
    let reach = frame.len().min(96);
    for _ in 0..1 + random.below(2) {
        let place = 12 + random.below(reach - 12);
        frame[place] ^= 1 << random.below(8);
    }
}

#[test]
fn twenty_million_packets_get_the_oracles_verdict() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let packets = number("GATEWAY_FUZZ_PACKETS").unwrap_or(PACKETS);
    let seed = random::seed();
    println!("GATEWAY_SEED={seed}");
    let (policies, begun) = (packets.div_ceil(FRAMES * VARIANTS), Instant::now());
    let next = AtomicU64::new(0);
    let work = || {
        let mut seen = [0_u64; Reason::ALL.len()];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= policies {
                return seen;
            }
            let mut random = Random::new(seed.wrapping_add(index));
            let target = Target::new(random.next());
            for _ in 0..FRAMES {
                let frame = generate::frame(&mut random, &target.plan);
                seen[target.judge(&frame) as usize] += 1;
                for _ in 1..VARIANTS {
                    let mut varied = frame.clone();
                    vary(&mut random, &mut varied);
                    seen[target.judge(&varied) as usize] += 1;
                }
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let seen = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().fold([0; Reason::ALL.len()], |mut sum, worker| {
            let seen = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            sum.iter_mut().zip(seen).for_each(|(sum, seen)| *sum += seen);
            sum
        })
    });
    let total: u64 = seen.iter().sum();
    println!("{total} packets under {policies} policies in {:.0} s", begun.elapsed().as_secs_f64());
    assert!(total >= packets);
    for reason in Reason::ALL {
        println!("{:>10} {}", seen[*reason as usize], reason.name());
        // Tables that the daemon writes are complete, and bans and budgets are not decided by a list.
        let never =
            [Reason::TableMissing, Reason::ListMissing, Reason::SynBudget, Reason::Banned].contains(reason);
        assert!(seen[*reason as usize] > 100 || never || packets < PACKETS, "{}", reason.name());
    }
}
