//! Builds and runs the filter's measurements. They load BPF objects, so they are a program of their own
//! (`gateway-bench`, tests/bench): this one stays quick to compile.

use crate::{ebpf, run};

pub(super) fn run(name: &str) -> anyhow::Result<()> {
    ebpf::build_shipped()?;
    ebpf::build_bench()?;
    run::check(run::cargo().args([
        "build",
        "--profile",
        "measure",
        "--package",
        "gateway-tests",
        "--bin",
        "gateway-bench",
    ]))?;
    run::step(&format!("measuring: {name}"));
    run::check(run::command(run::target_dir().join("measure/gateway-bench")).arg(name))
}
