//! Pure: the chunked coding, decoded in place (RFC 9112 §7.1).
//!
//! Strict, because what is passed on is framed anew: sizes are hexadecimal digits, every line ends with CR LF,
//! extensions are read over and never passed on, trailers are kept up to a bound.

use super::head;
use crate::proxy::failure::Failure;

/// Bytes of one line of a size with its extensions.
const LINE_MAX: usize = 256;
/// Bytes of all trailers.
const TRAILERS_MAX: usize = 8 * 1024;

/// A decoder in the middle of a body.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    state: State,
    /// Bytes of the chunk that are still to come.
    left: u64,
    /// Bytes of the line that is being read.
    line: usize,
    /// Trailer lines with their ends.
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    #[default]
    Begin,
    Size,
    Extension,
    /// Within quotes of an extension's value.
    Quoted,
    /// After a backslash within quotes.
    Escaped,
    SizeEnd,
    Data,
    DataEnd,
    DataLineEnd,
    /// Begin of a trailer line, or of the last, empty one.
    TrailerBegin,
    Trailer,
    TrailerEnd,
    LastEnd,
    Done,
}

/// What a step gave: the first `data` bytes are the body's, the first `used` were consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) data: usize,
    pub(crate) used: usize,
}

// === impl Decoder ===

impl Decoder {
    /// Whether the last chunk and the trailers are through.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer fields as lines, each with its CR LF; empty without any.
    pub(crate) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Decodes `bytes` in place: the body's bytes move to the front. Everything is consumed up to the body's end.
    ///
    /// # Errors
    /// [`Failure::BadChunk`]: this is not chunked.
    pub(crate) fn decode(&mut self, bytes: &mut [u8]) -> Result<Step, Failure> {
        let (mut data, mut used) = (0, 0);
        while self.state != State::Done {
            if self.state == State::Data {
                let at_hand = (bytes.len() - used) as u64;
                // At most `at_hand`, which came from a usize.
                let count = self.left.min(at_hand) as usize;
                if count == 0 {
                    break;
                }
                if data != used {
                    bytes.copy_within(used..used + count, data);
                }
                (data, used) = (data + count, used + count);
                self.left -= count as u64;
                if self.left == 0 {
                    self.state = State::DataEnd;
                }
                continue;
            }
            let Some(byte) = bytes.get(used).copied() else { break };
            used += 1;
            self.state = self.next(byte).ok_or(Failure::BadChunk)?;
        }
        Ok(Step { data, used })
    }

    /// The state after `byte`; `None`: it does not belong here.
    fn next(&mut self, byte: u8) -> Option<State> {
        match self.state {
            State::Begin => {
                (self.left, self.line) = (0, 0);
                self.digit(byte)
            }
            State::Size => match byte {
                b'\r' => Some(State::SizeEnd),
                // White space before an extension is bad white space, which only robust readers take (§7.1.1).
                b';' => Some(State::Extension),
                _ => self.digit(byte),
            },
            State::Extension => match byte {
                b'\r' => Some(State::SizeEnd),
                b'"' => self.within_line(State::Quoted),
                b'\n' | 0 => None,
                _ => self.within_line(State::Extension),
            },
            State::Quoted => match byte {
                b'"' => self.within_line(State::Extension),
                b'\\' => self.within_line(State::Escaped),
                b'\r' | b'\n' | 0 => None,
                _ => self.within_line(State::Quoted),
            },
            State::Escaped => match byte {
                b'\r' | b'\n' | 0 => None,
                _ => self.within_line(State::Quoted),
            },
            State::SizeEnd => {
                let next = if self.left == 0 { State::TrailerBegin } else { State::Data };
                (byte == b'\n').then_some(next)
            }
            State::DataEnd => (byte == b'\r').then_some(State::DataLineEnd),
            State::DataLineEnd => (byte == b'\n').then_some(State::Begin),
            State::TrailerBegin => match byte {
                b'\r' => Some(State::LastEnd),
                b'\n' | b' ' | b'\t' | 0 => None,
                _ => self.trailer(byte, State::Trailer),
            },
            State::Trailer => match byte {
                b'\r' => self.trailer(byte, State::TrailerEnd),
                b'\n' | 0 => None,
                _ => self.trailer(byte, State::Trailer),
            },
            State::TrailerEnd => {
                if byte != b'\n' {
                    return None;
                }
                self.trailer(byte, State::TrailerBegin)
            }
            State::LastEnd if byte == b'\n' && self.has_fields() => Some(State::Done),
            State::LastEnd => None,
            State::Data | State::Done => None,
        }
    }

    /// Whether the trailers are fields: what could be read in two ways is not passed over in silence.
    fn has_fields(&self) -> bool {
        self.trailers.is_empty() || head::trailers(&self.trailers, |_, _| {}).is_some()
    }

    fn digit(&mut self, byte: u8) -> Option<State> {
        let digit = char::from(byte).to_digit(16)?;
        // A size whose top four bits are taken already would lose them.
        self.left = self.left.checked_mul(16)?.checked_add(u64::from(digit))?;
        self.within_line(State::Size)
    }

    fn within_line(&mut self, state: State) -> Option<State> {
        self.line += 1;
        (self.line <= LINE_MAX).then_some(state)
    }

    fn trailer(&mut self, byte: u8, state: State) -> Option<State> {
        self.trailers.push(byte);
        (self.trailers.len() <= TRAILERS_MAX).then_some(state)
    }
}

/// Longest size line that [`size_line`] makes.
pub(crate) const SIZE_LINE: usize = 18;

/// Writes the line in front of a chunk of `length` bytes and says how long it is.
pub(crate) fn size_line(length: usize, line: &mut [u8; SIZE_LINE]) -> &[u8] {
    let mut at = SIZE_LINE;
    let mut put = |byte: u8| {
        at -= 1;
        if let Some(place) = line.get_mut(at) {
            *place = byte;
        }
    };
    put(b'\n');
    put(b'\r');
    let mut rest = length;
    loop {
        // A digit below 16 is always one.
        put(char::from_digit((rest % 16) as u32, 16).map_or(b'0', |digit| digit as u8));
        rest /= 16;
        if rest == 0 {
            break;
        }
    }
    line.get(at..).unwrap_or_default()
}

/// Appends `data` as a chunk.
pub(crate) fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(size_line(data.len(), &mut [0; SIZE_LINE]));
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::{Decoder, SIZE_LINE, size_line};

    /// Decodes `text` fed in pieces of `step`; gives the body, what was consumed, and the trailers.
    fn decode(text: &[u8], step: usize) -> Result<(Vec<u8>, usize, Vec<u8>), ()> {
        let mut decoder = Decoder::default();
        let (mut body, mut used) = (Vec::new(), 0);
        for piece in text.chunks(step) {
            let mut piece = piece.to_vec();
            let step = decoder.decode(&mut piece).map_err(drop)?;
            body.extend_from_slice(&piece[..step.data]);
            used += step.used;
            if decoder.is_done() {
                return Ok((body, used, decoder.trailers().to_vec()));
            }
            assert_eq!(step.used, piece.len(), "everything is consumed until the end");
        }
        Err(())
    }

    #[test]
    fn chunks_are_joined_whatever_the_pieces() {
        let text =
            b"4;a=\"x;\\\"y\"\r\nWiki\r\n00A\r\npedia in \n\r\n3\r\n\r\n.\r\n0\r\nx: y\r\nz: 1\r\n\r\nGET";
        for step in 1..=text.len() {
            let (body, used, trailers) = decode(text, step).unwrap();
            assert_eq!(body, b"Wikipedia in \n\r\n.", "{step}");
            assert_eq!(used, text.len() - 3);
            assert_eq!(trailers, b"x: y\r\nz: 1\r\n");
        }
    }

    #[test]
    fn what_is_not_chunked_is_refused() {
        for bad in [
            &b"\r\n"[..],
            b"4\nWiki\r\n0\r\n\r\n",
            b"4\r\nWiki0\r\n\r\n",
            b"4\r\nWiki\n0\r\n\r\n",
            b"4\r\nWiki\r0\r\n\r\n",
            b" 4\r\nWiki\r\n0\r\n\r\n",
            b"4 \r\nWiki\r\n0\r\n\r\n",
            b"+4\r\nWiki\r\n0\r\n\r\n",
            b"-4\r\nWiki\r\n0\r\n\r\n",
            b"0x4\r\nWiki\r\n0\r\n\r\n",
            b"4_0\r\nWiki\r\n0\r\n\r\n",
            b"10000000000000004\r\nWiki\r\n0\r\n\r\n",
            b"4;a\nb\r\nWiki\r\n0\r\n\r\n",
            b"4;a=\"\r\n\"\r\nWiki\r\n0\r\n\r\n",
            b"0\r\n x\r\n\r\n",
            b"0\r\nx: y\n\r\n",
            b"0\r\n\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\nx : y\r\n\r\n",
        ] {
            assert!(decode(bad, bad.len()).is_err(), "{}", bad.escape_ascii());
        }
        let long = [b"1;", "x".repeat(300).as_bytes(), b"\r\na\r\n0\r\n\r\n"].concat();
        assert!(decode(&long, 7).is_err(), "an extension has a bound");
        let many = [b"0\r\n", "a: b\r\n".repeat(2000).as_bytes(), b"\r\n"].concat();
        assert!(decode(&many, 4096).is_err(), "trailers have a bound");
    }

    #[test]
    fn sizes_are_written_in_hexadecimal() {
        let mut line = [0; SIZE_LINE];
        assert_eq!(size_line(0, &mut line), b"0\r\n");
        assert_eq!(size_line(0x1f4, &mut line), b"1f4\r\n");
        assert_eq!(size_line(usize::MAX, &mut line), b"ffffffffffffffff\r\n");
    }
}
