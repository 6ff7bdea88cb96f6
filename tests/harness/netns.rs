//! Network namespaces with unique names, removed with their guard.
//!
//! Commands enter by `nsenter --net=…`. `ip netns exec` would mount a fresh `/sys` without the bpf file system, and a
//! pin made below it would vanish with that mount.

use std::{
    fs::{self, File},
    marker::PhantomData,
    panic,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, setns};

use crate::process;

const FOLDER: &str = "/run/netns";
/// Prefix of every name that the harness makes, so that left-overs can be told from other namespaces.
const PREFIX: &str = "gwt";

static COUNTER: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

/// A number that is unique on this machine while this process lives.
#[must_use]
pub fn unique() -> String {
    format!("{PREFIX}{}x{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// One named network namespace.
#[derive(Debug)]
pub struct NetNs {
    name: String,
}

// === impl NetNs ===

impl NetNs {
    /// Makes a namespace; `role` is part of its name. Loopback is up and IPv6 addresses are usable at once.
    ///
    /// # Panics
    /// Not root, or the kernel refuses.
    #[must_use]
    #[track_caller]
    pub fn new(role: &str) -> Self {
        require_root();
        SWEEP.call_once(sweep);
        let namespace = Self { name: format!("{}-{role}", unique()) };
        process::check("ip", &["netns", "add", &namespace.name]);
        namespace.within(|| {
            // Duplicate address detection would keep addresses unusable for a second.
            for scope in ["all", "default"] {
                let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/accept_dad"), "0");
                let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/accept_ra"), "0");
            }
        });
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// A command that runs `program` inside. `nsenter` replaces itself, so the child's id is the program's.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        command_in(&self.path(), program)
    }

    /// Runs `program arguments` inside; it must succeed. Returns its standard output.
    #[track_caller]
    pub fn check(&self, program: &str, arguments: &[&str]) -> String {
        process::run(self.command(program).args(arguments), Duration::from_secs(10)).success()
    }

    /// Runs `ip -n NAME arguments`; it must succeed.
    #[track_caller]
    pub fn ip(&self, arguments: &[&str]) -> String {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend_from_slice(arguments);
        process::check("ip", &all)
    }

    /// Runs many `ip` commands, one per line, in one process.
    #[track_caller]
    pub fn ip_batch(&self, lines: &str) {
        batch(Some(&self.name), lines);
    }

    /// Runs `work` on a thread of its own inside this namespace. Sockets that it makes stay inside wherever they go.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within_path(&self.path(), work)
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        let result = Command::new("ip").args(["netns", "del", &self.name]).status();
        if !result.is_ok_and(|status| status.success()) {
            eprintln!("namespace {} could not be removed", self.name);
        }
    }
}

/// A command that runs `program` in the namespace at `path`.
#[must_use]
pub fn command_in(path: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", path.display())).arg("--").arg(program);
    command
}

/// As [`NetNs::within`], for a namespace known by its path.
pub fn within_path<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let _entered = Entered::new(path);
            work()
        });
        worker.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
    })
}

/// Runs `ip -batch` with `lines`, in namespace `name` or in the machine's own.
#[track_caller]
pub fn batch(name: Option<&str>, lines: &str) {
    let mut command = Command::new("ip");
    if let Some(name) = name {
        command.args(["-n", name]);
    }
    command.args(["-batch", "-"]);
    let finished = process::run_with_input(&mut command, Some(lines.as_bytes()), Duration::from_secs(20));
    assert_eq!(finished.code, Some(0), "{lines}\n{}", finished.framed());
}

/// This thread is in another namespace until the guard goes. Not `Send`: a namespace belongs to a thread.
struct Entered {
    home: File,
    thread: PhantomData<*const ()>,
}

// === impl Entered ===

impl Entered {
    fn new(path: &Path) -> Self {
        // `thread-self`, because `/proc/self` is the main thread, which may be elsewhere.
        let home = File::open("/proc/thread-self/ns/net").expect("own namespace");
        let target = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        setns(target, CloneFlags::CLONE_NEWNET).expect("entering a namespace");
        Self { home, thread: PhantomData }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let _: PhantomData<*const ()> = self.thread;
        if let Err(error) = setns(&self.home, CloneFlags::CLONE_NEWNET) {
            eprintln!("a thread could not return to its namespace: {error}");
        }
    }
}

/// Fails loudly when the suite does not run as root; a suite that skips in silence proves nothing.
///
/// # Panics
/// Not root.
#[track_caller]
pub fn require_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this suite makes network namespaces and loads XDP programs: run it as root (`sudo -E cargo xtask test`)"
    );
}

/// Removes namespaces of test processes that were killed before their guards could.
fn sweep() {
    let Ok(folder) = fs::read_dir(FOLDER) else { return };
    for entry in folder.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if owner_is_gone(&name) {
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

/// Whether `name` was made by [`unique`] in a process that no longer lives.
#[must_use]
pub fn owner_is_gone(name: &str) -> bool {
    let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('x').next()).unwrap_or_default();
    !owner.is_empty()
        && owner.bytes().all(|byte| byte.is_ascii_digit())
        && !Path::new("/proc").join(owner).exists()
}
