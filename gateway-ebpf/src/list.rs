//! The search in large lists, out of line: the verifier checks it once, for any list and any source.
#![expect(unsafe_code, reason = "what is out of line is found by its symbol")]

use gateway_common::list::{Listed, NO_LIST, SIZES, listed4, listed6, place};

use crate::maps::{LISTS4_L, LISTS4_M, LISTS4_S, LISTS4_X, LISTS6_L, LISTS6_M, LISTS6_S, LISTS6_X};

macro_rules! search {
    ($lists:ident, $index:expr, $listed:ident, $size:literal, $source:expr) => {
        match $lists.get($index).and_then(|list| list.get(0)) {
            Some(value) => $listed::<{ SIZES[$size] }, _>(value, $source),
            None => NO_LIST,
        }
    };
}

/// What the IPv4 list `number` says about a source in host order.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn large_list4(number: u32, source: u32) -> Listed {
    let (size, index) = place(number);
    match size {
        0 => search!(LISTS4_S, index, listed4, 0, source),
        1 => search!(LISTS4_M, index, listed4, 1, source),
        2 => search!(LISTS4_L, index, listed4, 2, source),
        3 => search!(LISTS4_X, index, listed4, 3, source),
        _ => NO_LIST,
    }
}

/// The same for IPv6, the source's halves in host order.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn large_list6(number: u32, high: u64, low: u64) -> Listed {
    let (size, index) = place(number);
    match size {
        0 => search!(LISTS6_S, index, listed6, 0, [high, low]),
        1 => search!(LISTS6_M, index, listed6, 1, [high, low]),
        2 => search!(LISTS6_L, index, listed6, 2, [high, low]),
        3 => search!(LISTS6_X, index, listed6, 3, [high, low]),
        _ => NO_LIST,
    }
}
