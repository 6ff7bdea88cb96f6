//! A request on its way to an instance that speaks HTTP/1.1: the head that was written, then the body as the client
//! sends it, framed anew. Head and first bytes go in one write.

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::AsyncWrite as _;

use super::{
    body::Reader,
    chunked::{self, SIZE_LINE, Step},
    head, write,
};
use crate::proxy::{
    failure::Failure,
    http::{coded::Decompression, framing::Body},
    io::{Block, Stream},
    upstream::{self, mirror::Copy},
};

/// Bytes of a body that are kept in case the request must be sent once more: most are far smaller, and a larger one is
/// streamed all the same, but not sent again.
const KEPT_MAX: usize = 64 * 1024;

/// What is sent of one request.
pub(crate) struct Upload {
    /// The head; kept whole, because it may have to be sent again. What passed of the body may follow it then.
    head: Vec<u8>,
    head_length: usize,
    /// What passed of the body, as long as it is little and may be needed once more.
    kept: Option<Vec<u8>>,
    body: Reader,
    decompression: Option<Box<Decompression>>,
    /// What came of the client's bytes, if they are decompressed.
    decoded: Bytes,
    chunked: bool,
    /// What of the client's block is the body's; the rest of it is the next request's.
    step: Step,
    size: [u8; SIZE_LINE],
    size_from: usize,
    /// The end of a chunk, of the last one too.
    tail: Vec<u8>,
    /// The head is part of what is being written.
    with_head: bool,
    /// The tail ends the body.
    last: bool,
    /// A copy for another service, which is sent when the body is through.
    copy: Option<Box<Copy>>,
    written: usize,
    /// A byte was written since [`Self::again`].
    began: bool,
    done: bool,
    left: u64,
    passed: u64,
    waiting: bool,
}

/// Why a request is not sent to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// By the client: it went away, sent nonsense or too much.
    Client(Failure),
    /// The instance takes no more. It may have answered all the same.
    Instance,
}

// === impl Upload ===

impl Upload {
    /// `limit` is for the bytes of the body; `keep`: it may have to be sent again; `copy` is sent along.
    pub(crate) fn new(
        head: Vec<u8>,
        body: Body,
        limit: u64,
        keep: bool,
        decompression: Option<Box<Decompression>>,
        copy: Option<Box<Copy>>,
    ) -> Self {
        Self {
            head_length: head.len(),
            kept: (keep && decompression.is_none()).then(Vec::new),
            head,
            body: Reader::new(body),
            chunked: body == Body::Chunked || decompression.is_some(),
            decompression,
            decoded: Bytes::new(),
            step: Step::default(),
            size: [0; SIZE_LINE],
            size_from: SIZE_LINE,
            tail: Vec::new(),
            with_head: true,
            last: false,
            copy,
            written: 0,
            began: false,
            done: false,
            left: limit,
            passed: 0,
            waiting: false,
        }
    }

    /// Whether the request is with the instance.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether all of the client's body was read: the next byte is the next request's.
    pub(crate) fn is_read(&self) -> bool {
        self.body.is_done() && self.step.used == 0 && self.decoded.is_empty()
    }

    /// Whether it waits for the client.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Bytes of the body so far.
    pub(crate) fn passed(&self) -> u64 {
        self.passed
    }

    /// Whether a byte went out.
    pub(crate) fn began(&self) -> bool {
        self.began
    }

    /// Whether the request can be sent from its beginning: nothing was sent, or all that was is kept.
    pub(crate) fn can_again(&self) -> bool {
        !self.began || self.kept.is_some()
    }

    /// Sends everything from the beginning, to another connection.
    pub(crate) fn again(&mut self, inbox: &mut Option<Block>) {
        if self.began {
            // What was taken is kept, and follows the head.
            self.taken(inbox);
            self.head.truncate(self.head_length);
            let kept = self.kept.as_deref().unwrap_or_default();
            if !self.chunked {
                self.head.extend_from_slice(kept);
            } else if !kept.is_empty() {
                chunked::chunk(&mut self.head, kept);
            }
            if self.last && self.chunked {
                end_chunks(&mut self.head, self.body.trailers());
            }
        }
        (self.with_head, self.written, self.began, self.done) = (true, 0, false, false);
    }

    /// The piece in the client's block is through.
    fn taken(&mut self, inbox: &mut Option<Block>) {
        if let Some(block) = inbox {
            block.consume(self.step.used);
            if block.is_empty() {
                *inbox = None;
            }
        }
        (self.step, self.size_from, self.decoded) = (Step::default(), SIZE_LINE, Bytes::new());
        self.tail.clear();
    }

    /// The head's buffer, to be used again.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.head
    }

    /// Ready when the whole request is with the instance.
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Stream,
        inbox: &mut Option<Block>,
        instance: &mut upstream::Stream,
    ) -> Poll<Result<(), Stopped>> {
        self.waiting = false;
        loop {
            if self.done {
                return Poll::Ready(Ok(()));
            }
            // What is at hand goes along with the head.
            if self.step.used == 0 && self.decoded.is_empty() && !self.last {
                self.take(inbox).map_err(Stopped::Client)?;
            }
            if self.with_head || self.step.used > 0 || !self.decoded.is_empty() || self.last {
                ready!(self.poll_write(context, inbox, instance)).map_err(|_| Stopped::Instance)?;
                continue;
            }
            ready!(Pin::new(&mut *instance).poll_flush(context)).map_err(|_| Stopped::Instance)?;
            match client.poll_inbox(context, inbox) {
                Poll::Pending => {
                    self.waiting = true;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => {
                    return Poll::Ready(Err(Stopped::Client(Failure::ClientGone)));
                }
            }
        }
    }

    /// Takes the next piece of the body from the client's block.
    fn take(&mut self, inbox: &mut Option<Block>) -> Result<(), Failure> {
        if self.decode()? {
            return Ok(());
        }
        let Some(block) = inbox.as_mut().filter(|_| !self.body.is_done()) else { return self.rest() };
        let step = self.body.take(block.data_mut())?;
        self.left = self.left.checked_sub(step.data as u64).ok_or(Failure::BodyTooLarge)?;
        self.passed += step.data as u64;
        let data = block.data().get(..step.data).unwrap_or_default();
        match &mut self.kept {
            Some(kept) if kept.len() + data.len() <= KEPT_MAX => kept.extend_from_slice(data),
            kept => *kept = None,
        }
        if let Some(copy) = self.copy.as_mut().filter(|_| self.decompression.is_none()) {
            copy.data(data);
        }
        let bytes = self.decompression.is_some().then(|| Bytes::copy_from_slice(data));
        if step.data == 0 || bytes.is_some() {
            block.consume(step.used);
            if block.is_empty() {
                *inbox = None;
            }
        } else {
            self.step = step;
            self.frame(step.data);
        }
        if let (Some(decompression), Some(bytes)) = (&mut self.decompression, bytes) {
            decompression.feed(bytes);
        }
        self.rest()
    }

    /// What else the client's bytes stand for, or the end of the body.
    fn rest(&mut self) -> Result<(), Failure> {
        if !self.decode()? && self.body.is_done() {
            if let Some(decompression) = &self.decompression {
                decompression.end()?;
            }
            self.end();
        }
        Ok(())
    }

    /// Whether the client's bytes so far stand for more, which is next then.
    fn decode(&mut self) -> Result<bool, Failure> {
        let Some(decompression) = &mut self.decompression else { return Ok(false) };
        let Some(bytes) = decompression.next()? else { return Ok(false) };
        self.frame(bytes.len());
        if let Some(copy) = &mut self.copy {
            copy.data(&bytes);
        }
        self.decoded = bytes;
        Ok(true)
    }

    /// Puts the next piece into a chunk, if the body is in chunks.
    fn frame(&mut self, length: usize) {
        if self.chunked {
            self.size_from = SIZE_LINE - chunked::size_line(length, &mut self.size).len();
            self.tail.extend_from_slice(b"\r\n");
        }
    }

    /// Everything was read of the client's body.
    fn end(&mut self) {
        self.last = true;
        if let Some(copy) = self.copy.take() {
            copy.send();
        }
        if self.chunked {
            end_chunks(&mut self.tail, self.body.trailers());
        }
    }

    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        inbox: &mut Option<Block>,
        instance: &mut upstream::Stream,
    ) -> Poll<std::io::Result<()>> {
        loop {
            let head = if self.with_head { self.head.as_slice() } else { &[] };
            let data = match inbox {
                Some(block) if self.decoded.is_empty() => {
                    block.data().get(..self.step.data).unwrap_or_default()
                }
                _ => &self.decoded,
            };
            let size = self.size.get(self.size_from..).unwrap_or_default();
            let mut skip = self.written;
            let slices = [head, size, data, self.tail.as_slice()].map(|part| {
                let skipped = skip.min(part.len());
                skip -= skipped;
                IoSlice::new(part.get(skipped..).unwrap_or_default())
            });
            let instance = Pin::new(&mut *instance);
            // Mostly there is a head and nothing else, and one piece is cheaper for the kernel than a list of one.
            let written = match slices.map(|slice| !slice.is_empty()) {
                [false, false, false, false] => break,
                [true, false, false, false] => instance.poll_write(context, &slices[0]),
                _ => instance.poll_write_vectored(context, &slices),
            };
            let count = ready!(written)?;
            if count == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.began = true;
            self.written += count;
        }
        self.taken(inbox);
        (self.with_head, self.written) = (false, 0);
        if self.last {
            ready!(Pin::new(instance).poll_flush(context))?;
            self.done = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// Appends the last chunk and the trailers that may pass.
pub(crate) fn end_chunks(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    if !trailers.is_empty() {
        let begin = out.len();
        if head::trailers(trailers, |name, value| write::field(out, name, value)).is_none() {
            out.truncate(begin);
        }
    }
    out.extend_from_slice(b"\r\n");
}
