//! A daemon with a service behind it, and the outside programs that judge it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use harness::{Desk, Upstream, process};
use serde::Deserialize;

/// The listener `front` of [`Desk::with_open_front`].
pub(crate) const HOST: &str = "127.0.0.2";
pub(crate) const HTTP: &str = "9080";
pub(crate) const HTTPS: &str = "9443";
/// More than any judge takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(150);

/// What a judge says of one case, one JSON object a line.
#[derive(Debug, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) case: String,
    pub(crate) title: String,
    /// Why it failed.
    pub(crate) fault: Option<String>,
}

/// A daemon with one HTTP/1.1 instance behind the open service `echo`.
pub(crate) struct Stage {
    pub(crate) desk: Desk,
    pub(crate) upstream: Upstream,
}

// === impl Stage ===

impl Stage {
    #[track_caller]
    pub(crate) fn new() -> Self {
        let desk = Desk::with_open_front();
        let upstream = desk.within(|| Upstream::local("one"));
        desk.ok(&["service", "add", "echo", "--no-auth", "--instance", &upstream.instance()]);
        Self { desk, upstream }
    }

    /// A Python program of this suite, run where the daemon's loopback is.
    #[track_caller]
    pub(crate) fn python(&self, name: &str) -> Command {
        let mut command = self.command(tool("python", "bin/python"));
        // Byte code beside the sources would be litter in the repository.
        command.arg("-B").arg(script(name));
        command
    }

    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        match &self.desk.namespace {
            Some(namespace) => namespace.command(program),
            None => Command::new(program),
        }
    }
}

/// A program beside these files.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance").join(name)
}

/// What a judge says of every case.
#[track_caller]
pub(crate) fn verdicts(judge: &mut Command) -> Vec<Verdict> {
    let text = process::run(judge, LIMIT).success();
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parse).collect()
}

/// Every case is there and none failed; those that did are listed by name.
#[track_caller]
pub(crate) fn assert_all_pass(verdicts: &[Verdict], count: usize) {
    let failed: Vec<String> = verdicts
        .iter()
        .filter_map(|verdict| {
            let fault = verdict.fault.as_ref()?;
            Some(format!("{} ({}): {fault}", verdict.case, verdict.title))
        })
        .collect();
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), verdicts.len(), failed.join("\n"));
    assert_eq!(verdicts.len(), count, "cases are missing");
}

/// A program that `cargo xtask setup` installs.
#[track_caller]
pub(crate) fn tool(set: &str, program: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools").join(set).join(program);
    assert!(
        path.exists(),
        "{} is missing: run `cargo xtask setup`, which says what it cannot install",
        path.display()
    );
    path
}
