//! Pure: what `list`, `show` and `status` say of the configuration. Fields are added, never renamed (DESIGN §6); there is
//! never a secret in them.

pub mod build;

use serde::Serialize;

use super::{Change, Loss};
use crate::{
    base::{Generation, Name, Refusal},
    resource::{
        self, Address, Exposure, Grant, Host, Instance, Mirror, Protocol, Timeouts, WeightedService,
        duration, port, token::Fingerprint, upstream,
    },
    snapshot::Channel,
};

/// `{"generation", "items"}`.
#[derive(Clone, Debug, Serialize)]
pub struct ListView<T> {
    pub generation: Generation,
    pub items: Vec<T>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GatewayView {
    pub name: Name,
    pub listeners: usize,
    pub services: usize,
    pub region: String,
    /// The domain below which the names live; without one there are none.
    pub dns_zone: Option<String>,
    /// Name of the public endpoint, and what it is a CNAME to.
    pub public_name: Option<String>,
    pub public_target: Option<String>,
    /// Names within private networks.
    pub private_names: Vec<PrivateNameView>,
}

/// How clients of one private network name the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrivateNameView {
    pub vpc: Name,
    pub name: String,
    /// What it is a CNAME to.
    pub target: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointServiceView {
    pub name: Name,
    pub gateway: Name,
    pub service_name: String,
    pub dns: String,
    /// Empty: everywhere.
    pub regions: Vec<Name>,
    pub service: Name,
    pub cert: Option<Name>,
    /// Endpoints that lead to it.
    pub endpoints: Vec<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointView {
    pub name: Name,
    pub gateway: Name,
    /// The listener that `allow` and `stats` know; on further interfaces it has a zone behind.
    pub listener: Name,
    pub kind: resource::endpoint::EndpointKind,
    pub ip_version: resource::endpoint::IpVersion,
    /// The endpoint service.
    pub service: Name,
    pub service_name: String,
    pub fqdn: String,
    pub region: Name,
    pub vpc: Name,
    pub subnets: Vec<SubnetView>,
    pub security_group: Vec<String>,
    #[serde(with = "port")]
    pub http: Option<u16>,
    #[serde(with = "port")]
    pub https: Option<u16>,
    pub open: bool,
    /// It has addresses in two zones or more.
    pub zone_redundancy: bool,
    pub client_token: Option<String>,
    /// URLs that clients of the network use.
    pub urls: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubnetView {
    pub zone: Name,
    pub vswitch: Option<String>,
    pub address: ipnet::IpNet,
    pub interface: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerView {
    pub name: Name,
    pub gateway: Name,
    /// Counter id.
    pub id: u16,
    pub exposure: Exposure,
    pub interface: String,
    pub addresses: Vec<Address>,
    #[serde(with = "port")]
    pub http: Option<u16>,
    #[serde(with = "port")]
    pub https: Option<u16>,
    pub open: bool,
    pub wait_address: bool,
    pub limits: crate::resource::Limits,
    pub proxy_protocol: bool,
    pub trusted_forwarders: resource::Allowlist,
    /// Until when (seconds since the Unix epoch) the listener is monitored: its allowlist drops nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor_until: Option<u64>,
    /// Number of entries of the allowlist.
    pub entries: usize,
    /// Its first 15 entries; `allow list` has all.
    pub allow: Vec<String>,
    pub draining: Vec<DrainView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountView {
    pub name: Name,
    /// Whether its networks may be attached, by its own flag or the site's.
    pub cross_account: bool,
    pub grants: std::collections::BTreeSet<Grant>,
    /// Grants that it has not given.
    pub missing: Vec<Grant>,
    /// Its networks that are here.
    pub vpcs: Vec<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VpcView {
    pub name: Name,
    pub gateway: Name,
    pub account: Name,
    /// Its listener.
    pub listener: Name,
    pub interface: String,
    /// The private endpoint, with the length of its subnet's prefix.
    pub address: ipnet::IpNet,
    pub zone: Name,
    pub vswitch: String,
    pub region: Name,
    /// `private`, or `remote` for a network of another region.
    pub channel: Channel,
    /// The endpoint's DNS names: the one that clients use, and where it leads. None without a `dns_zone` in the settings.
    pub names: Vec<String>,
    pub probe: Option<std::net::IpAddr>,
    pub authoritative_dns: bool,
    #[serde(with = "port")]
    pub http: Option<u16>,
    #[serde(with = "port")]
    pub https: Option<u16>,
    pub open: bool,
    pub proxy_protocol: bool,
    pub trusted_forwarders: resource::Allowlist,
    /// Why the network is not attached any more; its endpoint is silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
    /// Number of entries of its allowlist; `allow list vpc:NAME` has them.
    pub entries: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DrainView {
    pub cidr: String,
    /// Counter position.
    pub id: u8,
    /// Seconds since the Unix epoch.
    pub until: u64,
}

/// `allow list`; `api` puts the counters beside each entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AllowView {
    pub listener: Name,
    pub generation: Generation,
    /// Counter id of the listener.
    pub id: u16,
    /// Number of entries without draining ones.
    pub total: usize,
    /// Whether each entry has counters of its own.
    pub counted: bool,
    pub items: Vec<EntryView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryView {
    pub cidr: String,
    /// Counter position within the listener; none in a large list.
    pub id: Option<u8>,
    pub draining: bool,
    /// End of the drain, seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateView {
    pub name: Name,
    pub gateway: Name,
    /// DNS names that the certificate covers.
    pub names: Vec<String>,
    pub subject: String,
    pub issuer: String,
    /// Seconds since the Unix epoch.
    pub not_before: i64,
    pub not_after: i64,
    pub key_fingerprint: Fingerprint,
    /// Domains that use it.
    pub domains: Vec<Host>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DomainView {
    pub host: Host,
    pub gateway: Name,
    pub exposure: Exposure,
    pub cert: Option<Name>,
    pub https_only: bool,
    /// Routes for this host.
    pub routes: Vec<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceView {
    pub name: Name,
    pub gateway: Name,
    pub instances: Vec<Instance>,
    pub protocol: Protocol,
    pub exposure: Exposure,
    pub body_limit: u64,
    pub qps: Option<u32>,
    pub no_auth: bool,
    pub forward_token: bool,
    pub timeouts: Timeouts,
    pub tls: upstream::Tls,
    pub tls_server_name: Option<Host>,
    /// Subjects of the authorities that instances are checked against; empty: the host's trust store.
    pub tls_ca_subjects: Vec<String>,
    pub balance: upstream::Balance,
    /// What a hash is made from; absent with another balance.
    pub hash_on: Option<upstream::HashKey>,
    pub health: Option<upstream::HealthCheck>,
    pub outlier: upstream::Outlier,
    pub retry: upstream::Retry,
    pub bounds: upstream::Bounds,
    #[serde(with = "duration")]
    pub slow_start: std::time::Duration,
    pub compression: Vec<upstream::Encoding>,
    pub decompress: bool,
    pub tokens: Vec<TokenView>,
    /// Base URLs to call it at.
    pub endpoints: Vec<String>,
    /// Routes that lead to it.
    pub routes: Vec<Name>,
    /// Routes that send it copies.
    pub mirrored_by: Vec<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenView {
    pub fingerprint: Fingerprint,
    /// Seconds since the Unix epoch.
    pub created: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteView {
    pub name: Name,
    pub gateway: Name,
    pub host: Option<Host>,
    pub path_prefix: String,
    pub methods: Vec<String>,
    pub headers: std::collections::BTreeMap<String, String>,
    pub strip_prefix: bool,
    pub services: Vec<WeightedService>,
    pub mirror: Option<Mirror>,
    pub retry_unsafe: bool,
}

/// One line of `history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct HistoryView {
    pub generation: Generation,
    /// Seconds since the Unix epoch.
    pub time: u64,
    /// User id; absent for the daemon itself.
    pub actor: Option<u32>,
    pub summary: String,
}

/// The control plane's part of `status`.
#[derive(Clone, Debug, Serialize)]
pub struct StatusView {
    pub generation: Generation,
    /// The generation that each enforcer serves.
    pub enforcers: Vec<EnforcerView>,
    pub listeners: usize,
    pub vpcs: usize,
    pub domains: usize,
    pub certificates: usize,
    pub services: usize,
    pub routes: usize,
    pub endpoint_services: usize,
    pub endpoints: usize,
    /// Why the generation could not be published at start; absent when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Refusal>,
    /// A change that waits for its confirmation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<ConfirmView>,
}

/// A change that is undone unless it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ConfirmView {
    /// When it is undone, seconds since the Unix epoch.
    pub by: u64,
    /// Seconds that are left.
    pub left: u64,
    /// The generation whose configuration comes back then.
    pub back_to: Generation,
}

/// What applying a document would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub changes: Vec<Change>,
    /// Whom it would keep out.
    #[serde(flatten)]
    pub loss: Loss,
    /// What whoever asks should know before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EnforcerView {
    pub name: &'static str,
    pub generation: Generation,
}
