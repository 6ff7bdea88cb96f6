//! Pure: what a listener spends on sources that its allowlist admits.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::base::Refusal;

/// Highest rate and count that can be set.
pub const MAX: u32 = 10_000_000;

/// Limits of a listener; each is off where it is not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// New connections per second, of all sources together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syn_rate: Option<NonZeroU32>,
    /// New connections per second of each source: its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syn_rate_per_source: Option<NonZeroU32>,
    /// Open connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<NonZeroU32>,
    /// Open connections of each source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections_per_source: Option<NonZeroU32>,
}

impl Limits {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the values.
    ///
    /// # Errors
    /// Names the limit that is refused.
    pub fn validate(&self) -> Result<(), Refusal> {
        let fields = [
            ("syn_rate", self.syn_rate),
            ("syn_rate_per_source", self.syn_rate_per_source),
            ("max_connections", self.max_connections),
            ("max_connections_per_source", self.max_connections_per_source),
        ];
        for (field, value) in fields {
            if let Some(value) = value.filter(|value| value.get() > MAX) {
                return Err(Refusal::new("limit", "the limit is too high to mean anything")
                    .field(field, value)
                    .limit(MAX)
                    .remedy("leave it out for no limit"));
            }
        }
        Ok(())
    }
}
