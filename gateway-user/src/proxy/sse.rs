//! Pure: where the events of an event stream end (HTML Standard §9.2.5 "Parsing an event stream").
//!
//! It only looks: bytes pass untouched, malformed or not. An event, or a comment that keeps the stream alive, ends with the empty
//! line behind it; lines end with CR, LF or CRLF, and a byte order mark may stand before the first. What is known of
//! the bytes so far is four flags, so a stream may be cut anywhere.

/// The byte order mark in UTF-8.
const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Follows one stream.
#[derive(Clone, Debug)]
pub(crate) struct Scanner {
    /// Bytes of the mark seen at the very beginning; `None` behind it.
    mark: Option<usize>,
    /// Nothing but the mark stands in the current line.
    empty: bool,
    /// The last byte was a CR, so that a LF belongs to it.
    cr: bool,
    /// That CR ended an event.
    ended: bool,
}

// === impl Scanner ===

impl Scanner {
    pub(crate) fn new() -> Self {
        Self { mark: Some(0), empty: true, cr: false, ended: false }
    }

    /// Takes the next piece of the stream. How many bytes of it belong to complete events; `None`: no event ends in
    /// it. The LF of a CRLF that was cut in two counts as the end once more.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Option<usize> {
        let mut start = self.skip_mark(piece);
        let mut end = None;
        // A CR waits for the very next byte.
        let after_cr = !piece.is_empty() && std::mem::take(&mut self.cr);
        if after_cr && start == 0 && piece.first() == Some(&b'\n') {
            start = 1;
            end = self.ended.then_some(1);
        }
        while let Some(rest) = piece.get(start..).filter(|rest| !rest.is_empty()) {
            let Some(length) = memchr::memchr2(b'\r', b'\n', rest) else {
                self.empty = false;
                return end;
            };
            self.ended = self.empty && length == 0;
            self.empty = true;
            start += length + 1;
            let cr = rest.get(length) == Some(&b'\r');
            if cr && rest.get(length + 1) == Some(&b'\n') {
                start += 1;
            } else if cr && start == piece.len() {
                self.cr = true;
            }
            if self.ended {
                end = Some(start);
            }
        }
        end
    }

    /// How many bytes at the front of the piece belong to the mark.
    fn skip_mark(&mut self, piece: &[u8]) -> usize {
        let Some(seen) = self.mark else { return 0 };
        let rest = MARK.get(seen..).unwrap_or_default();
        let same = rest.iter().zip(piece).take_while(|(mark, byte)| mark == byte).count();
        if same == rest.len() {
            self.mark = None;
            return same;
        }
        if same == piece.len() {
            self.mark = Some(seen + same);
            return same;
        }
        // It was the beginning of something else.
        self.mark = None;
        self.empty = seen + same == 0;
        same
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Scanner;

    fn end(stream: &[u8]) -> usize {
        Scanner::new().feed(stream).unwrap_or(0)
    }

    /// Where the last complete event ends, by the letter of the standard: line by line over the whole.
    fn reference(stream: &[u8]) -> usize {
        let mut rest = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
        let mut end = 0;
        while let Some(length) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            let terminator = if rest[length..].starts_with(b"\r\n") { 2 } else { 1 };
            rest = &rest[length + terminator..];
            if length == 0 {
                end = stream.len() - rest.len();
            }
        }
        end
    }

    #[test]
    fn events_end_with_an_empty_line_of_any_kind() {
        for (stream, expected) in [
            (&b""[..], 0),
            (b"data: x", 0),
            (b"data: x\n", 0),
            (b"data: x\n\n", 9),
            (b"data: x\r\r", 9),
            (b"data: x\r\n\r\n", 11),
            (b"data: x\r\n\r", 10),
            (b"data: x\n\r\n", 10),
            (b"data: x\r\n\n", 10),
            (b"a\r\n\nb\r\n\r\n\nc", 10),
            (b"data: x\n\ndata: y\n", 9),
            (b": keep-alive\n\n\n", 15),
            (b"\n", 1),
            (b"\xef\xbb\xbf\n", 4),
            (b"\xef\xbb\n", 0),
            (b"\xef\xbb\xbfdata: x\n\n", 12),
            (b"a\n\xef\xbb\xbf\n", 0),
        ] {
            assert_eq!((end(stream), reference(stream)), (expected, expected), "{}", stream.escape_ascii());
            let (mut scanner, mut end) = (Scanner::new(), 0);
            for (place, byte) in stream.iter().enumerate() {
                end = scanner.feed(&[*byte]).map_or(end, |length| place + length);
            }
            assert_eq!(end, expected, "byte by byte: {}", stream.escape_ascii());
        }
    }

    proptest! {
        /// However a stream is cut, after each piece the end is where the whole so far would have it.
        #[test]
        fn cuts_do_not_matter(
            pieces in proptest::collection::vec(
                proptest::collection::vec(
                    prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'd'), Just(0xef), Just(0xbb), Just(0xbf)],
                    0..5,
                ),
                0..8,
            ),
            mark in any::<bool>(),
        ) {
            let mut scanner = Scanner::new();
            let (mut whole, mut end) = (Vec::new(), 0);
            let head = mark.then(|| b"\xef\xbb\xbf".iter().map(|byte| vec![*byte]).collect::<Vec<_>>());
            for piece in head.unwrap_or_default().iter().chain(&pieces) {
                let before = whole.len();
                whole.extend(piece);
                if let Some(length) = scanner.feed(piece) {
                    prop_assert!((1..=piece.len()).contains(&length));
                    end = before + length;
                }
                prop_assert_eq!(end, reference(&whole), "{}", whole.escape_ascii());
            }
        }
    }
}
