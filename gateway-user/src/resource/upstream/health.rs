//! Pure: active checks of a service's instances.

use std::{fmt, ops::RangeInclusive, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    base::Refusal,
    resource::{clip, duration, range, read::text_form},
};

/// Longest path of a check in bytes.
const MAX_PATH: usize = 1024;
/// More often than once a second, checks are a load of their own; less often than once an hour, they are none.
const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
const IN_A_ROW: RangeInclusive<u32> = 1..=100;

/// A check that every instance is asked to pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    pub probe: Probe,
    /// From the end of one check of an instance to the beginning of the next.
    #[serde(default = "default_interval", with = "duration")]
    pub interval: Duration,
    #[serde(default = "default_timeout", with = "duration")]
    pub timeout: Duration,
    /// Good answers in a row that bring an instance back.
    #[serde(default = "default_healthy")]
    pub healthy: u32,
    /// Bad answers in a row that take it out.
    #[serde(default = "default_unhealthy")]
    pub unhealthy: u32,
}

/// What is asked: `tcp`, or the path of a GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A connection is good.
    Tcp,
    /// Any 2xx is good.
    Http(String),
}

const fn default_interval() -> Duration {
    Duration::from_secs(5)
}

const fn default_timeout() -> Duration {
    Duration::from_secs(2)
}

const fn default_healthy() -> u32 {
    2
}

const fn default_unhealthy() -> u32 {
    3
}

// === impl HealthCheck ===

impl HealthCheck {
    /// A check with the default rhythm.
    #[must_use]
    pub const fn new(probe: Probe) -> Self {
        Self {
            probe,
            interval: default_interval(),
            timeout: default_timeout(),
            healthy: default_healthy(),
            unhealthy: default_unhealthy(),
        }
    }

    pub(in crate::resource) fn validate(&self) -> Result<(), Refusal> {
        range::time("health.interval", self.interval, &INTERVAL, "give it like 5s")?;
        range::time("health.timeout", self.timeout, &TIMEOUT, "give it like 2s")?;
        range::number("health.healthy", self.healthy, &IN_A_ROW, "give a number of good answers")?;
        range::number("health.unhealthy", self.unhealthy, &IN_A_ROW, "give a number of bad answers")
    }
}

// === impl Probe ===

impl FromStr for Probe {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        if text == "tcp" {
            return Ok(Self::Tcp);
        }
        let good = text.starts_with('/')
            && text.len() <= MAX_PATH
            && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if good {
            return Ok(Self::Http(text.to_owned()));
        }
        Err(Refusal::new("invalid_probe", "this is no health check")
            .field("health.probe", clip(text))
            .limit(format_args!("tcp, or a path of at most {MAX_PATH} characters without spaces and `#`"))
            .remedy("write it like /healthz"))
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Http(path) => path,
        })
    }
}

text_form!(Probe);
