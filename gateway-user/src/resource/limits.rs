//! Pure: what a listener spends on sources that its allowlist admits.

use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer, Serialize};

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

/// A change of limits: a field that is absent stays, null takes the limit off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsPatch {
    #[serde(default, deserialize_with = "given")]
    pub syn_rate: Option<Option<NonZeroU32>>,
    #[serde(default, deserialize_with = "given")]
    pub syn_rate_per_source: Option<Option<NonZeroU32>>,
    #[serde(default, deserialize_with = "given")]
    pub max_connections: Option<Option<NonZeroU32>>,
    #[serde(default, deserialize_with = "given")]
    pub max_connections_per_source: Option<Option<NonZeroU32>>,
}

#[expect(clippy::option_option, reason = "absent, null and a value are three things")]
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<NonZeroU32>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Limits {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// With what `patch` says.
    #[must_use]
    pub fn patched(self, patch: LimitsPatch) -> Self {
        Self {
            syn_rate: patch.syn_rate.unwrap_or(self.syn_rate),
            syn_rate_per_source: patch.syn_rate_per_source.unwrap_or(self.syn_rate_per_source),
            max_connections: patch.max_connections.unwrap_or(self.max_connections),
            max_connections_per_source: patch
                .max_connections_per_source
                .unwrap_or(self.max_connections_per_source),
        }
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

#[cfg(test)]
mod tests {
    use super::{Limits, LimitsPatch};
    use crate::resource::from_json;

    #[test]
    fn a_patch_changes_what_it_names() {
        let patch = |text: &str| from_json::<LimitsPatch>(text.as_bytes()).unwrap();
        let all = Limits::default().patched(patch(r#"{"syn_rate": 100, "max_connections": 7}"#));
        assert_eq!((all.syn_rate.unwrap().get(), all.max_connections.unwrap().get()), (100, 7));
        let less = all.patched(patch(r#"{"syn_rate": null}"#));
        assert_eq!((less.syn_rate, less.max_connections), (None, all.max_connections));
        assert!(less.patched(patch(r#"{"max_connections": null}"#)).is_empty());
        assert_eq!(all.patched(patch("{}")), all);
        for bad in [r#"{"syn_rate": 0}"#, r#"{"syn_rate": -1}"#, r#"{"rate": 1}"#] {
            from_json::<LimitsPatch>(bad.as_bytes()).unwrap_err();
        }
        let high = Limits::default().patched(patch(r#"{"max_connections_per_source": 4000000000}"#));
        assert_eq!(high.validate().unwrap_err().field.as_deref(), Some("max_connections_per_source"));
    }
}
