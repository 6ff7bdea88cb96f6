//! Pure: durations, read and written as `500ms`, `30s`, `5m` or `1h`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

use super::{clip, read::carry};
use crate::base::Refusal;

/// Reads a duration.
///
/// # Errors
/// Not a whole number with a unit, or longer than 2⁶⁴ ms.
pub fn parse(text: &str) -> Result<Duration, Refusal> {
    let digits = text.trim_end_matches(|char: char| !char.is_ascii_digit());
    let factor = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let parsed = number.and_then(|number| number.parse::<u64>().ok()).zip(factor);
    parsed.and_then(|(number, factor)| number.checked_mul(factor)).map(Duration::from_millis).ok_or_else(
        || {
            Refusal::new("invalid_duration", "this is not a duration")
                .field("duration", clip(text))
                .limit("a whole number with ms, s, m or h")
                .remedy("write it like 30s")
        },
    )
}

/// Writes a duration in the largest unit that is exact.
#[must_use]
pub fn text(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis.is_multiple_of(1_000) { format!("{}s", millis / 1_000) } else { format!("{millis}ms") }
}

/// Writes the text form.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
}

/// Reads the text form.
///
/// # Errors
/// Not a duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(|refusal| D::Error::custom(carry(&refusal)))
}
