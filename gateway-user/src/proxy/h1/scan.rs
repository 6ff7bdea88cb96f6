//! Pure: where a message head ends, line by line, before anything in it is believed (RFC 9112 §2.2).
//!
//! A line ends with CR LF and with nothing else: a CR or LF alone, or a line that continues the one before (obs-fold,
//! §5.2), makes two parsers see two messages.

use std::sync::LazyLock;

use memchr::{memchr2, memmem::Finder};

/// Empty lines in front of a request that are passed over: old clients send one behind a body (RFC 9112 §2.2).
const EMPTY_LINES: usize = 2;

/// How far a head was looked at; it goes on where it stopped when more bytes are there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scan {
    /// Begin of the line that is not complete yet.
    line: usize,
    /// Bytes of that line without a CR or LF.
    seen: usize,
    lines: usize,
    empty: usize,
}

/// What a look at the bytes gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The head ends before this byte; it begins at `start`.
    Head { start: usize, end: usize },
    /// More bytes are needed.
    Partial,
    /// This is no head.
    Bad,
}

// === impl Scan ===

impl Scan {
    /// Looks at `bytes`, which begin with those of the call before.
    pub(crate) fn look(&mut self, bytes: &[u8]) -> Found {
        // Mostly a head comes whole.
        if self.line + self.seen == 0
            && let Some(end) = END.find(bytes).map(|at| at + 4)
            && bytes.get(..end).is_some_and(is_plain)
        {
            return Found::Head { start: 0, end };
        }
        loop {
            let from = self.line + self.seen;
            let rest = bytes.get(from..).unwrap_or_default();
            let Some(offset) = memchr2(b'\r', b'\n', rest) else {
                self.seen += rest.len();
                return self.begins_well(bytes);
            };
            self.seen += offset;
            match rest.get(offset..offset + 2) {
                Some(b"\r\n") => {}
                // A CR that is the last byte so far.
                None if rest.get(offset) == Some(&b'\r') => return self.begins_well(bytes),
                _ => return Found::Bad,
            }
            if self.begins_well(bytes) == Found::Bad {
                return Found::Bad;
            }
            let (empty, end) = (self.seen == 0, from + offset + 2);
            if empty && self.lines > 0 {
                return Found::Head { start: 2 * self.empty, end };
            }
            if empty {
                self.empty += 1;
                if self.empty > EMPTY_LINES {
                    return Found::Bad;
                }
            } else {
                self.lines += 1;
            }
            (self.line, self.seen) = (end, 0);
        }
    }

    /// Number of lines so far, the first among them.
    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    /// Whether a byte of the head itself was there; empty lines in front of it are none.
    pub(crate) fn has_begun(&self) -> bool {
        self.first_line() != Some(0)
    }

    /// Bytes of the first line, if it is not complete yet.
    pub(crate) fn first_line(&self) -> Option<usize> {
        (self.lines == 0).then_some(self.seen)
    }

    /// Partial, unless the current line begins with white space.
    fn begins_well(&self, bytes: &[u8]) -> Found {
        match bytes.get(self.line) {
            Some(b' ' | b'\t') => Found::Bad,
            _ => Found::Partial,
        }
    }
}

/// The end of a head.
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\r\n\r\n"));

/// Whether nothing of a head calls for a closer look: every CR has its LF and every LF its CR, no line begins with white
/// space, and the first one is not empty. All of it is looked at without a branch, many bytes at a time.
fn is_plain(head: &[u8]) -> bool {
    let broken =
        |(&a, &b): (&u8, &u8)| ((a == b'\r') != (b == b'\n')) | ((a == b'\n') & ((b == b' ') | (b == b'\t')));
    let pairs = head.iter().zip(head.get(1..).unwrap_or_default());
    head.first().is_some_and(|first| !matches!(first, b'\r' | b'\n' | b' ' | b'\t'))
        && !pairs.fold(false, |any, pair| any | broken(pair))
}

#[cfg(test)]
mod tests {
    use super::{Found, Scan};

    fn whole(bytes: &[u8]) -> Found {
        Scan::default().look(bytes)
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        assert_eq!(whole(b"GET / HTTP/1.1\r\na: b\r\n\r\nbody"), Found::Head { start: 0, end: 24 });
        assert_eq!(whole(b"\r\nGET / HTTP/1.1\r\n\r\n"), Found::Head { start: 2, end: 20 });
        assert_eq!(whole(b"GET / HTTP/1.1\r\na: b\r\n\r"), Found::Partial);
        assert_eq!(whole(b""), Found::Partial);
    }

    #[test]
    fn line_ends_of_any_other_kind_are_refused() {
        for bad in [
            &b"GET / HTTP/1.1\n\n"[..],
            b"GET / HTTP/1.1\r\na: b\n\r\n",
            b"GET / HTTP/1.1\r\na: b\rc\r\n\r\n",
            b"GET / HTTP/1.1\r\r\n\r\n",
            b"GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n",
            b"GET / HTTP/1.1\r\n\ta: b\r\n\r\n",
            b" GET / HTTP/1.1\r\n\r\n",
            b"\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"\n",
        ] {
            assert_eq!(whole(bad), Found::Bad, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn bytes_may_come_in_any_pieces() {
        for text in [
            &b"\r\nGET / HTTP/1.1\r\nhost: a\r\nb: c\r\n\r\nGET"[..],
            b"GET / HTTP/1.1\r\na: b\rc\r\n\r\n",
            b"GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n",
        ] {
            let expected = whole(text);
            for step in 1..text.len() {
                let mut scan = Scan::default();
                let mut found = Found::Partial;
                for end in (0..=text.len()).step_by(step).chain([text.len()]) {
                    found = scan.look(&text[..end]);
                    if found != Found::Partial {
                        break;
                    }
                }
                assert_eq!(found, expected, "{} in steps of {step}", text.escape_ascii());
            }
        }
    }
}
