//! One request over HTTP/2: judged, sent to an instance, answered. hyper's types end here; the stages know the head
//! view only.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use http::{
    HeaderValue, Method, Request, Response, Uri, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme as UriScheme},
};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};

use super::{
    body::{Answer, Bounds, Kept, Passage, Progress, Relay, Upload},
    check::check,
    coded::{Compression, Decompression},
    fields::{self, Forwarding},
    framing,
    head::Head,
    hop::Connection,
    judge::{Forward, Moment, judge, refuse},
    lease,
    meter::Meter,
    replay::Replay,
};
use crate::{
    base::clock,
    proxy::{
        budget::cost,
        encode::{self, Accepted},
        failure::Failure,
        forwarded::{self, Told},
        h1,
        listener::live::Conn,
        rate::Floor,
        upstream::{
            self, Call, Lease, Sender, Tried,
            again::{Again, Attempt},
            mirror::{Copied, Copy},
        },
        worker::{
            Worker,
            record::Record,
            target::Target,
            timer::{Deadline, Late, Timers},
        },
    },
    snapshot::http::Protocol,
};

/// Answers one request.
///
/// One async function from head to head: every nested one would copy the request into its own state once more.
pub(crate) async fn run(
    worker: Rc<Worker>,
    conn: Rc<Conn>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    // The one clock reading of the request: throttle, log and metrics share it.
    let start = clock::now();
    let turn = worker.next_turn();
    let mut record = Record::open(&worker, &conn, start, turn);
    let (mut parts, mut body) = request.into_parts();
    let head = Head {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        authority: parts.uri.authority().map(Authority::as_str),
        version: framing::Version::Http2,
        fields: &parts.headers,
    };
    let asked = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let fault = check(&parts, asked, worker.shared.config.limits.head_fields).err();
    let moment = Moment { now: record.moment(), turn, fault };
    let mut forward = match judge(&worker, &conn, &head, asked, moment, &mut record) {
        Ok(forward) => forward,
        Err(answer) => return Ok(*answer),
    };
    let target = Rc::clone(&forward.target);
    let service = &target.view.service;
    // An instance would take a request without a byte for complete before the client has ended it.
    if forward.body == framing::Body::Length(0)
        && !body.is_end_stream()
        && let Err(failure) = Box::pin(ended(&worker, &mut body)).await
    {
        return Ok(refuse(&mut record, &forward, failure));
    }
    let empty = body.is_end_stream();
    let bytes = cost::stream(!empty, forward.body.declared());
    if let Err(failure) = record.afford(bytes) {
        return Ok(refuse(&mut record, &forward, failure));
    }
    // What the answer is judged by, while the head is there.
    let accepted = (!service.compression.is_empty()).then(|| Accepted::read(&parts.headers));
    let asked_head = parts.method == Method::HEAD;
    let decompression = match Decompression::of_request(&worker, service, &parts.headers, empty) {
        Ok(decompression) => decompression,
        Err(failure) => return Ok(refuse(&mut record, &forward, failure)),
    };
    if decompression.is_some() {
        parts.headers.remove(header::CONTENT_ENCODING);
        parts.headers.remove(header::CONTENT_LENGTH);
        forward.body = framing::Body::Chunked;
    }
    let mut tried = Tried::default();
    let taken = match lease::ready(&worker, &forward, &mut record, &tried) {
        Ok(Some(lease)) => Ok(lease),
        Ok(None) => {
            let next = Box::pin(lease::wait(&worker, &forward, &mut record, &mut tried));
            served(&worker, &target, next).await
        }
        Err(failure) => Err(failure),
    };
    let lease = match taken {
        Ok(lease) => lease,
        Err(failure) => return Ok(refuse(&mut record, &forward, failure)),
    };

    let retry = &service.upstream.retry;
    let others = retry.attempts > 1 && target.view.fleet.members.len() > 1;
    let repeatable = parts.method.is_idempotent() || forward.retry_unsafe;
    let keep = repeatable && (others || lease.reused);
    let upload = if empty {
        Upload::empty(body)
    } else {
        let progress = Rc::new(Progress::default());
        record.progress = Some(Rc::clone(&progress));
        // Messages of a gRPC stream come when there is something to say.
        progress.dialogue.set(service.protocol == Protocol::Grpc);
        *progress.kept.borrow_mut() = keep.then(Kept::default);
        let limits = &worker.shared.config.limits;
        let floor = Floor::new(limits.body_rate, Timers::ticks(limits.body_idle));
        let meter = Meter::new(service.body_limit, forward.grpc);
        let bounds = Bounds { meter, floor, decompression, idle: service.timeouts.idle };
        Upload::new(body, bounds, progress, &worker.timers)
    };
    let deadline = worker.timers.deadline(service.timeouts.first_byte);
    let mut sending = Sending {
        worker: &worker,
        forward: &forward,
        conn: &conn,
        record: &mut record,
        deadline: &deadline,
        tried,
    };
    // Boxed: each of the two would make the state of every request larger.
    let result = match service.protocol.is_http2() {
        true => Box::pin(sending.streamed(parts, upload, lease, keep)).await,
        false => Box::pin(sending.called(&parts, upload, lease)).await,
    };
    let (mut head, body) = match result {
        Ok(answer) => answer,
        Err(failure) => return Ok(refuse(&mut record, &forward, failure)),
    };
    if let Some(progress) = &record.progress {
        progress.forget();
        progress.dialogue.set(true);
    }
    record.answered(head.status.as_u16());
    fields::to_client(&mut head.headers);
    let compression = accepted.and_then(|accepted| {
        let (status, length) = (head.status.as_u16(), body.size_hint().exact());
        let answer = encode::Answer { head: asked_head, status, length, fields: &head.headers };
        let choice = encode::choose(accepted, &answer, &service.compression);
        let (choice, compression) = Compression::of_answer(&worker, choice);
        fields::coded(&mut head.headers, choice);
        compression
    });
    let mut relay = Relay::new(body, record, deadline, service.timeouts.idle);
    if let Some(compression) = compression {
        relay.compress(compression);
    }
    Ok(Response::from_parts(head, Answer::Relay(relay)))
}

/// A request on its way to an instance.
struct Sending<'s> {
    worker: &'s Rc<Worker>,
    forward: &'s Forward,
    conn: &'s Conn,
    record: &'s mut Record,
    deadline: &'s Deadline,
    tried: Tried,
}

/// What decides whether a request is sent once more, besides the failure.
#[derive(Clone, Copy)]
struct State {
    sent: bool,
    idempotent: bool,
    kept: bool,
    reused: bool,
    renewed: bool,
    answered: bool,
}

impl Sending<'_> {
    /// Sends the request to an instance that speaks HTTP/1.1 and waits for the head of its answer.
    async fn called(
        &mut self,
        parts: &Parts,
        upload: Upload,
        lease: Lease,
    ) -> Result<(http::response::Parts, Passage), Failure> {
        // What comes in frames may come without a declared length.
        let body = match self.forward.body {
            framing::Body::None if !upload.is_end_stream() => framing::Body::Chunked,
            body @ (framing::Body::None
            | framing::Body::Length(_)
            | framing::Body::Chunked
            | framing::Body::Close) => body,
        };
        let head = self.head(parts, body)?;
        self.copy(|| h1::read_back(&head));
        let mut call = Box::new(Call::new(lease, &self.worker.blocks, head, body, upload));
        let is_head = parts.method == http::Method::HEAD;
        let first_byte = self.forward.target.view.service.timeouts.first_byte;
        let mut renewed = false;
        loop {
            let polled = pin!(poll_fn(|context| call.poll_head(context, is_head)));
            let failure = match answer(polled, self.deadline, self.record, first_byte).await {
                Ok(Ok(head)) => return Ok((head, Passage::Call(call))),
                Err(failure) => failure,
                Ok(Err(failure)) => self.record.body_fault().unwrap_or(failure),
            };
            let taken = call.has_taken();
            if taken {
                call.release();
            }
            let progress = self.record.progress.clone();
            let state = State {
                sent: call.began(),
                idempotent: parts.method.is_idempotent(),
                kept: !taken || progress.as_ref().is_none_or(|progress| progress.is_whole()),
                reused: call.lease().reused,
                renewed,
                answered: call.is_answered(),
            };
            let (lease, again) = self.again(failure, state).await?;
            renewed |= again == Again::Renewed;
            let upload =
                taken.then(|| progress.as_ref().map_or_else(Upload::none, |body| Upload::again(body)));
            call.again(lease, upload);
        }
    }

    /// Sends the request to an instance that speaks HTTP/2 and waits for the head of its answer.
    async fn streamed(
        &mut self,
        mut parts: Parts,
        upload: Upload,
        mut lease: Lease,
        keep: bool,
    ) -> Result<(http::response::Parts, Passage), Failure> {
        prepare(&mut parts, self.conn, self.record, self.forward)?;
        self.copy(|| copied(&parts));
        let idempotent = parts.method.is_idempotent();
        let replay = keep.then(|| Replay::keep(&parts, self.worker.buffer()));
        let mut request = Request::from_parts(parts, upload);
        let first_byte = self.forward.target.view.service.timeouts.first_byte;
        let mut renewed = false;
        let result = loop {
            let Some(Sender::Many(sender)) = lease.sender() else { break Err(Failure::Reset) };
            let sending = pin!(sender.try_send_request(request));
            let (failure, unsent) = match answer(sending, self.deadline, self.record, first_byte).await {
                Ok(Ok(response)) => {
                    let (head, body) = response.into_parts();
                    break Ok((head, Passage::Stream { body, _lease: lease }));
                }
                Err(failure) => (failure, None),
                Ok(Err(mut error)) => {
                    let fault = self.record.body_fault();
                    (fault.unwrap_or_else(|| why(&lease, error.error())), error.take_message())
                }
            };
            let progress = self.record.progress.clone();
            let state = State {
                sent: unsent.is_none(),
                idempotent,
                kept: unsent.is_some()
                    || (replay.is_some() && progress.as_ref().is_none_or(|progress| progress.is_whole())),
                reused: lease.reused,
                renewed,
                answered: false,
            };
            let again = match self.again(failure, state).await {
                Ok((next, again)) => {
                    lease = next;
                    again
                }
                Err(failure) => break Err(failure),
            };
            renewed |= again == Again::Renewed;
            let replayed = || {
                let body = progress.as_ref().map_or_else(Upload::none, |body| Upload::again(body));
                replay.as_ref().map(|replay| replay.request(body))
            };
            match unsent.or_else(replayed) {
                Some(again) => request = again,
                // Never: what is not kept is not sent again.
                None => break Err(failure),
            }
        };
        if let Some(replay) = replay {
            self.worker.recycle(replay.into_buffer());
        }
        result
    }

    /// Begins the copy for the service that the route mirrors to; `head` is what the instance gets.
    fn copy(&self, head: impl FnOnce() -> Option<Copied>) {
        let Some(mirror) = &self.forward.mirror else { return };
        let Some(copy) = head().and_then(|head| Copy::new(self.worker, mirror, head)) else { return };
        match &self.record.progress {
            // Boxed: it is rare.
            Some(progress) => *progress.copy.borrow_mut() = Some(Box::new(copy)),
            None => copy.send(),
        }
    }

    /// A connection on which the request is sent once more, if it may be.
    async fn again(&mut self, failure: Failure, state: State) -> Result<(Lease, Again), Failure> {
        let again = upstream::again::again(&Attempt {
            failure,
            sent: state.sent,
            idempotent: state.idempotent,
            retry_unsafe: self.forward.retry_unsafe,
            kept: state.kept,
            reused: state.reused,
            renewed: state.renewed,
            answered: state.answered,
            made: self.tried.count() + 1,
            most: self.forward.target.view.service.upstream.retry.attempts,
        });
        let next =
            Box::pin(lease::resend(self.worker, self.forward, self.record, failure, again, &mut self.tried));
        Ok((served(self.worker, &self.forward.target, next).await?, again))
    }

    /// The head for an instance that speaks HTTP/1.1.
    fn head(&self, parts: &Parts, body: framing::Body) -> Result<Vec<u8>, Failure> {
        let (conn, forward) = (self.conn, self.forward);
        let fields = &parts.headers;
        let host = match (parts.uri.authority(), fields.get(header::HOST)) {
            (Some(authority), _) => authority.as_str().as_bytes(),
            (None, Some(host)) => host.as_bytes(),
            (None, None) => return Err(Failure::BadHost),
        };
        let client = conn.client.borrow();
        let hop = client.hop(conn.scheme, "2");
        let told = match &forward.forwarders {
            Some(forwarders) => forwarded::read(fields, hop.address, forwarders),
            None => Told::Nothing,
        };
        let asked = h1::ForInstance {
            method: parts.method.as_str(),
            target: parts.uri.path_and_query().map_or("/", PathAndQuery::as_str),
            strip: forward.strip,
            host,
            body,
            upgrade: None,
            expect: false,
            id: self.record.id.as_bytes(),
            token: forward.target.view.service.forward_token,
            believed: told.believed(),
            decoded: false,
        };
        let mut out = self.worker.buffer();
        let each = fields.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        h1::request(&mut out, &asked, fields, each, Connection::default(), |out| {
            told.write(&hop, host, out, h1::begin_field, h1::end_field);
        });
        Ok(out)
    }
}

/// Waits for a connection, but no longer than what a removed service still does has time: an HTTP/1.1 connection is cut
/// from outside then, and of this one only the request ends.
async fn served<F: Future<Output = Result<Lease, Failure>>>(
    worker: &Worker,
    target: &Target,
    mut next: Pin<Box<F>>,
) -> Result<Lease, Failure> {
    // Never armed: who waits for a deadline is roused when that time has come.
    let rousing = worker.timers.deadline(Duration::ZERO);
    rousing.disarm();
    poll_fn(|context| {
        if let Poll::Ready(result) = next.as_mut().poll(context) {
            return Poll::Ready(result);
        }
        if target.is_over(worker.timers.tick()) {
            return Poll::Ready(Err(Failure::NoRoute));
        }
        rousing.poll(context).map(|Late| Err(Failure::NoRoute))
    })
    .await
}

/// Waits for the end of a body that is declared to be empty; hyper refuses one that is not.
async fn ended(worker: &Worker, body: &mut Incoming) -> Result<(), Failure> {
    let deadline = worker.timers.deadline(worker.shared.config.limits.body_idle);
    let end = async {
        while let Some(frame) = body.frame().await {
            frame.map_err(|_| Failure::ClientGone)?;
        }
        Ok(())
    };
    deadline.bound(end).await.unwrap_or(Err(Failure::ClientTimeout))
}

/// What a copy takes of a head that is ready for an instance that speaks HTTP/2.
fn copied(parts: &Parts) -> Option<Copied> {
    let mut headers = parts.headers.clone();
    headers.insert(header::HOST, HeaderValue::from_str(parts.uri.authority()?.as_str()).ok()?);
    Some((parts.method.clone(), parts.uri.path_and_query()?.clone(), headers))
}

/// What an error of the HTTP client means.
pub(crate) fn why(lease: &Lease, error: &hyper::Error) -> Failure {
    tracing::debug!(instance = lease.pool().place.name, %error, "no answer");
    if error.is_parse() { Failure::BadAnswer } else { Failure::Reset }
}

/// Waits for the head of the answer. The first-byte deadline counts from the end of the request body, whose own
/// deadline is the client's.
async fn answer<F: Future>(
    mut sending: Pin<&mut F>,
    deadline: &Deadline,
    record: &Record,
    first_byte: Duration,
) -> Result<F::Output, Failure> {
    let (mut sent, mut passed) = (record.body_sent(), record.bytes_in());
    deadline.arm(first_byte);
    std::future::poll_fn(|context| {
        if let Poll::Ready(result) = sending.as_mut().poll(context) {
            return Poll::Ready(Ok(result));
        }
        if record.is_over() {
            return Poll::Ready(Err(Failure::NoRoute));
        }
        match deadline.poll(context) {
            Poll::Ready(Late) if sent => Poll::Ready(Err(Failure::FirstByte)),
            // An instance that stopped to take the body.
            Poll::Ready(Late) if passed == record.bytes_in() && !record.awaits_client() => {
                Poll::Ready(Err(Failure::FirstByte))
            }
            Poll::Ready(Late) => {
                // The body was still on its way when the deadline was set.
                (sent, passed) = (record.body_sent(), record.bytes_in());
                deadline.arm(first_byte);
                deadline.poll(context).map(|Late| Err(Failure::FirstByte))
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Turns the client's head into the one for an instance that speaks HTTP/2.
fn prepare(parts: &mut Parts, conn: &Conn, record: &Record, forward: &Forward) -> Result<(), Failure> {
    let service = &forward.target.view.service;
    let host = match (parts.uri.authority(), parts.headers.get(header::HOST)) {
        (Some(authority), _) => HeaderValue::from_str(authority.as_str()).map_err(|_| Failure::BadHost)?,
        (None, Some(host)) => host.clone(),
        (None, None) => return Err(Failure::BadHost),
    };
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if service.upstream.tls.is_some() { UriScheme::HTTPS } else { UriScheme::HTTP });
    uri.authority = Some(Authority::try_from(host.as_bytes()).map_err(|_| Failure::BadHost)?);
    uri.path_and_query = Some(target(&parts.uri, forward.strip)?);
    parts.uri = Uri::from_parts(uri).map_err(|_| Failure::BadPath)?;
    fields::to_instance(
        &mut parts.headers,
        Forwarding {
            hop: conn.client.borrow().hop(conn.scheme, "2"),
            forwarders: forward.forwarders.as_deref().unwrap_or_default(),
            host,
            id: record.id.header(),
            token: service.forward_token,
        },
    );
    // Extensions carry hyper's own state of the client's connection.
    parts.extensions = http::Extensions::new();
    Ok(())
}

/// Path and query for the instance, without the first `strip` bytes of the path.
fn target(uri: &Uri, strip: usize) -> Result<PathAndQuery, Failure> {
    let whole = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    if strip == 0 {
        return Ok(whole);
    }
    let rest = whole.as_str().get(strip..).unwrap_or_default();
    let rest = if rest.starts_with('/') {
        PathAndQuery::try_from(rest)
    } else {
        PathAndQuery::try_from(format!("/{rest}"))
    };
    rest.map_err(|_| Failure::BadPath)
}

#[cfg(test)]
mod tests {
    use super::run;

    /// hyper moves the future of every request into its place, so its size is a cost.
    #[test]
    fn the_state_of_a_request_is_small() {
        fn size<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(run) <= 2560, "{}", size(run));
    }
}
