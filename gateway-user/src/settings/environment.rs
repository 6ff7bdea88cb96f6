//! What the process is told from outside its settings file: flags, variables, who runs it. The only place that reads the
//! environment.

use std::path::{Path, PathBuf};

/// What the command line said.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub config: Option<PathBuf>,
    pub state: Option<PathBuf>,
    pub socket: Option<PathBuf>,
    pub pin_dir: Option<PathBuf>,
    pub admin: Option<String>,
    pub user: Option<String>,
}

/// Facts of the process that defaults depend on; a value, so that tests can choose them.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub root: bool,
    /// Used where the XDG variables are unset and there is no home.
    pub uid: u32,
    pub home: Option<PathBuf>,
    pub xdg_state_home: Option<PathBuf>,
    pub xdg_runtime_dir: Option<PathBuf>,
    pub config: Option<PathBuf>,
    pub state: Option<PathBuf>,
    pub socket: Option<PathBuf>,
    pub log: Option<String>,
    pub filter_object: Option<PathBuf>,
}

impl Environment {
    /// Reads the environment of this process. The only place that does.
    #[must_use]
    pub fn of_process() -> Self {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let uid = nix::unistd::geteuid();
        Self {
            root: uid.is_root(),
            uid: uid.as_raw(),
            home: path("HOME"),
            xdg_state_home: path("XDG_STATE_HOME"),
            xdg_runtime_dir: path("XDG_RUNTIME_DIR"),
            config: path("GATEWAY_CONFIG"),
            state: path("GATEWAY_STATE"),
            socket: path("GATEWAY_SOCKET"),
            log: std::env::var("GATEWAY_LOG").ok().filter(|value| !value.is_empty()),
            filter_object: path("GATEWAY_FILTER_OBJECT"),
        }
    }

    pub(super) fn default_state(&self) -> PathBuf {
        if self.root {
            return PathBuf::from("/var/lib/gateway");
        }
        match (&self.xdg_state_home, &self.home) {
            (Some(base), _) => base.join("gateway"),
            (None, Some(home)) => home.join(".local/state/gateway"),
            (None, None) => std::env::temp_dir().join(format!("gateway-{}", self.uid)),
        }
    }

    pub(super) fn default_socket(&self, state: &Path) -> PathBuf {
        match (&self.xdg_runtime_dir, self.root) {
            (_, true) => PathBuf::from("/run/gateway/control.sock"),
            (Some(base), false) => base.join("gateway/control.sock"),
            // Without a runtime directory the state directory is the one place known to be private to the user.
            (None, false) => state.join("control.sock"),
        }
    }
}
