//! The real program: the daemon in a namespace with folders of its own, and its command line.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;

use crate::{
    netns::{self, NetNs},
    process::{self, Finished, Running},
    scratch::Scratch,
    wait,
};

/// Time for the daemon to come up on a busy machine with a debug build.
const START: Duration = Duration::from_secs(20);
/// Time for one command.
const COMMAND: Duration = Duration::from_secs(30);

/// The program under test: `$GATEWAY_BIN`, else the newer of `target/release/gateway` and `target/debug/gateway`.
///
/// # Panics
/// There is none.
#[must_use]
#[track_caller]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("GATEWAY_BIN") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "GATEWAY_BIN = {} is not a file", path.display());
        return path;
    }
    let target = target_dir();
    let age = |path: &PathBuf| {
        fs::metadata(path).and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    ["release", "debug"]
        .map(|profile| target.join(profile).join("gateway"))
        .into_iter()
        .filter(|path| path.is_file())
        .max_by_key(age)
        .unwrap_or_else(|| panic!("no gateway below {}: run `cargo xtask build`", target.display()))
}

/// The build's target directory.
#[must_use]
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from)
}

/// A daemon with its state, socket, pins and log in one folder.
#[derive(Debug)]
pub struct Gateway {
    namespace: Option<PathBuf>,
    scratch: Scratch,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    daemon: Option<Running>,
}

// === impl Gateway ===

impl Gateway {
    /// Starts the daemon in `namespace` with default settings.
    #[must_use]
    #[track_caller]
    pub fn start(namespace: &NetNs) -> Self {
        let mut gateway = Self::prepare(Some(namespace));
        gateway.run();
        gateway
    }

    /// A daemon that is not started yet.
    #[must_use]
    #[track_caller]
    pub fn prepare(namespace: Option<&NetNs>) -> Self {
        Self {
            namespace: namespace.map(NetNs::path),
            scratch: Scratch::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            daemon: None,
        }
    }

    /// Adds arguments of `run`, from the next start on.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&word| word.to_owned()));
        self
    }

    /// Replaces the further arguments of `run`, from the next start on.
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|&word| word.to_owned()).collect();
    }

    /// Sets a variable of the daemon's environment, from the next start on.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Writes process settings and passes them with `--config`.
    #[track_caller]
    pub fn set_config(&mut self, toml: &str) {
        let file = self.scratch.write("gateway.toml", toml);
        let file = file.to_str().expect("test paths are UTF-8").to_owned();
        self.set_arguments(&["--config", &file]);
    }

    /// The folder, for files of the test.
    #[must_use]
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// As [`Self::scratch`], for mounts.
    pub fn scratch_mut(&mut self) -> &mut Scratch {
        &mut self.scratch
    }

    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.scratch.join("state")
    }

    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.scratch.join("control.sock")
    }

    /// Where the filter is pinned: below the bpf file system as root, nowhere otherwise.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.scratch.join("bpf/gateway")
    }

    /// The daemon's command line, not started.
    #[must_use]
    #[track_caller]
    pub fn daemon_command(&self) -> Command {
        let mut command = self.enter(binary());
        command.arg("run").arg("--state").arg(self.state()).arg("--socket").arg(self.socket());
        if nix::unistd::geteuid().is_root() {
            command.arg("--pin-dir").arg(self.pins());
        }
        if self.namespace.is_none() {
            command.arg("--admin").arg(free_address());
        }
        command.args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn enter(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        match &self.namespace {
            Some(path) => netns::command_in(path, program),
            None => Command::new(program),
        }
    }

    /// Starts the daemon and waits until it answers on its socket.
    ///
    /// # Panics
    /// It ends, or does not answer in time; the message has its log.
    #[track_caller]
    pub fn run(&mut self) {
        self.spawn();
        let start = Instant::now();
        loop {
            if UnixStream::connect(self.socket()).is_ok() {
                break;
            }
            if let Some(code) = self.daemon.as_mut().and_then(Running::ended) {
                panic!("the daemon ended with {code}:\n{}", self.log());
            }
            assert!(start.elapsed() < START, "the daemon does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = self.cli(&["status"]);
        assert_eq!(status.code, 0, "{}\n{}", status.framed(), self.log());
    }

    /// Starts the daemon and does not wait.
    #[track_caller]
    pub fn spawn(&mut self) {
        assert!(self.daemon.is_none(), "the daemon runs already");
        // Left by a killed predecessor; connecting to it would only fail, but its absence makes `run` simple.
        let _ = fs::remove_file(self.socket());
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_file()).expect("log file");
        let mut command = self.daemon_command();
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("log file")).stderr(log);
        self.daemon = Some(Running::spawn(&mut command));
    }

    /// Runs the daemon to its end: for starts that must fail.
    #[track_caller]
    pub fn run_to_end(&self, limit: Duration) -> Finished {
        process::run(&mut self.daemon_command(), limit)
    }

    /// Process id of the running daemon.
    #[must_use]
    #[track_caller]
    pub fn id(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").id()
    }

    /// Ends the daemon with SIGKILL.
    pub fn kill(&mut self) {
        self.daemon = None;
    }

    /// Ends the daemon with SIGTERM; it must exit 0.
    #[track_caller]
    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let code = daemon.terminate(Duration::from_secs(15));
            assert_eq!(code, Some(0), "the daemon's exit code after SIGTERM:\n{}", self.log());
        }
    }

    /// Sends SIGTERM and does not wait.
    #[track_caller]
    pub fn signal(&self) {
        let id = i32::try_from(self.id()).expect("a process id");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGTERM)
            .expect("the daemon runs");
    }

    /// The exit code of a daemon that is on its way out.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> Option<i32> {
        let mut daemon = self.daemon.take().expect("a daemon");
        wait::until("the daemon to end", || daemon.ended()).into()
    }

    /// Whether the daemon still runs.
    pub fn runs(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|daemon| daemon.ended().is_none())
    }

    fn log_file(&self) -> PathBuf {
        self.scratch.join("daemon.log")
    }

    /// Everything that daemons of this folder have written.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// One command of the command line, with `--json`.
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> Reply {
        let mut command = self.cli_command(arguments);
        command.arg("--json");
        Reply::new(process::run(&mut command, COMMAND))
    }

    /// As [`Self::cli`], run in a remote shell whose `$SSH_CONNECTION` is this.
    #[track_caller]
    pub fn cli_over_ssh(&self, connection: &str, arguments: &[&str]) -> Reply {
        let mut command = self.cli_command(arguments);
        command.arg("--json").env("SSH_CONNECTION", connection);
        Reply::new(process::run(&mut command, COMMAND))
    }

    /// As [`Self::cli`], with `input` on standard input.
    #[track_caller]
    pub fn cli_with_input(&self, arguments: &[&str], input: &str) -> Reply {
        let mut command = self.cli_command(arguments);
        command.arg("--json");
        Reply::new(process::run_with_input(&mut command, Some(input.as_bytes()), COMMAND))
    }

    /// One command of the command line in its human form.
    #[track_caller]
    pub fn human(&self, arguments: &[&str]) -> Finished {
        process::run(&mut self.cli_command(arguments), COMMAND)
    }

    /// The command line against this daemon, not started.
    #[must_use]
    #[track_caller]
    pub fn cli_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.enter(binary());
        command.args(arguments).env("GATEWAY_SOCKET", self.socket()).env_remove("RUST_LOG");
        command
    }

    /// `gateway detach` for this daemon's pins; needs no daemon.
    #[track_caller]
    pub fn detach(&self) -> Finished {
        let mut command = self.enter(binary());
        command.arg("detach").arg("--state").arg(self.state()).arg("--pin-dir").arg(self.pins());
        process::run(&mut command, COMMAND)
    }

    /// The whole configuration as `export` prints it.
    #[must_use]
    #[track_caller]
    pub fn export(&self) -> String {
        self.human(&["export"]).success()
    }

    /// The generation in force.
    #[must_use]
    #[track_caller]
    pub fn generation(&self) -> u64 {
        self.cli(&["status"]).ok()["generation"].as_u64().expect("status has a generation")
    }

    /// Waits until the daemon says in its log what `wanted` looks for.
    #[track_caller]
    pub fn wait_for_log(&self, wanted: &str) {
        wait::until(&format!("`{wanted}` in the log"), || self.log().contains(wanted).then_some(()));
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.daemon = None;
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- the daemon's last words ---");
            for line in tail.into_iter().rev() {
                eprintln!("{line}");
            }
        }
        // The pins go with the folder's own bpf file system; `detach` is a verb of the product and has tests.
    }
}

/// A free loopback address, for what must not collide with a neighbour test.
#[must_use]
#[track_caller]
pub fn free_address() -> String {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    probe.local_addr().expect("own address").to_string()
}

/// What a command of the command line said.
#[derive(Debug)]
pub struct Reply {
    pub code: i32,
    /// Standard output as JSON; null when it is none.
    pub json: Value,
    pub finished: Finished,
}

// === impl Reply ===

impl Reply {
    fn new(finished: Finished) -> Self {
        let json = serde_json::from_str(&finished.stdout).unwrap_or(Value::Null);
        Self { code: finished.code.unwrap_or(-1), json, finished }
    }

    #[must_use]
    pub fn framed(&self) -> String {
        self.finished.framed()
    }

    /// The answer of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.code, 0, "{}", self.framed());
        assert!(!self.json.is_null(), "no JSON:\n{}", self.framed());
        self.json
    }

    /// The `error` object of a command that must have been refused: exit code 1, the same on stderr in prose.
    #[track_caller]
    pub fn refused(self) -> Value {
        assert_eq!(self.code, 1, "{}", self.framed());
        let error = self.json["error"].clone();
        assert!(error["code"].is_string() && error["message"].is_string(), "{}", self.framed());
        assert!(!self.finished.stderr.trim().is_empty(), "nothing on stderr:\n{}", self.framed());
        error
    }
}
