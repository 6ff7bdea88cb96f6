//! Pure: the access policy of one generation, and its tables for `gateway_common::decide`.

pub mod address;
mod bucket;
pub mod explain;
pub mod large;
mod place;
pub mod tables;

use std::{net::IpAddr, num::NonZeroU32, sync::Arc};

use ipnet::IpNet;

use crate::base::{Generation, Name};

pub use explain::{Explanation, explain};
pub use gateway_common::reason::{Action, Reason};
pub use large::LargeList;
pub use tables::{Attachment, FilterTables, ListNumbers, check};

/// The access policy of one generation, before interface names are resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterPlan {
    pub generation: Generation,
    pub listeners: Vec<FilterListener>,
}

/// An address that a listener is reached at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenAddress {
    /// `*`: every address of the interface, both families.
    Any,
    /// One address; `0.0.0.0` and `::` stand for every address of their family.
    Ip(IpAddr),
}

/// One listener's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterListener {
    /// Stable counter id (`1 … MAX_LISTENERS - 1`), kept by the store for the listener's life.
    pub id: u16,
    pub name: Name,
    pub interface: String,
    pub addresses: Vec<ListenAddress>,
    /// TCP ports.
    pub ports: Vec<u16>,
    pub open: bool,
    pub echo: Echo,
    pub options: ListenerOptions,
    /// Canonical, distinct entries; order is decided when the tables are built. Beside a large list: only draining ones.
    pub entries: Vec<FilterEntry>,
    /// The allowlist, where it has more entries than are counted one by one: one counter stands for all of it. Who is
    /// on it is allowed, whatever a draining entry says.
    pub large: Option<Arc<LargeList>>,
}

/// What a listener does beside its list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerOptions {
    /// What the allowlist would drop passes, and is counted.
    pub monitor: bool,
    /// New connections per second, of all allowed sources together.
    pub syn_rate: Option<NonZeroU32>,
    /// New connections per second that each allowed source may always open: its share.
    pub syn_rate_per_source: Option<NonZeroU32>,
}

/// Who gets an answer to ICMP echo at a listener's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Everybody, also while the listener is closed (a public endpoint).
    Everybody,
    /// Sources on the allowlist (a private endpoint).
    Allowlist,
    /// Nobody, and nothing else is answered either (a deleted private network's endpoint).
    Silent,
}

/// One CIDR of an allowlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterEntry {
    pub cidr: IpNet,
    /// Stable counter position within the listener (`< ENTRY_COUNTERS`).
    pub id: u8,
    /// Removed with `--drain`: established flows pass, new connections do not.
    pub draining: bool,
}
