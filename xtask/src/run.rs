//! Paths of the workspace and how commands are run: always from the root, with what `setup` built on PATH, and with
//! the command line in the error.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    // The manifest directory is `<root>/xtask`, so the fallback is never taken.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Where `cargo install` of `setup` puts tools. Independent of CARGO_TARGET_DIR, as are the BPF objects: build.rs of
/// gateway-user has to find them without asking cargo.
pub(crate) fn tools_bin() -> PathBuf {
    root().join("target/tools/bin")
}

/// A command that runs in the workspace's root and finds the tools that `setup` built.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).env("PATH", path());
    command
}

/// The cargo that runs this program, or the one on PATH.
pub(crate) fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// PATH with target/tools/bin in front.
fn path() -> OsString {
    let old = env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(tools_bin()).chain(env::split_paths(&old));
    env::join_paths(dirs).unwrap_or(old)
}

/// The full path of a program, searched where `command` searches it.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    env::split_paths(&path()).map(|dir| dir.join(program)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Runs a command to its end, its output on the terminal; anything but success is an error that names it.
pub(crate) fn check(command: &mut Command) -> anyhow::Result<()> {
    let line = line(command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs a command quietly; its stdout when it succeeds.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Says what is being done, before a step that may take a while.
pub(crate) fn step(what: &str) {
    println!("==> {what}");
}

/// Whether this process may make namespaces and load programs. Effective, because that is what the kernel asks.
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uids.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0")
}
