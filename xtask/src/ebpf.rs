//! Builds the XDP program: which compiler, with which flags, to which file.
//!
//! The host's compiler has no `core` for BPF, so there are two recipes, tried in order: rustup's nightly with
//! `rust-src`, which compiles `core` itself, and Debian's `rustc-web`, which brings one. Each has a target directory
//! of its own below target/bpf-build, because artifacts of two compilers must not share one, and the flags differ
//! from those of the host's build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::run;
use crate::setup::{self, Purpose};
use crate::toolchain::{BPF_LINKER, BPF_RUSTFLAGS, BPF_TARGET, RUSTC_WEB};
use crate::{elf, fingerprint};

/// The object that is embedded in the gateway.
pub(crate) const OBJECT: &str = "target/bpf/gateway-ebpf";

const BIN: &str = "gateway-ebpf";
const BENCH_BIN: &str = "gateway-bench";
const BENCH_OBJECT: &str = "target/bpf/gateway-bench";

/// The same program with another table layout: the upgrade from one layout to another is tested with both.
pub(crate) const LAYOUT_B: Variant =
    Variant { feature: "layout-b", object: "target/bpf/gateway-ebpf-layout-b" };

/// A second object, built with a cargo feature of gateway-ebpf.
pub(crate) struct Variant {
    feature: &'static str,
    object: &'static str,
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build the second table layout too (tests of upgrades need it)
    #[arg(long, value_parser = ["layout-b"])]
    variant: Option<String>,
    /// Cargo features of gateway-ebpf, for an object of your own; wants --out
    #[arg(long, requires = "out", conflicts_with = "variant")]
    features: Option<String>,
    /// Where that object goes
    #[arg(long, requires = "features")]
    out: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match (&arguments.features, &arguments.out) {
        (Some(features), Some(out)) => build(BIN, Some(features), &run::root().join(out)),
        _ if arguments.variant.is_some() => build_all(),
        _ => build_shipped(),
    }
}

/// Builds the object that is shipped.
pub(crate) fn build_shipped() -> anyhow::Result<()> {
    build(BIN, None, &run::root().join(OBJECT))
}

/// Builds the benchmarks' own programs: an empty one and a packet source. Never shipped.
pub(crate) fn build_bench() -> anyhow::Result<()> {
    build(BENCH_BIN, None, &run::root().join(BENCH_OBJECT))
}

/// Builds the shipped object and its variant.
pub(crate) fn build_all() -> anyhow::Result<()> {
    build_shipped()?;
    let manifest = fs::read_to_string(run::root().join("gateway-ebpf/Cargo.toml"))?;
    if !manifest.lines().any(|line| line.starts_with(LAYOUT_B.feature)) {
        println!("    gateway-ebpf has no feature {}: no second object is built", LAYOUT_B.feature);
        return Ok(());
    }
    build(BIN, Some(LAYOUT_B.feature), &run::root().join(LAYOUT_B.object))
}

fn build(bin: &str, features: Option<&str>, object: &Path) -> anyhow::Result<()> {
    setup::ensure(Purpose::Build)?;
    // Before the build: an edit made while it runs must make the object stale.
    let fingerprint = fingerprint::of_sources(run::root())?;
    let mut failures = Vec::new();
    for recipe in recipes() {
        let mut cargo = recipe.cargo();
        cargo.args(["--bin", bin]);
        if let Some(features) = features {
            cargo.args(["--features", features]);
        }
        run::step(&format!("building the XDP program for {} with {}", object.display(), recipe.name()));
        match run::check(&mut cargo) {
            Ok(()) => return install(&recipe.artifact(bin), object, &fingerprint),
            Err(failure) => failures.push(failure.to_string()),
        }
    }
    bail!("the XDP program did not build: {}", failures.join("; "))
}

/// Checks what the linker made and puts it in its place, whole: a reader never sees half a file.
fn install(artifact: &Path, object: &Path, fingerprint: &str) -> anyhow::Result<()> {
    let bytes = fs::read(artifact).with_context(|| format!("cannot read {}", artifact.display()))?;
    let sections = elf::check_bpf_object(&bytes).with_context(|| artifact.display().to_string())?;
    let sums = fingerprint::beside(object);
    fs::create_dir_all(object.parent().context("the object needs a directory")?)?;
    // An unchanged object keeps its time, so that the gateway is not linked again for nothing.
    if fs::read(object).is_ok_and(|old| old == bytes)
        && fs::read_to_string(&sums).is_ok_and(|old| old == fingerprint)
    {
        return Ok(());
    }
    let aside = object.with_extension("new");
    fs::write(&aside, &bytes)?;
    fs::rename(&aside, object)?;
    fs::write(&sums, fingerprint)?;
    let programs: Vec<_> = sections
        .iter()
        .filter(|name| name.starts_with("xdp") || *name == "classifier")
        .map(String::as_str)
        .collect();
    println!(
        "    {}: {} bytes, with BTF, programs in {}",
        object.display(),
        bytes.len(),
        programs.join(", ")
    );
    Ok(())
}

// === Recipes ===

#[derive(Clone, Copy)]
enum Recipe {
    Nightly,
    RustcWeb,
}

fn recipes() -> Vec<Recipe> {
    let mut recipes = Vec::new();
    if has_nightly() && run::which(BPF_LINKER.name).is_some() {
        recipes.push(Recipe::Nightly);
    }
    if Path::new(RUSTC_WEB).exists() && has_bpf_core() {
        recipes.push(Recipe::RustcWeb);
    }
    recipes
}

/// Whether rustup has a nightly that can compile `core`.
pub(crate) fn has_nightly() -> bool {
    let Some(sysroot) =
        run::output(run::command("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]))
    else {
        return false;
    };
    Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").exists()
}

/// Whether Debian's compiler has `core` for the BPF target: some other rustc may be installed as /usr/bin/rustc.
fn has_bpf_core() -> bool {
    let mut query = run::command(RUSTC_WEB);
    query.args(["--print", "target-libdir", "--target", BPF_TARGET]);
    run::output(&mut query).is_some_and(|dir| Path::new(dir.trim()).exists())
}

impl Recipe {
    fn name(self) -> &'static str {
        match self {
            Recipe::Nightly => "rustup's nightly",
            Recipe::RustcWeb => "Debian's rustc-web",
        }
    }

    fn target_dir(self) -> PathBuf {
        let name = match self {
            Recipe::Nightly => "nightly",
            Recipe::RustcWeb => "rustc-web",
        };
        run::root().join("target/bpf-build").join(name)
    }

    fn artifact(self, bin: &str) -> PathBuf {
        self.target_dir().join(BPF_TARGET).join("release").join(bin)
    }

    fn cargo(self) -> Command {
        let mut cargo = match self {
            Recipe::Nightly => {
                let mut cargo = run::command("rustup");
                cargo.args(["run", "nightly", "cargo"]);
                // The cargo that runs this program told us which compiler is its own; nightly has another.
                for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
                    cargo.env_remove(name);
                }
                cargo
            }
            Recipe::RustcWeb => {
                let mut cargo = run::cargo();
                // aya-ebpf uses unstable features of the compiler.
                cargo.env("RUSTC", RUSTC_WEB).env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
        };
        cargo.args(["build", "--package", "gateway-ebpf", "--release", "--target", BPF_TARGET]);
        if matches!(self, Recipe::Nightly) {
            cargo.args(["-Z", "build-std=core"]);
        }
        // Flags and wrappers meant for the host's build would reach this one too.
        for name in
            ["CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"]
        {
            cargo.env_remove(name);
        }
        cargo.env("RUSTFLAGS", BPF_RUSTFLAGS).env("CARGO_TARGET_DIR", self.target_dir());
        cargo
    }
}
