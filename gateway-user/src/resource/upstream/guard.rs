//! Pure: what keeps a failing or a full instance from taking the others with it.

use std::{ops::RangeInclusive, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    base::Refusal,
    resource::{duration, range},
};

/// Longest slow start.
pub const MAX_SLOW_START: Duration = Duration::from_secs(3600);

const PERCENT: RangeInclusive<u8> = 0..=100;
const EJECTION: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const QUEUE_WAIT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(300);

/// When requests take an instance out: connect failures, 502, 503, 504 and timeouts in a row, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outlier {
    /// Failures in a row; 0: never.
    pub failures: u32,
    /// First time out; it doubles with each that follows, up to ten times as long.
    #[serde(with = "duration")]
    pub ejection: Duration,
    /// At most this share of the instances is out at once; one may always be.
    pub max_ejected_percent: u8,
}

/// When a request is sent again to another instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all, the first included; 1: never again.
    pub attempts: u32,
    /// Retries by share of the requests of the last ten seconds.
    pub budget_percent: u8,
}

/// What a service may hold at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// Requests in flight to one instance; absent: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// Requests that wait for a free place when every instance is at its bound.
    pub queue: u32,
    /// How long they wait.
    #[serde(with = "duration")]
    pub queue_wait: Duration,
}

// === impl Outlier ===

impl Default for Outlier {
    /// Five in a row, 10 s, half of the instances.
    fn default() -> Self {
        Self { failures: 5, ejection: Duration::from_secs(10), max_ejected_percent: 50 }
    }
}

impl Outlier {
    pub(in crate::resource) fn validate(&self) -> Result<(), Refusal> {
        range::number("outlier.failures", self.failures, &(0..=1_000), "0 never takes an instance out")?;
        range::time("outlier.ejection", self.ejection, &EJECTION, "give it like 10s")?;
        let percent = self.max_ejected_percent;
        range::number("outlier.max_ejected_percent", percent, &PERCENT, "give a share of the instances")
    }
}

// === impl Retry ===

impl Default for Retry {
    /// Three attempts; a fifth of the load at most.
    fn default() -> Self {
        Self { attempts: 3, budget_percent: 20 }
    }
}

impl Retry {
    pub(in crate::resource) fn validate(&self) -> Result<(), Refusal> {
        range::number("retry.attempts", self.attempts, &(1..=10), "1 sends a request once")?;
        range::number("retry.budget_percent", self.budget_percent, &PERCENT, "give a share of the requests")
    }
}

// === impl Bounds ===

impl Default for Bounds {
    /// No bound, hence no queue either; where a bound is set, 64 may wait for 5 s.
    fn default() -> Self {
        Self { in_flight: None, queue: 64, queue_wait: Duration::from_secs(5) }
    }
}

impl Bounds {
    pub(in crate::resource) fn validate(&self) -> Result<(), Refusal> {
        if let Some(in_flight) = self.in_flight {
            range::number("bounds.in_flight", in_flight, &(1..=1_000_000), "leave it out for no bound")?;
        }
        range::number("bounds.queue", self.queue, &(0..=100_000), "0 refuses at once what finds no place")?;
        range::time("bounds.queue_wait", self.queue_wait, &QUEUE_WAIT, "queue = 0 is how nobody waits")
    }
}
