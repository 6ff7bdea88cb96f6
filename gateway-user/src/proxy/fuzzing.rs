//! Entry points for `tests/fuzz-targets`, and for nobody else: hidden from the documentation, and plain in what they
//! take and give, so that nothing of the room's inside becomes public.
//!
//! A module instead of a cargo feature: a feature would build the gateway twice, and fuzz another program than the one
//! that is shipped. What is not called is not linked.

use super::{
    encode::{Decoder, Encoder, Flush},
    proxy_protocol::{Parsed, parse},
    sse::Scanner,
};
pub use crate::proxy::h1::fuzzing::{Chunks, Length, Relayed, Taken, answer, chunks, head};
use crate::snapshot::http::Encoding;

/// The decision on a PROXY protocol header: `None`: more is needed; the header's length, or the reason.
#[must_use]
pub fn proxy_protocol(bytes: &[u8]) -> Option<Result<usize, &'static str>> {
    match parse(bytes) {
        Parsed::NeedMore => None,
        Parsed::Done(header) => Some(Ok(header.consumed)),
        Parsed::Refused(reason) => Some(Err(reason.name())),
    }
}

/// Where the last complete event of a stream ends.
#[must_use]
pub fn event_ends(pieces: &[&[u8]]) -> usize {
    let (mut scanner, mut at, mut end) = (Scanner::new(), 0, 0);
    for piece in pieces {
        if let Some(length) = scanner.feed(piece) {
            end = at + length;
        }
        at += piece.len();
    }
    end
}

/// A request body decoded, with `room` bytes for output at once.
///
/// # Errors
/// The name of the failure.
pub fn decode(
    encoding: Encoding,
    limit: u64,
    pieces: &[&[u8]],
    room: usize,
) -> Result<Vec<u8>, &'static str> {
    let mut decoder = Decoder::new(encoding, limit).map_err(|failure| failure.name())?;
    let (mut plain, mut output) = (Vec::new(), vec![0; room]);
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let step = decoder.step(rest, &mut output).map_err(|failure| failure.name())?;
            plain.extend_from_slice(output.get(..step.produced).unwrap_or_default());
            rest = rest.get(step.consumed..).unwrap_or_default();
            if step.done {
                break;
            }
        }
    }
    decoder.end().map_err(|failure| failure.name())?;
    Ok(plain)
}

/// An answer encoded; `flush`: after each piece.
#[must_use]
pub fn encode(encoding: Encoding, pieces: &[&[u8]], flush: bool) -> Vec<u8> {
    let mut coded = Vec::new();
    let Ok(mut encoder) = Encoder::new(encoding, true) else { return coded };
    for piece in pieces {
        let flush = encoder.flush(piece, !flush);
        if encoder.write(piece, &mut coded, flush).is_err() {
            return coded;
        }
    }
    let _ = encoder.write(b"", &mut coded, Flush::End);
    coded
}
