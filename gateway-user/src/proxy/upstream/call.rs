//! A request over HTTP/1.1 to an instance, for a client whose own protocol is hyper's: what the client sends comes as
//! frames, and so does what the instance answers. One value, polled by the task of the client's stream.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, response::Parts};
use hyper::body::{Body as _, Frame};
use tokio::io::AsyncWrite as _;

use super::{Answer, Lease, Sender, Stream};
use crate::proxy::{
    failure::Failure,
    h1::{self, Reader},
    http::{
        body::Upload,
        framing::{self, Body, Version},
        hop::Connection,
    },
    io::Blocks,
};

/// Interim answers (1xx) to one request. hyper cannot pass them on over HTTP/2.
const INTERIMS: u8 = 16;

/// A request and its answer on one connection.
pub(crate) struct Call {
    lease: Lease,
    blocks: Rc<Blocks>,
    /// The head; kept whole, because it may have to be sent again.
    head: Vec<u8>,
    upload: Upload,
    chunked: bool,
    /// What is being written: the head first, then pieces of the body.
    out: Vec<u8>,
    written: usize,
    began: bool,
    /// A frame was taken from the client.
    taken: bool,
    /// The client sends no more.
    ended: bool,
    sent: bool,
    answer: Answer,
    reader: Option<Reader>,
    reusable: bool,
    interims: u8,
    over: bool,
}

// === impl Call ===

impl Call {
    pub(crate) fn new(lease: Lease, blocks: &Rc<Blocks>, head: Vec<u8>, body: Body, upload: Upload) -> Self {
        Self {
            lease,
            blocks: Rc::clone(blocks),
            out: head.clone(),
            head,
            ended: upload.is_end_stream(),
            upload,
            chunked: body == Body::Chunked,
            written: 0,
            began: false,
            taken: false,
            sent: false,
            answer: Answer::default(),
            reader: None,
            reusable: false,
            interims: 0,
            over: false,
        }
    }

    /// The connection.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether a byte was sent.
    pub(crate) fn began(&self) -> bool {
        self.began
    }

    /// Whether a head of an answer came, an interim one too.
    pub(crate) fn is_answered(&self) -> bool {
        self.reader.is_some() || self.interims != 0
    }

    /// Whether something of the body was taken from the client.
    pub(crate) fn has_taken(&self) -> bool {
        self.taken
    }

    /// Lets go of the body, whose rest another attempt may need.
    pub(crate) fn release(&mut self) {
        self.upload = Upload::none();
    }

    /// Sends everything from the beginning, over another connection; without an `upload`, the one that it has.
    pub(crate) fn again(&mut self, lease: Lease, upload: Option<Upload>) {
        self.lease = lease;
        if let Some(upload) = upload {
            self.upload = upload;
            self.taken = false;
        }
        self.ended = self.upload.is_end_stream();
        self.answer = Answer::default();
        (self.written, self.began, self.sent) = (0, false, false);
        self.out.clear();
        self.out.extend_from_slice(&self.head);
    }

    /// Ready with the head of the answer.
    pub(crate) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        is_head: bool,
    ) -> Poll<Result<Parts, Failure>> {
        loop {
            let sending = self.poll_send(context);
            let Some(Sender::One(stream)) = self.lease.sender() else {
                return Poll::Ready(Err(Failure::Reset));
            };
            let length = match self.answer.poll_head(context, stream, &self.blocks) {
                Poll::Ready(result) => result?,
                // Whatever kept the request from being sent, nothing will be answered.
                Poll::Pending => match sending {
                    Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                    Poll::Ready(Ok(())) | Poll::Pending => return Poll::Pending,
                },
            };
            let Some(mut inbox) = self.answer.inbox.take() else {
                return Poll::Ready(Err(Failure::BadAnswer));
            };
            let parts = self.read_head(inbox.data().get(..length).unwrap_or_default(), is_head)?;
            inbox.consume(length);
            if !inbox.is_empty() {
                self.answer.inbox = Some(inbox);
            }
            if let Some(parts) = parts {
                return Poll::Ready(Ok(parts));
            }
        }
    }

    /// The head of the answer; `None`: an interim one.
    fn read_head(&mut self, bytes: &[u8], is_head: bool) -> Result<Option<Parts>, Failure> {
        let mut room = h1::room();
        let head = h1::Response::parse(bytes, &mut room)?;
        if head.status < 200 {
            self.interims += 1;
            // Nobody asked for another protocol.
            return if head.status == 101 || self.interims > INTERIMS {
                Err(Failure::BadAnswer)
            } else {
                Ok(None)
            };
        }
        let body = framing::response(&head.fields, head.version, head.status, is_head)?;
        let connection = Connection::read(&head.fields);
        self.reusable = head.version == Version::Http11 && !connection.close && body != Body::Close;
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = StatusCode::from_u16(head.status).map_err(|_| Failure::BadAnswer)?;
        for (name, value) in head.fields.iter() {
            if !connection.ends(&head.fields, name) {
                parts.headers.append(field_name(name)?, field_value(value)?);
            }
        }
        self.over = body.is_empty();
        self.reader = Some(Reader::new(body));
        Ok(Some(parts))
    }

    /// Whether the answer's last byte is through.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Bytes of the body that the head declared and that are still to come.
    pub(crate) fn left(&self) -> Option<u64> {
        match &self.reader {
            Some(Reader::Length(left)) => Some(*left),
            Some(Reader::Chunked(_) | Reader::Close { .. }) | None => None,
        }
    }

    /// Ready with the next frame of the answer's body; `None` at its end.
    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let sending = self.poll_send(context);
        let (Some(Sender::One(stream)), Some(reader)) = (self.lease.sender(), &mut self.reader) else {
            return Poll::Ready(Some(Err(Failure::Broken)));
        };
        match self.answer.poll_piece(context, stream, &self.blocks, reader) {
            Poll::Ready(Ok(Some(_))) => {
                let data = self.answer.inbox.take().map(|block| Bytes::copy_from_slice(block.data()));
                // With a declared length the end is known with the last byte.
                self.over = reader.is_done() && reader.trailers().is_empty();
                Poll::Ready(data.map(|data| Ok(Frame::data(data))))
            }
            Poll::Ready(Ok(None)) => {
                self.over = true;
                let trailers = trailers(reader.trailers());
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Poll::Ready(Err(failure)) => Poll::Ready(Some(Err(failure))),
            Poll::Pending => match sending {
                Poll::Ready(Err(failure)) if failure != Failure::Reset => Poll::Ready(Some(Err(failure))),
                Poll::Ready(_) | Poll::Pending => Poll::Pending,
            },
        }
    }

    /// The answer is over: the connection may serve another request.
    pub(crate) fn finish(self, tick: u32, spare: usize) {
        if self.over && self.reusable && self.sent && self.answer.is_clean() {
            self.lease.done(tick, spare);
        }
    }

    /// Ready when the request is with the instance, or cannot be brought to it.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Some(Sender::One(stream)) = self.lease.sender() else { return Poll::Ready(Err(Failure::Reset)) };
        loop {
            while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
                match ready!(Pin::new(&mut *stream).poll_write(context, rest)) {
                    Ok(count @ 1..) => (self.began, self.written) = (true, self.written + count),
                    // The instance may have answered before it closed.
                    Ok(0) | Err(_) => return Poll::Ready(Err(Failure::Reset)),
                }
            }
            (self.written, self.sent) = (0, self.ended);
            self.out.clear();
            ready!(poll_flush(stream, context))?;
            if self.sent {
                return Poll::Ready(Ok(()));
            }
            let frame = ready!(Pin::new(&mut self.upload).poll_frame(context));
            self.taken = true;
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) if data.is_empty() => {}
                Some(Ok(Ok(data))) if self.chunked => h1::chunk(&mut self.out, &data),
                Some(Ok(Ok(data))) => self.out.extend_from_slice(&data),
                // Trailers of a request: whoever needs them speaks HTTP/2 to its instances.
                Some(Ok(Err(_))) => {}
                Some(Err(error)) => return Poll::Ready(Err(error.0)),
                None => {
                    self.ended = true;
                    if self.chunked {
                        h1::end_chunks(&mut self.out, &[]);
                    }
                }
            }
        }
    }
}

fn poll_flush(stream: &mut Stream, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
    Pin::new(stream).poll_flush(context).map_err(|_| Failure::Reset)
}

fn trailers(lines: &[u8]) -> Option<HeaderMap> {
    let mut trailers = HeaderMap::new();
    h1::trailers(lines, |name, value| {
        if let (Ok(name), Ok(value)) = (field_name(name), field_value(value)) {
            trailers.append(name, value);
        }
    })?;
    (!trailers.is_empty()).then_some(trailers)
}

fn field_name(name: &[u8]) -> Result<HeaderName, Failure> {
    HeaderName::from_bytes(name).map_err(|_| Failure::BadAnswer)
}

fn field_value(value: &[u8]) -> Result<HeaderValue, Failure> {
    HeaderValue::from_bytes(value).map_err(|_| Failure::BadAnswer)
}
