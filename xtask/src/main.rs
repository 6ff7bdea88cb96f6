//! The repository's commands. `cargo xtask help` lists them; each has a file of its own.
//!
//! Nothing here is needed at run time: this package builds, checks and measures the gateway.

#![expect(clippy::print_stdout, reason = "a command line tool speaks on stdout")]

mod bench;
mod build;
mod demo;
mod ebpf;
mod elf;
mod endure;
mod fingerprint;
mod fuzz;
mod lint;
mod python;
mod run;
mod setup;
mod test;
mod tidy;
mod toolchain;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests and measures the gateway.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing to build and test (as root on Debian; elsewhere it says what to do)
    Setup(setup::Arguments),
    /// Build the XDP program to target/bpf/gateway-ebpf
    BuildEbpf(ebpf::Arguments),
    /// Build the XDP program and the release binary with it inside: target/release/gateway
    Build,
    /// Show the main job in a playground of network namespaces (needs root), and leave it open
    Demo(demo::Arguments),
    #[command(hide = true)]
    DemoInstance(demo::InstanceArguments),
    /// Run every suite, the privileged ones too (needs root); a name picks tests
    Test(test::Arguments),
    /// What must hold for hours, at its whole size and with its times asserted, on the release build (needs root); a name
    /// picks tests. Nothing else should run meanwhile
    Endure(endure::Arguments),
    /// Fuzz parsers and protocols, guided by coverage: every target, or one
    Fuzz(fuzz::Arguments),
    /// Measure against other programs in one run (needs root): filter, flood, survival, proxy, sse
    Bench(bench::Arguments),
    /// Formatting, clippy, the repository's own rules, licences
    Lint,
    /// Check the repository's own rules only
    Tidy(tidy::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup(arguments) => setup::run(&arguments),
        Command::BuildEbpf(arguments) => ebpf::run(&arguments),
        Command::Build => build::run(),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::DemoInstance(arguments) => demo::instance(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Endure(arguments) => endure::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Lint => lint::run(),
        Command::Tidy(arguments) => tidy::run(&arguments),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    // The chain of causes, without a backtrace: what failed is a command, and its own output stands above.
    eprintln!("\nerror: {error:#}");
    ExitCode::FAILURE
}
