//! Pure: one line of a difference between two configurations.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::resource::Kind;

/// One resource's field that differs. `old` is absent for what is added, `new` for what is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub kind: Kind,
    /// The resource's name (a domain's host).
    pub name: String,
    /// The field, or absent when the whole resource comes or goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<serde_json::Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match (&self.old, &self.new) {
            (None, Some(_)) => '+',
            (Some(_), None) => '-',
            (Some(_), Some(_)) | (None, None) => '~',
        };
        write!(formatter, "{sign} {} {}", self.kind, self.name)?;
        if let Some(field) = &self.field {
            write!(formatter, ".{field}")?;
        }
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(formatter, ": {old} -> {new}"),
            (Some(value), None) | (None, Some(value)) if self.field.is_some() => {
                write!(formatter, ": {value}")
            }
            (Some(_) | None, None) | (None, Some(_)) => Ok(()),
        }
    }
}
