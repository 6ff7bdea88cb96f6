//! Formatting, clippy, the repository's own rules, licences. Cheap checks come first.

use std::fs;

use anyhow::{Context as _, bail};

use crate::{ebpf, run, tidy};

pub(crate) fn run() -> anyhow::Result<()> {
    run::step("formatting");
    run::check(run::cargo().args(["fmt", "--all", "--check"])).context("`cargo fmt` cures it")?;
    run::step("the repository's own rules");
    tidy::run(&tidy::Arguments::default())?;
    // The gateway does not compile without its XDP program.
    ebpf::build_shipped()?;
    let mut failed = Vec::new();
    for (package, features) in CLIPPY {
        run::step(&format!("clippy: {package} {features}"));
        let mut clippy = run::cargo();
        clippy.args(["clippy", "--quiet", "--package", package, "--all-targets"]);
        if !features.is_empty() {
            clippy.args(["--features", features]);
        }
        // Every package is checked: one list of what is wrong, not one finding per run.
        if run::check(clippy.args(["--", "-D", "warnings"])).is_err() {
            failed.push(format!("{package} {features}"));
        }
    }
    if !failed.is_empty() {
        bail!("clippy refuses: {}", failed.join(", "));
    }
    deny()
}

/// One package at a time: checking the workspace at once unifies features and would hide that a package does not
/// compile with its own. gateway-ebpf is checked for the host.
const CLIPPY: &[(&str, &str)] = &[
    ("gateway-common", ""),
    ("gateway-common", "user"),
    ("gateway-ebpf", ""),
    ("gateway-user", ""),
    ("gateway-tests", "privileged"),
    ("gateway-fuzz", ""),
    ("xtask", ""),
];

/// Licences, bans and sources need no network; advisories do, and a machine without one must still be able to lint.
fn deny() -> anyhow::Result<()> {
    let config = run::root().join(".deny.toml");
    let text = fs::read_to_string(&config).with_context(|| config.display().to_string())?;
    if !text.contains("[licenses]") || !text.contains("[bans]") {
        bail!("{} must have [licenses] and [bans]", config.display());
    }
    if run::which("cargo-deny").is_none() {
        println!("    cargo-deny is not installed: licences and bans are not checked");
        return Ok(());
    }
    run::step("licences, bans, sources");
    run::check(run::cargo().args(["deny", "--offline", "check", "licenses", "bans", "sources"]))
}
