//! Pure: requests per second, as a generic cell rate algorithm (ITU-T I.371 annex A) in one atomic for all workers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const SECOND: u64 = 1_000_000_000;

/// The theoretical arrival time of the next request, in nanoseconds of a monotonic clock that all workers share.
///
/// It does not depend on the rate, so it survives an edit of the rate, and a restart of nothing but the snapshot.
#[derive(Debug, Default)]
pub(crate) struct Gcra(AtomicU64);

impl Gcra {
    /// Admits a request at `now`, or says after how many nanoseconds one would be admitted.
    ///
    /// A service that was quiet admits one second's worth at once, then `rate` per second.
    ///
    /// # Errors
    /// The rate is used up.
    pub(crate) fn admit(&self, now: u64, rate: u32) -> Result<(), u64> {
        let Some(interval) = SECOND.checked_div(u64::from(rate)) else { return Err(SECOND) };
        // A burst of `rate` requests: the last of them is `rate - 1` intervals ahead of its time.
        let tolerance = interval * u64::from(rate - 1);
        let mut arrival = self.0.load(Relaxed);
        loop {
            let early = arrival.saturating_sub(now);
            if early > tolerance {
                return Err(early - tolerance);
            }
            // Relaxed is enough: the value guards no other memory.
            match self.0.compare_exchange_weak(arrival, arrival.max(now) + interval, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(current) => arrival = current,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Gcra, SECOND};

    #[test]
    fn a_second_may_be_spent_at_once_then_the_rate_holds() {
        let gcra = Gcra::default();
        let start = 5 * SECOND;
        assert_eq!((0..100).filter(|_| gcra.admit(start, 10).is_ok()).count(), 10);
        assert_eq!(gcra.admit(start, 10), Err(SECOND / 10));
        let admitted =
            (0..10_000).filter(|step| gcra.admit(start + step * SECOND / 1000, 10).is_ok()).count();
        assert!((99..=100).contains(&admitted), "{admitted}");
    }

    #[test]
    fn a_quiet_hour_gives_no_more_than_a_second() {
        let gcra = Gcra::default();
        assert!(gcra.admit(SECOND, 3).is_ok());
        assert_eq!((0..100).filter(|_| gcra.admit(3600 * SECOND, 3).is_ok()).count(), 3);
    }

    #[test]
    fn one_per_second_is_one_per_second() {
        let gcra = Gcra::default();
        assert!(gcra.admit(SECOND, 1).is_ok());
        assert_eq!(gcra.admit(SECOND, 1), Err(SECOND));
        assert!(gcra.admit(2 * SECOND, 1).is_ok());
    }

    #[test]
    fn threads_share_the_rate() {
        let gcra = Gcra::default();
        let admitted: usize = std::thread::scope(|scope| {
            let count = || (0..10_000).filter(|_| gcra.admit(SECOND, 1000).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, 1000);
    }
}
