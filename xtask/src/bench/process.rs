//! Processes and namespaces of a benchmark: started, measured, and gone when the benchmark ends, however it ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::run;

/// A network namespace with its loopback up, so that no port is taken and no host firewall is in the way.
pub(super) struct Namespace {
    name: String,
}

impl Namespace {
    pub(super) fn new(purpose: &str) -> anyhow::Result<Self> {
        sweep();
        let name = format!("{PREFIX}{}{purpose}", std::process::id());
        run::check(run::command("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        run::check(namespace.command("ip").args(["link", "set", "lo", "up"]))?;
        Ok(namespace)
    }

    /// A command that runs in it. `nsenter` and not `ip netns exec`, which would bring a fresh /sys along.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = run::command("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program);
        command
    }

    /// The same, on one core, in a session of its own: where the kernel schedules by session (autogroup), every
    /// candidate and the load get the same share, whatever else runs. It ends with this process.
    pub(super) fn pinned(&self, core: usize, program: &str) -> Command {
        let mut command = self.command("setsid");
        command.args(["setpriv", "--pdeathsig", "TERM", "taskset", "-c", &core.to_string(), program]);
        command
    }
}

const PREFIX: &str = "xtask";

/// Removes namespaces of benchmarks that were interrupted: those whose process is gone.
fn sweep() {
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let digits = name.strip_prefix(PREFIX).map(|rest| rest.trim_end_matches(char::is_alphabetic));
        let pid = digits.and_then(|digits| digits.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = run::check(run::command("ip").args(["netns", "delete", &name]));
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = run::check(run::command("ip").args(["netns", "delete", &self.name])) {
            eprintln!("left behind: {error}");
        }
    }
}

/// A server that runs until it is dropped.
pub(super) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it, its output in `log`.
    pub(super) fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let command = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| run::line(command))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Waits until `ready` says so; a server that ends first is an error with its last words.
    pub(super) fn wait_until(&mut self, mut ready: impl FnMut() -> bool) -> anyhow::Result<()> {
        let start = Instant::now();
        while !ready() {
            if self.child.try_wait()?.is_some() || start.elapsed() > Duration::from_secs(15) {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(15).collect();
                let tail: Vec<_> = tail.into_iter().rev().collect();
                bail!("it did not come up; the end of {}:\n{}", self.log.display(), tail.join("\n"));
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// CPU time of the process and its children so far, in seconds, user and system.
    pub(super) fn cpu(&self) -> Cpu {
        family(self.child.id()).into_iter().map(cpu_of).fold(Cpu::default(), |sum, one| Cpu {
            user: sum.user + one.user,
            system: sum.system + one.system,
        })
    }

    /// Resident size of the process and its children in KiB; what they share counts for each.
    pub(super) fn resident(&self) -> anyhow::Result<f64> {
        family(self.child.id()).into_iter().map(resident_of).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // By the ids of our own children; SIGTERM first, because a killed nginx master leaves its workers behind.
        for signal in ["-TERM", "-KILL"] {
            let pids = family(self.child.id());
            for pid in &pids {
                let _ = Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status();
            }
            for _ in 0..40 {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    return;
                }
                sleep(Duration::from_millis(50));
            }
        }
        let _ = self.child.wait();
    }
}

/// Seconds of CPU time.
#[derive(Clone, Copy, Default)]
pub(super) struct Cpu {
    pub(super) user: f64,
    pub(super) system: f64,
}

impl Cpu {
    pub(super) fn since(self, before: Self) -> Self {
        Self { user: self.user - before.user, system: self.system - before.system }
    }

    pub(super) fn total(self) -> f64 {
        self.user + self.system
    }
}

/// A process and everything below it.
fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(pid) = family.get(next).copied() {
        next += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    family
}

/// Fields 14 and 15 of proc(5) `/proc/<pid>/stat`, in ticks of 10 ms.
fn cpu_of(pid: u32) -> Cpu {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold spaces and parentheses; the fields begin after its last one.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let field = |index: usize| fields.split_whitespace().nth(index).and_then(|text| text.parse::<f64>().ok());
    Cpu {
        user: field(11).unwrap_or(0.0) / TICKS_PER_SECOND,
        system: field(12).unwrap_or(0.0) / TICKS_PER_SECOND,
    }
}

/// `Rss` of proc(5) `/proc/<pid>/smaps_rollup`, which is exact; that of `status` is not.
fn resident_of(pid: u32) -> anyhow::Result<f64> {
    let file = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&file).with_context(|| file.clone())?;
    let rss =
        text.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.parse().ok());
    rss.with_context(|| format!("{file} has no Rss"))
}
