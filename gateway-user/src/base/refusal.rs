//! Pure: why a request was refused, in the words that the operator needs.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

/// A refusal names the field, the value, the limit and the remedy. Nothing was changed.
///
/// This is the `error` object of the control API (DESIGN §6) and the prose on the CLI's stderr.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable machine-readable word, `snake_case`.
    pub code: String,
    /// One sentence for people.
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Refusal {
    /// A refusal with its code and its sentence.
    #[must_use]
    pub fn new(code: &str, message: impl Display) -> Self {
        Self {
            code: code.to_owned(),
            message: message.to_string(),
            field: None,
            value: None,
            limit: None,
            remedy: None,
        }
    }

    /// Names the field and the value that were refused.
    #[must_use]
    pub fn field(mut self, field: impl Display, value: impl Display) -> Self {
        self.field = Some(field.to_string());
        self.value = Some(value.to_string());
        self
    }

    /// Names the limit that was passed.
    #[must_use]
    pub fn limit(mut self, limit: impl Display) -> Self {
        self.limit = Some(limit.to_string());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Display) -> Self {
        self.remedy = Some(remedy.to_string());
        self
    }
}

impl Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.message)?;
        if let (Some(field), Some(value)) = (&self.field, &self.value) {
            write!(formatter, " ({field} = {value})")?;
        }
        if let Some(limit) = &self.limit {
            write!(formatter, "; limit: {limit}")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(formatter, "; {remedy}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}
