//! The state directory: made 0700, refused if looser or somebody else's, held by one daemon at a time.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::error::{Fault, held, unwritable};
use crate::base::Refusal;

const STORE: &str = "gateway.redb";
const LOCK: &str = "lock";

/// The directory, with its lock.
pub(super) struct Directory {
    path: PathBuf,
    owner: Option<u32>,
    _lock: Flock<File>,
}

impl Directory {
    pub(super) fn open(path: &Path, owner: Option<u32>) -> Result<Self, Refusal> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| unwritable(path, &error))?;
        let metadata = std::fs::metadata(path).map_err(|error| unwritable(path, &error))?;
        guard(path, &metadata, owner, 0o700)?;
        let lock_path = path.join(LOCK);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path);
        let file = file.map_err(|error| unwritable(&lock_path, &error))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, errno)| {
            if errno != nix::errno::Errno::EWOULDBLOCK {
                return unwritable(&lock_path, &errno.into());
            }
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            held(path, Some(pid.trim()).filter(|pid| !pid.is_empty()))
        })?;
        let directory = Self { path: path.to_owned(), owner, _lock: lock };
        directory.note_pid();
        Ok(directory)
    }

    /// Tells a second daemon who holds the state. A disk too full for that does not matter.
    fn note_pid(&self) {
        let mut file: &File = &self._lock;
        let _ = file.set_len(0);
        let _ = writeln!(file, "{}", std::process::id());
    }

    pub(super) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    pub(super) fn has_store(&self) -> Result<bool, Refusal> {
        self.store().try_exists().map_err(|error| unwritable(&self.store(), &error))
    }

    /// Device and inode of the store's file.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        std::fs::metadata(self.store()).ok().map(|metadata| (metadata.dev(), metadata.ino()))
    }

    pub(super) fn open_store(&self, file: &Path) -> Result<File, Fault> {
        let handle = OpenOptions::new().read(true).write(true).open(file).map_err(Fault::Io)?;
        let metadata = handle.metadata().map_err(Fault::Io)?;
        guard(file, &metadata, self.owner, 0o600).map_err(|refusal| Fault::Refused(Box::new(refusal)))?;
        if metadata.len() == 0 {
            // redb would take an empty file for a new database; ours is never empty.
            return Err(Fault::corrupt("it is empty"));
        }
        Ok(handle)
    }

    /// Makes a rename in the directory last.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Refuses what others could read or replace.
fn guard(path: &Path, metadata: &std::fs::Metadata, owner: Option<u32>, mode: u32) -> Result<(), Refusal> {
    let user = nix::unistd::geteuid().as_raw();
    if metadata.uid() != user && Some(metadata.uid()) != owner {
        return Err(Refusal::new("state_owner", "the state belongs to another user")
            .field("owner", format_args!("{} of {}", metadata.uid(), path.display()))
            .limit(user)
            .remedy(format_args!("`chown -R {user} {}`, or give another `--state`", path.display())));
    }
    let held = metadata.mode() & 0o7777;
    if held & 0o077 != 0 {
        return Err(Refusal::new("state_mode", "others can get at the state, which holds private keys")
            .field("mode", format_args!("{held:04o} of {}", path.display()))
            .limit(format_args!("{mode:04o}"))
            .remedy(format_args!("`chmod {mode:o} {}`", path.display())));
    }
    Ok(())
}
