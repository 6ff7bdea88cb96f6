//! `cargo xtask demo`: the gateway's main job on one machine, in network namespaces, shown with real commands.
//!
//! Every step says what it is about to show, runs the commands that one would type, and checks what came of them; the
//! first one that does not hold ends the demo with an error. Whatever happens, also Ctrl-C, the playground goes away.

mod instance;
mod interrupt;
mod playground;
mod screen;
mod script;

use std::net::SocketAddr;

use anyhow::bail;

use self::{interrupt::Interrupt, playground::Playground, screen::Screen};
use crate::ebpf;
use crate::run;
use crate::setup::{self, Purpose};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// End after the last step instead of leaving the playground open; exits 0 only if every step showed what it must
    #[arg(long)]
    once: bool,
}

/// The service behind the gateway; the demo starts this program again as it.
#[derive(clap::Args)]
pub(crate) struct InstanceArguments {
    address: SocketAddr,
}

pub(crate) fn instance(arguments: &InstanceArguments) -> anyhow::Result<()> {
    instance::serve(arguments.address)
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !run::is_root() {
        bail!(
            "the demo makes network namespaces and attaches an XDP program, so it needs root.\n\
             Try: sudo -E env \"PATH=$PATH\" cargo xtask demo"
        );
    }
    let binary = build()?;
    // Before the first child: from here on Ctrl-C ends the demo through its clean-up.
    let interrupt = Interrupt::install()?;
    let screen = Screen::new();
    let mut playground = Playground::new(&binary, screen, interrupt)?;
    let result = script::play(&mut playground);
    let result = match result {
        Ok(()) if !arguments.once => script::leave_open(&playground),
        other => other,
    };
    if result.is_err() && !playground.interrupted() {
        playground.last_words();
    }
    let interrupted = playground.interrupted();
    drop(playground);
    if interrupted {
        println!("\nThe playground is gone.");
        if arguments.once {
            bail!("interrupted");
        }
        return Ok(());
    }
    result
}

/// The program to show: the dev build, because it takes a tenth of the time of the release build and filters alike.
fn build() -> anyhow::Result<std::path::PathBuf> {
    setup::ensure(Purpose::Demo)?;
    if let Some(binary) = std::env::var_os("GATEWAY_BIN") {
        return Ok(binary.into());
    }
    ebpf::build_shipped()?;
    run::step("building the gateway");
    run::check(run::cargo().args(["build", "--package", "gateway-user", "--bin", "gateway"]))?;
    Ok(run::target_dir().join("debug/gateway"))
}
