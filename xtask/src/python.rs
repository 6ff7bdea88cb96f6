//! The Python programs that the suites call, each set of packages in a folder of its own below `target/tools`, so that
//! nothing of the machine's Python changes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::run;
use crate::toolchain::{AUTOBAHN, FRAME_TOOLS, PythonTools};

/// The frame tool, gRPC, and what makes environments for old Pythons.
pub(crate) fn ensure_frame_tools() -> anyhow::Result<()> {
    if is_current(&FRAME_TOOLS) {
        return Ok(());
    }
    announce(&FRAME_TOOLS);
    let folder = folder(&FRAME_TOOLS);
    run::check(run::command("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    install(&FRAME_TOOLS)
}

/// The WebSocket suite, which is written for Python 2. Without one nothing is installed: its test then fails and says
/// what is missing, and all other suites run.
pub(crate) fn ensure_autobahn() -> anyhow::Result<()> {
    if is_current(&AUTOBAHN) {
        return Ok(());
    }
    let Some(python) = python2() else {
        run::step(
            "no Python 2.7 here: the WebSocket suite will fail (install one, e.g. `pyenv install 2.7.18`)",
        );
        return Ok(());
    };
    announce(&AUTOBAHN);
    let virtualenv = folder(&FRAME_TOOLS).join("bin/virtualenv");
    run::check(run::command(virtualenv).args(["-q", "--clear", "-p"]).arg(python).arg(folder(&AUTOBAHN)))?;
    install(&AUTOBAHN)
}

fn install(tools: &PythonTools) -> anyhow::Result<()> {
    let mut pip = run::command(folder(tools).join("bin/pip"));
    pip.args(["install", "-q", "--no-input", "--disable-pip-version-check"]).args(tools.packages);
    run::check(&mut pip).with_context(|| format!("cannot install the Python packages of {}", tools.name))?;
    // Last, so that what was broken off is begun again.
    let stamp = stamp(tools);
    fs::write(&stamp, wanted(tools)).with_context(|| format!("cannot write {}", stamp.display()))
}

fn announce(tools: &PythonTools) {
    run::step(&format!("installing Python packages to target/tools/{} ({})", tools.name, tools.takes));
}

fn is_current(tools: &PythonTools) -> bool {
    fs::read_to_string(stamp(tools)).is_ok_and(|found| found == wanted(tools))
}

fn wanted(tools: &PythonTools) -> String {
    tools.packages.join("\n")
}

fn folder(tools: &PythonTools) -> PathBuf {
    run::root().join("target/tools").join(tools.name)
}

fn stamp(tools: &PythonTools) -> PathBuf {
    folder(tools).join("packages.installed")
}

/// A Python 2.7 that starts: the one on PATH, which may be a shim that knows of none, or one of pyenv's.
fn python2() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let versions = fs::read_dir(home.join(".pyenv/versions")).into_iter().flatten().flatten();
    let installed = versions.map(|entry| entry.path().join("bin/python2.7"));
    run::which("python2.7").into_iter().chain(installed).find(|path| starts(path))
}

fn starts(python: &Path) -> bool {
    run::output(run::command(python).args(["-c", "import ssl"])).is_some()
}
