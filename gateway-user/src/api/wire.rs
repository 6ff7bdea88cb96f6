//! Pure: the control API's requests and replies, version 1. Fields are added, never renamed (DESIGN §6).
//!
//! Resources travel in the form of the declarative file (`resource`), so they have no second form here.

use serde::{Deserialize, Serialize};

use crate::base::{Generation, Refusal};

/// First segment of every path.
pub const PREFIX: &str = "/v1";
/// Largest request body. A private network's full allowlist, a million IPv6 entries, is below it.
pub const BODY_LIMIT: usize = 64 * 1024 * 1024;
/// Media type of declarative files.
pub const TOML: &str = "application/toml";
/// Media type of everything else.
pub const JSON: &str = "application/json";
/// Media type of a followed stream: one JSON value per line.
pub const LINES: &str = "application/x-ndjson";

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    pub error: Refusal,
}

/// Allowlist entries to add, remove or set. The text is split and parsed here, by the daemon, so that every client
/// gets the same rules: commas, spaces and newlines separate, a bare address is a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CidrsRequest {
    pub cidrs: Texts,
    /// An empty list means nobody, so setting it has to be said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_empty: bool,
    /// Keep established connections for this long, for example `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<String>,
}

/// What an account grants, or grants no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantsRequest {
    /// `gateway`, `private_link`, `private_zone`.
    pub grants: Vec<String>,
}

/// What of an account can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountPatch {
    pub cross_account: bool,
}

/// One text or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    /// All of it as one text, separated by newlines.
    #[must_use]
    pub fn joined(&self) -> String {
        match self {
            Self::One(text) => text.clone(),
            Self::Many(texts) => texts.join("\n"),
        }
    }
}

/// An allowlist with its counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowReply {
    pub listener: String,
    pub generation: Generation,
    /// Number of entries of the whole list, without draining ones.
    pub total: usize,
    /// What all entries of a long list admitted together; then those of the items are 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    pub items: Vec<AllowItem>,
}

/// One entry of an allowlist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowItem {
    pub cidr: String,
    pub packets: u64,
    pub bytes: u64,
    /// Removed with `--drain`: established connections pass, new ones do not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
    /// End of the drain, seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// A new token of a service, or one chosen by the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Without one a random token is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Return to an earlier generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    pub generation: Generation,
    /// Accept that access becomes wider.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub yes: bool,
}

/// What the filter would do with a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainReply {
    /// `pass` or `drop`.
    pub verdict: String,
    pub reason: String,
    /// Which tier decides: `xdp`, or `accept` where no program judges or it lets the packet through to a refusal there.
    pub tier: String,
    pub listener: Option<String>,
    /// The entry of the allowlist that matched.
    pub entry: Option<String>,
    /// The interface that the packet was assumed to come in through.
    pub interface: Option<String>,
    pub generation: Generation,
    /// When this source was seen at this destination last: let in, or among the sampled drops. Seconds since the Unix
    /// epoch.
    pub last_seen: Option<u64>,
    /// Its open connections there.
    pub connections: u32,
    /// How often it happened.
    pub count: Option<ExplainCount>,
    /// What the program in the kernel says over its live tables; absent where none judges.
    pub kernel: Option<ExplainVerdict>,
    /// What the check at accept says.
    pub host: ExplainVerdict,
    pub warnings: Vec<String>,
}

/// One tier's verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainVerdict {
    /// `pass` or `drop`.
    pub verdict: String,
    pub reason: String,
    pub listener: Option<String>,
    pub entry: Option<String>,
    pub generation: Generation,
}

/// A counter that the packet would count in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainCount {
    /// What is counted: packets of the `entry`, packets of the listener for the `reason`, or `connections` at accept.
    pub of: String,
    pub packets: u64,
    pub bytes: u64,
}

/// The daemon at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    pub version: String,
    pub generation: Generation,
    pub uptime_seconds: u64,
    pub state: String,
    pub filter: Vec<FilterStatus>,
    /// Addresses that the gateway adds to interfaces itself.
    #[serde(default)]
    pub addresses: Vec<AddressStatus>,
    /// Where names are answered.
    pub dns: Vec<NameSocket>,
    /// The generation that each enforcer serves.
    #[serde(default)]
    pub enforcers: Vec<EnforcerStatus>,
    pub workers: Vec<WorkerStatus>,
    pub listeners: Vec<ListenerStatus>,
    pub vpcs: Vec<VpcStatus>,
    pub domains: usize,
    pub certificates: usize,
    pub services: usize,
    pub routes: usize,
    /// A change that is undone unless it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<ConfirmStatus>,
    /// What is not as it should be, a sentence each.
    pub warnings: Vec<String>,
}

/// A change that is undone unless `gateway confirm` comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmStatus {
    /// When it is undone, seconds since the Unix epoch.
    pub by: u64,
    /// Seconds that are left.
    pub left: u64,
    /// The generation whose configuration comes back then.
    pub back_to: Generation,
}

/// The filter on one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterStatus {
    /// The name that listeners use.
    pub interface: String,
    /// Where the program is attached: the interface itself, or the parent of a VLAN.
    pub device: String,
    /// 0: no VLAN.
    pub vlan: u16,
    /// `native`, `tcx`, `accept` (only the check at accept), `detached` or `off`.
    pub mode: String,
    pub generation: Generation,
    /// Why the mode is not `native`, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// One address that the gateway adds to an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressStatus {
    pub interface: String,
    /// With the length of its prefix.
    pub address: String,
    /// `held`, `foreign` (somebody else added it), `waiting` (for its interface) or `failed`.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A place where names are answered, over UDP and TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameSocket {
    /// `public`, or `vpc:NAME`.
    pub view: String,
    /// Absent: every interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    pub address: String,
    /// `answering` or `failed`.
    pub state: String,
    pub generation: Generation,
    /// What stands in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// One data-plane worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    pub worker: u32,
    pub generation: Generation,
}

/// One listener's sockets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    pub listener: String,
    pub interface: String,
    pub addresses: Vec<String>,
    pub open: bool,
    /// `listening`, `closed` (bound, every connection refused), `waiting` (for its address), `failed`, or `unknown`
    /// without a data plane.
    pub state: String,
    /// Who judges its packets first: `xdp`, `tcx`, or `accept` where no program does.
    pub tier: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub entries: usize,
    /// Seconds for which its allowlist still drops nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitored: Option<u64>,
}

/// A private network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcStatus {
    pub vpc: String,
    pub interface: String,
    pub address: String,
    /// `running`, `unreachable`, `failed` or `revoked`.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What enforces snapshots: `filter`, `addresses`, `dns`, `proxy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnforcerStatus {
    pub name: String,
    pub generation: Generation,
}

/// Packets of one listener with one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictCount {
    /// Empty for packets that belong to no listener.
    pub listener: String,
    /// How the listener's traffic is metered: `public`, `private` or `remote`; empty without a listener.
    #[serde(default)]
    pub channel: String,
    pub reason: String,
    /// `pass` or `drop`.
    pub verdict: String,
    /// Where it was counted: `filter` (packets, in the kernel) or `accept` (connections, by the check at accept).
    pub tier: String,
    pub packets: u64,
    pub bytes: u64,
}

/// Drops by listener and reason, and the sampled events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DropsReply {
    pub generation: Generation,
    pub items: Vec<VerdictCount>,
    pub events: Vec<DropLine>,
    /// Sampled events that were lost because nobody read them in time.
    pub lost: u64,
}

/// One sampled drop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DropLine {
    /// Counts up by one; follow with `after` = the last one + 1.
    pub sequence: u64,
    /// Seconds since the Unix epoch.
    pub time: f64,
    pub listener: Option<String>,
    pub reason: String,
    pub source: Option<String>,
    pub source_port: u16,
    pub destination: Option<String>,
    pub destination_port: u16,
    pub interface: String,
    pub vlan: u16,
    pub length: u32,
    pub generation: Generation,
    /// How many drops it stands for: one of so many was sampled.
    pub weight: u32,
    /// Sampled drops that were lost so far because they came faster than they were read.
    pub lost: u64,
}

/// Whom most was dropped of lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropsTopReply {
    pub generation: Generation,
    pub window_seconds: u64,
    /// Heaviest first.
    pub items: Vec<DropsTopItem>,
    /// Sampled drops that were lost so far because they came faster than they were read.
    pub lost: u64,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropsTopItem {
    /// An IPv4 address, or an IPv6 /64.
    pub source: String,
    pub listener: Option<String>,
    pub reason: String,
    /// Estimated from the sample.
    pub packets: u64,
    /// Seconds since the Unix epoch.
    pub last_seen: u64,
}

/// Result of checking a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReply {
    pub host: String,
    pub generation: Generation,
    pub ok: bool,
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub ok: bool,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::CidrsRequest;

    #[test]
    fn a_text_and_a_list_are_both_taken_and_unknown_keys_are_not() {
        for good in [r#"{"cidrs":"a,b"}"#, r#"{"cidrs":["a","b"]}"#] {
            let request: CidrsRequest = serde_json::from_str(good).unwrap();
            assert_eq!(request.cidrs.joined().replace('\n', ","), "a,b");
        }
        for bad in [r#"{"cidrs":1}"#, r"{}", r#"{"cidrs":"a","drian":"3s"}"#] {
            assert!(serde_json::from_str::<CidrsRequest>(bad).is_err(), "{bad}");
        }
    }
}
