//! Pure: instances of services, as operators see them.

use serde::Serialize;

/// Whether an instance takes requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceStatus {
    /// It takes requests.
    #[default]
    Up,
    /// Its active checks fail.
    Unhealthy,
    /// Requests took it out for a while.
    Ejected,
    /// It is back from being out, and has to show with one request at a time that it works.
    Probation,
}

/// One instance at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct InstanceTraffic {
    /// `host:port`.
    pub instance: String,
    pub status: InstanceStatus,
    /// What the last active checks found; `None`: it is not checked, or was not yet.
    pub healthy: Option<bool>,
    /// Requests in flight.
    pub active: u64,
    pub requests: u64,
    /// Failures that count against it: not reached, too slow, 502, 503, 504.
    pub failures: u64,
    /// Times that requests took it out.
    pub ejections: u64,
    /// Active checks that failed.
    pub checks_failed: u64,
}

/// Whoever knows a service's instances.
pub trait InstanceSource: Send + Sync {
    /// All of them now.
    fn instances(&self) -> Vec<InstanceTraffic>;
    /// Requests that wait for a free place now.
    fn waiting(&self) -> u64;
}

// === impl InstanceStatus ===

impl InstanceStatus {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
            Self::Probation => "probation",
        }
    }
}
