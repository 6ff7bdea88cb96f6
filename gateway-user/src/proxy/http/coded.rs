//! Content codings between hyper's bodies: `encode`'s transformers, a frame at a time.

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::Frame;

use crate::proxy::{
    budget::Grant,
    encode::{Decoder, Encoder, Flush},
    failure::Failure,
};

/// Bytes that are handed out at once.
const BLOCK: usize = 16 * 1024;

/// An answer that is compressed on its way.
pub(crate) struct Compression {
    encoder: Encoder,
    out: Vec<u8>,
    /// Something was written that the client cannot read yet.
    held: bool,
    over: bool,
    trailers: Option<HeaderMap>,
    _grant: Grant,
}

/// A request body that is decompressed on its way.
pub(crate) struct Decompression {
    decoder: Decoder,
    input: Bytes,
    /// All that the input so far stands for was handed out.
    done: bool,
    _grant: Grant,
}

// === impl Compression ===

impl Compression {
    pub(crate) fn new(encoder: Encoder, grant: Grant) -> Self {
        Self { encoder, out: Vec::new(), held: false, over: false, trailers: None, _grant: grant }
    }

    /// Takes a frame in. True: there is enough, or something urgent, to be handed out.
    pub(crate) fn feed(&mut self, frame: Frame<Bytes>) -> Result<bool, Failure> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(trailers) => {
                self.trailers = trailers.into_trailers().ok();
                return self.finish().map(|()| true);
            }
        };
        // Whether more is at hand is seen by asking for it.
        let flush = self.encoder.flush(&data, true);
        self.write(&data, flush)?;
        self.held = flush == Flush::Hold;
        Ok(flush == Flush::Now || self.out.len() >= BLOCK)
    }

    /// Nothing more is at hand: what is held goes out.
    pub(crate) fn pause(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.held) { self.write(b"", Flush::Now) } else { Ok(()) }
    }

    /// The answer is over.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        if std::mem::replace(&mut self.over, true) { Ok(()) } else { self.write(b"", Flush::End) }
    }

    /// What is to be handed out.
    pub(crate) fn take(&mut self) -> Option<Frame<Bytes>> {
        if !self.out.is_empty() {
            return Some(Frame::data(std::mem::take(&mut self.out).into()));
        }
        if self.over { self.trailers.take().map(Frame::trailers) } else { None }
    }

    /// Nothing comes any more.
    pub(crate) fn is_over(&self) -> bool {
        self.over && self.out.is_empty() && self.trailers.is_none()
    }

    fn write(&mut self, data: &[u8], flush: Flush) -> Result<(), Failure> {
        self.encoder.write(data, &mut self.out, flush).map_err(|_| Failure::Overloaded)
    }
}

// === impl Decompression ===

impl Decompression {
    pub(crate) fn new(decoder: Decoder, grant: Grant) -> Self {
        Self { decoder, input: Bytes::new(), done: true, _grant: grant }
    }

    pub(crate) fn feed(&mut self, data: Bytes) {
        (self.input, self.done) = (data, false);
    }

    /// The next bytes of what the input stands for.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while !self.done {
            let mut block = vec![0; BLOCK];
            let step = self.decoder.step(&self.input, &mut block)?;
            self.input = self.input.slice(step.consumed..);
            self.done = step.done;
            if step.produced > 0 {
                block.truncate(step.produced);
                return Ok(Some(block.into()));
            }
        }
        Ok(None)
    }

    /// The input is over.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        self.decoder.end()
    }
}
