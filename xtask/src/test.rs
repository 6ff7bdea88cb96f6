//! Every suite, the privileged ones too. Without root it fails: a suite that is skipped in silence looks like one
//! that passed.

use std::process::Command;

use anyhow::bail;

use crate::ebpf;
use crate::run;
use crate::setup::{self, Purpose};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only tests whose name contains this
    filter: Option<String>,
    /// Passed on to `cargo nextest run`
    #[arg(last = true)]
    extra: Vec<String>,
}

/// The suites that need namespaces and XDP are behind this feature, so that `cargo test` works for everybody.
const FEATURES: &str = "gateway-tests/privileged";

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !run::is_root() {
        bail!(
            "cargo xtask test makes network namespaces and loads XDP programs, so it needs root.\n\
             Without root, `cargo nextest run` runs the suites that do not."
        );
    }
    setup::ensure(Purpose::Test)?;
    ebpf::build_all()?;
    run::step("building the gateway for the suites");
    // The same packages and features as the suites' build, so that nothing is compiled twice.
    run::check(cargo("build").args(["--features", FEATURES, "--bin", "gateway"]))?;
    if arguments.filter.is_none() {
        run::step("documentation tests");
        run::check(cargo("test").args(["--doc", "--quiet", "--features", FEATURES]))?;
    }
    // Last, so that its summary is the last thing on the screen and in a log.
    run::step("suites");
    let mut nextest = cargo("nextest");
    nextest.args(["run", "--features", FEATURES]).args(&arguments.filter).args(&arguments.extra);
    if has_vlans() {
        nextest.args(["--run-ignored", "all"]);
    } else {
        run::step(
            "this kernel has no VLAN interfaces (8021q): the tests that need them are counted as skipped",
        );
    }
    run::check(&mut nextest)
}

/// Whether VLAN interfaces can be made here: the one thing of a kernel that some tests (`#[ignore]`d for it) need and
/// that kernels of virtual machines lack.
fn has_vlans() -> bool {
    let namespace = format!("gwt{}-vlan", std::process::id());
    let ip = |words: &[&str]| {
        let mut command = run::command("ip");
        command.args(words).stderr(std::process::Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !ip(&["netns", "add", &namespace]) {
        return false;
    }
    let made = ip(&["-n", &namespace, "link", "add", "link", "lo", "name", "v7", "type", "vlan", "id", "7"]);
    ip(&["netns", "del", &namespace]);
    made
}

/// The suites start the program they are told; the harness falls back to nothing, so that a stale one is never run.
/// It is the dev build: its dependencies are optimised (see the root Cargo.toml) and it compiles in a tenth of the
/// time of the release build. GATEWAY_BIN set by the caller wins, to test the release build.
fn cargo(subcommand: &str) -> Command {
    let mut cargo = run::cargo();
    cargo.arg(subcommand);
    if std::env::var_os("GATEWAY_BIN").is_none() {
        cargo.env("GATEWAY_BIN", run::target_dir().join("debug/gateway"));
    }
    cargo.env("GATEWAY_EBPF_LAYOUT_B", run::root().join("target/bpf/gateway-ebpf-layout-b"));
    cargo
}
