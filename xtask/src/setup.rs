//! Installs what building and testing need. As root on Debian it does; elsewhere it prints the exact commands.
//!
//! Idempotent and fast: one `dpkg-query`, two look-ups on PATH and two small files read when nothing is missing, so
//! every other command may call it.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::python;
use crate::run;
use crate::toolchain::{BENCH_PACKAGES, BPF_LINKER, CargoTool, EBPF_PACKAGES, NEXTEST, TEST_PACKAGES};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Also what the benchmarks load with: wrk
    #[arg(long)]
    bench: bool,
}

/// What a caller is about to do; each needs what the ones before it need.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Compile the XDP program.
    Build,
    /// Run the demo.
    Demo,
    /// Run the suites.
    Test,
    /// Run the benchmarks.
    Bench,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let purpose = if arguments.bench { Purpose::Bench } else { Purpose::Test };
    ensure(purpose)?;
    println!("Everything is there. Next: cargo xtask demo, cargo xtask test, cargo xtask build");
    Ok(())
}

/// Installs what `purpose` lacks, or says what to do.
pub(crate) fn ensure(purpose: Purpose) -> anyhow::Result<()> {
    let packages = missing_packages(purpose);
    let tools = missing_tools(purpose);
    if !packages.is_empty() {
        if !run::is_root() || !is_debian() {
            bail!("{}", advice(&packages, &tools));
        }
        apt_install(&packages).with_context(|| advice(&packages, &tools))?;
    }
    for tool in tools {
        cargo_install(tool)?;
    }
    if purpose >= Purpose::Test {
        python::ensure_frame_tools()?;
        python::ensure_autobahn()?;
    }
    Ok(())
}

// === What is missing ===

fn missing_packages(purpose: Purpose) -> Vec<&'static str> {
    let mut wanted: Vec<&str> = Vec::new();
    if !crate::ebpf::has_nightly() {
        wanted.extend(EBPF_PACKAGES);
    }
    if purpose >= Purpose::Demo {
        wanted.extend(TEST_PACKAGES);
    }
    if purpose >= Purpose::Bench {
        wanted.extend(BENCH_PACKAGES);
    }
    if !is_debian() {
        // Package names differ elsewhere; what counts is that the programs are on PATH.
        return wanted.into_iter().filter(|package| !has_program_of(package)).collect();
    }
    let installed = installed_packages(&wanted);
    wanted.into_iter().filter(|package| !installed.contains(*package)).collect()
}

fn missing_tools(purpose: Purpose) -> Vec<&'static CargoTool> {
    let mut tools = vec![];
    if run::which(BPF_LINKER.name).is_none() {
        tools.push(&BPF_LINKER);
    }
    if purpose >= Purpose::Test && run::which(NEXTEST.name).is_none() {
        tools.push(&NEXTEST);
    }
    tools
}

fn installed_packages(wanted: &[&str]) -> HashSet<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${Package} ${db:Status-Status}\\n"]).args(wanted);
    // dpkg-query exits 1 when it does not know one of the names; what it printed about the others still holds.
    let Ok(output) = query.output() else { return HashSet::new() };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| line.strip_suffix(" installed")).map(str::to_owned).collect()
}

/// The program by which a package is recognised where its name says nothing.
fn has_program_of(package: &str) -> bool {
    let program = match package {
        "rustc-web" | "libstd-rust-web-dev-bpf" | "llvm-22-dev" => return false,
        "python3-scapy" => {
            return run::output(run::command("python3").args(["-c", "import scapy"])).is_some();
        }
        "python3-venv" => {
            return run::output(run::command("python3").args(["-c", "import ensurepip, venv"])).is_some();
        }
        "grpc-proto" => return fs::exists("/usr/share/grpc-proto").unwrap_or(false),
        "iproute2" => "ip",
        "iputils-ping" => "ping",
        "nftables" => "nft",
        "netsniff-ng" => "trafgen",
        "procps" => "ps",
        "bind9-dnsutils" => "dig",
        "knot-dnsutils" => "kdig",
        "nginx-light" => "nginx",
        name => name,
    };
    run::which(program).is_some()
}

fn is_debian() -> bool {
    fs::metadata("/etc/debian_version").is_ok() && run::which("apt-get").is_some()
}

// === Installing ===

fn apt_install(packages: &[&str]) -> anyhow::Result<()> {
    run::step(&format!("installing Debian packages: {}", packages.join(" ")));
    // The suites start servers of their own; the packages' would take port 53 or 80 of this machine, now and at boot.
    let _quiet = Quiet::begin(packages);
    let mut install = apt();
    install.args(["install", "-y", "--no-install-recommends"]).args(packages);
    // Lists that are a day old usually do; a fresh machine or container image has none at all.
    if has_package_lists() && install.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    run::step("updating the package lists");
    run::check(apt().arg("update"))?;
    run::check(&mut install)
}

/// No package starts a service while this lives, and servers that are new here never do by themselves.
struct Quiet(bool);

impl Quiet {
    const POLICY: &str = "/usr/sbin/policy-rc.d";
    const UNITS: &str = "/etc/systemd/system";
    const SERVERS: [(&str, &str); 3] =
        [("unbound", "unbound"), ("nginx-light", "nginx"), ("haproxy", "haproxy")];

    fn begin(packages: &[&str]) -> Self {
        for (_, unit) in Self::SERVERS.iter().filter(|(package, _)| packages.contains(package)) {
            // What `systemctl mask` does, which is not there in every container. A unit that is there stays as it is.
            let _ = std::os::unix::fs::symlink("/dev/null", format!("{}/{unit}.service", Self::UNITS));
        }
        // An administrator's own policy stands.
        let own = !fs::exists(Self::POLICY).unwrap_or(true)
            && fs::write(Self::POLICY, "#!/bin/sh\nexit 101\n").is_ok()
            && fs::set_permissions(Self::POLICY, fs::Permissions::from_mode(0o755)).is_ok();
        Self(own)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.0 {
            let _ = fs::remove_file(Self::POLICY);
        }
    }
}

fn apt() -> Command {
    let mut apt = run::command("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "DPkg::Lock::Timeout=120"]);
    apt
}

fn has_package_lists() -> bool {
    let Ok(entries) = fs::read_dir("/var/lib/apt/lists") else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

fn cargo_install(tool: &CargoTool) -> anyhow::Result<()> {
    run::step(&format!("building {} {} to target/tools ({})", tool.name, tool.version, tool.takes));
    let mut install = run::cargo();
    install.args(["install", tool.name, "--version", tool.version]).args(tool.arguments);
    install.arg("--root").arg(run::root().join("target/tools"));
    install.envs(tool.environment.iter().copied());
    // A caller's target directory is for the workspace; the tool's dependencies have no business there.
    install.env_remove("CARGO_TARGET_DIR");
    run::check(&mut install)
        .with_context(|| format!("cannot install {}; try it by hand: {}", tool.name, tool.recipe()))
}

/// Exactly what to do where this program cannot do it.
fn advice(packages: &[&str], tools: &[&CargoTool]) -> String {
    let mut text = String::from("something that is needed is missing. Do this:\n");
    if is_debian() {
        text += "\n  as root (or run `cargo xtask setup` as root):\n    apt-get update && apt-get install -y";
        text += &format!(" --no-install-recommends {}\n", packages.join(" "));
    } else {
        text += &format!("\n  install with your package manager (Debian's names): {}\n", packages.join(" "));
    }
    if packages.iter().any(|package| EBPF_PACKAGES.contains(package)) {
        text +=
            "\n  instead of rustc-web, libstd-rust-web-dev-bpf and llvm-22-dev, rustup's nightly will do:\n";
        text += "    rustup toolchain install nightly --component rust-src && cargo install bpf-linker\n";
    }
    for tool in tools {
        text += &format!("\n  then, in {}:\n    {}\n", run::root().display(), tool.recipe());
    }
    text
}
