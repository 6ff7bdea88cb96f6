//! The verdict in the 32 bits that a program can return, for the entry point that only explains.

use crate::{counters::MAX_LISTENERS, decide::Verdict, reason::Reason};

// A listener's id has 16 bits here.
const _: () = assert!(MAX_LISTENERS <= 1 << 16);

/// The verdict as one number.
#[inline(always)]
#[must_use]
pub const fn answer(verdict: Verdict) -> u32 {
    verdict.listener << 16 | (verdict.entry as u32) << 8 | verdict.reason as u32
}

/// Takes what [`answer`] gave. `None`: no program of this layout returned it.
#[must_use]
pub const fn verdict(answer: u32) -> Option<Verdict> {
    match Reason::from_number(answer as u8) {
        Some(reason) => Some(Verdict { reason, listener: answer >> 16, entry: (answer >> 8) as u8 }),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{answer, verdict};
    use crate::{counters::MAX_LISTENERS, decide::Verdict, reason::Reason};

    #[test]
    fn every_verdict_survives_the_way_back() {
        for reason in Reason::ALL {
            for (listener, entry) in [(0, Verdict::NO_ENTRY), (1, 0), (MAX_LISTENERS - 1, 31)] {
                let given = Verdict { reason: *reason, listener, entry };
                assert_eq!(verdict(answer(given)), Some(given));
            }
        }
        assert_eq!(verdict(0xff), None);
    }
}
