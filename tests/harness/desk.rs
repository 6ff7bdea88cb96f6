//! A daemon without filter on loopback: what suites begin with that ask what is said and answered, not who drops it.

use std::{fs::File, path::PathBuf};

use serde_json::Value;

use crate::{Gateway, NetNs};

/// One test's daemon. As root in a namespace of its own; else one test at a time, because the default listener of a
/// daemon without root has fixed ports.
#[derive(Debug)]
pub struct Desk {
    pub gateway: Gateway,
    pub namespace: Option<NetNs>,
    _turn: Option<File>,
}

// === impl Desk ===

impl Desk {
    /// A daemon that is not started yet, its filter off.
    #[must_use]
    #[track_caller]
    pub fn prepare() -> Self {
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
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        Self::with_settings("")
    }

    /// As [`Self::new`], with further process settings.
    #[must_use]
    #[track_caller]
    pub fn with_settings(toml: &str) -> Self {
        let mut desk = Self::prepare();
        desk.gateway.set_config(&format!("filter = \"off\"\n{toml}"));
        desk.gateway.run();
        desk
    }

    /// As [`Self::new`], with the listener `front` on 127.0.0.2, ports 9080 and 9443, closed, with an empty list.
    #[must_use]
    #[track_caller]
    pub fn with_front() -> Self {
        let desk = Self::new();
        desk.ok(&add_front("front", "127.0.0.2", "9080", "9443"));
        desk
    }

    /// As [`Self::with_front`], open to 127.0.0.0/8.
    #[must_use]
    #[track_caller]
    pub fn with_open_front() -> Self {
        Self::new().open()
    }

    /// Adds the listener of [`Self::with_open_front`].
    #[must_use]
    #[track_caller]
    pub fn open(self) -> Self {
        self.add_open_front("front", "127.0.0.2");
        self
    }

    /// Adds a listener on ports 9080 and 9443 of `address`, open to 127.0.0.0/8.
    #[track_caller]
    pub fn add_open_front(&self, name: &str, address: &str) {
        self.ok(&add_front(name, address, "9080", "9443"));
        self.ok(&["allow", "add", name, "127.0.0.0/8"]);
        self.ok(&["listener", "open", name]);
    }

    /// Runs `work` where the daemon's loopback is.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.namespace {
            Some(namespace) => namespace.within(work),
            None => work(),
        }
    }

    /// The answer of a command that must succeed.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> Value {
        self.gateway.cli(words).ok()
    }

    /// The error of a command that must be refused, and that must leave everything as it was.
    #[track_caller]
    pub fn refused(&self, words: &[&str]) -> Value {
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
    pub fn whole(&self) -> (u64, String) {
        (self.gateway.generation(), self.gateway.export())
    }

    /// Writes a file of the test and returns its path as text.
    #[track_caller]
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path: PathBuf = self.gateway.scratch().write(name, contents);
        path.to_str().expect("test paths are UTF-8").to_owned()
    }
}

impl Default for Desk {
    fn default() -> Self {
        Self::new()
    }
}

/// The words that add a listener on loopback.
#[must_use]
pub fn add_front<'a>(name: &'a str, address: &'a str, http: &'a str, https: &'a str) -> Vec<&'a str> {
    let mut words = vec!["listener", "add", name, "--exposure", "public", "--interface", "lo"];
    words.extend(["--address", address, "--http", http, "--https", https]);
    words
}

/// An error has these fields with these texts in them; `""` asks only that the field is there.
#[track_caller]
pub fn assert_names(error: &Value, fields: &[(&str, &str)]) {
    for (field, text) in fields {
        let found = error[field].as_str().unwrap_or_else(|| panic!("no `{field}` in {error}"));
        assert!(found.contains(text), "`{field}` does not say `{text}`: {error}");
    }
}
