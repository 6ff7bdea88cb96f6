//! Pure: a service as operators write it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Exposure, Host, Secret, duration,
    gateway::default_name,
    patch::Patched,
    range::{self, is_default},
    size,
    token::{Fingerprint, Token},
    upstream::{
        self, Authorities, Balance, Bounds, Encoding, HashKey, HealthCheck, Instance, MAX_SLOW_START,
        Outlier, Retry, Tls, instances,
    },
};
use crate::base::{Name, Refusal};

/// 1 MiB: exactly this much passes, one byte more is 413 (DESIGN §5).
pub const DEFAULT_BODY_LIMIT: u64 = 1 << 20;
/// Largest body limit: bodies are streamed, so this only guards against slips of the pen.
pub const MAX_BODY_LIMIT: u64 = 1 << 40;
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
    /// `HOST:PORT`, `HOST:PORT=WEIGHT` or `{ address = "HOST:PORT", weight = 3 }`.
    #[serde(alias = "instance", deserialize_with = "instances")]
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
    /// TLS towards the instances.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: Tls,
    /// Name for SNI and verification; without one, the instance's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_server_name: Option<Host>,
    /// Authorities in PEM; without them, the host's own trust store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<Authorities>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub balance: Balance,
    /// What the balance `hash` hashes; the client's address where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_on: Option<HashKey>,
    /// Active checks; without them, only requests show how an instance does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub outlier: Outlier,
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: Retry,
    #[serde(default, skip_serializing_if = "is_default")]
    pub bounds: Bounds,
    /// A new or recovered instance's share grows over this time; zero: whole at once.
    #[serde(default, with = "duration", skip_serializing_if = "Duration::is_zero")]
    pub slow_start: Duration,
    /// What answers may be compressed with, the preferred first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compression: Vec<Encoding>,
    /// Compressed request bodies reach the instances decompressed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub decompress: bool,
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

/// What the instances speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/2: with prior knowledge on plain TCP, by ALPN with TLS.
    Http2,
    /// gRPC, over HTTP/2.
    Grpc,
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

impl Patched for Service {
    const FIXED: &'static [(&'static str, &'static str)] = &[
        ("name", "a service cannot be renamed; add a new one and delete the old one"),
        ("gateway", "add a new service and delete the old one"),
        ("token", "`gateway token rotate` gives it another token"),
        ("token_fingerprints", "`gateway token rotate` gives it another token"),
        ("token_hashes", "`gateway token rotate` gives it another token"),
    ];
    const ALIASES: &'static [(&'static str, &'static str)] = &[("instance", "instances")];
}

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
            tls: Tls::default(),
            tls_server_name: None,
            tls_ca: None,
            balance: Balance::default(),
            hash_on: None,
            health: None,
            outlier: Outlier::default(),
            retry: Retry::default(),
            bounds: Bounds::default(),
            slow_start: Duration::ZERO,
            compression: Vec::new(),
            decompress: false,
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
        upstream::check_instances(&self.instances)?;
        if self.body_limit > MAX_BODY_LIMIT {
            return Err(Refusal::new("limit", "the body limit is too large")
                .field("body_limit", self.body_limit)
                .limit("1024GiB")
                .remedy("bodies are streamed: this is for slips of the pen only"));
        }
        if let Some(qps) = self.qps {
            range::number("qps", qps, &(1..=MAX_QPS), "leave it out for no limit")?;
        }
        self.timeouts.validate()?;
        upstream::check_tls(self.tls, self.tls_server_name.as_ref(), self.tls_ca.as_ref())?;
        upstream::check_balance(self.balance, self.hash_on.as_ref())?;
        self.health.as_ref().map_or(Ok(()), HealthCheck::validate)?;
        self.outlier.validate()?;
        self.retry.validate()?;
        self.bounds.validate()?;
        range::time("slow_start", self.slow_start, &(Duration::ZERO..=MAX_SLOW_START), "give it like 30s")?;
        upstream::check_encodings(&self.compression)?;
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
}

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

impl Timeouts {
    fn validate(&self) -> Result<(), Refusal> {
        const RANGE: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=MAX_TIMEOUT;
        range::time("timeouts.connect", self.connect, &RANGE, "give it like 2s")?;
        range::time("timeouts.first_byte", self.first_byte, &RANGE, "give it like 60s")?;
        range::time("timeouts.idle", self.idle, &RANGE, "give it like 60s")
    }
}

const fn default_body_limit() -> u64 {
    DEFAULT_BODY_LIMIT
}
