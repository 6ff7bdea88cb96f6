//! Pure: Brotli (RFC 7932).

use brotli::{
    BrotliDecompressStream, BrotliResult, BrotliState,
    enc::{
        StandardAlloc,
        encode::{
            BrotliEncoderOperation as Operation, BrotliEncoderParameter as Parameter,
            BrotliEncoderStateStruct,
        },
    },
};

use super::{Broken, Flush, Step, decode::Bad};

/// The last quality that is made for streams on the way: 5 took seven times the time and 33 MiB for the same text.
const QUALITY: u32 = 4;
/// A window of 64 KiB, and blocks as long. On 20 MiB of JSON lines one of 256 KiB was no better and held twice as much.
const WINDOW: u32 = 16;

/// Makes one stream.
pub(super) struct Compressor {
    state: BrotliEncoderStateStruct<StandardAlloc>,
}

// === impl Compressor ===

impl Compressor {
    pub(super) fn new() -> Self {
        let mut state = BrotliEncoderStateStruct::new(StandardAlloc::default());
        state.set_parameter(Parameter::BROTLI_PARAM_QUALITY, QUALITY);
        state.set_parameter(Parameter::BROTLI_PARAM_LGWIN, WINDOW);
        state.set_parameter(Parameter::BROTLI_PARAM_LGBLOCK, WINDOW);
        Self { state }
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8], flush: Flush) -> Result<Step, Broken> {
        let operation = match flush {
            Flush::Hold => Operation::BROTLI_OPERATION_PROCESS,
            Flush::Now => Operation::BROTLI_OPERATION_FLUSH,
            Flush::End => Operation::BROTLI_OPERATION_FINISH,
        };
        let (mut left, mut consumed) = (input.len(), 0);
        let (mut room, mut produced) = (output.len(), 0);
        let went = self.state.compress_stream(
            operation,
            &mut left,
            input,
            &mut consumed,
            &mut room,
            output,
            &mut produced,
            &mut None,
            &mut |_, _, _, _| (),
        );
        let rest = self.state.has_more_output();
        let done = left == 0 && !rest && (flush != Flush::End || self.state.is_finished());
        if went { Ok(Step { consumed, produced, done }) } else { Err(Broken) }
    }
}

/// Reads one stream.
pub(super) struct Decompressor {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    complete: bool,
}

// === impl Decompressor ===

impl Decompressor {
    pub(super) fn new() -> Self {
        // Strict: windows up to 16 MiB, which is what the RFC has; the extension would let a header ask for 1 GiB.
        let alloc = StandardAlloc::default;
        Self { state: BrotliState::new_strict(alloc(), alloc(), alloc()), complete: false }
    }

    /// Whether the input may end here.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Bad> {
        if self.complete {
            return if input.is_empty() { Ok(Step { done: true, ..Step::default() }) } else { Err(Bad) };
        }
        let (mut left, mut consumed) = (input.len(), 0);
        let (mut room, mut produced) = (output.len(), 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut consumed,
            input,
            &mut room,
            &mut produced,
            output,
            &mut 0,
            &mut self.state,
        );
        let done = match result {
            BrotliResult::ResultSuccess if left > 0 => return Err(Bad),
            BrotliResult::ResultSuccess => {
                self.complete = true;
                true
            }
            BrotliResult::NeedsMoreInput => true,
            BrotliResult::NeedsMoreOutput => false,
            BrotliResult::ResultFailure => return Err(Bad),
        };
        Ok(Step { consumed, produced, done })
    }
}
