//! Bodies on their way: counted, bounded and timed as they pass, never gathered.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    error, fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{
    coded::{Compression, Decompression},
    fields::in_time,
    meter::{Meter, TooLong},
};
use crate::proxy::{
    failure::Failure,
    rate::Floor,
    upstream::{Call, Lease, mirror::Copy},
    worker::{
        record::Record,
        timer::{Deadline, Late, Timers},
    },
};

/// A body broke off for this reason.
#[derive(Debug)]
pub(crate) struct BodyError(pub(crate) Failure);

impl fmt::Display for BodyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.name())
    }
}

impl error::Error for BodyError {}

/// What a request body tells the exchange that waits for the answer.
#[derive(Default)]
pub(crate) struct Progress {
    /// Bytes that passed.
    pub(crate) passed: Cell<u64>,
    /// Why the body was broken off by us.
    pub(crate) fault: Cell<Option<Failure>>,
    /// The body is sent, or there is none.
    pub(crate) sent: Cell<bool>,
    /// What passed, as long as it is little and may be needed once more.
    pub(crate) kept: RefCell<Option<Kept>>,
    /// A copy for another service, which is sent when the body is through.
    pub(crate) copy: RefCell<Option<Box<Copy>>>,
    /// What did not pass yet when an attempt broke off.
    rest: RefCell<Option<(Incoming, Box<Transfer>)>>,
    /// The instance answers already, or they talk to each other: the client may take its time with the rest.
    pub(crate) dialogue: Cell<bool>,
    /// The client is waited for.
    pub(crate) waiting: Cell<bool>,
    /// Tick at which something passed last, either way: a dialogue is silent when neither side talks.
    moved: Cell<u32>,
}

/// Bytes of a body that are kept in case the request must be sent once more: most are far smaller, and a larger one is
/// streamed all the same, but not sent again.
const KEPT_MAX: usize = 64 * 1024;

/// The beginning of a request body.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    blocks: VecDeque<Bytes>,
    bytes: usize,
}

/// A request body on its way to an instance.
pub(crate) struct Upload {
    /// What passed before, of a request that is sent once more.
    again: Option<Box<Kept>>,
    body: Source,
    /// `None`: nothing to count and nothing to wait for. Boxed, because most requests have no body and all are moved.
    transfer: Option<Box<Transfer>>,
}

/// Where a request's body comes from.
enum Source {
    /// Nothing, or nothing more.
    Nothing,
    /// A client that speaks HTTP/2.
    Frames(Incoming),
    /// A client that speaks HTTP/1.1; its own task reads, counts and times it.
    Fed(Feed),
}

/// A place for one piece of a body, between the task that reads it and hyper's.
#[derive(Clone, Default)]
pub(crate) struct Feed(Rc<Fed>);

#[derive(Default)]
struct Fed {
    piece: RefCell<Option<Bytes>>,
    ended: Cell<bool>,
    /// The rest will never come.
    broken: Cell<bool>,
    /// Who waits for a piece, and who for room.
    taker: RefCell<Option<Waker>>,
    giver: RefCell<Option<Waker>>,
}

struct Transfer {
    meter: Meter,
    decompression: Option<Box<Decompression>>,
    progress: Rc<Progress>,
    floor: Floor,
    /// For how long a dialogue may be silent.
    idle: Duration,
    timers: Rc<Timers>,
    deadline: Deadline,
    /// The deadline is that of a silence in a dialogue, which may begin while the client is waited for.
    idling: bool,
}

/// Limits of a request body.
pub(crate) struct Bounds {
    pub(crate) meter: Meter,
    pub(crate) floor: Floor,
    /// The instance gets the body decompressed.
    pub(crate) decompression: Option<Decompression>,
    pub(crate) idle: Duration,
}

// === impl Progress ===

impl Progress {
    /// Ready when `deadline` passed and nothing passed either way for `idle`: until then it is moved on.
    fn poll_silence(
        &self,
        context: &mut Context<'_>,
        deadline: &Deadline,
        idle: Duration,
        tick: u32,
    ) -> Poll<Late> {
        let late = ready!(deadline.poll(context));
        let moved = self.moved.get();
        let due = moved.saturating_add(Timers::ticks(idle));
        if moved == 0 || due <= tick {
            return Poll::Ready(late);
        }
        deadline.set(due);
        deadline.poll(context)
    }

    /// Whether the body can be sent from its beginning once more.
    pub(crate) fn is_whole(&self) -> bool {
        self.kept.borrow().is_some() && (self.sent.get() || self.rest.borrow().is_some())
    }

    /// Nothing will be sent once more: the answer has begun, or the request is over. What did not pass holds this, and
    /// would never go by itself.
    pub(crate) fn forget(&self) {
        self.kept.take();
        self.rest.take();
    }

    /// The body is through.
    fn finish(&self) {
        self.sent.set(true);
        if let Some(copy) = self.copy.take() {
            copy.send();
        }
    }

    fn keep(&self, frame: &Frame<Bytes>) {
        if let (Some(copy), Some(data)) = (&mut *self.copy.borrow_mut(), frame.data_ref()) {
            copy.data(data);
        }
        let mut kept = self.kept.borrow_mut();
        let Some(body) = &mut *kept else { return };
        match frame.data_ref() {
            Some(data) if body.bytes + data.len() <= KEPT_MAX => {
                body.bytes += data.len();
                body.blocks.push_back(data.clone());
            }
            // Too large, or trailers, which are not kept.
            _ => *kept = None,
        }
    }
}

// === impl Upload ===

impl Upload {
    /// A request without a body.
    pub(crate) fn empty(body: Incoming) -> Self {
        Self { again: None, body: Source::Frames(body), transfer: None }
    }

    /// No body at all.
    pub(crate) fn none() -> Self {
        Self { again: None, body: Source::Nothing, transfer: None }
    }

    /// A body that comes piece by piece.
    pub(crate) fn fed(feed: Feed) -> Self {
        Self { again: None, body: Source::Fed(feed), transfer: None }
    }

    /// A body that passed before, in part at least.
    pub(crate) fn again(progress: &Progress) -> Self {
        let again = progress.kept.borrow().clone().map(Box::new);
        match progress.rest.take() {
            Some((body, transfer)) => Self { again, body: Source::Frames(body), transfer: Some(transfer) },
            None => Self { again, body: Source::Nothing, transfer: None },
        }
    }

    pub(crate) fn new(body: Incoming, bounds: Bounds, progress: Rc<Progress>, timers: &Rc<Timers>) -> Self {
        let Bounds { meter, floor, decompression, idle } = bounds;
        let decompression = decompression.map(Box::new);
        let (timers, deadline) = (Rc::clone(timers), timers.deadline(idle));
        deadline.disarm();
        let transfer =
            Transfer { meter, decompression, progress, floor, idle, timers, deadline, idling: false };
        Self { again: None, body: Source::Frames(body), transfer: Some(Box::new(transfer)) }
    }
}

// === impl Feed ===

impl Feed {
    /// Ready when there is room for a piece.
    pub(crate) fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        if self.0.piece.borrow().is_none() {
            return Poll::Ready(());
        }
        *self.0.giver.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }

    /// Gives the next piece; there must be room.
    pub(crate) fn put(&self, piece: Bytes) {
        *self.0.piece.borrow_mut() = Some(piece);
        self.wake();
    }

    /// No piece follows.
    pub(crate) fn end(&self) {
        self.0.ended.set(true);
        self.wake();
    }

    /// The rest of the body will never come: the stream ends, or the instance would wait for it and count it for ever.
    pub(crate) fn break_off(&self) {
        self.0.broken.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.0.taker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn poll_piece(&self, context: &Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.0.broken.get() {
            return Poll::Ready(Some(Err(BodyError(Failure::ClientGone))));
        }
        if let Some(piece) = self.0.piece.borrow_mut().take() {
            if let Some(waker) = self.0.giver.borrow_mut().take() {
                waker.wake();
            }
            return Poll::Ready(Some(Ok(piece)));
        }
        if self.0.ended.get() {
            return Poll::Ready(None);
        }
        *self.0.taker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Upload {
    fn is_decompressed(&self) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| transfer.decompression.is_some())
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(block) = this.again.as_mut().and_then(|kept| kept.blocks.pop_front()) {
            return Poll::Ready(Some(Ok(Frame::data(block))));
        }
        loop {
            // What came before stands for more than was handed out.
            if let Some(transfer) = &mut this.transfer
                && let Some(next) = transfer.decompressed().transpose()
            {
                return Poll::Ready(Some(next));
            }
            let body = match &mut this.body {
                Source::Nothing => return Poll::Ready(None),
                Source::Fed(feed) => {
                    return feed.poll_piece(context).map(|piece| piece.map(|data| data.map(Frame::data)));
                }
                Source::Frames(body) => body,
            };
            let polled = Pin::new(&mut *body).poll_frame(context);
            let Some(transfer) = &mut this.transfer else {
                return polled
                    .map(|frame| frame.map(|frame| frame.map_err(|_| BodyError(Failure::ClientGone))));
            };
            return match polled {
                Poll::Pending => {
                    transfer.wait();
                    transfer.poll_late(context).map(|Late| Some(Err(transfer.fail(Failure::ClientTimeout))))
                }
                Poll::Ready(None) => {
                    if let Err(failure) = transfer.complete() {
                        return Poll::Ready(Some(Err(transfer.fail(failure))));
                    }
                    transfer.progress.finish();
                    Poll::Ready(None)
                }
                Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(transfer.fail(Failure::ClientGone)))),
                Poll::Ready(Some(Ok(frame))) => {
                    let frame = in_time(frame);
                    let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                    transfer.arrived(length);
                    match transfer.meter.pass(frame.data_ref().map_or(&[][..], |data| data)) {
                        Ok(()) => {
                            let passed = &transfer.progress.passed;
                            passed.set(passed.get() + length);
                            let frame = match transfer.take(frame) {
                                Ok(Some(frame)) => frame,
                                // Nothing comes of it yet.
                                Ok(None) => continue,
                                Err(failure) => return Poll::Ready(Some(Err(transfer.fail(failure)))),
                            };
                            transfer.progress.keep(&frame);
                            if body.is_end_stream() && transfer.decompression.is_none() {
                                transfer.progress.finish();
                            }
                            Poll::Ready(Some(Ok(frame)))
                        }
                        Err(TooLong) => Poll::Ready(Some(Err(transfer.fail(Failure::BodyTooLarge)))),
                    }
                }
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.again.as_ref().is_none_or(|kept| kept.blocks.is_empty())
            && match &self.body {
                Source::Nothing => true,
                Source::Frames(body) => body.is_end_stream(),
                Source::Fed(_) => false,
            }
            && !self.is_decompressed()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_decompressed() {
            return SizeHint::default();
        }
        let mut hint = match &self.body {
            Source::Nothing => SizeHint::with_exact(0),
            Source::Frames(body) => body.size_hint(),
            Source::Fed(_) => SizeHint::default(),
        };
        if let (Some(exact), Some(kept)) = (hint.exact(), &self.again) {
            hint.set_exact(exact + kept.blocks.iter().map(|block| block.len() as u64).sum::<u64>());
        }
        hint
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // An attempt that broke off may be followed by another, which needs the rest.
        let body = std::mem::replace(&mut self.body, Source::Nothing);
        if let (Source::Frames(body), Some(transfer)) = (body, self.transfer.take()) {
            let progress = Rc::clone(&transfer.progress);
            let wanted = progress.kept.borrow().is_some() && progress.fault.get().is_none();
            if wanted && !progress.sent.get() {
                *progress.rest.borrow_mut() = Some((body, transfer));
            }
        }
    }
}

impl Transfer {
    /// The client is waited for.
    fn wait(&mut self) {
        if self.progress.dialogue.get() {
            if !std::mem::replace(&mut self.idling, true) {
                self.deadline.arm(self.idle);
            }
        } else {
            self.floor.wait(self.timers.tick());
            self.deadline.set(self.floor.due().unwrap_or_default());
        }
        self.progress.waiting.set(true);
    }

    /// Ready when the client takes too long.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<Late> {
        if self.idling {
            self.progress.poll_silence(context, &self.deadline, self.idle, self.timers.tick())
        } else {
            self.deadline.poll(context)
        }
    }

    fn arrived(&mut self, bytes: u64) {
        self.floor.note(bytes, self.timers.tick());
        self.progress.moved.set(self.timers.tick());
        self.progress.waiting.set(false);
        self.idling = false;
        self.deadline.disarm();
    }

    /// Takes a frame of the client's in. What goes on to the instance, if anything does yet.
    fn take(&mut self, frame: Frame<Bytes>) -> Result<Option<Frame<Bytes>>, Failure> {
        let Some(decompression) = &mut self.decompression else { return Ok(Some(frame)) };
        match frame.into_data() {
            Ok(data) => {
                decompression.feed(data);
                Ok(decompression.next()?.map(Frame::data))
            }
            Err(trailers) => decompression.end().map(|()| Some(trailers)),
        }
    }

    /// What else the frames so far stand for.
    fn decompressed(&mut self) -> Result<Option<Frame<Bytes>>, BodyError> {
        let Some(decompression) = &mut self.decompression else { return Ok(None) };
        let next = decompression.next().map_err(|failure| self.fail(failure))?.map(Frame::data);
        next.iter().for_each(|frame| self.progress.keep(frame));
        Ok(next)
    }

    /// The body is over: it must not end in the middle of something.
    fn complete(&self) -> Result<(), Failure> {
        self.decompression.as_ref().map_or(Ok(()), |decompression| decompression.end())
    }

    fn fail(&self, failure: Failure) -> BodyError {
        if self.progress.fault.get().is_none() {
            self.progress.fault.set(Some(failure));
        }
        BodyError(failure)
    }
}

/// What a client is answered with.
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation for each request")]
pub(crate) enum Answer {
    /// The gateway's own words.
    Own(Option<Bytes>),
    /// An instance's answer, passed on as it comes.
    Relay(Relay),
}

/// How fast the client takes one HTTP/2 stream.
struct StreamOutflow {
    floor: Floor,
    /// Bytes that were handed out last.
    handed: u64,
    /// Where the connection looks for the tick at which that was too long ago.
    due: Rc<Cell<u32>>,
}

/// A response body on its way to the client.
pub(crate) struct Relay {
    /// `None`: it broke off, or is through.
    body: Option<Passage>,
    compression: Option<Box<Compression>>,
    record: Record,
    /// How the client takes the stream.
    outflow: StreamOutflow,
    deadline: Deadline,
    idle: Duration,
    waiting: bool,
}

/// Where an answer's body comes from; dropped before its end, the instance learns at once that nobody waits any more.
pub(crate) enum Passage {
    /// An instance that speaks HTTP/1.1. Boxed, because the other is small.
    Call(Box<Call>),
    Stream {
        body: Incoming,
        /// Held while the answer is on its way.
        _lease: Lease,
    },
}

// === impl Passage ===

impl Passage {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self {
            Self::Call(call) => call.poll_frame(context),
            Self::Stream { body, .. } => Pin::new(body).poll_frame(context).map(|frame| {
                frame.map(|frame| {
                    frame.map(in_time).map_err(|error| {
                        tracing::debug!(%error, "an instance's answer broke off");
                        Failure::Broken
                    })
                })
            }),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::Call(call) => call.is_over(),
            Self::Stream { body, .. } => body.is_end_stream(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Call(call) if call.is_over() => SizeHint::with_exact(0),
            Self::Call(call) => call.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Stream { body, .. } => body.size_hint(),
        }
    }
}

// === impl Relay ===

impl Relay {
    pub(crate) fn new(body: Passage, record: Record, deadline: Deadline, idle: Duration) -> Self {
        deadline.disarm();
        let outflow = {
            let limits = &record.worker().shared.config.limits;
            let floor = Floor::new(limits.answer_rate, Timers::ticks(limits.write_stall));
            let due = Rc::new(Cell::new(0));
            record.conn().streams.borrow_mut().push(Rc::clone(&due));
            StreamOutflow { floor, handed: 0, due }
        };
        Self { body: Some(body), compression: None, record, outflow, deadline, idle, waiting: false }
    }

    /// The client gets the body compressed.
    pub(crate) fn compress(&mut self, compression: Compression) {
        self.compression = Some(Box::new(compression));
    }

    /// The last byte is through: the connection is free for another request.
    fn end(&mut self) {
        if let Some(body) = self.body.take() {
            let worker = self.record.worker();
            if let Passage::Call(call) = body {
                call.finish(worker.timers.tick(), worker.shared.config.limits.upstream_spare);
            }
            self.record.completed();
        }
    }

    fn fail(&mut self, failure: Failure) -> BodyError {
        self.body = None;
        // The instance's side broke because ours did: the cause is what is noted.
        match self.record.body_fault() {
            Some(Failure::ClientGone) => {}
            Some(cause) => self.record.broken(cause),
            None => self.record.broken(failure),
        }
        BodyError(failure)
    }
}

impl Relay {
    /// The next frame for the client.
    fn poll_coded(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Some(coding) = &mut self.compression else { return self.poll_plain(context) };
            if let Some(frame) = coding.take() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if coding.is_over() {
                return Poll::Ready(None);
            }
            let fed = loop {
                let polled = self.poll_plain(context);
                let Some(coding) = &mut self.compression else { return polled };
                match polled {
                    Poll::Pending => match coding.pause() {
                        Ok(()) => {
                            return coding.take().map_or(Poll::Pending, |frame| Poll::Ready(Some(Ok(frame))));
                        }
                        Err(failure) => break Err(failure),
                    },
                    Poll::Ready(None) => break coding.finish(),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(Some(Ok(frame))) => match coding.feed(frame) {
                        Ok(false) => {}
                        Ok(true) => break Ok(()),
                        Err(failure) => break Err(failure),
                    },
                }
            };
            if let Err(failure) = fed {
                return Poll::Ready(Some(Err(self.fail(failure))));
            }
        }
    }

    /// Ready when the instance takes too long. It does not while the client talks: it listens.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<Late> {
        let tick = self.record.worker().timers.tick();
        match &self.record.progress {
            Some(progress) => progress.poll_silence(context, &self.deadline, self.idle, tick),
            None => self.deadline.poll(context),
        }
    }

    /// The next frame of the instance's.
    fn poll_plain(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match body.poll_frame(context) {
            Poll::Pending => {
                // Armed only while the instance is waited for: a slow client is not its fault.
                if !self.waiting {
                    self.waiting = true;
                    self.deadline.arm(self.idle);
                }
                self.poll_late(context).map(|Late| Some(Err(self.fail(Failure::Idle))))
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.waiting = false;
                if let Some(progress) = &self.record.progress {
                    progress.moved.set(self.record.worker().timers.tick());
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(failure))) => Poll::Ready(Some(Err(self.fail(failure)))),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.record.conn().streams.borrow_mut().retain(|other| !Rc::ptr_eq(other, &self.outflow.due));
        // With a declared length the server does not ask for the end: it knows.
        if self.body.as_ref().is_some_and(Passage::is_end_stream)
            && self.compression.as_ref().is_none_or(|coding| coding.is_over())
        {
            self.end();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let relay = match self.get_mut() {
            Self::Own(text) => return Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Relay(relay) => relay,
        };
        // Of an HTTP/2 connection only the one stream ends; an HTTP/1.1 connection is cut from outside.
        if relay.record.is_over() {
            return Poll::Ready(Some(Err(relay.fail(Failure::NoRoute))));
        }
        let polled = relay.poll_coded(context);
        let (outflow, tick) = (&mut relay.outflow, relay.record.worker().timers.tick());
        // What was handed out is the client's to take until the next is asked for.
        outflow.floor.note(std::mem::take(&mut outflow.handed), tick);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            outflow.handed = frame.data_ref().map_or(0, |data| data.len() as u64);
            outflow.floor.wait(tick);
        }
        outflow.due.set(outflow.floor.due().unwrap_or_default());
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            relay.record.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(text) => text.is_none(),
            Self::Relay(relay) => match &relay.compression {
                None => relay.body.as_ref().is_none_or(Passage::is_end_stream),
                Some(coding) => coding.is_over(),
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Relay(relay) if relay.compression.is_some() => SizeHint::default(),
            Self::Relay(relay) => relay.body.as_ref().map_or(SizeHint::with_exact(0), Passage::size_hint),
        }
    }
}
