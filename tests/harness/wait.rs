//! Waiting for something to become true, with a limit.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Longer than anything takes, also on a busy machine: whoever waits for so long has waited in vain.
const LIMIT: Duration = Duration::from_secs(30);

/// Polls `look` until it gives a value.
///
/// # Panics
/// Nothing came for longer than anything takes; `what` says what was waited for.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut nap = Duration::from_micros(500);
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(start.elapsed() < LIMIT, "waited {LIMIT:?} in vain for {what}");
        thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(20));
    }
}

/// Polls `look` until it is true or `limit` has passed; says which.
pub fn whether(limit: Duration, mut look: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if look() {
            return true;
        }
        if start.elapsed() >= limit {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
}
