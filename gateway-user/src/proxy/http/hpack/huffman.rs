//! Pure: the Huffman code of HPACK (RFC 7541 §5.2 and appendix B), decoded byte by byte.
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and so do the lengths. What
//! stands here are the lengths alone.

/// Bits of the code of each byte.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26,
];
const SHORTEST: usize = 5;
const LONGEST: usize = 30;

/// The codes of one length.
#[derive(Clone, Copy)]
struct Rank {
    /// The first of them.
    first: u64,
    count: u64,
    /// Where the symbol of the first stands in [`Code::symbols`].
    place: usize,
}

struct Code {
    /// By length, from the shortest on.
    ranks: [Rank; LONGEST - SHORTEST + 1],
    /// By length and value.
    symbols: [u8; 256],
}

static CODE: Code = Code::new();

/// Bits that came and were not decoded yet.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    bits: u64,
    count: usize,
}

/// Bits that are no code.
#[derive(Debug)]
pub(super) struct Invalid;

// === impl Code ===

impl Code {
    #[expect(
        clippy::indexing_slicing,
        reason = "runs in the compiler, which refuses an index that is too large"
    )]
    const fn new() -> Self {
        let mut ranks = [Rank { first: 0, count: 0, place: 0 }; LONGEST - SHORTEST + 1];
        let mut symbols = [0; 256];
        let (mut first, mut place, mut length) = (0, 0, SHORTEST);
        while length <= LONGEST {
            let begin = place;
            let mut symbol = 0;
            while symbol < 256 {
                if LENGTHS[symbol] as usize == length {
                    symbols[place] = symbol as u8;
                    place += 1;
                }
                symbol += 1;
            }
            let count = (place - begin) as u64;
            ranks[length - SHORTEST] = Rank { first, count, place: begin };
            first = (first + count) << 1;
            length += 1;
        }
        Self { ranks, symbols }
    }
}

// === impl Decoder ===

impl Decoder {
    /// Takes the next byte in; everything before it must have been decoded.
    pub(super) fn push(&mut self, byte: u8) {
        self.bits = self.bits << 8 | u64::from(byte);
        self.count += 8;
    }

    /// The next symbol; `None`: more bits are needed.
    pub(super) fn next(&mut self) -> Result<Option<u8>, Invalid> {
        for (rank, length) in CODE.ranks.iter().zip(SHORTEST..) {
            let Some(rest) = self.count.checked_sub(length) else { return Ok(None) };
            let nth = (self.bits >> rest).wrapping_sub(rank.first);
            if nth < rank.count {
                (self.bits, self.count) = (self.bits & ((1 << rest) - 1), rest);
                return CODE.symbols.get(rank.place + nth as usize).copied().map(Some).ok_or(Invalid);
            }
        }
        // The end of the string, which is never said (§5.2).
        Err(Invalid)
    }

    /// Bits that are left; fewer than eight of the last byte behind a symbol.
    pub(super) fn left(&self) -> usize {
        self.count
    }

    /// Whether the string may end here: what is left is the beginning of its end, and less than a byte.
    pub(super) fn is_padded(&self) -> bool {
        self.count < 8 && self.bits + 1 == 1 << self.count
    }
}

/// Text in this code, for tests.
#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0, 0);
    for symbol in text {
        let length = usize::from(LENGTHS[usize::from(*symbol)]);
        let rank = &CODE.ranks[length - SHORTEST];
        let nth = CODE.symbols[rank.place..].iter().position(|other| other == symbol).unwrap();
        bits = bits << length | (rank.first + nth as u64);
        count += length;
        while count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    if count > 0 {
        bytes.push((bits << (8 - count)) as u8 | (u8::MAX >> count));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Decoder, encode};

    fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
        let (mut decoder, mut text) = (Decoder::default(), Vec::new());
        for byte in bytes {
            decoder.push(*byte);
            while let Some(symbol) = decoder.next().ok()? {
                assert!(decoder.left() < 8);
                text.push(symbol);
            }
        }
        decoder.is_padded().then_some(text)
    }

    /// RFC 7541 appendix C.4 and C.6.
    #[test]
    fn the_published_strings_come_out() {
        for (bytes, text) in [
            (&b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..], "www.example.com"),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", "custom-key"),
            (b"\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3", "https://www.example.com"),
            (
                b"\x94\xe7\x82\x1d\xd7\xf2\xe6\xc7\xb3\x35\xdf\xdf\xcd\x5b\x39\x60\xd5\xaf\x27\x08\x7f\x36\x72\xc1\xab\
                  \x27\x0f\xb5\x29\x1f\x95\x87\x31\x60\x65\xc0\x03\xed\x4e\xe5\xb1\x06\x3d\x50\x07",
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
            (b"", ""),
        ] {
            assert_eq!(decode(bytes).unwrap(), text.as_bytes());
            assert_eq!(encode(text.as_bytes()), bytes);
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)).unwrap(), all);
    }

    #[test]
    fn the_longest_codes_of_each_kind_come_out() {
        // LF: thirty bits, 0x3ffffffc; 0xff: twenty-six, 0x3ffffee; both are followed by ones (appendix B).
        assert_eq!(decode(b"\xff\xff\xff\xf3").unwrap(), b"\n");
        assert_eq!(decode(b"\xff\xff\xfb\xbf").unwrap(), b"\xff");
    }

    #[test]
    fn padding_is_the_beginning_of_the_end_and_nothing_else() {
        // `0` is five zeros.
        assert_eq!(decode(b"\x07").unwrap(), b"0");
        for bad in [&b"\x06"[..], b"\x03", b"\x07\xff", b"\xff", b"\xff\xff\xff\xff"] {
            assert!(decode(bad).is_none(), "{bad:x?}");
        }
    }
}
