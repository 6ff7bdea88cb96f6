//! Pure: what the kernel filter tells operators: counters, sampled drops, and where it is attached.
//!
//! `kernel` fills these types, `api` reads them through [`FilterSource`]. Nothing here knows of maps or programs.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use serde::Serialize;

use crate::{
    base::{Generation, Name},
    observe::top::TopRow,
    snapshot::filter::Explanation,
};

/// How the API and the metrics read the filter. All calls are cheap enough for a request (a few milliseconds at most).
pub trait FilterSource {
    /// Counters of the policy in force.
    fn report(&self) -> FilterReport;

    /// Where the filter stands, per interface of the policy in force.
    fn status(&self) -> FilterStatus;

    /// Sampled drops numbered `after` and later, oldest first. Follow by asking again with the last sequence + 1.
    fn drops(&self, after: u64) -> Vec<DropRecord>;

    /// Whom most was dropped of during the last `window`, at most `limit` of those that `wanted` takes (by listener and
    /// reason).
    fn top(
        &self,
        window: Duration,
        limit: usize,
        wanted: &dyn Fn(Option<&Name>, &str) -> bool,
    ) -> Vec<TopRow>;

    /// What the program in the kernel says of a new connection from `source` that comes in on `interface`, with the tag
    /// `vlan` instead of the interface's own if there is one: the live tables are asked, nothing is counted. `None`: no
    /// program judges that interface's packets.
    fn judge(
        &self,
        interface: &str,
        vlan: Option<u16>,
        source: IpAddr,
        destination: SocketAddr,
    ) -> Option<Explanation>;
}

/// Packets and bytes, summed over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

/// The counters of one generation's listeners. Ids are stable, so counts go on across generations and restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FilterReport {
    pub generation: Generation,
    pub listeners: Vec<ListenerCounts>,
    /// Verdicts that belong to no listener.
    pub unlisted: Vec<ReasonCount>,
    /// Drops that were counted, of which a sample is sent.
    pub drops_seen: u64,
    /// Sampled drops that found the ring buffer full.
    pub drops_lost: u64,
}

/// One listener's counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerCounts {
    pub id: u16,
    pub listener: Name,
    /// Only reasons that were counted at least once.
    pub reasons: Vec<ReasonCount>,
    /// One row per entry of the allowlist, also of those that never matched.
    pub entries: Vec<EntryCount>,
}

/// Packets that got one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    /// The stable name of a `gateway_common::reason::Reason`.
    pub reason: &'static str,
    /// Whether packets with this reason are dropped.
    pub dropped: bool,
    #[serde(flatten)]
    pub count: Count,
}

/// Packets that matched one allowlist entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EntryCount {
    pub cidr: IpNet,
    pub draining: bool,
    #[serde(flatten)]
    pub count: Count,
}

/// The filter as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FilterStatus {
    /// What the settings ask for: `required`, `auto` or `off`.
    pub wanted: &'static str,
    /// The generation in force.
    pub generation: Generation,
    pub interfaces: Vec<InterfaceStatus>,
    /// Why parts of the filter are not in the kernel, one sentence each.
    pub warnings: Vec<String>,
}

/// Where packets of one listener interface are judged first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceStatus {
    /// The name that listeners use.
    pub interface: String,
    /// Where the program is attached: the interface itself, or the parent of a VLAN.
    pub device: String,
    pub ifindex: u32,
    /// 0: no VLAN.
    pub vlan: u16,
    pub mode: Mode,
    /// The generation that judges there.
    pub generation: Generation,
    /// Why the mode is not `native`, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The tier that judges an interface's packets first. The check at accept stands behind every one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// XDP in the driver.
    Native,
    /// TCX at ingress, where the driver has no native XDP.
    Tcx,
    /// Only the proxy's check at accept.
    Accept,
    /// The interface is gone or lost its program; it is attached again when it is back.
    Detached,
    /// The settings say `filter = "off"`: the check at accept alone.
    Off,
}

impl Mode {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Tcx => "tcx",
            Self::Accept => "accept",
            Self::Detached => "detached",
            Self::Off => "off",
        }
    }
}

/// One sampled drop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DropRecord {
    /// Counts up by one from 0 at the daemon's start.
    pub sequence: u64,
    /// When it was read from the kernel (at most 100 ms after the drop), since the Unix epoch.
    #[serde(serialize_with = "seconds")]
    pub at: Duration,
    /// The generation that judged the packet.
    pub generation: Generation,
    pub interface: String,
    /// `None` where no IP header could be read.
    pub source: Option<IpAddr>,
    pub destination: Option<IpAddr>,
    pub source_port: u16,
    pub destination_port: u16,
    pub vlan: u16,
    /// Length of the packet in bytes.
    pub length: u32,
    /// `None`: no listener, or one that is gone.
    pub listener: Option<Name>,
    /// The stable name of a `gateway_common::reason::Reason`.
    pub reason: &'static str,
    /// How many drops it stands for: one of so many was sampled then.
    pub weight: u32,
}

fn seconds<S: serde::Serializer>(at: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(at.as_secs_f64())
}
