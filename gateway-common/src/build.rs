//! Pure: makes large lists in the form that [`crate::list`] searches. For userspace only.

use alloc::{vec, vec::Vec};

use crate::list::{HEAD, SIZES, length4, length6};

/// One family's list, as the value of a map.
pub struct Table<N> {
    /// Place of its size in [`SIZES`].
    pub size: u32,
    pub value: Vec<N>,
    /// The buckets of the slot: one bit for each value of the first eight bits of an address.
    pub near: [u64; 4],
}

/// Sorts ranges (first and last address) and merges those that overlap or touch.
fn merge(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// First addresses and exclusive ends in turn; an end above the highest address is left out.
fn boundaries(ranges: &[(u128, u128)], highest: u128) -> Vec<u128> {
    let mut boundaries = Vec::with_capacity(2 * ranges.len());
    for (first, last) in ranges {
        boundaries.push(*first);
        if *last < highest {
            boundaries.push(last + 1);
        }
    }
    boundaries
}

/// The place in [`SIZES`] of the least size that holds `boundaries`. The limit of entries fits the last.
fn size_for(boundaries: usize) -> (u32, u32) {
    let fits = |log: &u32| boundaries < 1 << log;
    let place = SIZES.iter().position(fits).unwrap_or(SIZES.len() - 1);
    (place as u32, SIZES.get(place).copied().unwrap_or_default())
}

/// Calls `put` with every index from 1 on and the boundary that belongs there: an in-order walk of the tree whose
/// node `k` has the children `2 k` and `2 k + 1`.
fn eytzinger(boundaries: &[u128], highest: u128, log: u32, mut put: impl FnMut(usize, u128)) {
    let mut sorted = boundaries.iter().copied();
    // The leftmost leaf; then always the next node in order.
    let mut k = 1_usize << (log - 1);
    for _ in 1..1_usize << log {
        put(k, sorted.next().unwrap_or(highest));
        if 2 * k + 1 < 1 << log {
            // Right, then left all the way.
            k = 2 * k + 1;
            k <<= log - 1 - k.ilog2();
        } else {
            // Up while coming from the right, and once more.
            k >>= k.trailing_ones() + 1;
        }
    }
}

/// The shared prefix, and how buckets are named: `(mask, common, shift)` of addresses of `width` bits.
fn window(ranges: &[(u128, u128)], width: u32, bucket_bits: u32) -> (u128, u128, u32) {
    let (Some((first, _)), Some((_, last))) = (ranges.first(), ranges.last()) else { return (0, 0, 0) };
    let shared = ((first ^ last) << (128 - width)).leading_zeros().min(width);
    let mask = if shared == 0 { 0 } else { (u128::MAX << (128 - shared)) >> (128 - width) };
    (mask, first & mask, width.saturating_sub(shared + bucket_bits))
}

/// Calls `set` with the runs of buckets that ranges lie in.
fn buckets(ranges: &[(u128, u128)], shift: u32, count: u128, mut set: impl FnMut(usize)) {
    let mut next = 0;
    for (first, last) in ranges {
        let (first, last) = (first >> shift, last >> shift);
        // Above the shared prefix every range has the same bits, so none wraps around; a shift of 0 with few bits left
        // may, and then all buckets are taken.
        if last - first >= count {
            (0..count as usize).for_each(&mut set);
            return;
        }
        let mut bucket = first.max(next);
        while bucket <= last {
            set((bucket & (count - 1)) as usize);
            bucket += 1;
        }
        next = bucket;
    }
}

/// The slot's own buckets: the first eight bits.
fn near(ranges: &[(u128, u128)], width: u32) -> [u64; 4] {
    let mut near = [0_u64; 4];
    buckets(ranges, width - 8, 256, |bucket| {
        if let Some(word) = near.get_mut(bucket / 64) {
            *word |= 1 << (bucket % 64);
        }
    });
    near
}

/// The IPv4 list of these ranges (first and last address), in any order. `None`: there are none.
#[must_use]
pub fn table4(ranges: Vec<(u128, u128)>) -> Option<Table<u32>> {
    let ranges = merge(ranges);
    const HIGHEST: u128 = u32::MAX as u128;
    let last = ranges.last()?.1 == HIGHEST;
    let boundaries = boundaries(&ranges, HIGHEST);
    let (size, log) = size_for(boundaries.len());
    let mut value = vec![0_u32; length4(log)];
    let bits = 8_u128 << log;
    let (mask, common, shift) = window(&ranges, 32, log + 3);
    for (place, number) in [mask as u32, common as u32, shift, u32::from(last)].into_iter().enumerate() {
        put(&mut value, place, number);
    }
    buckets(&ranges, shift, bits, |bucket| {
        if let Some(word) = value.get_mut(HEAD + bucket / 32) {
            *word |= 1 << (bucket % 32);
        }
    });
    let first = HEAD + bits as usize / 32;
    eytzinger(&boundaries, HIGHEST, log, |k, boundary| put(&mut value, first + k, boundary as u32));
    Some(Table { size, value, near: near(&ranges, 32) })
}

/// The IPv6 list of these ranges.
#[must_use]
pub fn table6(ranges: Vec<(u128, u128)>) -> Option<Table<u64>> {
    let ranges = merge(ranges);
    let last = ranges.last()?.1 == u128::MAX;
    let boundaries = boundaries(&ranges, u128::MAX);
    let (size, log) = size_for(boundaries.len());
    let mut value = vec![0_u64; length6(log)];
    let bits = 8_u128 << log;
    // Buckets are named by the first half of an address.
    let halves: Vec<(u128, u128)> = ranges.iter().map(|(first, last)| (first >> 64, last >> 64)).collect();
    let (mask, common, shift) = window(&halves, 64, log + 3);
    for (place, number) in
        [mask as u64, common as u64, u64::from(shift), u64::from(last)].into_iter().enumerate()
    {
        put(&mut value, place, number);
    }
    buckets(&halves, shift, bits, |bucket| {
        if let Some(word) = value.get_mut(HEAD + bucket / 64) {
            *word |= 1 << (bucket % 64);
        }
    });
    let first = HEAD + bits as usize / 64;
    eytzinger(&boundaries, u128::MAX, log, |k, boundary| {
        put(&mut value, first + 2 * k, (boundary >> 64) as u64);
        put(&mut value, first + 2 * k + 1, boundary as u64);
    });
    Some(Table { size, value, near: near(&halves, 64) })
}

fn put<N>(value: &mut [N], place: usize, number: N) {
    if let Some(slot) = value.get_mut(place) {
        *slot = number;
    }
}
