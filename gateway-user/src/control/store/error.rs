//! What can go wrong with the store, in the operator's words.

use std::{
    cell::Cell,
    fmt::Display,
    io,
    panic::{self, AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Once,
};

use crate::base::Refusal;

/// Why the store did not do what was asked.
#[derive(Debug)]
pub(super) enum Fault {
    Io(io::Error),
    Corrupt(String),
    Held,
    /// Written by a newer version.
    Newer(u32),
    /// The file that was there at start is not there any more.
    Gone,
    /// Said already in full.
    Refused(Box<Refusal>),
    Other(String),
}

thread_local! {
    /// Whether a panic of this thread is redb's about a damaged file, which becomes a refusal.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; redb panics on some damaged files, and that must neither end the daemon nor fill the operator's screen.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if EXPECTED.get() {
                tracing::debug!(%info, "the store's file makes no sense");
            } else {
                loud(info);
            }
        }));
    });
    EXPECTED.set(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    EXPECTED.set(false);
    result.unwrap_or_else(|_| Err(Fault::corrupt("its pages make no sense")))
}

// === impl Fault ===

impl Fault {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the errors of others: few are told apart, all are reported"
    )]
    pub(super) fn new(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Io(error) => match error.kind() {
                // redb's words for a file that is no database or ends too early.
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Corrupt(error.to_string()),
                _ => Self::Io(error),
            },
            redb::Error::Corrupted(what) => Self::Corrupt(what),
            redb::Error::DatabaseAlreadyOpen => Self::Held,
            redb::Error::UpgradeRequired(version) => Self::Newer(u32::from(version)),
            redb::Error::TableDoesNotExist(table) => Self::Corrupt(format!("it has no table `{table}`")),
            other => Self::Other(other.to_string()),
        }
    }

    /// The store is closed after an error.
    pub(super) fn closed() -> Self {
        Self::Other("it is closed since an error; the next change opens it again".to_owned())
    }

    pub(super) fn backend(error: impl Display) -> Self {
        Self::Other(error.to_string())
    }

    /// The fault of a copy in memory: what cannot be read there is damage, never the disk.
    pub(super) fn of_copy(self) -> Self {
        match self {
            Self::Io(error) => Self::Corrupt(error.to_string()),
            Self::Other(what) => Self::Corrupt(what),
            Self::Corrupt(_) | Self::Held | Self::Newer(_) | Self::Gone | Self::Refused(_) => self,
        }
    }

    pub(super) fn corrupt(what: impl Display) -> Self {
        Self::Corrupt(what.to_string())
    }

    pub(super) fn refusal(self, file: &Path) -> Refusal {
        let directory = file.parent().unwrap_or(file).display();
        match self {
            Self::Io(error) => unwritable(file, &error),
            Self::Corrupt(what) => {
                Refusal::new("corrupt_state", format_args!("the store is damaged and was left as it is: {what}"))
                    .field("file", file.display())
                    .remedy(format_args!(
                        "put a copy of it back, or move it away, start with an empty state and `gateway apply` an export"
                    ))
            }
            Self::Held => held(file, None),
            Self::Refused(refusal) => *refusal,
            Self::Newer(version) => {
                Refusal::new("newer_state", "the store was written by another version of the gateway")
                    .field("file", file.display())
                    .limit(format_args!("format {version}"))
                    .remedy("start the version that wrote it")
            }
            Self::Gone => Refusal::new("state_gone", "the store is not there any more")
                .field("file", file.display())
                .remedy(format_args!("who removed it from {directory}? restart the daemon")),
            Self::Other(what) => Refusal::new("state", format_args!("the store failed: {what}"))
                .field("file", file.display())
                .remedy("try again; restart the daemon if that does not help"),
        }
    }
}

/// The refusal of a second daemon.
pub(super) fn held(file: &Path, pid: Option<&str>) -> Refusal {
    let holder = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    Refusal::new("state_in_use", format_args!("another gateway daemon{holder} holds this state"))
        .field("state", file.display())
        .remedy("stop it first, or give this one another `--state`")
}

/// The refusal of a directory or file that cannot be used.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the errors of others: few are told apart, all are reported"
)]
pub(super) fn unwritable(path: &Path, error: &io::Error) -> Refusal {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space and try again",
        io::ErrorKind::ReadOnlyFilesystem => "mount the file system writable, or give another `--state`",
        io::ErrorKind::PermissionDenied => {
            "give the directory to the daemon's user, or give another `--state`"
        }
        _ => "look at the file system and try again",
    };
    Refusal::new(
        "state_unwritable",
        format_args!("the state cannot be written, nothing was changed: {error}"),
    )
    .field("file", path.display())
    .remedy(remedy)
}
