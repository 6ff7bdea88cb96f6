//! The pin directory: what keeps the filter on while no daemon runs.
//!
//! ```text
//! <pin dir>/                      0700, flock held by the one daemon (or `gateway detach`) that uses it
//!   links/<netns inode>-<device>  the attachment; removing the file takes the program off
//!   maps/<layout hash>/<MAP>      the tables; `LIVE` is the port table in force, `STAGED` the next one
//! ```
//!
//! All access goes through the directory's own descriptor, so it works without access to the parents (after
//! privileges were dropped) and nobody can put another directory in its place.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown},
    },
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::statfs::{BPF_FS_MAGIC, fstatfs, statfs},
    unistd::geteuid,
};

use super::object::hex;
use crate::base::Refusal;

/// Where pin directories are by default.
pub const DEFAULT_ROOT: &str = "/sys/fs/bpf/gateway";

/// The pin directory that belongs to `state` unless the settings name another.
#[must_use]
pub fn default_directory(state: &Path) -> PathBuf {
    let canonical = fs::canonicalize(state).unwrap_or_else(|_| state.to_owned());
    let digest = digest(&SHA256, canonical.as_os_str().as_encoded_bytes());
    Path::new(DEFAULT_ROOT).join(hex(digest.as_ref(), 8))
}

/// The pin directory, locked.
pub(crate) struct Pins {
    lock: Flock<File>,
    /// What operators call it.
    directory: PathBuf,
}

impl Pins {
    /// Makes the directory if needed, checks who could write there, and takes the lock.
    ///
    /// # Errors
    /// No BPF file system, somebody else could change the pins, or another process holds the lock.
    pub(crate) fn open(directory: &Path) -> Result<Self, Refusal> {
        let existing = directory.ancestors().find(|part| part.exists()).unwrap_or(Path::new("/"));
        let system = statfs(existing).map_err(|error| refuse(directory, &error.into()))?;
        if system.filesystem_type() != BPF_FS_MAGIC {
            return Err(not_bpffs(directory));
        }
        create(directory).map_err(|error| refuse(directory, &error))?;
        let pins = Self::lock(directory)?;
        for part in ["links", "maps"] {
            match DirBuilder::new().mode(0o700).create(pins.path(part)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(refuse(directory, &error));
                }
                _ => {}
            }
        }
        Ok(pins)
    }

    /// Takes the lock of a directory that may exist. `None`: it does not, so nothing is pinned.
    ///
    /// # Errors
    /// As [`Pins::open`].
    pub(crate) fn open_existing(directory: &Path) -> Result<Option<Self>, Refusal> {
        match fs::symlink_metadata(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(refuse(directory, &error)),
            Ok(_) => Self::lock(directory).map(Some),
        }
    }

    fn lock(directory: &Path) -> Result<Self, Refusal> {
        // Links on the way are fine if what they lead to is; the directory itself may not be one.
        let name = directory.file_name().unwrap_or_default();
        let parent = directory.parent().unwrap_or(Path::new("/"));
        let real = fs::canonicalize(parent).map_err(|error| refuse(directory, &error))?.join(name);
        check_parents(&real)?;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(directory)
            .map_err(|error| refuse(directory, &error))?;
        let system = fstatfs(&file).map_err(|error| refuse(directory, &error.into()))?;
        if system.filesystem_type() != BPF_FS_MAGIC {
            return Err(not_bpffs(directory));
        }
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
            if errno != Errno::EWOULDBLOCK {
                return refuse(directory, &errno.into());
            }
            Refusal::new("filter_in_use", "another gateway process holds the filter of this state directory")
                .field("pin_dir", directory.display())
                .remedy("stop that daemon first, or use another --state and --pin-dir")
        })?;
        Ok(Self { lock, directory: directory.to_owned() })
    }

    /// What operators call the directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A path below the directory, through its descriptor.
    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.lock.as_raw_fd())).join(below)
    }

    /// The directory of the tables with this layout.
    pub(crate) fn maps(&self, layout: &str) -> PathBuf {
        self.path("maps").join(layout)
    }

    /// The pin of `device` in this thread's network namespace.
    ///
    /// # Errors
    /// The namespace cannot be read.
    pub(crate) fn link(&self, device: &str) -> io::Result<PathBuf> {
        Ok(self.path("links").join(format!("{}-{device}", namespace()?)))
    }

    /// The pinned links: path, namespace inode and device name.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn links(&self) -> io::Result<Vec<(PathBuf, u64, String)>> {
        let mut found = Vec::new();
        for path in entries(&self.path("links"))? {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            if let Some((inode, device)) = parse_link(name) {
                let device = device.to_owned();
                found.push((path, inode, device));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes the tables of every layout but `keep`; returns how many layouts went.
    ///
    /// # Errors
    /// A file could not be removed.
    pub(crate) fn remove_maps(&self, keep: Option<&str>) -> io::Result<usize> {
        let mut removed = 0;
        for layout in entries(&self.path("maps"))? {
            if layout.file_name().and_then(OsStr::to_str) != keep {
                remove_directory(&layout)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Takes the whole directory away. The lock goes with `self`.
    ///
    /// # Errors
    /// Something else is in there.
    pub(crate) fn remove(self) -> io::Result<()> {
        for part in ["links", "maps"] {
            match fs::remove_dir(self.path(part)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::remove_dir(&self.directory)
    }

    /// Gives everything to the user that the daemon becomes.
    ///
    /// # Errors
    /// Not permitted.
    pub(crate) fn give(&self, uid: u32, gid: u32) -> io::Result<()> {
        let mut pending = vec![self.path("links"), self.path("maps")];
        chown(self.path("."), Some(uid), Some(gid))?;
        while let Some(path) = pending.pop() {
            chown(&path, Some(uid), Some(gid))?;
            if path.is_dir() {
                pending.extend(entries(&path)?);
            }
        }
        Ok(())
    }
}

/// The inode of this thread's network namespace: the kernel's name for it while it lives.
///
/// # Errors
/// `/proc` is not there.
pub(crate) fn namespace() -> io::Result<u64> {
    // `thread-self`, not `self`: namespaces belong to threads.
    Ok(fs::metadata("/proc/thread-self/ns/net")?.ino())
}

fn parse_link(name: &str) -> Option<(u64, &str)> {
    let (inode, device) = name.split_once('-')?;
    Some((inode.parse().ok()?, device))
}

/// The entries of a directory; none if it does not exist.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
    }
}

/// Removes a directory of pins (which holds no directories).
pub(crate) fn remove_directory(directory: &Path) -> io::Result<()> {
    for path in entries(directory)? {
        fs::remove_file(path)?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn create(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).recursive(true).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Whoever can write to a parent could take the filter off or put other tables in its place.
fn check_parents(directory: &Path) -> Result<(), Refusal> {
    let own = geteuid().as_raw();
    let mut trusted = vec![0, own];
    for (depth, part) in directory.ancestors().enumerate() {
        let metadata = match fs::symlink_metadata(part) {
            Ok(metadata) => metadata,
            Err(error) => return Err(refuse(directory, &error)),
        };
        if depth == 0 {
            // Root may adopt what a daemon with another user has pinned.
            if own == 0 {
                trusted.push(metadata.uid());
            }
            if metadata.mode() & 0o077 != 0 {
                return Err(loose(part, metadata.mode(), "700"));
            }
        }
        let others_write = metadata.mode() & 0o022 != 0 && metadata.mode() & 0o1000 == 0;
        if !metadata.is_dir() || !trusted.contains(&metadata.uid()) || others_write {
            return Err(loose(part, metadata.mode(), "755"));
        }
    }
    Ok(())
}

fn not_bpffs(directory: &Path) -> Refusal {
    Refusal::new("bpffs_missing", format_args!("{} is not on a BPF file system", directory.display()))
        .field("pin_dir", directory.display())
        .remedy("mount one: `mount -t bpf bpf /sys/fs/bpf`, or name a directory on one with --pin-dir")
}

fn loose(part: &Path, mode: u32, wanted: &str) -> Refusal {
    Refusal::new(
        "pin_dir_loose",
        format_args!("{} could be changed by others (mode {:o})", part.display(), mode & 0o7777),
    )
    .field("pin_dir", part.display())
    .remedy(format_args!("make it a directory of root or of the gateway's user with mode {wanted}"))
}

fn refuse(directory: &Path, error: &io::Error) -> Refusal {
    let refusal = Refusal::new("pin_dir", format_args!("the pin directory cannot be used: {error}"))
        .field("pin_dir", directory.display());
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM | libc::ENOENT) => refusal.remedy(
            "mount a BPF file system at /sys/fs/bpf (`mount -t bpf bpf /sys/fs/bpf`), run as root, or name a \
             directory of the gateway's user on one with --pin-dir",
        ),
        _ => refusal,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::{Pins, check_parents, default_directory, parse_link};

    #[test]
    fn link_names_are_read_back() {
        assert_eq!(parse_link("4026531840-eth0"), Some((4_026_531_840, "eth0")));
        assert_eq!(parse_link("7-br-lan"), Some((7, "br-lan")));
        assert_eq!(parse_link("eth0"), None);
        assert_eq!(parse_link("x-eth0"), None);
    }

    #[test]
    fn each_state_directory_has_its_own_pins() {
        let (a, b) = (default_directory("/var/lib/a".as_ref()), default_directory("/var/lib/b".as_ref()));
        assert_ne!(a, b);
        assert_eq!(a, default_directory("/var/lib/a".as_ref()));
        assert!(a.starts_with(super::DEFAULT_ROOT));
    }

    #[test]
    fn an_ordinary_directory_is_refused_with_the_mount_command() {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let refusal = Pins::open(&directory.path().join("pins")).map(|_| ()).unwrap_err();
        assert_eq!(refusal.code, "bpffs_missing");
        assert!(refusal.remedy.unwrap().contains("mount -t bpf"));
    }

    #[test]
    fn a_directory_that_others_can_change_is_refused() {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let inner = directory.path().join("pins");
        fs::create_dir(&inner).unwrap();
        for (outer_mode, inner_mode, good) in [
            (0o700, 0o700, true),
            (0o755, 0o700, true),
            (0o777, 0o700, false),
            (0o700, 0o750, false),
            (0o1777, 0o700, true),
        ] {
            fs::set_permissions(&inner, fs::Permissions::from_mode(inner_mode)).unwrap();
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(outer_mode)).unwrap();
            assert_eq!(check_parents(&inner).is_ok(), good, "{outer_mode:o} {inner_mode:o}");
        }
    }
}
