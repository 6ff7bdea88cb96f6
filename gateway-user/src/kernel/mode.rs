//! Pure: how much the operator relies on the kernel filter.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The setting `filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterMode {
    /// A listener whose interface cannot be guarded in the kernel is refused.
    Required,
    /// Such a listener is guarded by the check at accept alone, and status, metrics and log say so.
    Auto,
    /// Nothing in the kernel; what an earlier run left there is taken off.
    Off,
}

impl FilterMode {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Auto => "auto",
            Self::Off => "off",
        }
    }

    /// What holds when the settings say nothing: root gets the guarantee, others what the kernel lets them have.
    #[must_use]
    pub const fn default_for(root: bool) -> Self {
        if root { Self::Required } else { Self::Auto }
    }
}

impl fmt::Display for FilterMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A text that is not a filter mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a filter mode: use `required`, `auto` or `off`")]
pub struct InvalidMode(pub String);

impl FromStr for FilterMode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, InvalidMode> {
        [Self::Required, Self::Auto, Self::Off]
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| InvalidMode(text.to_owned()))
    }
}
