//! One request over HTTP/1.1 to an instance that speaks HTTP/2: the head that was written for an instance is read back
//! into hyper's terms, the body goes frame by frame through a place for one piece, the answer comes as frames.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version as HttpVersion, header, uri,
};
use hyper::body::{Body as _, Frame, Incoming};

use super::{
    body::Reader,
    chunked::chunk,
    clock::{Awaits, Clock},
    download::Wanted,
    exchange::{Client, Outcome, Plan},
    head,
    upload::end_chunks,
    write::{self, ForClient},
};
use crate::proxy::{
    encode::{self, Choice},
    failure::Failure,
    http::{
        body::{Feed, Upload},
        coded::{Compression, Decompression},
        exchange::why,
        framing::{Body, Version},
        hop, lease,
        meter::{Meter, TooLong},
    },
    io::BLOCK,
    upstream::{
        self, Lease, Sender, Tried,
        again::{Again, Attempt},
        mirror::{Copied, Copy},
    },
    worker::{Worker, record::Record, timer::Late},
};

/// Runs the exchange to its end.
pub(super) async fn exchange(client: &mut Client<'_>, plan: &mut Plan, record: &mut Record) -> Outcome {
    let body = plan.forward.body;
    let feed = (!body.is_empty()).then(Feed::default);
    let mut copy = copy(client.worker, plan);
    let request = match request(plan, feed.clone()) {
        Ok(request) => request,
        Err(failure) => return Outcome::Refused { failure, read: body.is_empty() },
    };
    let mut tried = Tried::default();
    let lease = match client.lease(&plan.forward, record, &mut tried).await {
        Ok(lease) => lease,
        Err(Failure::ClientGone) => return Outcome::Gone,
        Err(failure) => return Outcome::Refused { failure, read: body.is_empty() },
    };
    let mut call = Over {
        reader: Reader::new(body),
        feed,
        passed: 0,
        meter: Meter::new(plan.forward.target.view.service.body_limit, plan.forward.grpc),
        decompression: plan.decompression.take(),
        clock: Clock::new(client.worker, &plan.forward, false),
        sent: body.is_empty(),
        waits: false,
        copy: None,
    };
    if body.is_empty() {
        copy.take().into_iter().for_each(|copy| copy.send());
    }
    call.copy = copy;
    if plan.wanted.expect {
        // No instance is asked: its answer comes as frames, and an interim one does not come at all.
        client.stream.keep(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    let outcome = match call.ask(client, plan, lease, request, record, &mut tried).await {
        Ok((response, _lease)) => call.answer(client, plan, response, record).await,
        Err(Failure::ClientGone) => Outcome::Gone,
        Err(failure) => Outcome::Refused { failure, read: call.reader.is_done() },
    };
    record.bytes_in = call.passed;
    client.worker.recycle(std::mem::take(&mut plan.head));
    outcome
}

/// The state of one exchange.
struct Over {
    reader: Reader,
    feed: Option<Feed>,
    passed: u64,
    meter: Meter,
    decompression: Option<Box<Decompression>>,
    clock: Clock,
    sent: bool,
    /// More of the body is wanted than the client has sent.
    waits: bool,
    copy: Option<Box<Copy>>,
}

impl Drop for Over {
    fn drop(&mut self) {
        if let Some(feed) = self.feed.as_ref().filter(|_| !self.sent) {
            feed.break_off();
        }
    }
}

impl Over {
    /// Sends the request and waits for the head of the answer, on another connection where it may be sent once more.
    async fn ask(
        &mut self,
        client: &mut Client<'_>,
        plan: &Plan,
        mut lease: Lease,
        mut request: Request<Upload>,
        record: &mut Record,
        tried: &mut Tried,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        let forward = &plan.forward;
        let timeouts = forward.target.view.service.timeouts;
        let mut renewed = false;
        loop {
            let Some(Sender::Many(sender)) = lease.sender() else { return Err(Failure::Reset) };
            let mut answer = pin!(sender.try_send_request(request));
            let head = poll_fn(|context| {
                let before = self.passed;
                if let Poll::Ready(Err(failure)) = self.poll_up(context, client) {
                    return Poll::Ready(Err(failure));
                }
                if let Poll::Ready(result) = answer.as_mut().poll(context) {
                    return Poll::Ready(Ok(result));
                }
                let arrived = self.passed - before;
                let awaits = match (self.sent, self.waits) {
                    (true, _) => Awaits::FirstByte,
                    (false, true) => Awaits::Nothing,
                    (false, false) => Awaits::Taking,
                };
                if let Poll::Ready(late) = self.clock.poll_instance(context, awaits, arrived > 0, &timeouts) {
                    return Poll::Ready(Err(late));
                }
                let tick = client.worker.timers.tick();
                self.poll_client(context, arrived, tick).map(Err)
            })
            .await;
            let (failure, unsent) = match head {
                Ok(Ok(response)) => return Ok((response, lease)),
                Ok(Err(mut error)) => (why(&lease, error.error()), error.take_message()),
                Err(Failure::ClientGone) => return Err(Failure::ClientGone),
                Err(failure) => (failure, None),
            };
            let again = upstream::again::again(&Attempt {
                failure,
                sent: unsent.is_none(),
                idempotent: plan.idempotent,
                retry_unsafe: forward.retry_unsafe,
                // Of a body nothing is kept.
                kept: unsent.is_some() || self.feed.is_none(),
                reused: lease.reused,
                renewed,
                answered: false,
                made: tried.count() + 1,
                most: forward.target.view.service.upstream.retry.attempts,
            });
            self.clock.disarm();
            let next = Box::pin(lease::resend(client.worker, forward, record, failure, again, tried));
            lease = client.watched(next).await?;
            renewed |= again == Again::Renewed;
            request = match unsent {
                Some(request) => request,
                None => self::request(plan, None)?,
            };
        }
    }

    /// Passes the answer on.
    async fn answer(
        &mut self,
        client: &mut Client<'_>,
        plan: &Plan,
        response: Response<Incoming>,
        record: &mut Record,
    ) -> Outcome {
        let (forward, wanted) = (&plan.forward, plan.wanted);
        let timeouts = forward.target.view.service.timeouts;
        let (parts, incoming) = response.into_parts();
        let status = parts.status.as_u16();
        record.answered(status);
        let body = answered(&parts.headers, status, wanted);
        let (coding, compression) = match wanted.accepted {
            Some(accepted) => {
                let length = incoming.size_hint().exact();
                let judged = encode::Answer { head: wanted.head, status, length, fields: &parts.headers };
                let offered = &forward.target.view.service.compression;
                Compression::of_answer(client.worker, encode::choose(accepted, &judged, offered))
            }
            None => (Choice::Pass, None),
        };
        let body = match (&compression, wanted.version) {
            (None, _) => body,
            (Some(_), Version::Http10) => Body::Close,
            (Some(_), Version::Http11 | Version::Http2) => Body::Chunked,
        };
        let keep_alive = wanted.keep_alive && body != Body::Close && !client.conn.draining.get();
        let mut out = client.worker.buffer();
        let date = client.worker.date();
        let shape =
            ForClient { body, version: wanted.version, keep_alive, date: &date, coding, switching: false };
        write::converted(&mut out, status, &parts.headers, &shape);
        client.stream.keep(&out);
        client.worker.recycle(out);
        // From now on they talk to each other.
        self.clock.client = None;
        // What comes all the same, where the head says that there is none, would be the next answer for the client.
        let mut down = Down { incoming, compression, body, passed: 0, ended: body.is_empty() };
        let end = poll_fn(|context| {
            let before = self.passed + down.passed;
            if let Poll::Ready(Err(failure)) = self.poll_up(context, client) {
                return Poll::Ready(Err(failure));
            }
            if let Poll::Ready(result) = down.poll(context, client) {
                return Poll::Ready(result);
            }
            // An instance that the client keeps waiting is not the one who is silent.
            let awaits = if client.stream.is_sent() { Awaits::More } else { Awaits::Nothing };
            let moved = self.passed + down.passed != before;
            self.clock.poll_instance(context, awaits, moved, &timeouts).map(Err)
        })
        .await;
        record.bytes_out = down.passed;
        match end {
            Ok(()) => {
                record.completed();
                let read = self.reader.is_done();
                Outcome::Answered { read, keep_alive: keep_alive && read }
            }
            Err(Failure::ClientGone) => Outcome::Gone,
            Err(failure) => {
                record.broken(failure);
                Outcome::Gone
            }
        }
    }

    /// Ready when the client takes too long for its body. The time in which the instance does not take it is not the client's.
    fn poll_client(&mut self, context: &mut Context<'_>, arrived: u64, tick: u32) -> Poll<Failure> {
        let Some(patience) = &mut self.clock.client else { return Poll::Pending };
        if arrived > 0 {
            patience.arrived(arrived, tick);
        }
        if !self.waits {
            patience.rest();
            return Poll::Pending;
        }
        patience.wait(None, tick);
        patience.poll(context).map(|Late| Failure::ClientTimeout)
    }

    /// Brings the client's body to the place where hyper takes it; ready with an error, else it has nothing to do now.
    fn poll_up(&mut self, context: &mut Context<'_>, client: &mut Client<'_>) -> Poll<Result<(), Failure>> {
        self.waits = false;
        let Some(feed) = self.feed.clone().filter(|_| !self.sent) else {
            return client.poll_gone(context).map(Err);
        };
        if let Poll::Ready(Err(_)) = client.stream.poll_sent(context) {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        while feed.poll_room(context).is_ready() {
            if let Some(decompression) = &mut self.decompression {
                match decompression.next() {
                    Ok(Some(data)) => {
                        self.copy.iter_mut().for_each(|copy| copy.data(&data));
                        feed.put(data);
                        continue;
                    }
                    Ok(None) => {}
                    Err(failure) => return Poll::Ready(Err(failure)),
                }
            }
            if let Some(block) = client.inbox.as_mut().filter(|_| !self.reader.is_done()) {
                let step = match self.reader.take(block.data_mut()) {
                    Ok(step) => step,
                    Err(failure) => return Poll::Ready(Err(failure)),
                };
                let data = Bytes::copy_from_slice(block.data().get(..step.data).unwrap_or_default());
                block.consume(step.used);
                if block.is_empty() {
                    client.inbox = None;
                }
                self.passed += data.len() as u64;
                if let Err(TooLong) = self.meter.pass(&data) {
                    return Poll::Ready(Err(Failure::BodyTooLarge));
                }
                match &mut self.decompression {
                    Some(decompression) => decompression.feed(data),
                    None if !data.is_empty() => {
                        self.copy.iter_mut().for_each(|copy| copy.data(&data));
                        feed.put(data);
                    }
                    None => {}
                }
                continue;
            }
            if self.reader.is_done() {
                if let Some(Err(failure)) = self.decompression.as_ref().map(|all| all.end()) {
                    return Poll::Ready(Err(failure));
                }
                feed.end();
                self.copy.take().into_iter().for_each(|copy| copy.send());
                self.sent = true;
                return client.poll_gone(context).map(Err);
            }
            match client.stream.poll_inbox(context, &mut client.inbox) {
                Poll::Pending => {
                    self.waits = true;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Failure::ClientGone)),
            }
        }
        Poll::Pending
    }
}

/// The answer's body on its way to the client.
struct Down {
    incoming: Incoming,
    compression: Option<Compression>,
    body: Body,
    passed: u64,
    /// All of it is with the client's stream.
    ended: bool,
}

impl Down {
    fn poll(&mut self, context: &mut Context<'_>, client: &mut Client<'_>) -> Poll<Result<(), Failure>> {
        let chunked = self.body == Body::Chunked;
        loop {
            match client.stream.poll_sent(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Failure::ClientGone)),
                Poll::Ready(Ok(())) if self.ended => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {}
            }
            let frame = ready!(self.poll_frame(context))?;
            let mut out = client.worker.buffer();
            self.ended = match frame.map(Frame::into_data) {
                Some(Ok(data)) => {
                    self.passed += data.len() as u64;
                    for piece in data.chunks(BLOCK) {
                        if chunked {
                            chunk(&mut out, piece);
                        } else {
                            out.extend_from_slice(piece);
                        }
                    }
                    false
                }
                Some(Err(frame)) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let mut lines = Vec::new();
                    for (name, value) in &trailers {
                        write::field(&mut lines, name.as_str().as_bytes(), value.as_bytes());
                    }
                    if chunked {
                        end_chunks(&mut out, &lines);
                    }
                    true
                }
                None => {
                    if chunked {
                        end_chunks(&mut out, &[]);
                    }
                    true
                }
            };
            client.stream.keep(&out);
            client.worker.recycle(out);
        }
    }
}

impl Down {
    /// The next frame for the client; `None` at the end.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Failure>> {
        loop {
            if let Some(coding) = &mut self.compression {
                if let Some(frame) = coding.take() {
                    return Poll::Ready(Ok(Some(frame)));
                }
                if coding.is_over() {
                    return Poll::Ready(Ok(None));
                }
            }
            let polled = Pin::new(&mut self.incoming).poll_frame(context);
            match (polled, &mut self.compression) {
                (Poll::Ready(Some(Err(error))), _) => {
                    tracing::debug!(%error, "an instance's answer broke off");
                    return Poll::Ready(Err(Failure::Broken));
                }
                (Poll::Ready(Some(Ok(frame))), None) => return Poll::Ready(Ok(Some(frame))),
                (Poll::Ready(None), None) => return Poll::Ready(Ok(None)),
                (Poll::Pending, None) => return Poll::Pending,
                // What is held goes out when nothing more is at hand.
                (Poll::Ready(Some(Ok(frame))), Some(coding)) => drop(coding.feed(frame)?),
                (Poll::Ready(None), Some(coding)) => coding.finish()?,
                (Poll::Pending, Some(coding)) => {
                    coding.pause()?;
                    if let Some(frame) = coding.take() {
                        return Poll::Ready(Ok(Some(frame)));
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

/// How the answer's body is framed for the client.
fn answered(fields: &http::HeaderMap, status: u16, wanted: Wanted) -> Body {
    match crate::proxy::http::framing::response(fields, Version::Http2, status, wanted.head) {
        Ok(Body::Close) | Err(_) if wanted.version == Version::Http10 => Body::Close,
        Ok(Body::Close) | Err(_) => Body::Chunked,
        Ok(body) => body,
    }
}

/// The copy of a request for the service that its route mirrors to.
pub(super) fn copy(worker: &Rc<Worker>, plan: &Plan) -> Option<Box<Copy>> {
    let mirror = plan.forward.mirror.as_ref()?;
    Copy::new(worker, mirror, read_back(&plan.head)?).map(Box::new)
}

/// What a copy takes of a head that was written for an instance.
pub(crate) fn read_back(head: &[u8]) -> Option<Copied> {
    let mut room = head::room();
    let head = head::Request::parse(head, &mut room, head::FIELDS_MAX).ok()?;
    let method = Method::from_bytes(head.method.as_bytes()).ok()?;
    let path = uri::PathAndQuery::try_from(head.target).ok()?;
    Some((method, path, fields(&head).ok()?))
}

/// The fields of a head that was written for an instance, in hyper's terms, without those of the connection.
fn fields(head: &head::Request<'_>) -> Result<HeaderMap, Failure> {
    let mut fields = HeaderMap::new();
    for (name, value) in head.fields.iter() {
        if !hop::is_hop_by_hop(name) && name != b"expect" {
            let name = HeaderName::from_bytes(name).map_err(|_| Failure::BadHead)?;
            fields.append(name, HeaderValue::from_bytes(value).map_err(|_| Failure::BadHead)?);
        }
    }
    Ok(fields)
}

/// The request in hyper's terms.
fn request(plan: &Plan, feed: Option<Feed>) -> Result<Request<Upload>, Failure> {
    let mut room = head::room();
    let head = head::Request::parse(&plan.head, &mut room, head::FIELDS_MAX)?;
    let mut request = Request::new(feed.map_or_else(Upload::none, Upload::fed));
    *request.version_mut() = HttpVersion::HTTP_2;
    *request.method_mut() = Method::from_bytes(head.method.as_bytes()).map_err(|_| Failure::BadMethod)?;
    *request.headers_mut() = fields(&head)?;
    let tls = plan.forward.target.view.service.upstream.tls.is_some();
    let mut parts = uri::Parts::default();
    parts.scheme = Some(if tls { uri::Scheme::HTTPS } else { uri::Scheme::HTTP });
    let host = request.headers_mut().remove(header::HOST).ok_or(Failure::BadHost)?;
    parts.authority = Some(uri::Authority::try_from(host.as_bytes()).map_err(|_| Failure::BadHost)?);
    parts.path_and_query = Some(uri::PathAndQuery::try_from(head.target).map_err(|_| Failure::BadPath)?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Failure::BadPath)?;
    Ok(request)
}
