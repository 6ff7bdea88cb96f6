//! The playground: four namespaces, a certificate authority, a service, the gateway; gone with its guard.
//!
//! ```text
//!   client   198.51.100.10 ─┐
//!                           ├─ eth0 198.51.100.1  gateway host ── 10.9.0.1 ── 10.9.0.2 service
//!   outsider 198.51.100.66 ─┘
//! ```

use std::{
    fs,
    io::Write as _,
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use super::{interrupt::Interrupt, screen::Screen, screen::Who};

/// Prefix of namespaces and folders; the owner's process id follows.
const PREFIX: &str = "gwdemo";
/// Nothing that the demo starts takes longer, except what it leaves running.
const LIMIT: Duration = Duration::from_secs(20);
pub(super) const DOMAIN: &str = "models.example.org";

pub(super) struct Playground {
    pub(super) screen: Screen,
    interrupt: Interrupt,
    /// Where everything is: keys, state, socket, pins, log.
    pub(super) folder: PathBuf,
    pub(super) binary: PathBuf,
    id: String,
    children: Vec<Child>,
    pub(super) token: String,
}

/// What a command left.
pub(super) struct Said {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) took: Duration,
}

// === impl Playground ===

impl Playground {
    pub(super) fn new(binary: &Path, screen: Screen, interrupt: Interrupt) -> anyhow::Result<Self> {
        sweep();
        let id = format!("{PREFIX}{}", std::process::id());
        let folder = Path::new("/run").join(&id);
        let playground = Self {
            screen,
            interrupt,
            folder,
            binary: binary.to_owned(),
            id,
            children: Vec::new(),
            token: String::new(),
        };
        fs::create_dir(&playground.folder)
            .with_context(|| format!("cannot make {}", playground.folder.display()))?;
        Ok(playground)
    }

    /// Makes the namespaces, the keys and the service.
    pub(super) fn build(&mut self) -> anyhow::Result<()> {
        self.namespaces()?;
        self.keys()?;
        self.counters()?;
        // A bpf file system of its own: pins go with it, and the machine's is left alone.
        let bpf = self.folder.join("bpf");
        fs::create_dir(&bpf)?;
        self.quiet(Command::new("mount").args(["-t", "bpf", "-o", "mode=0700", "bpf"]).arg(&bpf))?;
        let mut service = self.enter("service", std::env::current_exe()?);
        service.args(["demo-instance", "10.9.0.2:8000"]);
        self.start(service, "service.log")
    }

    fn namespaces(&self) -> anyhow::Result<()> {
        let id = &self.id;
        let mut lines = String::new();
        for role in ["host", "client", "outsider", "service", "wire"] {
            lines += &format!("netns add {id}-{role}\n");
        }
        for (role, name, peer_role, peer) in [
            ("host", "eth0", "wire", "host"),
            ("client", "eth0", "wire", "client"),
            ("outsider", "eth0", "wire", "outsider"),
            ("host", "eth1", "service", "eth0"),
        ] {
            lines += &format!(
                "link add {name} netns {id}-{role} type veth peer name {peer} netns {id}-{peer_role}\n"
            );
        }
        self.batch(None, &lines)?;
        for (role, lines) in [
            ("host", "addr add 198.51.100.1/24 dev eth0\naddr add 10.9.0.1/24 dev eth1\nlink set eth1 up\n"),
            ("client", "addr add 198.51.100.10/24 dev eth0\n"),
            ("outsider", "addr add 198.51.100.66/24 dev eth0\n"),
            ("service", "addr add 10.9.0.2/24 dev eth0\n"),
        ] {
            self.batch(Some(role), &format!("{lines}link set lo up\nlink set eth0 up\n"))?;
        }
        self.batch(
            Some("wire"),
            "link add br0 type bridge stp_state 0 forward_delay 0\n\
             link set host master br0\nlink set client master br0\nlink set outsider master br0\n\
             link set host up\nlink set client up\nlink set outsider up\nlink set br0 up\n",
        )
    }

    fn batch(&self, role: Option<&str>, lines: &str) -> anyhow::Result<()> {
        let mut command = Command::new("ip");
        if let Some(role) = role {
            command.args(["-n", &format!("{}-{role}", self.id)]);
        }
        self.quiet_with_input(command.args(["-batch", "-"]), lines)
    }

    /// An authority, and a certificate for the domain that it signed.
    fn keys(&self) -> anyhow::Result<()> {
        let path = |name: &str| self.folder.join(name).into_os_string();
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        self.quiet(
            Command::new("openssl")
                .args(["req", "-x509", "-days", "30", "-subj", "/CN=Demo authority"])
                .args(curve)
                .args(["-keyout".into(), path("ca.key"), "-out".into(), path("ca.pem")]),
        )?;
        self.quiet(
            Command::new("openssl").args(["req", "-subj", &format!("/CN={DOMAIN}")]).args(curve).args([
                "-keyout".into(),
                path("server.key"),
                "-out".into(),
                path("server.csr"),
            ]),
        )?;
        fs::write(path("server.ext"), format!("subjectAltName=DNS:{DOMAIN}\n"))?;
        self.quiet(
            Command::new("openssl")
                .args(["x509", "-req", "-days", "30", "-CAcreateserial", "-in"])
                .args([path("server.csr"), "-CA".into(), path("ca.pem"), "-CAkey".into(), path("ca.key")])
                .args(["-extfile".into(), path("server.ext"), "-out".into(), path("server.pem")]),
        )?;
        // What every curl of the demo is told, so that the commands on the screen stay short.
        let settings = format!(
            "cacert = \"{}\"\nresolve = \"{DOMAIN}:443:198.51.100.1\"\nsilent\nshow-error\nmax-time = 60\nconnect-timeout = 2\n",
            self.folder.join("ca.pem").display()
        );
        Ok(fs::write(self.folder.join(".curlrc"), settings)?)
    }

    /// A counter in the host's own packet filter, which stands behind XDP.
    fn counters(&self) -> anyhow::Result<()> {
        let rules = "table inet demo {\n counter outsider { }\n chain prerouting {\n\
             type filter hook prerouting priority -400; policy accept;\n\
             ip saddr 198.51.100.66 tcp dport 443 counter name \"outsider\"\n }\n}\n";
        self.quiet_with_input(self.enter("host", "nft").args(["-f", "-"]), rules)
    }

    /// Packets of the outsider towards port 443 that the host itself has seen.
    pub(super) fn seen_by_host(&self) -> anyhow::Result<u64> {
        let said =
            self.wait(self.enter("host", "nft").args(["list", "counter", "inet", "demo", "outsider"]), None)?;
        let packets = said.stdout.split_whitespace().skip_while(|word| *word != "packets").nth(1);
        packets
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("no counter in {}", said.stdout))
    }

    /// Starts the gateway and waits for its socket.
    pub(super) fn start_gateway(&mut self) -> anyhow::Result<()> {
        let (state, pins) = (self.folder.join("state"), self.folder.join("bpf/gateway"));
        let line = format!("gateway run --state {} --pin-dir {} &", state.display(), pins.display());
        self.screen.command(Who::Host, &line);
        let mut gateway = self.enter("host", &self.binary);
        gateway
            .arg("run")
            .arg("--state")
            .arg(state)
            .arg("--socket")
            .arg(self.socket())
            .arg("--pin-dir")
            .arg(pins);
        self.start(gateway, "gateway.log")?;
        let start = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            self.check_interrupt()?;
            ensure!(start.elapsed() < LIMIT, "the gateway does not answer on its socket");
            if let Some(status) = self.children.last_mut().and_then(|child| child.try_wait().ok().flatten()) {
                bail!("the gateway ended ({status})");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    /// Shows and runs a command of `who`, and shows what it said.
    pub(super) fn type_in(&self, who: Who, words: &[&str]) -> anyhow::Result<Said> {
        self.screen.command(who, &self.line(words));
        let said = self.run(who, words)?;
        self.screen.output(&said.stdout);
        self.screen.output(&said.stderr);
        Ok(said)
    }

    /// Runs a command of `who` without showing it.
    pub(super) fn run(&self, who: Who, words: &[&str]) -> anyhow::Result<Said> {
        self.wait(&mut self.prepare(who, words), None)
    }

    /// A command of `who`, not started.
    pub(super) fn prepare(&self, who: Who, words: &[&str]) -> Command {
        let (program, arguments) = words.split_first().unwrap_or((&"true", &[]));
        let mut command = match *program {
            "gateway" => self.enter(who.name(), &self.binary),
            program => self.enter(who.name(), program),
        };
        command.args(arguments.iter().map(|word| word.replace("$TOKEN", &self.token)));
        command.env("GATEWAY_SOCKET", self.socket()).env("CURL_HOME", &self.folder);
        command
    }

    /// The words as one would type them.
    pub(super) fn line(&self, words: &[&str]) -> String {
        let quote = |word: &&str| {
            if word.contains([' ', ';']) { format!("\"{word}\"") } else { (*word).to_owned() }
        };
        words.iter().map(quote).collect::<Vec<_>>().join(" ")
    }

    /// A command inside a namespace. `nsenter` and not `ip netns exec`, which would hide the pins.
    fn enter(&self, role: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace(role))).arg("--").arg(program);
        command
    }

    pub(super) fn namespace(&self, role: &str) -> String {
        format!("/run/netns/{}-{role}", self.id)
    }

    fn start(&mut self, mut command: Command, log: &str) -> anyhow::Result<()> {
        let log = fs::File::create(self.folder.join(log))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        self.children
            .push(command.spawn().with_context(|| format!("cannot start `{}`", crate::run::line(&command)))?);
        Ok(())
    }

    /// Starts a command whose output is read while it runs.
    pub(super) fn stream(&self, who: Who, words: &[&str]) -> anyhow::Result<Child> {
        self.screen.command(who, &self.line(words));
        let mut command = self.prepare(who, words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command.spawn().with_context(|| format!("cannot start `{}`", crate::run::line(&command)))
    }

    fn quiet(&self, command: &mut Command) -> anyhow::Result<()> {
        self.quiet_with_input(command, "")
    }

    fn quiet_with_input(&self, command: &mut Command, input: &str) -> anyhow::Result<()> {
        let said = self.wait(command, Some(input))?;
        ensure!(said.code == 0, "`{}` failed:\n{}{}", crate::run::line(command), said.stdout, said.stderr);
        Ok(())
    }

    /// Runs a command to its end, to its time limit, or to the user's Ctrl-C. Outputs go through files, because a pipe
    /// that nobody reads would stop the command.
    fn wait(&self, command: &mut Command, input: Option<&str>) -> anyhow::Result<Said> {
        self.check_interrupt()?;
        let line = crate::run::line(command);
        let (out, err) = (self.folder.join("stdout"), self.folder.join("stderr"));
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(fs::File::create(&out)?).stderr(fs::File::create(&err)?).process_group(0);
        let start = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot start `{line}`"))?;
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
            pipe.write_all(input.as_bytes())?;
        }
        let code = loop {
            if let Some(status) = child.try_wait()? {
                break status.code().unwrap_or(-1);
            }
            if start.elapsed() > LIMIT || self.interrupt.came() {
                child.kill()?;
                child.wait()?;
                self.check_interrupt()?;
                bail!("`{line}` did not end within {LIMIT:?}");
            }
            thread::sleep(Duration::from_millis(2));
        };
        let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Said { code, stdout: read(&out)?, stderr: read(&err)?, took: start.elapsed() })
    }

    pub(super) fn interrupted(&self) -> bool {
        self.interrupt.came()
    }

    pub(super) fn check_interrupt(&self) -> anyhow::Result<()> {
        ensure!(!self.interrupt.came(), "interrupted");
        Ok(())
    }

    /// The end of the gateway's log, for a step that failed.
    pub(super) fn last_words(&self) {
        let log = fs::read_to_string(self.folder.join("gateway.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        if !lines.is_empty() {
            eprintln!("\nThe gateway's last words:");
            lines.iter().skip(lines.len().saturating_sub(20)).for_each(|line| eprintln!("  {line}"));
        }
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        remove(&self.id);
    }
}

/// Removes the namespaces and the folder of one playground. Unmounting its bpf file system detaches the filter.
fn remove(id: &str) {
    let folder = Path::new("/run").join(id);
    let silent = |command: &mut Command| {
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    };
    silent(Command::new("umount").arg("-l").arg(folder.join("bpf")));
    for role in ["host", "client", "outsider", "service", "wire"] {
        silent(Command::new("ip").args(["netns", "del", &format!("{id}-{role}")]));
    }
    let _ = fs::remove_dir_all(folder);
}

/// Removes playgrounds whose owner was killed.
fn sweep() {
    for entry in fs::read_dir("/run").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(owner) = name.strip_prefix(PREFIX) else { continue };
        if owner.bytes().all(|byte| byte.is_ascii_digit()) && !Path::new("/proc").join(owner).exists() {
            remove(&name);
        }
    }
}
