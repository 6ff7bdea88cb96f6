//! The clocks. Pure rooms take times as arguments; only IO shells read a clock, and they read it here.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time for deadlines and durations.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Wall-clock time since the Unix epoch, for logs and records.
#[must_use]
pub fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
