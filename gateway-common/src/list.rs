//! Large allowlists: the sorted boundaries of their ranges, and a bitmap that tells most other sources at once.
//!
//! A list is one value of one map: numbers of the address's width (IPv4 `u32`, IPv6 `u64`), in this order:
//!
//! ```text
//! mask, common   a source with other bits under the mask is not on the list: the prefix that all ranges share
//! shift          how far a source (IPv6: its first half) is shifted to the right to get its bucket
//! last           1: the highest address of all is on the list (its range has no end that could be written down)
//! buckets        eight bits for each boundary that the value has room for: a range lies in the bucket
//! boundaries     of the ranges, first addresses and ends (exclusive) in turn, in Eytzinger order from index 1 on;
//!                unused places hold the highest address
//! ```
//!
//! A source is listed when an odd number of boundaries is not above it. In Eytzinger order the children of `k` are
//! `2 k` and `2 k + 1`, so every search takes the same steps and none is a branch: the verifier walks it once.

/// What a list says about a source. Numbers, because functions of the program return them.
pub type Listed = u32;
/// It is not on the list.
pub const NOT_LISTED: Listed = 0;
/// It is on the list.
pub const LISTED: Listed = 1;
/// There is no such list.
pub const NO_LIST: Listed = 2;

/// Numbers before the buckets.
pub const HEAD: usize = 4;
/// Lists of each size and family, of both generations of a swap.
pub const LISTS: u32 = 1024;

/// Sizes of lists, as the logarithms of the boundaries that they have room for (one less).
pub const SIZES: [u32; 4] = [12, 15, 18, 21];

/// Numbers of a list's value with room for `2^log` boundaries.
#[must_use]
pub const fn length4(log: u32) -> usize {
    HEAD + (1 << log) / 4 + (1 << log)
}

/// The same for IPv6.
#[must_use]
pub const fn length6(log: u32) -> usize {
    HEAD + (1 << log) / 8 + 2 * (1 << log)
}

/// A list's number in a slot: the place of its size in [`SIZES`], and its index among the lists of that size.
#[must_use]
pub const fn number(size: u32, index: u32) -> u32 {
    (size + 1) << 16 | index
}

/// Takes a number apart. The size of no list is `None`'s.
#[inline(always)]
#[must_use]
pub const fn place(number: u32) -> (u32, u32) {
    ((number >> 16).wrapping_sub(1), number & 0xffff)
}

/// Whether `source`, in host order, is on the list `value` of length `length4(LOG)`.
#[inline(always)]
#[must_use]
pub fn listed4<const LOG: u32, const LENGTH: usize>(value: &[u32; LENGTH], source: u32) -> Listed {
    const { assert!(LENGTH == length4(LOG)) };
    let (mask, common, shift, last) = (at(value, 0), at(value, 1), at(value, 2), at(value, 3));
    if source & mask != common {
        return NOT_LISTED;
    }
    let bits = (1_usize << LOG) * 8;
    let bucket = (source >> (shift & 31)) as usize & (bits - 1);
    if at(value, HEAD + bucket / 32) >> (bucket % 32) & 1 == 0 {
        return NOT_LISTED;
    }
    if source == u32::MAX {
        return last;
    }
    let first = HEAD + bits / 32;
    let mut k = 1_u64;
    for _ in 0..LOG {
        let boundary = at(value, first + (k as usize & ((1 << LOG) - 1)));
        k = 2 * k + 1 - sign((source as u64).wrapping_sub(boundary as u64));
    }
    // The count of boundaries that are not above the source is `k - 2^LOG`.
    k as u32 & 1
}

/// Whether `source`, its halves in host order, is on the list `value` of length `length6(LOG)`.
#[inline(always)]
#[must_use]
pub fn listed6<const LOG: u32, const LENGTH: usize>(value: &[u64; LENGTH], source: [u64; 2]) -> Listed {
    const { assert!(LENGTH == length6(LOG)) };
    let [high, low] = source;
    let (mask, common, shift, last) = (at(value, 0), at(value, 1), at(value, 2), at(value, 3));
    if high & mask != common {
        return NOT_LISTED;
    }
    let bits = (1_usize << LOG) * 8;
    let bucket = (high >> (shift & 63)) as usize & (bits - 1);
    if at(value, HEAD + bucket / 64) >> (bucket % 64) & 1 == 0 {
        return NOT_LISTED;
    }
    if high & low == u64::MAX {
        return last as Listed;
    }
    let first = HEAD + bits / 64;
    let mut k = 1_u64;
    for _ in 0..LOG {
        let place = first + 2 * (k as usize & ((1 << LOG) - 1));
        let (h, l) = (at(value, place), at(value, place + 1));
        let different = high ^ h;
        let same = 1 - sign(different | different.wrapping_neg());
        k = 2 * k + 1 - (below(high, h) | same & below(low, l));
    }
    // The count of boundaries that are not above the source is `k - 2^LOG`.
    k as u32 & 1
}

/// Whether `a < b`, as 1 or 0.
#[inline(always)]
fn below(a: u64, b: u64) -> u64 {
    sign((!a & b) | ((!a | b) & a.wrapping_sub(b)))
}

/// The highest bit. The compiler must not know what it means: it would make a branch of it, and the verifier would
/// walk both sides of each step.
#[inline(always)]
fn sign(number: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        #[expect(unsafe_code, reason = "the only way to hide a value from the compiler")]
        // SAFETY: arithmetic on a register.
        unsafe {
            core::arch::asm!("{0} >>= 63", inout(reg) number, options(pure, nomem, nostack, preserves_flags));
        }
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        number >> 63
    }
}

/// The number at `index`, which the caller keeps below the length.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "every index is masked; the compiler sees it and checks nothing")]
fn at<N: Copy, const LENGTH: usize>(value: &[N; LENGTH], index: usize) -> N {
    value[index]
}
