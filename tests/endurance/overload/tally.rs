//! What clients got, by kind of client, and whether it is what such a client may get.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, StatusCode};

use crate::figures::Figures;

/// Failures that are told in words; the others are only counted.
const TOLD: usize = 8;

/// Whose outcome it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Asks at its pace over a connection of its own, and does nothing wrong.
    Steady,
    /// Asks faster than its service's rate.
    Rate,
    /// Connects, asks once, and stays.
    Connection,
    /// Begins a TLS handshake and leaves.
    Handshake,
    SlowHead,
    SlowBody,
    SlowReader,
    Upload,
}

/// What became of one request, or of a connection before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// The instance's answer, whole and right.
    Served,
    /// The gateway's refusal: status and reason.
    Refused(u16, String),
    /// The connection ended, or was never taken.
    Gone,
}

/// The figures of one phase of the test.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) outcomes: BTreeMap<(Kind, Outcome), u64>,
    /// How long steady clients waited for the answers that they got.
    pub(super) served: Figures,
    pub(super) failures: u64,
    pub(super) told: Vec<String>,
}

/// The figures while clients run.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(Arc<Mutex<Counts>>);

// === impl Kind ===

impl Kind {
    /// Why the gateway may refuse it.
    fn reasons(self) -> &'static [&'static str] {
        match self {
            Self::Steady | Self::Connection | Self::SlowReader => &["overloaded"],
            Self::Rate => &["overloaded", "throttled"],
            Self::Handshake => &[],
            Self::SlowHead => &["overloaded", "head_timeout"],
            // An upload is as slow as its client, which may be starved by all the others.
            Self::SlowBody | Self::Upload => &["overloaded", "client_timeout"],
        }
    }

    /// Whether its connection may end without an answer. Who does nothing wrong and is connected stays so.
    fn may_go(self) -> bool {
        !matches!(self, Self::Steady | Self::Rate)
    }
}

// === impl Outcome ===

impl Outcome {
    /// What an answer's head says; the error is what must not be.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap) -> Result<Self, String> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        match (status.as_u16(), text("x-gateway-error")) {
            (200, None) => Ok(Self::Served),
            (status @ (429 | 503), Some(reason)) => match text("retry-after").map(str::parse::<u32>) {
                Some(Ok(1..)) => Ok(Self::Refused(status, reason.to_owned())),
                other => Err(format!("{status} {reason} with Retry-After {other:?}")),
            },
            (408, Some(reason)) => Ok(Self::Refused(408, reason.to_owned())),
            (status, reason) => Err(format!("status {status}, reason {reason:?}")),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Served => formatter.write_str("200"),
            Self::Refused(status, reason) => write!(formatter, "{status} {reason}"),
            Self::Gone => formatter.write_str("gone"),
        }
    }
}

// === impl Counts ===

impl Counts {
    pub(super) fn of(&self, kind: Kind, outcome: &Outcome) -> u64 {
        self.outcomes.get(&(kind, outcome.clone())).copied().unwrap_or_default()
    }

    /// Adds what happened to others; only steady clients are timed.
    pub(super) fn add(&mut self, other: Self) {
        for (key, count) in other.outcomes {
            *self.outcomes.entry(key).or_default() += count;
        }
        self.failures += other.failures;
        self.told.extend(other.told);
    }

    /// How many outcomes of a kind there were.
    pub(super) fn all(&self, kind: Kind) -> u64 {
        self.outcomes.iter().filter(|((other, _), _)| *other == kind).map(|(_, count)| count).sum()
    }

    /// How many of all kinds were told that there is no room.
    pub(super) fn overloaded(&self) -> u64 {
        let is_told = |outcome: &Outcome| matches!(outcome, Outcome::Refused(503, _));
        self.outcomes.iter().filter(|((_, outcome), _)| is_told(outcome)).map(|(_, count)| count).sum()
    }

    /// How many of a kind were refused for `reason`.
    pub(super) fn refused(&self, kind: Kind, status: u16, reason: &str) -> u64 {
        self.of(kind, &Outcome::Refused(status, reason.to_owned()))
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for ((kind, outcome), count) in &self.outcomes {
            if last.replace(kind) == Some(kind) {
                write!(formatter, ", {outcome}: {count}")?;
            } else {
                write!(formatter, "\n    {kind:?}: {outcome}: {count}")?;
            }
        }
        Ok(())
    }
}

// === impl Tally ===

impl Tally {
    /// Notes what became of something, if a client of this kind may get that.
    pub(super) fn note(&self, kind: Kind, result: Result<Outcome, String>) {
        let allowed = result.and_then(|outcome| match &outcome {
            Outcome::Refused(_, reason) if !kind.reasons().contains(&reason.as_str()) => {
                Err(outcome.to_string())
            }
            Outcome::Gone if !kind.may_go() => Err("its connection ended".to_owned()),
            Outcome::Served | Outcome::Refused(..) | Outcome::Gone => Ok(outcome),
        });
        let mut counts = self.0.lock().unwrap();
        match allowed {
            Ok(outcome) => *counts.outcomes.entry((kind, outcome)).or_default() += 1,
            Err(what) => {
                counts.failures += 1;
                if counts.told.len() < TOLD {
                    counts.told.push(format!("{kind:?}: {what}"));
                }
            }
        }
    }

    /// A steady client was served after so long.
    pub(super) fn served(&self, time: Duration) {
        self.0.lock().unwrap().served.add(time);
    }

    /// The figures since the last call.
    pub(super) fn take(&self) -> Counts {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}
