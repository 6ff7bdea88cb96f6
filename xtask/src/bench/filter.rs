//! Builds and runs the filter's measurements. They load BPF objects, so they are a program of their own
//! (`gateway-bench`, tests/bench): this one stays quick to compile.

use std::path::PathBuf;

use crate::{ebpf, run};

pub(super) fn run(name: &str) -> anyhow::Result<()> {
    ebpf::build_shipped()?;
    ebpf::build_bench()?;
    let program = program()?;
    run::step(&format!("measuring: {name}"));
    run::check(run::command(program).arg(name))
}

/// Builds `gateway-bench`.
pub(super) fn program() -> anyhow::Result<PathBuf> {
    run::check(run::cargo().args([
        "build",
        "--profile",
        "measure",
        "--package",
        "gateway-tests",
        "--bin",
        "gateway-bench",
    ]))?;
    Ok(run::target_dir().join("measure/gateway-bench"))
}
