//! Pure: sizes in bytes, read as `1MiB`, `512KiB` or a plain number.

use serde::{Deserialize, Deserializer, de::Error};

use super::{clip, read::carry};
use crate::base::Refusal;

/// Units by their names; 1 MB of the product's pages is written 1MiB here (DESIGN §7.1).
const UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// Reads a size.
///
/// # Errors
/// Not a whole number, an unknown unit, or more than 2⁶⁴ bytes.
pub fn parse(text: &str) -> Result<u64, Refusal> {
    let digits = text.trim_end_matches(|char: char| !char.is_ascii_digit());
    let unit = text.get(digits.len()..).unwrap_or_default().trim();
    let factor = if unit.is_empty() {
        Some(1)
    } else {
        UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
    };
    let number = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let bytes = number.and_then(|number| number.parse::<u64>().ok()).zip(factor);
    bytes.and_then(|(number, factor)| number.checked_mul(factor)).ok_or_else(|| {
        Refusal::new("invalid_size", "this is not a size")
            .field("size", clip(text))
            .limit("a whole number with B, KiB, MiB, GiB, kB, MB or GB, or of bytes")
            .remedy("write it like 1MiB")
    })
}

/// Reads a number of bytes or a text.
///
/// # Errors
/// Not a size.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Bytes(u64),
        Text(String),
        Other(f64),
    }
    match Form::deserialize(deserializer)? {
        Form::Bytes(bytes) => Ok(bytes),
        Form::Text(text) => parse(&text).map_err(|refusal| D::Error::custom(carry(&refusal))),
        Form::Other(number) => {
            parse(&number.to_string()).map_err(|refusal| D::Error::custom(carry(&refusal)))
        }
    }
}

/// As [`deserialize`], for a field that may be absent.
///
/// # Errors
/// Not a size.
pub fn deserialize_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserialize(deserializer).map(Some)
}
