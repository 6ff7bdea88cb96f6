//! A daemon without filter, a listener `front` on loopback, and what every refusal must look like.

use std::{fs::File, path::PathBuf};

use harness::{Gateway, NetNs};
use serde_json::Value;

/// One test's daemon. As root in a namespace of its own; else one test at a time, because the default listener of a
/// daemon without root has fixed ports.
pub(crate) struct Desk {
    pub(crate) gateway: Gateway,
    pub(crate) namespace: Option<NetNs>,
    _turn: Option<File>,
}

impl Desk {
    /// A daemon that is not started yet, its filter off.
    #[track_caller]
    pub(crate) fn prepare() -> Self {
        let root = nix::unistd::geteuid().is_root();
        let namespace = root.then(|| NetNs::new("cli"));
        let turn = (!root).then(|| {
            let lock = File::create(std::env::temp_dir().join("gateway-cli-tests.lock")).expect("lock file");
            lock.lock().expect("this test's turn");
            lock
        });
        let mut gateway = Gateway::prepare(namespace.as_ref());
        gateway.set_config("filter = \"off\"\n");
        Self { gateway, namespace, _turn: turn }
    }

    /// A running daemon without resources of the test's own.
    #[track_caller]
    pub(crate) fn new() -> Self {
        let mut desk = Self::prepare();
        desk.gateway.run();
        desk
    }

    /// As [`Self::new`], with the listener `front` (127.0.0.2, ports 9080 and 9443, closed, empty list).
    #[track_caller]
    pub(crate) fn with_front() -> Self {
        let desk = Self::new();
        desk.ok(&add_front("front", "127.0.0.2", "9080", "9443"));
        desk
    }

    /// The answer of a command that must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, words: &[&str]) -> Value {
        self.gateway.cli(words).ok()
    }

    /// The error of a command that must be refused, and that must leave everything as it was.
    #[track_caller]
    pub(crate) fn refused(&self, words: &[&str]) -> Value {
        let before = self.whole();
        let error = self.gateway.cli(words).refused();
        assert_eq!(self.whole(), before, "a refused change changed something: {words:?}\n{error}");
        assert!(
            error["remedy"].is_string() || error["limit"].is_string(),
            "nothing to do about it: {words:?}\n{error}"
        );
        error
    }

    /// Everything that a refused change must leave alone.
    #[track_caller]
    pub(crate) fn whole(&self) -> (u64, String) {
        (self.gateway.generation(), self.gateway.export())
    }

    /// Writes a file of the test and returns its path as text.
    #[track_caller]
    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path: PathBuf = self.gateway.scratch().write(name, contents);
        path.to_str().expect("test paths are UTF-8").to_owned()
    }
}

/// The words that add a listener on loopback.
pub(crate) fn add_front<'a>(name: &'a str, address: &'a str, http: &'a str, https: &'a str) -> Vec<&'a str> {
    let mut words = vec!["listener", "add", name, "--exposure", "public", "--interface", "lo"];
    words.extend(["--address", address, "--http", http, "--https", https]);
    words
}

/// An error has these fields with these texts in them; `""` asks only that the field is there.
#[track_caller]
pub(crate) fn assert_names(error: &Value, fields: &[(&str, &str)]) {
    for (field, text) in fields {
        let found = error[field].as_str().unwrap_or_else(|| panic!("no `{field}` in {error}"));
        assert!(found.contains(text), "`{field}` does not say `{text}`: {error}");
    }
}
