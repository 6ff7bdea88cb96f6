//! Pure: CRC-32C (Castagnoli, RFC 9260 appendix A), for the few bytes of a PROXY protocol header.

/// The checksum of the parts in turn.
pub(super) fn crc32c<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut crc = u32::MAX;
    for byte in parts.into_iter().flatten() {
        crc ^= u32::from(*byte);
        // Bit by bit: a header has some hundred bytes, which a table would not pay for.
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    /// The check value of the catalogue, and those of RFC 3720 appendix B.4.
    #[test]
    fn the_published_values_come_out() {
        assert_eq!(crc32c([&b"123456789"[..]]), 0xe306_9283);
        assert_eq!(crc32c([&[0; 20][..], &[0; 12]]), 0x8a91_36aa);
        assert_eq!(crc32c([&[0xff; 32][..]]), 0x62a8_ab43);
        assert_eq!(crc32c([]), 0);
    }
}
