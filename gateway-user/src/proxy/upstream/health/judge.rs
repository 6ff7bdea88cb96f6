//! Pure: what active checks say of an instance, and when the next one is due.

use std::time::Duration;

use crate::snapshot::upstream::HealthCheck;

/// The verdict on one instance.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// `None`: nothing is known yet, and the instance is taken for good.
    healthy: Option<bool>,
    /// Results in a row that speak against the verdict.
    against: u32,
}

// === impl Judge ===

impl Judge {
    /// Goes on from an earlier verdict.
    pub(super) fn of(healthy: Option<bool>) -> Self {
        Self { healthy, against: 0 }
    }

    /// Notes a result; returns the verdict if it is a new one.
    pub(super) fn note(&mut self, good: bool, check: &HealthCheck) -> Option<bool> {
        if self.healthy == Some(good) {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = match (self.healthy, good) {
            // The first good answer is enough where nothing was bad.
            (None, true) => 1,
            (_, true) => check.healthy,
            (_, false) => check.unhealthy,
        };
        if self.against < needed.max(1) {
            return None;
        }
        self.against = 0;
        self.healthy = Some(good);
        self.healthy
    }
}

/// The time to the next check: the interval, a tenth more or less, so that checks of many instances spread out.
pub(super) fn pause(interval: Duration, random: u32) -> Duration {
    interval * 9 / 10 + (interval / 5).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// The time to the first check: soon, but not all at once.
pub(super) fn first(interval: Duration, random: u32) -> Duration {
    interval.min(Duration::from_secs(1)).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Judge, first, pause};
    use crate::{
        proxy::upstream::balance::simulation::seeds,
        snapshot::upstream::{HealthCheck, Probe},
    };

    fn check(healthy: u32, unhealthy: u32) -> HealthCheck {
        let second = Duration::from_secs(1);
        HealthCheck { probe: Probe::Tcp, interval: second, timeout: second, healthy, unhealthy }
    }

    #[test]
    fn verdicts_need_results_in_a_row() {
        let check = check(2, 3);
        let mut judge = Judge::default();
        let story = [
            (true, Some(true)),
            (false, None),
            (false, None),
            (true, None),
            (false, None),
            (false, None),
            (false, Some(false)),
            (false, None),
            (true, None),
            (false, None),
            (true, None),
            (true, Some(true)),
        ];
        for (turn, (good, verdict)) in story.into_iter().enumerate() {
            assert_eq!(judge.note(good, &check), verdict, "{turn}");
        }
        let mut judge = Judge::default();
        let bad: Vec<_> = (0..3).map(|_| judge.note(false, &check)).collect();
        assert_eq!(bad, [None, None, Some(false)], "an unknown one is taken for good that long");
    }

    #[test]
    fn a_verdict_changes_only_against_a_whole_row() {
        seeds(200, |random| {
            let check = check(1 + random.below(4) as u32, 1 + random.below(4) as u32);
            let mut judge = Judge::default();
            let mut row = (true, 0);
            let mut verdict = None;
            for _ in 0..200 {
                let good = random.below(3) > 0;
                row = if row.0 == good { (good, row.1 + 1) } else { (good, 1) };
                if let Some(new) = judge.note(good, &check) {
                    assert_ne!(Some(new), verdict, "news are news");
                    assert_eq!(new, good);
                    let needed = if good { check.healthy } else { check.unhealthy };
                    assert!(row.1 >= needed || (verdict.is_none() && good));
                    verdict = Some(new);
                }
            }
        });
    }

    #[test]
    fn checks_spread_over_a_fifth_of_the_interval() {
        let ten = Duration::from_secs(10);
        assert_eq!([pause(ten, 0), pause(ten, u32::MAX)], [9, 11].map(Duration::from_secs));
        assert_eq!([first(ten, 0), first(ten, u32::MAX)], [0, 1].map(Duration::from_secs));
        assert!(first(Duration::from_millis(100), u32::MAX) <= Duration::from_millis(100));
    }
}
