//! Suite `cli`: the command line's contract (DESIGN §6) against the real daemon, the filter off.
//!
//! Needs no root; as root each test has a network namespace of its own. What needs mounts or other users is there with
//! the feature `privileged` only, and then it runs.
//!
//! Where a new test goes:
//! - `shapes`: exit codes and JSON that scripts rely on; the human form; `--dry-run`.
//! - `settings`: every setting of services, routes and listeners, set, exported and taken back.
//! - `declarative`: `export`, `apply`, `diff`, `history`, `rollback`.
//! - `manner`: changes that are tried first, wait for a confirmation, or would lock the caller out.
//! - `networks`: private networks, accounts, grants, long lists.
//! - `bad_input`: one row per thing that must be refused whole.
//! - `storage`: what happens to the state on disk: corrupt, loose, killed in mid-write, two daemons.
//! - `shortage`: a full disk, a read-only one, a lost interface.
//! - `users`: who may read and write the control socket; the first try of somebody without root.
#![expect(clippy::expect_used, reason = "tests panic where they fail")]

mod bad_input;
mod declarative;
mod manner;
#[cfg(feature = "privileged")]
mod networks;
mod settings;
mod shapes;
#[cfg(feature = "privileged")]
mod shortage;
mod storage;
#[cfg(feature = "privileged")]
mod users;
