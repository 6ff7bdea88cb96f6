//! A folder of a test's own, with a bpf file system of its own when the test is root.
//!
//! Under `/run`, not `/tmp`: the daemon refuses a pin directory below a folder that others may write to. Unmounting the
//! bpf file system removes every pin in it, so even a test that died leaves no program attached.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Once,
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::netns::{owner_is_gone, unique};

static SWEEP: Once = Once::new();

/// The folder. Removed with its guard.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    mounts: Vec<PathBuf>,
}

// === impl Scratch ===

impl Scratch {
    /// Makes the folder; as root also `bpf/` in it, a bpf file system.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        let root = nix::unistd::geteuid().is_root();
        let base = if root { PathBuf::from("/run/gateway-tests") } else { std::env::temp_dir() };
        fs::create_dir_all(&base).expect("base folder");
        SWEEP.call_once(|| sweep(&base));
        let path = base.join(unique());
        fs::create_dir(&path).expect("scratch folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
        let mut scratch = Self { path, mounts: Vec::new() };
        if root {
            scratch.mount("bpf", "bpf", "mode=0755");
        }
        scratch
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `name` inside the folder.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes `contents` to `name` and returns its path.
    #[track_caller]
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, contents).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Mounts a file system of `kind` at the new folder `name`.
    #[track_caller]
    pub fn mount(&mut self, name: &str, kind: &str, options: &str) -> PathBuf {
        let target = self.join(name);
        fs::create_dir_all(&target).expect("mount point");
        mount(Some(kind), &target, Some(kind), MsFlags::empty(), Some(options))
            .unwrap_or_else(|error| panic!("mount {kind} at {}: {error}", target.display()));
        self.mounts.push(target.clone());
        target
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for target in self.mounts.iter().rev() {
            let _ = umount2(target, MntFlags::MNT_DETACH);
        }
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        eprintln!("{} stays behind: {error}", path.display());
    }
}

/// Removes folders of test processes that were killed.
fn sweep(base: &Path) {
    let Ok(folder) = fs::read_dir(base) else { return };
    for entry in folder.flatten() {
        if owner_is_gone(&entry.file_name().to_string_lossy()) {
            for inner in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
                let _ = umount2(&inner.path(), MntFlags::MNT_DETACH);
            }
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
