//! Pure: content codings by their names.

use serde::{Deserialize, Serialize};

use crate::base::Refusal;

/// What answers may be compressed with, by the names of `Accept-Encoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    Gzip,
    /// Brotli.
    Br,
    Zstd,
}

/// Checks that none is named twice.
pub(in crate::resource) fn check(encodings: &[Encoding]) -> Result<(), Refusal> {
    for (index, encoding) in encodings.iter().enumerate() {
        if encodings.iter().take(index).any(|earlier| earlier == encoding) {
            return Err(Refusal::new("duplicate", "the coding is given twice")
                .field("compression", encoding.word())
                .remedy("give it once; the first one is preferred"));
        }
    }
    Ok(())
}

impl Encoding {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Br => "br",
            Self::Zstd => "zstd",
        }
    }
}
