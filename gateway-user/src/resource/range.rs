//! Pure: numbers and durations that have a least and a most.

use std::{fmt::Display, ops::RangeInclusive, time::Duration};

use super::duration;
use crate::base::Refusal;

/// Checks a number.
pub(super) fn number<T: PartialOrd + Display>(
    field: &str,
    value: T,
    range: &RangeInclusive<T>,
    remedy: &str,
) -> Result<(), Refusal> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Refusal::new("limit", "the number is out of range")
        .field(field, value)
        .limit(format_args!("{} to {}", range.start(), range.end()))
        .remedy(remedy))
}

/// Checks a duration.
pub(super) fn time(
    field: &str,
    value: Duration,
    range: &RangeInclusive<Duration>,
    remedy: &str,
) -> Result<(), Refusal> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Refusal::new("limit", "the duration is out of range")
        .field(field, duration::text(value))
        .limit(format_args!("{} to {}", duration::text(*range.start()), duration::text(*range.end())))
        .remedy(remedy))
}

/// Whether a field says no more than its absence would.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
