//! The release binary, with the XDP program inside.

use crate::{ebpf, run};

pub(crate) fn run() -> anyhow::Result<()> {
    ebpf::build_shipped()?;
    run::step("building the gateway (fat LTO: a few minutes from cold)");
    run::check(run::cargo().args(["build", "--release", "--package", "gateway-user", "--bin", "gateway"]))?;
    println!("    {}", run::target_dir().join("release/gateway").display());
    Ok(())
}
