//! The kernel filter: loads the XDP program, attaches and pins it, and makes each generation of the policy live with
//! one map update. The only room that names aya.
//!
//! Reading order: [`Filter`] (what the rest of the daemon sees) → `apply` (one change, staged and committed) →
//! `tables` (the pinned maps) and `attach` (programs on devices), over `load`, `pin`, `interface` and `netlink`.
//! [`Addresses`], which holds the configuration's own addresses on interfaces, stands beside it over `netlink`.
//!
//! What must hold: the filter outlives the daemon; nothing here ever lets an unfiltered packet pass while it changes
//! (tables are filled before a program uses them, programs are replaced in place); a program of somebody else is never
//! touched; what cannot be attached is refused or, in the mode `auto`, said aloud, because the check at accept stands
//! behind all of it.

mod addresses;
mod apply;
mod attach;
mod bpf_link;
mod capabilities;
mod counters;
mod detach;
mod doctor;
mod ethtool;
mod events;
mod explain;
mod filter;
mod guard;
mod interface;
mod lists;
mod load;
mod marks;
mod mode;
mod netlink;
mod object;
mod pin;
mod reach;
mod standing;
mod tables;
mod tier;
mod value_map;

use std::path::{Path, PathBuf};

pub use addresses::{Addresses, release};
pub use detach::{Detached, detach};
pub use doctor::{Check, Level, probe};
pub use filter::Filter;
pub use mode::{FilterMode, InvalidMode};
pub use pin::{DEFAULT_ROOT, default_directory};
pub use reach::Reach;

/// Settings of the kernel filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub mode: FilterMode,
    /// On a BPF file system; one per state directory.
    pub pin_dir: PathBuf,
    /// Another object than the embedded one. For tests of upgrades.
    pub object: Option<PathBuf>,
}

impl Config {
    /// The defaults for a state directory.
    #[must_use]
    pub fn for_state(state: &Path, mode: FilterMode) -> Self {
        Self { mode, pin_dir: default_directory(state), object: None }
    }
}
