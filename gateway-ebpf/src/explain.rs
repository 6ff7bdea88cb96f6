//! The verdict alone: what `gateway explain` asks, over the live tables, without a counter, an event or a budget.

use gateway_common::explain;

use crate::{
    filter,
    frame::{Frame, Linear},
};

/// The verdict about a frame as the number that the entry point returns.
#[inline(always)]
pub(crate) fn answer(frame: &Linear) -> u32 {
    let verdict = match filter::judge_usual(frame) {
        Some(verdict) => verdict,
        None => frame.judge(),
    };
    explain::answer(verdict)
}
