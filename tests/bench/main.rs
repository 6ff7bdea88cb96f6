//! `gateway-bench`: the filter's side-by-side measurements behind the figures in README.md, and the proxies' idle
//! clients. Run by `cargo xtask bench`.
//!
//! Every figure is a ratio within one run: the candidates are interleaved round by round, so a machine whose speed
//! drifts moves all of them. Raw rounds are kept as JSON beside the printed table.
//!
//! | file | measures |
//! |---|---|
//! | `filter.rs` | nanoseconds per packet of the shipped XDP object, by `BPF_PROG_TEST_RUN`, against an empty program |
//! | `lists.rs` | the same under large lists, with random sources |
//! | `flood.rs` | CPU per dropped packet on veth against nftables netdev ingress |
//! | `survival/` | what a flood leaves of an allowed flow, against nftables netdev ingress and no filter |
//! | `idle.rs` | nothing itself: it holds the connections while `cargo xtask bench proxy` weighs the proxies |

#![expect(clippy::print_stdout, reason = "a command-line tool")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a bench that fails should stop at once, with a backtrace"
)]

mod filter;
mod flood;
mod frames;
mod idle;
mod lists;
mod policy;
mod report;
mod survival;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures the gateway against its peers, side by side in one run.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Nanoseconds per packet of the shipped XDP object (needs root).
    Filter(filter::Options),
    /// CPU per dropped packet on veth against nftables netdev ingress (needs root, nft, ethtool).
    Flood(flood::Options),
    /// What a flood leaves of an allowed flow (needs root, nft, ethtool).
    Survival(survival::Options),
    /// Open HTTPS connections, ask once over each, and hold them until stdin ends.
    Idle(idle::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        // The largest list has 36 MiB, and aya passes values by value.
        What::Filter(options) => std::thread::Builder::new()
            .stack_size(512 << 20)
            .spawn(move || filter::run(&options))?
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        What::Flood(options) => flood::run(&options),
        What::Survival(options) => survival::run(&options),
        What::Idle(options) => idle::run(&options),
    }
}

/// Where raw figures go: `target/bench` of the workspace.
fn output_directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench")
}
