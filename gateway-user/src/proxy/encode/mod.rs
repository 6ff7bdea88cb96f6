//! Pure: content codings (RFC 9110 §8.4) on the way: answers are compressed, request bodies decompressed, a piece at
//! a time and with bounded memory.
//!
//! How an exchange uses it:
//!
//! 1. With the request's head: [`Accepted::read`], six bytes that outlive the head. Where the service says `decompress` and the request
//!    has a body, [`requested`] tells its coding or refuses it; [`Decoder::new`] takes the service's body limit. The instance
//!    gets the request without `Content-Encoding` and `Content-Length`.
//! 2. With the answer's head: [`choose`]. For [`Choice::Encode`] and [`Choice::Vary`] the fields change as [`Choice`] says, and
//!    [`Encoder::new`] makes the transformer.
//! 3. For each piece: [`Encoder::flush`] says whether what was written has to reach the client now, [`Encoder::step`] fills a
//!    slice of the caller's (or [`Encoder::write`] a vector) until it says that it is done. After the last piece
//!    [`Encoder::step`] with [`Flush::End`].
//! 4. A decoder is stepped in the same way; after the last piece [`Decoder::end`] refuses what is truncated.
//!
//! Each transformer holds at most [`cost`] or [`Decoder::cost`] bytes, to be taken from the budget before it is made.

mod brotli;
mod choose;
mod decode;
mod gzip;
mod zstd;

use super::sse::Scanner;
use crate::snapshot::http::Encoding;

pub(crate) use choose::{Accepted, Answer, Choice, choose, lists, requested};
pub(crate) use decode::Decoder;

/// What is to become of the bytes of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// They may wait for more, which is at hand.
    Hold,
    /// The client shall be able to read them.
    Now,
    /// They are the last.
    End,
}

/// The smallest output that an encoder is given. deflate writes the mark of a flush anew for as long as it does not
/// fit (zlib.h, `deflate`), and would never be done.
pub(crate) const ROOM: usize = 32;

/// What a transformer did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// Bytes of the input that were taken.
    pub(crate) consumed: usize,
    /// Bytes of the output that were filled.
    pub(crate) produced: usize,
    /// Nothing is left to be written for this input: the next step brings another.
    pub(crate) done: bool,
}

/// A library refused to go on: it has no memory, or its own state is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// Compresses an answer.
pub(crate) struct Encoder {
    coding: Coding,
    /// Follows an event stream.
    events: Option<Scanner>,
}

enum Coding {
    Gzip(Box<gzip::Compressor>),
    Brotli(Box<brotli::Compressor>),
    Zstd(zstd::Compressor),
}

/// What a compressor holds at most, measured on 20 MiB of JSON lines and rounded up.
pub(crate) const fn cost(encoding: Encoding) -> usize {
    match encoding {
        Encoding::Gzip => 400 << 10,
        Encoding::Brotli => 2 << 20,
        Encoding::Zstd => 768 << 10,
    }
}

/// The name of a coding (RFC 9110 §8.4.1, RFC 7932, RFC 8878).
pub(crate) const fn name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Gzip => "gzip",
        Encoding::Brotli => "br",
        Encoding::Zstd => "zstd",
    }
}

// === impl Encoder ===

impl Encoder {
    /// A compressor at its beginning. `events`: the answer is an event stream.
    pub(crate) fn new(encoding: Encoding, events: bool) -> Result<Self, Broken> {
        let coding = match encoding {
            Encoding::Gzip => Coding::Gzip(Box::new(gzip::Compressor::new())),
            Encoding::Brotli => Coding::Brotli(Box::new(brotli::Compressor::new())),
            Encoding::Zstd => Coding::Zstd(zstd::Compressor::new()?),
        };
        Ok(Self { coding, events: events.then(Scanner::new) })
    }

    /// Whether this piece has to reach the client at once; `more`: another piece is at hand already. It is asked once for
    /// each piece, in order. Nothing is held back while nothing else is there, however slowly it trickles, and no event waits
    /// for the next.
    pub(crate) fn flush(&mut self, piece: &[u8], more: bool) -> Flush {
        let event = self.events.as_mut().is_some_and(|events| events.feed(piece).is_some());
        if event || !more { Flush::Now } else { Flush::Hold }
    }

    /// Takes input and fills `output`, at least [`ROOM`]. Repeat with the rest of the input, and the same `flush`, until it is done.
    pub(crate) fn step(&mut self, input: &[u8], output: &mut [u8], flush: Flush) -> Result<Step, Broken> {
        debug_assert!(output.len() >= ROOM);
        match &mut self.coding {
            Coding::Gzip(coding) => coding.step(input, output, flush),
            Coding::Brotli(coding) => coding.step(input, output, flush),
            Coding::Zstd(coding) => coding.step(input, output, flush),
        }
    }

    /// Takes a whole piece and appends what comes of it: at most a little more than the piece and what was held.
    pub(crate) fn write(
        &mut self,
        mut input: &[u8],
        output: &mut Vec<u8>,
        flush: Flush,
    ) -> Result<(), Broken> {
        loop {
            let start = output.len();
            output.resize(start + BLOCK, 0);
            let step = self.step(input, output.get_mut(start..).unwrap_or_default(), flush)?;
            output.truncate(start + step.produced);
            if step.done {
                return Ok(());
            }
            input = input.get(step.consumed..).unwrap_or_default();
        }
    }
}

/// What [`Encoder::write`] makes room for at once.
const BLOCK: usize = 4096;

#[cfg(test)]
mod tests;
