//! Pure: a service as operators write it.

use std::{fmt, net::IpAddr, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Exposure, Secret, clip, duration,
    gateway::default_name,
    read::{one_or_many, text_form},
    size,
    token::{Fingerprint, Token},
};
use crate::base::{Name, Refusal};

/// 1 MiB: exactly this much passes, one byte more is 413 (DESIGN §5).
pub const DEFAULT_BODY_LIMIT: u64 = 1 << 20;
/// Largest body limit: bodies are streamed, so this only guards against slips of the pen.
pub const MAX_BODY_LIMIT: u64 = 1 << 40;
/// Most instances of one service.
pub const MAX_INSTANCES: usize = 1024;
/// Largest rate: beyond it the limiter's clock (nanoseconds) gets too coarse.
pub const MAX_QPS: u32 = 10_000_000;
/// Longest deadline.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// What is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub name: Name,
    #[serde(default = "default_name")]
    pub gateway: Name,
    #[serde(alias = "instance", deserialize_with = "one_or_many")]
    pub instances: Vec<Instance>,
    #[serde(default)]
    pub protocol: Protocol,
    #[serde(default)]
    pub exposure: Exposure,
    /// Bytes of a request body that may pass; also read as `1MiB`.
    #[serde(default = "default_body_limit", deserialize_with = "size::deserialize")]
    pub body_limit: u64,
    /// Admitted requests per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qps: Option<u32>,
    /// Everybody may call the service.
    #[serde(default)]
    pub no_auth: bool,
    /// Pass the client's `Authorization` on to the instances.
    #[serde(default)]
    pub forward_token: bool,
    #[serde(default)]
    pub timeouts: Timeouts,
    /// A token chosen by the caller; without one, one is made and shown once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Tokens that this state already has, by fingerprint (`export`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_fingerprints: Vec<Fingerprint>,
    /// Tokens by their hash (`export --with-secrets`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_hashes: Vec<Token>,
}

/// A change of some fields of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServicePatch {
    #[serde(
        alias = "instance",
        deserialize_with = "some_instances",
        skip_serializing_if = "Option::is_none"
    )]
    pub instances: Option<Vec<Instance>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,
    #[serde(deserialize_with = "size::deserialize_option", skip_serializing_if = "Option::is_none")]
    pub body_limit: Option<u64>,
    /// `null` removes the limit.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub qps: Option<Option<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_auth: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_token: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
}

/// What the instances speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Http,
    Grpc,
}

/// One address of a service: `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    /// Host name in lower case or IP literal (IPv6 without brackets).
    pub host: String,
    pub port: u16,
}

/// Deadlines towards the instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    #[serde(with = "duration")]
    pub connect: Duration,
    #[serde(with = "duration")]
    pub first_byte: Duration,
    #[serde(with = "duration")]
    pub idle: Duration,
}

// === impl Service ===

impl Service {
    /// A service with the defaults and no instances yet.
    #[must_use]
    pub fn new(name: Name) -> Self {
        Self {
            name,
            gateway: default_name(),
            instances: Vec::new(),
            protocol: Protocol::default(),
            exposure: Exposure::default(),
            body_limit: DEFAULT_BODY_LIMIT,
            qps: None,
            no_auth: false,
            forward_token: false,
            timeouts: Timeouts::default(),
            token: None,
            token_fingerprints: Vec::new(),
            token_hashes: Vec::new(),
        }
    }

    /// Checks what can be checked of a service alone.
    ///
    /// # Errors
    /// Names the field that is refused.
    pub fn validate(&self) -> Result<(), Refusal> {
        if self.instances.is_empty() {
            return Err(Refusal::new(
                "missing_field",
                format_args!("service `{}` has no instance", self.name),
            )
            .field("instances", "[]")
            .remedy("give at least one HOST:PORT"));
        }
        if self.instances.len() > MAX_INSTANCES {
            return Err(Refusal::new("limit", "too many instances for one service")
                .field("instances", self.instances.len())
                .limit(MAX_INSTANCES)
                .remedy("put a balancer or a DNS name in front of them"));
        }
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = self.instances.iter().find(|instance| !seen.insert(*instance)) {
            return Err(Refusal::new("duplicate", "the instance is given twice")
                .field("instances", twice)
                .remedy("give it once"));
        }
        if self.body_limit > MAX_BODY_LIMIT {
            return Err(Refusal::new("limit", "the body limit is too large")
                .field("body_limit", self.body_limit)
                .limit("1024GiB")
                .remedy("bodies are streamed: this is for slips of the pen only"));
        }
        if let Some(qps) = self.qps
            && !(1..=MAX_QPS).contains(&qps)
        {
            return Err(Refusal::new("limit", "the rate is out of range")
                .field("qps", qps)
                .limit(format_args!("1 to {MAX_QPS}"))
                .remedy("leave it out for no limit"));
        }
        let Timeouts { connect, first_byte, idle } = self.timeouts;
        for (field, timeout) in [("connect", connect), ("first_byte", first_byte), ("idle", idle)] {
            if timeout.is_zero() || timeout > MAX_TIMEOUT {
                return Err(Refusal::new("limit", "the deadline is out of range")
                    .field(format_args!("timeouts.{field}"), duration::text(timeout))
                    .limit("1ms to 24h")
                    .remedy("give it like 30s"));
            }
        }
        if let Some(token) = &self.token {
            Secret::new(token.reveal())?;
            if self.no_auth {
                return Err(Refusal::new("conflict", "a service without authentication has no token")
                    .field("no_auth", true)
                    .remedy("leave out the token or `no_auth`"));
            }
        }
        Ok(())
    }

    /// The service with the patch's fields in place of its own.
    #[must_use]
    pub fn patched(mut self, patch: ServicePatch) -> Self {
        let ServicePatch { instances, protocol, exposure, body_limit, qps, no_auth, forward_token, timeouts } =
            patch;
        self.instances = instances.unwrap_or(self.instances);
        self.protocol = protocol.unwrap_or(self.protocol);
        self.exposure = exposure.unwrap_or(self.exposure);
        self.body_limit = body_limit.unwrap_or(self.body_limit);
        self.qps = qps.unwrap_or(self.qps);
        self.no_auth = no_auth.unwrap_or(self.no_auth);
        self.forward_token = forward_token.unwrap_or(self.forward_token);
        self.timeouts = timeouts.unwrap_or(self.timeouts);
        self
    }
}

// === impl Instance ===

impl FromStr for Instance {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refused = |why: &str| {
            Refusal::new("invalid_instance", why)
                .field("instance", clip(text))
                .limit("HOST:PORT with a name, an IPv4 address or an IPv6 address in brackets")
                .remedy("write it like 10.0.0.7:8000")
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(|| refused("an instance has a port"))?;
        let port = Some(port)
            .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|port| port.parse().ok())
            .filter(|port| *port > 0)
            .ok_or_else(|| refused("the port is not a number from 1 to 65535"))?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => match inner.parse::<IpAddr>() {
                Ok(IpAddr::V6(v6)) => v6.to_canonical().to_string(),
                Ok(IpAddr::V4(_)) | Err(_) => return Err(refused("the brackets hold no IPv6 address")),
            },
            None => match host.parse::<IpAddr>() {
                Ok(IpAddr::V4(v4)) => v4.to_string(),
                Ok(IpAddr::V6(_)) => {
                    return Err(refused("an IPv6 address stands in brackets")
                        .remedy(format_args!("use [{host}]:{port}")));
                }
                Err(_) => {
                    instance_name(host).ok_or_else(|| refused("this is not a host name or an address"))?
                }
            },
        };
        match host.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
                Err(refused("nothing can be called at this address"))
            }
            Ok(_) | Err(_) => Ok(Self { host, port }),
        }
    }
}

/// A host name of an instance; single labels and underscores (container names) are good here.
fn instance_name(host: &str) -> Option<String> {
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let good =
        name.len() <= 253 && name.split('.').all(label) && !name.rsplit('.').next().is_some_and(number);
    good.then_some(name)
}

impl fmt::Display for Instance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

text_form!(Instance);

// === impl Timeouts ===

impl Default for Timeouts {
    /// 2 s to connect (one lost SYN is retransmitted after 1 s), 60 s to the first byte (a model may think), 60 s idle.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(60),
        }
    }
}

const fn default_body_limit() -> u64 {
    DEFAULT_BODY_LIMIT
}

fn some_instances<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Instance>>, D::Error> {
    one_or_many(deserializer).map(Some)
}

/// Tells an absent key from an explicit null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u32>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
