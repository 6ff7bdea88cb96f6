//! Content codings between hyper's bodies: `encode`'s transformers, a frame at a time.

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::Frame;

use super::head::Fields;
use crate::{
    proxy::{
        budget::Grant,
        encode::{self, Choice, Decoder, Encoder, Flush},
        failure::Failure,
        worker::Worker,
    },
    snapshot::http::{Protocol, Service},
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
    fn new(encoder: Encoder, grant: Grant) -> Self {
        Self { encoder, out: Vec::new(), held: false, over: false, trailers: None, _grant: grant }
    }

    /// The transformer of an answer. Where there is no memory for one, the answer passes as it is.
    pub(crate) fn of_answer(worker: &Worker, choice: Choice) -> (Choice, Option<Self>) {
        let Choice::Encode { encoding, events } = choice else { return (choice, None) };
        let grant = worker.budget.grant(encode::cost(encoding));
        let made = grant.and_then(|grant| Some(Self::new(Encoder::new(encoding, events).ok()?, grant)));
        if made.is_some() { (choice, made) } else { (Choice::Vary, None) }
    }

    /// Takes a frame in. True: there is enough, or something urgent, to be handed out.
    pub(crate) fn feed(&mut self, frame: Frame<Bytes>) -> Result<bool, Failure> {
        match frame.into_data() {
            Ok(data) => self.feed_data(&data),
            Err(trailers) => {
                self.trailers = trailers.into_trailers().ok();
                self.finish().map(|()| true)
            }
        }
    }

    /// The same for a piece of the body.
    pub(crate) fn feed_data(&mut self, data: &[u8]) -> Result<bool, Failure> {
        // Whether more is at hand is seen by asking for it.
        let flush = self.encoder.flush(data, true);
        self.write(data, flush)?;
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

    /// Compressed bytes that are ready, for a writer of bytes; empty: none.
    pub(crate) fn ready(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    fn write(&mut self, data: &[u8], flush: Flush) -> Result<(), Failure> {
        self.encoder.write(data, &mut self.out, flush).map_err(|_| Failure::Overloaded)
    }
}

// === impl Decompression ===

impl Decompression {
    fn new(decoder: Decoder, grant: Grant) -> Self {
        Self { decoder, input: Bytes::new(), done: true, _grant: grant }
    }

    /// The transformer of a request body that the instance shall get decompressed.
    pub(crate) fn of_request(
        worker: &Worker,
        service: &Service,
        fields: &impl Fields,
        empty: bool,
    ) -> Result<Option<Self>, Failure> {
        // gRPC compresses its messages itself, and the limit is theirs.
        if empty || !service.decompress || service.protocol == Protocol::Grpc {
            return Ok(None);
        }
        let Some(encoding) = encode::requested(fields)? else { return Ok(None) };
        let cost = Decoder::cost(encoding, service.body_limit);
        let grant = worker.budget.grant(cost).ok_or(Failure::Overloaded)?;
        Ok(Some(Self::new(Decoder::new(encoding, service.body_limit)?, grant)))
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
