//! The verdict alone: what `gateway explain` asks, over the live tables, without a counter, an event or a budget.

use gateway_common::{
    decide::{Outcome, Verdict},
    explain,
    table::Slot,
};

use crate::{
    filter::{self, Way},
    frame::{Frame, Linear},
};

/// The verdict about a frame as the number that the entry point returns.
#[inline(always)]
pub(crate) fn answer(frame: &Linear) -> u32 {
    explain::answer(filter::enter(frame, Explain(frame)))
}

/// Takes the verdict as it is.
struct Explain<'f>(&'f Linear);

impl Outcome for Explain<'_> {
    type Done = Verdict;

    #[inline(always)]
    fn refused(self, slot: &Slot) -> Verdict {
        Verdict::refused(slot)
    }

    #[inline(always)]
    fn judged(self, verdict: Verdict) -> Verdict {
        verdict
    }

    #[inline(always)]
    fn general(self) -> Verdict {
        self.0.judge()
    }
}

impl Way for Explain<'_> {
    type Done = Verdict;

    #[inline(always)]
    fn pass(self) -> Verdict {
        Verdict::NOT_LISTENER
    }

    #[inline(always)]
    fn segment4(self) -> Verdict {
        filter::segment4(self.0, self)
    }

    #[inline(always)]
    fn segment6(self) -> Verdict {
        filter::segment6(self.0, self)
    }

    #[inline(always)]
    fn general(self) -> Verdict {
        self.0.judge()
    }
}
