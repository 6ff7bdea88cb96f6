//! An answer on its way to a client that speaks HTTP/1.1: interim answers, the head that is written anew in front of the
//! body's first bytes, the body framed for this client. One piece, one send.

use std::{
    rc::Rc,
    task::{Context, Poll, ready},
};

use super::{
    body::Reader,
    chunked::{self, SIZE_LINE},
    head::{self, Response},
    upload::end_chunks,
    write::{self, ForClient},
};
use crate::{
    proxy::{
        encode::{self, Accepted, Choice},
        failure::Failure,
        http::{
            coded::Compression,
            framing::{self, Body, Version},
            hop::Connection,
        },
        io::{Block, Blocks, Stream},
        upstream::{self, Answer},
        worker::Worker,
    },
    snapshot::http::Encoding,
};

/// Interim answers (1xx) to one request; more are no help to anybody.
const INTERIMS: u8 = 16;

/// What the client asked for, as far as it decides what its answer looks like.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// The method was HEAD.
    pub(crate) head: bool,
    pub(crate) version: Version,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    /// It waits for a 100.
    pub(crate) expect: bool,
    /// What it takes the answer in, where the service compresses.
    pub(crate) accepted: Option<Accepted>,
}

/// What a step of an answer needs of others.
pub(crate) struct Shared<'s> {
    pub(crate) worker: &'s Worker,
    /// The service's codings.
    pub(crate) offered: &'s [Encoding],
    pub(crate) date: &'s [u8],
}

/// What is passed on of one answer.
pub(crate) struct Download {
    pub(crate) wanted: Wanted,
    state: State,
    interims: u8,
    status: u16,
    passed: u64,
    /// The instance keeps its connection open.
    reusable: bool,
    keep_alive: bool,
    scratch: Vec<u8>,
}

enum State {
    Head,
    Body {
        reader: Reader,
        chunked: bool,
        compression: Option<Box<Compression>>,
    },
    /// Everything is with the client's stream; what it did not take yet is on its way.
    Flush,
    Done,
    Tunnel,
}

/// How far the answer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The last byte is with the kernel.
    Whole,
    /// The instance changes the protocol.
    Tunnel,
}

// === impl Download ===

impl Download {
    /// `scratch` is an empty buffer.
    pub(crate) fn new(wanted: Wanted, scratch: Vec<u8>) -> Self {
        let keep_alive = wanted.keep_alive;
        Self {
            wanted,
            state: State::Head,
            interims: 0,
            status: 0,
            passed: 0,
            reusable: false,
            keep_alive,
            scratch,
        }
    }

    /// The status of the answer, once its head is there.
    pub(crate) fn status(&self) -> Option<u16> {
        (self.status != 0).then_some(self.status)
    }

    /// Whether the client has something of an answer: from then on nothing is sent again.
    pub(crate) fn began(&self) -> bool {
        self.status != 0 || self.interims != 0
    }

    /// Bytes of the body so far.
    pub(crate) fn passed(&self) -> u64 {
        self.passed
    }

    /// Whether it waits for the instance: for its head or for more of the body.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Head | State::Body { .. })
    }

    /// Whether the instance's connection can serve another request.
    pub(crate) fn is_reusable(&self) -> bool {
        self.reusable
    }

    /// Whether the client was promised that its connection stays.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.keep_alive
    }

    /// The connection is not to go on after this answer; the client is told, if there is time.
    pub(crate) fn close(&mut self) {
        self.keep_alive = false;
    }

    /// The buffer, to be used again.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.scratch
    }

    /// Ready at the end of the answer.
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Stream,
        instance: &mut upstream::Stream,
        answer: &mut Answer,
        shared: &Shared<'_>,
    ) -> Poll<Result<End, Failure>> {
        let blocks = &shared.worker.blocks;
        loop {
            match &mut self.state {
                State::Head => {
                    let length = ready!(answer.poll_head(context, instance, blocks))?;
                    let Some(mut inbox) = answer.inbox.take() else {
                        return Poll::Ready(Err(Failure::BadAnswer));
                    };
                    self.head(&inbox, length, shared)?;
                    inbox.consume(length);
                    if !inbox.is_empty() {
                        answer.inbox = Some(inbox);
                    }
                    self.send_head(context, client, answer)?;
                }
                State::Body { compression: Some(_), .. } => {
                    ready!(self.poll_coded(context, client, instance, answer, blocks))?;
                    self.state = State::Flush;
                }
                State::Body { reader, chunked, compression: None } => {
                    ready!(client.poll_sent(context)).map_err(|_| Failure::ClientGone)?;
                    match ready!(answer.poll_piece(context, instance, blocks, reader))? {
                        Some(count) => {
                            self.passed += count as u64;
                            let (done, chunked) = (reader.is_done(), *chunked);
                            let Some(mut block) = answer.inbox.take() else { continue };
                            let whole = !chunked
                                || frame(&mut block, done.then(|| reader.trailers()), &mut self.scratch);
                            client.send(context, block.data()).map_err(|_| Failure::ClientGone)?;
                            if !whole {
                                client.send(context, &self.scratch).map_err(|_| Failure::ClientGone)?;
                            }
                            if done {
                                self.state = State::Flush;
                            }
                        }
                        None => {
                            if *chunked {
                                self.scratch.clear();
                                end_chunks(&mut self.scratch, reader.trailers());
                                client.send(context, &self.scratch).map_err(|_| Failure::ClientGone)?;
                            }
                            self.state = State::Flush;
                        }
                    }
                }
                State::Flush => {
                    ready!(client.poll_sent(context)).map_err(|_| Failure::ClientGone)?;
                    self.state = State::Done;
                }
                State::Done => return Poll::Ready(Ok(End::Whole)),
                State::Tunnel => return Poll::Ready(Ok(End::Tunnel)),
            }
        }
    }

    /// Reads the head of `length` bytes and writes the client's one into the scratch buffer; none for an interim answer
    /// that is not for it.
    fn head(&mut self, inbox: &Block, length: usize, shared: &Shared<'_>) -> Result<(), Failure> {
        let bytes = inbox.data().get(..length).unwrap_or_default();
        let mut room = head::room();
        let head = Response::parse(bytes, &mut room)?;
        let connection = Connection::read(&head.fields);
        self.scratch.clear();
        let mut answer = ForClient {
            body: Body::None,
            version: self.wanted.version,
            keep_alive: self.keep_alive,
            date: shared.date,
            coding: Choice::Pass,
            switching: false,
        };
        if head.status == 101 {
            if !self.wanted.upgrade {
                return Err(Failure::BadAnswer);
            }
            answer.switching = true;
            write::response(&mut self.scratch, &head, connection, &answer)?;
            (self.status, self.state) = (101, State::Tunnel);
            return Ok(());
        }
        if head.status < 200 {
            self.interims += 1;
            if self.interims > INTERIMS {
                return Err(Failure::BadAnswer);
            }
            let expected = head.status != 100 || std::mem::take(&mut self.wanted.expect);
            if expected && self.wanted.version == Version::Http11 {
                write::response(&mut self.scratch, &head, connection, &answer)?;
            }
            return Ok(());
        }
        let body = framing::response(&head.fields, head.version, head.status, self.wanted.head)?;
        self.reusable = match head.version {
            Version::Http10 => connection.keep_alive && !connection.close,
            Version::Http11 | Version::Http2 => !connection.close,
        } && body != Body::Close;
        let compression = self.coding(&head, body, shared, &mut answer);
        let framed = if compression.is_some() { Body::Chunked } else { body };
        answer.body = for_client(framed, self.wanted.version);
        self.keep_alive &= answer.body != Body::Close;
        answer.keep_alive = self.keep_alive;
        write::response(&mut self.scratch, &head, connection, &answer)?;
        self.status = head.status;
        self.state =
            State::Body { reader: Reader::new(body), chunked: answer.body == Body::Chunked, compression };
        Ok(())
    }

    /// Whether the body is compressed on the way.
    fn coding(
        &self,
        head: &Response<'_>,
        body: Body,
        shared: &Shared<'_>,
        answer: &mut ForClient<'_>,
    ) -> Option<Box<Compression>> {
        let accepted = self.wanted.accepted?;
        let judged = encode::Answer {
            head: self.wanted.head,
            status: head.status,
            length: body.declared(),
            fields: &head.fields,
        };
        let choice = encode::choose(accepted, &judged, shared.offered);
        let (choice, compression) = Compression::of_answer(shared.worker, choice);
        answer.coding = choice;
        compression.map(Box::new)
    }

    /// Ready when the compressed body is with the client's stream. What is written goes out whenever nothing more is at
    /// hand.
    fn poll_coded(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Stream,
        instance: &mut upstream::Stream,
        answer: &mut Answer,
        blocks: &Rc<Blocks>,
    ) -> Poll<Result<(), Failure>> {
        let State::Body { reader, chunked, compression: Some(coding) } = &mut self.state else {
            return Poll::Ready(Ok(()));
        };
        loop {
            ready!(client.poll_sent(context)).map_err(|_| Failure::ClientGone)?;
            let urgent = match answer.poll_piece(context, instance, blocks, reader) {
                Poll::Pending => {
                    coding.pause()?;
                    if coding.ready().is_empty() {
                        return Poll::Pending;
                    }
                    true
                }
                Poll::Ready(piece) => match (piece?, answer.inbox.take()) {
                    (Some(_), Some(block)) => coding.feed_data(block.data())?,
                    (Some(_), None) | (None, _) => true,
                },
            };
            let over = reader.is_done();
            if over {
                coding.finish()?;
            } else if !urgent {
                continue;
            }
            let ready = coding.ready();
            self.passed += ready.len() as u64;
            self.scratch.clear();
            if *chunked && !ready.is_empty() {
                chunked::chunk(&mut self.scratch, ready);
            } else {
                self.scratch.extend_from_slice(ready);
            }
            ready.clear();
            if over && *chunked {
                end_chunks(&mut self.scratch, reader.trailers());
            }
            client.send(context, &self.scratch).map_err(|_| Failure::ClientGone)?;
            if over {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Sends the head, with what of the body came along.
    fn send_head(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Stream,
        answer: &mut Answer,
    ) -> Result<(), Failure> {
        if self.scratch.is_empty() {
            return Ok(());
        }
        let gone = |_| Failure::ClientGone;
        let State::Body { reader, chunked, compression: None } = &mut self.state else {
            return client.send(context, &self.scratch).map_err(gone);
        };
        let piece = answer.piece(reader)?;
        let Some((count, mut block)) = piece.zip(answer.inbox.take()) else {
            if reader.is_done() && *chunked {
                end_chunks(&mut self.scratch, reader.trailers());
            }
            if reader.is_done() {
                self.state = State::Flush;
            }
            return client.send(context, &self.scratch).map_err(gone);
        };
        self.passed += count as u64;
        let done = reader.is_done();
        let mut tail = Vec::new();
        let whole = !*chunked || frame(&mut block, done.then(|| reader.trailers()), &mut tail);
        if block.prepend(&self.scratch) {
            client.send(context, block.data()).map_err(gone)?;
        } else {
            client.send(context, &self.scratch).map_err(gone)?;
            client.send(context, block.data()).map_err(gone)?;
        }
        if !whole {
            client.send(context, &tail).map_err(gone)?;
        }
        if done {
            self.state = State::Flush;
        }
        Ok(())
    }
}

/// How the end of a body is told to a client.
pub(super) fn for_client(body: Body, version: Version) -> Body {
    match (body, version) {
        (Body::Chunked | Body::Close, Version::Http10) => Body::Close,
        (Body::Chunked | Body::Close, Version::Http11 | Version::Http2) => Body::Chunked,
        (Body::None | Body::Length(_), _) => body,
    }
}

/// Makes the bytes of `block` a chunk; with trailers, the last one. False: long trailers did not fit behind it, and
/// `tail`, which ends the chunk, is to be sent after the block.
#[must_use]
pub(super) fn frame(block: &mut Block, trailers: Option<&[u8]>, tail: &mut Vec<u8>) -> bool {
    let mut line = [0; SIZE_LINE];
    let size = chunked::size_line(block.len(), &mut line);
    tail.clear();
    tail.extend_from_slice(b"\r\n");
    if let Some(trailers) = trailers {
        end_chunks(tail, trailers);
    }
    // A block that was read into always has headroom for the size.
    let sized = block.prepend(size);
    debug_assert!(sized, "a chunk's size fits in front of it");
    block.push(tail)
}

#[cfg(test)]
mod tests {
    use super::frame;
    use crate::proxy::io::{BLOCK, Blocks};

    #[test]
    fn what_does_not_fit_behind_a_full_block_is_left_to_be_sent_after_it() {
        let blocks = Blocks::new(1 << 30, 1);
        let mut tail = Vec::new();
        let mut block = blocks.take();
        assert_eq!(block.append(&vec![b'x'; BLOCK]), BLOCK);
        assert!(frame(&mut block, Some(b"a: b\r\n"), &mut tail));
        assert!(block.data().starts_with(b"8000\r\nxx") && block.data().ends_with(b"x\r\n0\r\na: b\r\n\r\n"));
        let mut block = blocks.take();
        assert_eq!(block.append(&vec![b'x'; BLOCK]), BLOCK);
        let long = format!("a: {}\r\n", "b".repeat(4000));
        assert!(!frame(&mut block, Some(long.as_bytes()), &mut tail));
        assert!(block.data().ends_with(b"xx"));
        assert_eq!(tail, format!("\r\n0\r\n{long}\r\n").as_bytes());
    }
}
