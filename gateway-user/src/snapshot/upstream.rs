//! Pure: how a service's instances are chosen, watched, spared and reached.

use std::time::Duration;

/// Everything about the way to the instances besides their addresses and deadlines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// TLS towards the instances; `None`: plain TCP.
    pub tls: Option<Tls>,
    pub balance: Balance,
    /// Active checks; `None`: only what requests show.
    pub health: Option<HealthCheck>,
    pub outlier: Outlier,
    pub retry: Retry,
    pub bounds: Bounds,
    /// A new or recovered instance's share grows linearly over this time; zero: whole at once.
    pub slow_start: Duration,
}

/// TLS towards instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Name for SNI and verification; `None`: the instance's host.
    pub server_name: Option<String>,
    pub verify: Verify,
}

/// What an instance's certificate is checked against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// The host's own trust store.
    #[default]
    System,
    /// These authorities, DER.
    Authorities(Vec<Vec<u8>>),
    /// Nothing: encrypted, but anybody may be at the other end.
    Insecure,
}

/// Which instance takes a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// The one with fewer requests in flight (by weight) of two random ones.
    #[default]
    LeastRequest,
    /// In turn, by weight.
    RoundRobin,
    /// The same key to the same instance while it is there (bounded load, consistent hash).
    Hash(HashKey),
}

/// What a consistent hash is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    Source,
    /// A request header, in lower case; the client's address where it is absent.
    Header(String),
    /// The request path without the query.
    Path,
}

/// An active check of each instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    pub probe: Probe,
    pub interval: Duration,
    pub timeout: Duration,
    /// Good answers in a row that bring an instance back.
    pub healthy: u32,
    /// Bad answers in a row that take it out.
    pub unhealthy: u32,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A connection is good.
    Tcp,
    /// GET of this path; any 2xx is good.
    Http(String),
}

/// When requests take an instance out: connect failures, 502, 503, 504 and timeouts in a row; nothing else counts,
/// so that a client's bad requests cannot empty a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlier {
    /// Failures in a row; 0: never.
    pub failures: u32,
    /// First time out; it doubles with each that follows, up to ten times as long.
    pub ejection: Duration,
    /// At most this share of the instances is out at once; one may always be.
    pub max_ejected_percent: u8,
}

/// When a request is sent again to another instance. Never after a byte of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// Retries by share of the requests of the last ten seconds; three a second are always allowed.
    pub budget_percent: u8,
}

/// What a service may hold at once, over all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Requests in flight to one instance; `None`: no bound.
    pub in_flight: Option<u32>,
    /// Requests that wait for a free place when every instance is at its bound; beyond it they are refused.
    pub queue: u32,
    /// How long they wait.
    pub queue_wait: Duration,
}

impl Default for Outlier {
    /// Five in a row, 10 s, half of the instances.
    fn default() -> Self {
        Self { failures: 5, ejection: Duration::from_secs(10), max_ejected_percent: 50 }
    }
}

impl Default for Retry {
    /// Three attempts; a fifth of the load at most.
    fn default() -> Self {
        Self { attempts: 3, budget_percent: 20 }
    }
}

impl Default for Bounds {
    /// No bound, hence no queue either; where a bound is set, 64 may wait for 5 s (the product's figures).
    fn default() -> Self {
        Self { in_flight: None, queue: 64, queue_wait: Duration::from_secs(5) }
    }
}
