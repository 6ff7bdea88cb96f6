//! The program in the kernel, `decide` on the host and an oracle that shares no code with them agree about random
//! packets under random policies. `GATEWAY_SEED` repeats a run.

mod generate;
mod oracle;

use gateway_common::{
    decide::{Verdict, decide},
    packet::Packet,
    parse::parse,
    reason::Reason,
};
use gateway_user::snapshot::filter::FilterTables;

use harness::random::{self, Random};

use crate::{
    policy::{self, WAN},
    rig::{ENTRY_POINTS, Rig},
};

const POLICIES: u64 = 300;
const PACKETS: usize = 120;

/// The decision on the host, over the same tables.
fn on_host(tables: &FilterTables, frame: &[u8]) -> Verdict {
    decide(tables, WAN, &parse(frame).unwrap_or(Packet::OTHER))
}

#[test]
fn kernel_host_and_oracle_agree() {
    let seed = random::seed();
    println!("GATEWAY_SEED={seed}");
    let mut random = Random::new(seed);
    let mut rig = Rig::load(WAN);
    let mut seen = [0_usize; Reason::ALL.len()];
    for generation in 1..=POLICIES {
        let plan = generate::plan(&mut random, generation);
        let tables = policy::build(&plan).unwrap();
        rig.publish(&tables);
        let ids = plan.listeners.iter().map(|listener| u32::from(listener.id)).collect::<Vec<_>>();
        let mut expected = rig.totals(&ids);
        for _ in 0..PACKETS {
            let frame = generate::frame(&mut random, &plan);
            let resolve = |name: &str| policy::resolve(name).unwrap();
            let (reason, listener, entry) = oracle::judge(&plan, resolve, WAN, &frame);
            let opinion = Verdict { reason, listener, entry: entry.unwrap_or(Verdict::NO_ENTRY) };
            let host = on_host(&tables, &frame);
            assert_eq!(host, opinion, "host, oracle; seed {seed}\n{plan:#?}\n{frame:02x?}");
            for name in ENTRY_POINTS.into_iter().filter(|name| Rig::takes(name, &frame)) {
                let before = rig.counted(opinion);
                let action = rig.run(name, &frame);
                let after = rig.counted(opinion);
                let moved = (after.0 - before.0, after.1 - before.1);
                let counted = u64::from(reason != Reason::NotListener);
                assert_eq!(
                    (action, moved),
                    (reason.action(), (counted, u64::from(entry.is_some()))),
                    "{name} is not of the opinion {opinion:?}; seed {seed}\n{plan:#?}\n{frame:02x?}"
                );
                expected += counted;
            }
            // It counts nothing, or the totals below would show it.
            assert_eq!(rig.explain(&frame), opinion, "explain; seed {seed}\n{plan:#?}\n{frame:02x?}");
            seen[reason as usize] += 1;
        }
        // Whatever was counted besides would show here.
        assert_eq!(rig.totals(&ids), expected, "seed {seed}\n{plan:#?}");
    }
    for reason in Reason::ALL {
        println!("{:>8} {}", seen[*reason as usize], reason.name());
        // Tables that the daemon writes are complete, and bans and budgets have rows of their own (`defence`).
        let elsewhere =
            [Reason::TableMissing, Reason::ListMissing, Reason::SynBudget, Reason::Banned].contains(reason);
        assert!(seen[*reason as usize] > 20 || elsewhere, "{}", reason.name());
    }
}
