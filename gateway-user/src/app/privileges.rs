//! Which privileges the daemon keeps (DESIGN §3): the five capabilities that the filter and the sockets need, no more.

use std::path::Path;

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Uid, User};

use crate::base::Refusal;

/// Loading and updating the filter, its links, low ports and SO_BINDTODEVICE.
const KEPT: [Capability; 5] = [
    Capability::CAP_BPF,
    // Without it the verifier masks pointers against Spectre, which slows the program down or refuses it.
    Capability::CAP_PERFMON,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_NET_RAW,
];

fn failed(user: &str, step: &str, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new("privileges", format!("cannot become user `{user}`: {step}: {error}"))
        .field("user", user)
        .remedy("start as root with the name of an existing user, or leave --user out")
}

/// The user named `user`.
///
/// # Errors
/// There is none.
pub(super) fn account(user: &str) -> Result<User, Refusal> {
    User::from_name(user)
        .map_err(|error| failed(user, "look-up", &error))?
        .ok_or_else(|| failed(user, "look-up", &"there is no such user"))
}

/// Hands `directories` to the user, becomes that user and keeps only [`KEPT`].
///
/// Must run before the first thread is spawned: capabilities belong to threads.
///
/// # Errors
/// The kernel refused a step; the process must not go on then.
pub(super) fn become_user(account: &User, directories: &[&Path]) -> Result<(), Refusal> {
    let failed = |step: &str, error: &dyn std::fmt::Display| failed(&account.name, step, error);
    for directory in directories {
        chown_tree(directory, account.uid, account.gid).map_err(|error| failed("chown", &error))?;
    }
    nix::sys::prctl::set_keepcaps(true).map_err(|error| failed("PR_SET_KEEPCAPS", &error))?;
    nix::unistd::setgroups(&[account.gid]).map_err(|error| failed("setgroups", &error))?;
    nix::unistd::setresgid(account.gid, account.gid, account.gid)
        .map_err(|error| failed("setresgid", &error))?;
    nix::unistd::setresuid(account.uid, account.uid, account.uid)
        .map_err(|error| failed("setresuid", &error))?;
    let kept: CapsHashSet = KEPT.into_iter().collect();
    // Permitted last: a set may only shrink to what permitted still holds.
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &kept).map_err(|error| failed("capset", &error))?;
    }
    caps::clear(None, CapSet::Inheritable).map_err(|error| failed("capset", &error))?;
    nix::sys::prctl::set_no_new_privs().map_err(|error| failed("PR_SET_NO_NEW_PRIVS", &error))?;
    Ok(())
}

/// Gives a directory and what it holds to a user; symbolic links are not followed.
fn chown_tree(path: &Path, uid: Uid, gid: Gid) -> std::io::Result<()> {
    std::os::unix::fs::lchown(path, Some(uid.as_raw()), Some(gid.as_raw()))?;
    if path.symlink_metadata()?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            chown_tree(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}
