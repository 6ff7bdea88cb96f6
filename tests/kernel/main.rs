//! Suite `kernel`: the shipped XDP object in the kernel, judged packet by packet with `BPF_PROG_TEST_RUN`. Needs root
//! and fails loudly without.
//!
//! Where a new test goes:
//! - `rows`: one packet, one policy, one verdict. Every rule of DESIGN §4 has its row here.
//! - `property`: the program, the host's `decide` and an independent oracle agree on random packets and policies.
//! - `defence`: monitored listeners, bans and budgets: what follows a verdict.
//! - `report`: counters, sampled events, swaps of generations.
//!
//! What a packet costs is measured by `cargo xtask bench filter`.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a suite panics where it fails, with a backtrace"
)]

mod defence;
mod packet;
mod policy;
mod property;
mod report;
mod rig;
mod rows;
