//! The suite `endurance` at its whole size: as long and as much as its promises say, on the release build, with the times
//! asserted that only hold on a quiet machine. Every change runs its short form with the other suites.

use std::path::Path;

use anyhow::bail;

use crate::run;
use crate::setup::{self, Purpose};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only tests whose name contains this
    filter: Option<String>,
    /// Repeat the run whose seed this is
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !run::is_root() {
        bail!("cargo xtask endure makes network namespaces, so it needs root");
    }
    setup::ensure(Purpose::Test)?;
    crate::build::run()?;
    suite(&run::target_dir().join("release/gateway"), arguments.filter.as_deref(), arguments.seed)
}

/// The one measurement among the tests.
pub(crate) fn events(gateway: &Path) -> anyhow::Result<()> {
    suite(gateway, Some("events::"), None)
}

fn suite(gateway: &Path, filter: Option<&str>, seed: Option<u64>) -> anyhow::Result<()> {
    run::step("endurance");
    let mut nextest = run::cargo();
    nextest.args(["nextest", "run", "--package", "gateway-tests", "--test", "endurance", "--no-capture"]);
    // The load must not be what is slow.
    nextest.args(["--cargo-profile", "measure", "--profile", "endure"]).args(filter);
    nextest.env("GATEWAY_ENDURE", "full").env("GATEWAY_BIN", gateway);
    if let Some(seed) = seed {
        nextest.env("GATEWAY_SEED", seed.to_string());
    }
    run::check(&mut nextest)
}
