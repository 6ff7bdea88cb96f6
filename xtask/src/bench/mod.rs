//! Benchmarks: what is compared with what. Everything compared is measured in one run, interleaved, and the ratio is
//! the result: a figure from another machine or another hour proves nothing.
//!
//! Raw figures go to target/bench/*.json, a table that fits into the README to the terminal. All traffic stays in
//! network namespaces made here, and every step is bounded in time.

mod filter;
mod process;
mod proxy;
mod report;

use std::path::PathBuf;

use anyhow::bail;
use clap::ValueEnum;

use crate::run;
use crate::setup::{self, Purpose};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure; everything when nothing is named
    what: Option<What>,
    /// Rounds; each measures every candidate once, and medians are taken over them
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of load per measurement
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Only this case of `proxy`: https128, https16k, httpsnew or idle
    #[arg(long)]
    case: Option<String>,
    /// Measure this gateway instead of building the release binary
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
    /// Leave the gateway out, to see whether the scene itself holds
    #[arg(long, hide = true)]
    peers_only: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Nanoseconds per packet of the filter against an empty program
    Filter,
    /// CPU per dropped packet on veth against nftables netdev ingress
    Flood,
    /// What an outsider flood leaves of an allowed flow, against nftables netdev ingress and no filter
    Survival,
    /// The proxy against nginx and HAProxy, one core each: CPU per request, requests per second, memory per
    /// idle connection
    Proxy,
    /// What the gateway adds to the way of a server-sent event, against the service itself
    Sse,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !run::is_root() {
        bail!(
            "cargo xtask bench makes network namespaces, pins processes and loads XDP programs, so it needs root"
        );
    }
    setup::ensure(Purpose::Bench)?;
    let wanted = |what| arguments.what.is_none_or(|one| one == what);
    for (what, name) in [(What::Filter, "filter"), (What::Flood, "flood"), (What::Survival, "survival")] {
        if wanted(what) {
            filter::run(name)?;
        }
    }
    if wanted(What::Proxy) {
        proxy::run(arguments)?;
    }
    if wanted(What::Sse) {
        crate::endure::events(&gateway(arguments)?)?;
    }
    Ok(())
}

/// The binary under test.
fn gateway(arguments: &Arguments) -> anyhow::Result<PathBuf> {
    if let Some(binary) = &arguments.gateway {
        return Ok(run::root().join(binary));
    }
    crate::build::run()?;
    Ok(run::target_dir().join("release/gateway"))
}
