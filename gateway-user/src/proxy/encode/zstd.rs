//! Pure: Zstandard (RFC 8878) with the windows of RFC 9659.

use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer};

use super::{Broken, Flush, Step, decode::Bad};

/// The library's default.
const LEVEL: i32 = 3;
/// A window of 64 KiB, as for Brotli, and tables of half as many entries: the level's own hold 3.5 MiB for each stream,
/// and did no better on 20 MiB of JSON lines.
const WINDOW: u32 = 16;
const TABLE: u32 = 15;
/// The largest window that a sender may use for a content coding: 8 MiB (RFC 9659 §3).
const WINDOW_MAX: u32 = 23;

/// Makes one frame.
pub(super) struct Compressor {
    context: CCtx<'static>,
}

// === impl Compressor ===

impl Compressor {
    pub(super) fn new() -> Result<Self, Broken> {
        let mut context = CCtx::try_create().ok_or(Broken)?;
        for parameter in [
            CParameter::CompressionLevel(LEVEL),
            CParameter::WindowLog(WINDOW),
            CParameter::HashLog(TABLE),
            CParameter::ChainLog(TABLE),
        ] {
            context.set_parameter(parameter).map_err(|_| Broken)?;
        }
        Ok(Self { context })
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8], flush: Flush) -> Result<Step, Broken> {
        let mut from = InBuffer::around(input);
        let room = output.len();
        let mut to = OutBuffer::around(output);
        if from.pos() < input.len() {
            self.context.compress_stream(&mut to, &mut from).map_err(|_| Broken)?;
        }
        let mut done = from.pos() == input.len() && to.pos() < room;
        // What is left of it is asked for only while there is room: without any nothing can be done.
        if done && flush != Flush::Hold {
            let left = match flush {
                Flush::Hold => Ok(0),
                Flush::Now => self.context.flush_stream(&mut to),
                Flush::End => self.context.end_stream(&mut to),
            };
            done = left.map_err(|_| Broken)? == 0;
        }
        Ok(Step { consumed: from.pos(), produced: to.pos(), done })
    }
}

/// Reads frames, one behind the other.
pub(super) struct Decompressor {
    context: DCtx<'static>,
    /// A frame ended, and no other began.
    complete: bool,
}

// === impl Decompressor ===

impl Decompressor {
    pub(super) fn new() -> Result<Self, Broken> {
        let mut context = DCtx::try_create().ok_or(Broken)?;
        context.set_parameter(DParameter::WindowLogMax(WINDOW_MAX)).map_err(|_| Broken)?;
        Ok(Self { context, complete: false })
    }

    /// Whether the input may end here.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Bad> {
        // Behind a frame the library would wait for the next one's header.
        if self.complete && input.is_empty() {
            return Ok(Step { done: true, ..Step::default() });
        }
        let room = output.len();
        let mut from = InBuffer::around(input);
        let mut to = OutBuffer::around(output);
        loop {
            let before = (from.pos(), to.pos());
            let left = self.context.decompress_stream(&mut to, &mut from).map_err(|_| Bad)?;
            self.complete = left == 0;
            // One call reads one frame at most.
            let more = from.pos() < input.len() && to.pos() < room;
            if !more || before == (from.pos(), to.pos()) {
                break;
            }
        }
        let done = from.pos() == input.len() && (to.pos() < room || self.complete);
        Ok(Step { consumed: from.pos(), produced: to.pos(), done })
    }
}
