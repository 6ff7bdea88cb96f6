//! Where a verdict is counted. Ids are stable across generations, so counters never restart on an edit.

/// Listener counter ids; 0 counts verdicts that belong to no listener.
pub const MAX_LISTENERS: u32 = 512;
/// Reason slots per listener.
pub const REASONS: usize = 32;
/// Entry positions per listener: 15 allowed ones, as many draining, one to spare, and [`LARGE_LIST`].
pub const ENTRY_COUNTERS: u32 = 32;
/// Entry position of a listener's large list: one counter for the whole list.
pub const LARGE_LIST: u8 = 31;

/// Length of the per-CPU array of verdict counters.
pub const VERDICT_COUNTERS: u32 = MAX_LISTENERS * REASONS as u32;
/// Length of the per-CPU array of entry counters.
pub const ENTRY_COUNTER_SLOTS: u32 = MAX_LISTENERS * ENTRY_COUNTERS;

/// Packets and bytes on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    pub packets: u64,
    pub bytes: u64,
}

/// Mask of event sampling: a drop is sent when the packets of its counter on this CPU have none of these bits. The
/// program puts this one in force when the ring buffer is full; userspace lowers it to 0, every drop, when few come.
pub const SAMPLE_FLOOD: u32 = 1023;

/// Index of the counter of `reason` at `listener`.
#[must_use]
pub const fn verdict_index(listener: u32, reason: crate::reason::Reason) -> u32 {
    listener * REASONS as u32 + reason as u32
}

/// The listener and the number of the reason that a counter's index stands for.
#[inline(always)]
#[must_use]
pub const fn counted_at(index: u32) -> (u32, u8) {
    (index / REASONS as u32, (index % REASONS as u32) as u8)
}

/// Index of the counter of entry `id` at `listener`.
#[must_use]
pub const fn entry_index(listener: u32, id: u8) -> u32 {
    listener * ENTRY_COUNTERS + (id as u32 & (ENTRY_COUNTERS - 1))
}

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "aya moves these types in and out of maps as bytes")]
    // SAFETY: repr(C), integers only, no padding (asserted in `layout`), valid for every bit pattern.
    unsafe impl aya::Pod for super::Counter {}
}
