//! Pure: when requests take an instance out, for how long, and how it comes back.
//!
//! Only what an instance cannot blame on a client counts: it could not be reached, it was too slow, or it said 502, 503
//! or 504. A 500 or a connection closed in the middle may be one client's poisoned request, and must not empty a pool.
//! Failures count in a row. Time out doubles up to ten times the first. An instance that comes back is on probation: it
//! gets one request at a time until one succeeds, and one failure sends it out again.

use super::super::failure::Failure;
use crate::snapshot::upstream::Outlier;

/// The longest time out, in first times.
const LONGEST: u32 = 10;

/// What is known of an instance, in one word that all workers share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// In a row.
    failures: u16,
    /// Times out in a row.
    ejections: u8,
    /// Back from being out, and nothing succeeded since.
    probation: bool,
    /// Out until this tick.
    until: u32,
}

// === impl Standing ===

impl Standing {
    pub(crate) fn unpack(word: u64) -> Self {
        Self {
            failures: word as u16,
            ejections: (word >> 16) as u8,
            probation: word & (1 << 24) != 0,
            until: (word >> 32) as u32,
        }
    }

    pub(crate) fn pack(self) -> u64 {
        u64::from(self.failures)
            | u64::from(self.ejections) << 16
            | u64::from(self.probation) << 24
            | u64::from(self.until) << 32
    }

    pub(crate) fn is_out(self, now: u32) -> bool {
        self.until > now
    }

    /// Whether it must show with one request at a time that it works again.
    pub(crate) fn on_probation(self, now: u32) -> bool {
        self.probation && !self.is_out(now)
    }

    /// The tick at which it came back last; 0: it was never out.
    pub(crate) fn until(self) -> u32 {
        self.until
    }

    /// A request is answered: its head came, or the `whole` of it.
    #[must_use]
    pub(crate) fn answered(self, now: u32, whole: bool) -> Self {
        // What began before the instance was taken out says nothing about the failures that came after.
        if self.is_out(now) {
            return self;
        }
        Self { failures: if whole { 0 } else { self.failures }, probation: false, ..self }
    }

    /// A request failed in a way that counts.
    #[must_use]
    pub(crate) fn failed(self, now: u32) -> Self {
        if self.is_out(now) { self } else { Self { failures: self.failures.saturating_add(1), ..self } }
    }

    /// Whether it is time to take it out.
    pub(crate) fn is_due(self, rules: &Outlier, now: u32) -> bool {
        let enough = self.probation || u32::from(self.failures) >= rules.failures;
        rules.failures > 0 && self.failures > 0 && enough && !self.is_out(now)
    }

    /// Takes it out; `first` is the first time out in ticks.
    #[must_use]
    pub(crate) fn ejected(self, now: u32, first: u32) -> Self {
        let first = first.max(1);
        let longest = first.saturating_mul(LONGEST);
        // One that behaved for as long as the longest time out begins anew.
        let fresh = now.saturating_sub(self.until) > longest;
        let ejections = if fresh { 1 } else { self.ejections.saturating_add(1) };
        let doubled = first.saturating_mul(1 << u32::from(ejections - 1).min(4));
        Self { failures: 0, ejections, probation: true, until: now.saturating_add(doubled.min(longest)) }
    }
}

/// Whether one more may be taken out while `out` of `all` are.
pub(crate) fn may_eject(out: usize, all: usize, rules: &Outlier) -> bool {
    out < (all * usize::from(rules.max_ejected_percent) / 100).max(1)
}

/// Whether a failure says something about the instance.
pub(crate) fn counts(failure: Failure) -> bool {
    matches!(
        failure,
        Failure::Resolve
            | Failure::Connect
            | Failure::ConnectTimeout
            | Failure::UpstreamTls
            | Failure::FirstByte
            | Failure::Idle
    )
}

/// Whether an answer's status does.
pub(crate) fn is_bad(status: u16) -> bool {
    matches!(status, 502..=504)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Standing, counts, is_bad, may_eject};
    use crate::{
        proxy::{failure::Failure, upstream::balance::simulation::seeds},
        snapshot::upstream::Outlier,
    };

    const RULES: Outlier =
        Outlier { failures: 5, ejection: Duration::from_secs(10), max_ejected_percent: 50 };
    const FIRST: u32 = 100;

    #[test]
    fn only_what_no_client_can_cause_counts() {
        let counted: Vec<_> = Failure::ALL.iter().filter(|failure| counts(**failure)).collect();
        assert_eq!(counted.len(), 6, "{counted:?}");
        for failure in [
            Failure::Reset,
            Failure::Broken,
            Failure::BadAnswer,
            Failure::ClientGone,
            Failure::QueueFull,
            Failure::BodyTooLarge,
        ] {
            assert!(!counts(failure), "{failure:?}");
        }
        let bad: Vec<u16> = (100..600).filter(|status| is_bad(*status)).collect();
        assert_eq!(bad, [502, 503, 504]);
    }

    #[test]
    fn failures_in_a_row_take_it_out_and_time_out_doubles_up_to_ten_times() {
        let mut standing = Standing::default();
        for _ in 0..4 {
            standing = standing.failed(1000);
            assert!(!standing.is_due(&RULES, 1000));
        }
        standing = standing.answered(1000, true);
        for _ in 0..5 {
            assert!(!standing.is_due(&RULES, 1000), "a success begins anew");
            standing = standing.failed(1000);
        }
        let mut now = 1000;
        for expected in [1, 2, 4, 8, 10, 10, 10] {
            assert!(standing.is_due(&RULES, now));
            standing = standing.ejected(now, FIRST);
            assert!(standing.is_out(now + expected * FIRST - 1) && !standing.is_out(now + expected * FIRST));
            now += expected * FIRST;
            assert!(standing.on_probation(now) && !standing.is_due(&RULES, now));
            standing = standing.failed(now);
        }
        // A success ends the probation; long good behaviour ends the doubling.
        standing = standing.ejected(now, FIRST);
        now += 10 * FIRST;
        standing = standing.answered(now, true);
        assert!(!standing.on_probation(now));
        assert!(!standing.failed(now).is_due(&RULES, now));
        now += 10 * FIRST + 1;
        assert_eq!(standing.ejected(now, FIRST).until(), now + FIRST);
    }

    #[test]
    fn a_head_ends_the_probation_and_only_a_whole_answer_the_row_of_failures() {
        let mut standing = Standing::default().ejected(0, FIRST);
        for turn in 1..=5 {
            standing = standing.answered(FIRST, false);
            assert!(!standing.on_probation(FIRST));
            standing = standing.failed(FIRST);
            assert_eq!(standing.is_due(&RULES, FIRST), turn == 5, "it stops in the middle of every answer");
        }
        assert!(!standing.answered(FIRST, true).is_due(&RULES, FIRST));
    }

    #[test]
    fn what_comes_in_late_does_not_change_one_that_is_out() {
        let out = Standing::default().ejected(1000, FIRST);
        assert_eq!((out.answered(1001, true), out.failed(1001)), (out, out));
        assert!(!Standing::default().failed(0).is_due(&Outlier { failures: 0, ..RULES }, 0), "0: never");
    }

    #[test]
    fn a_word_holds_everything() {
        seeds(1000, |random| {
            let word = random.next() & !(0x7f << 25);
            assert_eq!(Standing::unpack(word).pack(), word);
        });
    }

    #[test]
    fn one_may_always_be_out_and_never_more_than_the_share() {
        let allowed = |all: usize, percent: u8| {
            let rules = Outlier { max_ejected_percent: percent, ..RULES };
            (0..=all).take_while(|out| may_eject(*out, all, &rules)).count()
        };
        assert_eq!([1, 2, 3, 4, 10].map(|all| allowed(all, 50)), [1, 1, 1, 2, 5]);
        assert_eq!([1, 2, 10].map(|all| allowed(all, 0)), [1, 1, 1]);
        assert_eq!(allowed(10, 100), 10);
    }

    /// Whole lives: instances that are good, bad, or flapping, with a random success rate each.
    #[test]
    fn a_bad_instance_is_nearly_always_out_and_a_good_one_never() {
        seeds(100, |random| {
            let mut standing = [Standing::default(); 4];
            let good = [100, 100, 0, random.below(60)];
            let mut asked = [0_u32; 4];
            for now in 1..20_000_u32 {
                let out = standing.iter().filter(|one| one.is_out(now)).count();
                assert!(out <= 2, "half of four");
                let index = random.below(4) as usize;
                let one = &mut standing[index];
                if one.is_out(now) {
                    continue;
                }
                asked[index] += 1;
                *one =
                    if random.below(100) < good[index] { one.answered(now, true) } else { one.failed(now) };
                if one.is_due(&RULES, now) && may_eject(out, 4, &RULES) {
                    *one = one.ejected(now, FIRST);
                }
            }
            assert!(!standing[0].is_out(0) && standing[0].ejections == 0, "{standing:?}");
            assert!(asked[2] < 60, "a dead one was asked {} times in half an hour", asked[2]);
        });
    }
}
