//! Pure: request bodies decompressed within bounds.
//!
//! A few bytes can stand for gigabytes. What comes out is bounded in size by the service's body limit, as what goes
//! in is, and in proportion by [`RATIO`]; it is never gathered, so a bomb stops after one more slice of the caller's.

use super::{Step, brotli, gzip, zstd};
use crate::{proxy::failure::Failure, snapshot::http::Encoding};

/// Output that is let through whatever it was made from, and beyond it bytes of output for each of input. Text
/// reaches 20, logs that repeat themselves 100; deflate could do 1032 and the others far more.
const FREE: u64 = 1 << 20;
const RATIO: u64 = 200;

/// The input is not what its coding says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bad;

/// Decompresses one request body.
pub(crate) struct Decoder {
    coding: Coding,
    limit: u64,
    read: u64,
    written: u64,
}

enum Coding {
    Gzip(Box<gzip::Decompressor>),
    Brotli(Box<brotli::Decompressor>),
    Zstd(zstd::Decompressor),
}

// === impl Decoder ===

impl Decoder {
    /// A decoder of bodies that have at most `limit` bytes before and after.
    pub(crate) fn new(encoding: Encoding, limit: u64) -> Result<Self, Failure> {
        let coding = match encoding {
            Encoding::Gzip => Coding::Gzip(Box::new(gzip::Decompressor::new())),
            Encoding::Brotli => Coding::Brotli(Box::new(brotli::Decompressor::new())),
            Encoding::Zstd => Coding::Zstd(zstd::Decompressor::new().map_err(|_| Failure::Overloaded)?),
        };
        Ok(Self { coding, limit, read: 0, written: 0 })
    }

    /// What a decoder of such bodies holds at most. A window may have 8 or 16 MiB, but its pages are the process's only
    /// once something is written there, and no more is written than the limit lets through.
    pub(crate) fn cost(encoding: Encoding, limit: u64) -> usize {
        let (state, window) = match encoding {
            Encoding::Gzip => (64 << 10, 0),
            Encoding::Brotli => (256 << 10, 16 << 20),
            Encoding::Zstd => (512 << 10, 8 << 20),
        };
        state + usize::try_from(limit).unwrap_or(usize::MAX).min(window)
    }

    /// Takes input and fills `output`, which must not be empty. Repeat with the rest of the input until it is done.
    pub(crate) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Failure> {
        let result = match &mut self.coding {
            Coding::Gzip(coding) => coding.step(input, output),
            Coding::Brotli(coding) => coding.step(input, output),
            Coding::Zstd(coding) => coding.step(input, output),
        };
        let step = result.map_err(|Bad| Failure::BadEncoding)?;
        self.read += step.consumed as u64;
        self.written += step.produced as u64;
        let fair = self.read.saturating_mul(RATIO).max(FREE);
        if self.read > self.limit || self.written > self.limit.min(fair) {
            return Err(Failure::BodyTooLarge);
        }
        Ok(step)
    }

    /// The input is over: it must not be in the middle of something.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        let complete = match &self.coding {
            Coding::Gzip(coding) => coding.is_complete(),
            Coding::Brotli(coding) => coding.is_complete(),
            Coding::Zstd(coding) => coding.is_complete(),
        };
        if complete { Ok(()) } else { Err(Failure::BadEncoding) }
    }
}
