//! Pure: the buckets of a list, which tell most sources that are not on it at once (see `gateway_common::table::Slot`).

/// The shift and the buckets of prefixes whose networks (in host order, at the top of a `u64`) and lengths are these.
/// `width` is 32 for IPv4; for IPv6 64, and then only the first half of an address counts.
pub(super) fn buckets(prefixes: &[(u64, u8)], width: u8) -> (u32, [u64; 4]) {
    let shortest = prefixes.iter().map(|(_, length)| *length).min().unwrap_or(8).clamp(8, width);
    let shift = width - shortest;
    let mut buckets = [0_u64; 4];
    for (network, length) in prefixes {
        // A prefix shorter than the bits that name a bucket lies in several.
        let first = network >> (64 - u32::from(width)) >> shift & 0xff;
        let count = 1_u64 << 8_u8.saturating_sub(*length);
        for bucket in first..first + count {
            if let Some(word) = buckets.get_mut((bucket >> 6) as usize) {
                *word |= 1 << (bucket & 63);
            }
        }
    }
    (u32::from(shift), buckets)
}

/// The same with the buckets of the first eight bits, and `more` of them.
pub(super) fn wide(prefixes: &[(u64, u8)], width: u8, more: [u64; 4]) -> (u32, [u64; 4]) {
    // A prefix of eight bits or less makes these buckets.
    let short: Vec<(u64, u8)> =
        prefixes.iter().map(|(network, length)| (network >> 56 << 56, (*length).min(8))).collect();
    let (_, mut buckets) = buckets(&short, width);
    for (word, more) in buckets.iter_mut().zip(more) {
        *word |= more;
    }
    (u32::from(width - 8), buckets)
}

#[cfg(test)]
mod tests {
    use super::buckets;

    fn has((shift, buckets): (u32, [u64; 4]), address: [u8; 4]) -> bool {
        let bucket = u32::from_be_bytes(address) >> shift & 0xff;
        buckets[(bucket >> 6) as usize] >> (bucket & 63) & 1 != 0
    }

    fn net(address: [u8; 4], length: u8) -> (u64, u8) {
        (u64::from(u32::from_be_bytes(address)) << 32, length)
    }

    #[test]
    fn an_empty_list_has_no_bucket_and_the_whole_family_has_all() {
        assert_eq!(buckets(&[], 32), (24, [0; 4]));
        assert_eq!(buckets(&[(0, 0)], 32), (24, [u64::MAX; 4]));
        assert_eq!(buckets(&[(0, 0)], 64), (56, [u64::MAX; 4]));
    }

    #[test]
    fn a_bucket_is_named_by_the_bits_that_end_with_the_shortest_prefix() {
        let list = buckets(&[net([10, 1, 0, 0], 16), net([10, 7, 3, 0], 24)], 32);
        assert_eq!(list.0, 16);
        assert!(has(list, [10, 1, 200, 1]) && has(list, [10, 7, 3, 9]) && has(list, [10, 7, 4, 9]));
        assert!(!has(list, [10, 2, 0, 0]));
    }

    #[test]
    fn a_short_prefix_lies_in_all_its_buckets() {
        let list = buckets(&[net([0xc0, 0, 0, 0], 2), net([10, 1, 2, 3], 32)], 32);
        assert!((0xc0..=0xff).all(|first| has(list, [first, 1, 2, 3])));
        assert!(has(list, [10, 9, 9, 9]) && !has(list, [11, 1, 2, 3]) && !has(list, [0xbf, 0, 0, 0]));
    }
}
