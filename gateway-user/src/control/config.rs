//! Pure: what the control plane is started with.

use std::{net::SocketAddr, path::PathBuf};

use crate::base::Site;

/// Where the control plane keeps its state, and what it does with an empty one.
#[derive(Clone, Debug)]
pub struct Config {
    /// State directory, 0700, owned by the daemon's user.
    pub state: PathBuf,
    /// Another user that may own it: the one that the daemon drops to.
    pub owner: Option<u32>,
    pub first_start: FirstStart,
    /// The gateway's own addresses beside its listeners (admin): no instance may have them.
    pub own: Vec<SocketAddr>,
    pub site: Site,
}

/// What an empty state begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstStart {
    /// A listener `local` on the loopback interface, 127.0.0.1:8080 and 8443, open to 127.0.0.0/8 (not root).
    Local,
    /// Nothing (root).
    Empty,
}
