//! One request: judged, sent to an instance, answered. hyper's types end here; the stages know the head view only.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme as UriScheme},
};
use hyper::body::{Body, Incoming};
use ipnet::IpNet;

use super::{
    body::{Answer, Bounds, Kept, Progress, Relay, Upload},
    coded::{Compression, Decompression},
    fields::{self, Forwarding},
    head::{Head, Host},
    meter::Meter,
    pipeline::{self, Arrival, Decision},
    replay::Replay,
    respond::{self, Details},
    tunnel::Pending,
};
use crate::{
    base::clock,
    proxy::{
        budget::cost,
        encode::{self, Accepted, Choice, Decoder, Encoder},
        failure::Failure,
        forwarded::{self, Told},
        listener::live::Conn,
        rate::Floor,
        stage::Outcome,
        upstream::{
            self, Lease, Missed, Pick, Sender, Tried,
            again::{Again, Attempt},
            balance,
            mirror::{self, Copy},
        },
        worker::{
            Worker,
            record::{Asked, Record},
            target::Target,
            timer::{Deadline, Late, Timers},
        },
    },
    snapshot::http::{Protocol, Service},
};

/// Where a judged request goes.
struct Forward {
    target: Rc<Target>,
    strip: usize,
    grpc: bool,
    declared: Option<u64>,
    /// The listener's, if one of them made the request.
    forwarders: Option<Arc<[IpNet]>>,
    /// What a consistent hash keeps the request with.
    key: u64,
    /// The route lets every method be sent again.
    retry_unsafe: bool,
    /// Who gets a copy.
    mirror: Option<Rc<Target>>,
}

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
    let now =
        u64::try_from(start.saturating_duration_since(worker.shared.base).as_nanos()).unwrap_or(u64::MAX);
    let (mut parts, body) = request.into_parts();
    let forward = match judge(&worker, &conn, &parts, now, turn, &mut record) {
        Ok(forward) => forward,
        Err(response) => {
            conn.unread.set(conn.unread.get() || !body.is_end_stream());
            return Ok(response);
        }
    };
    let target = Rc::clone(&forward.target);
    let service = &target.view.service;
    let empty = body.is_end_stream();
    let upgrade = parts.version == Version::HTTP_11
        && service.protocol == Protocol::Http
        && empty
        && fields::wants_upgrade(&parts.headers);

    let bytes = if conn.http2.get() { cost::stream(!empty, forward.declared) } else { cost::REQUEST };
    if let Err(failure) = record.afford(bytes) {
        conn.unread.set(conn.unread.get() || !empty);
        return Ok(refuse(record, &forward, failure));
    }
    let mut tried = Tried::default();
    let picked = match target.pick(&worker, forward.key, &tried) {
        Ok(pick) => Ok(pick),
        Err(Missed::Nobody) => Err(Failure::NoInstance),
        // Boxed, as is a connect: both are rare, and their state is larger than all the rest.
        Err(Missed::Full) => Box::pin(target.wait(&worker, forward.key)).await,
    };
    let taken = match picked {
        Err(failure) => Err(failure),
        Ok(pick) => match pick.pool().take() {
            Some(lease) => {
                record.instance(pick);
                Ok(lease)
            }
            None => Box::pin(connect(&worker, &forward, &mut record, pick, &mut tried)).await,
        },
    };
    // What the answer is judged by, while the head is there.
    let accepted = (!service.compression.is_empty()).then(|| Accepted::read(&parts.headers));
    let asked_head = parts.method == Method::HEAD;
    let decompression = match decompression(&worker, service, &parts, empty) {
        Ok(decompression) => decompression,
        Err(failure) => {
            conn.unread.set(true);
            return Ok(refuse(record, &forward, failure));
        }
    };
    let prepared =
        taken.and_then(|lease| prepare(&mut parts, &conn, &record, &forward, upgrade).map(|()| lease));
    if decompression.is_some() {
        parts.headers.remove(header::CONTENT_ENCODING);
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    let mut lease = match prepared {
        Ok(lease) => lease,
        Err(failure) => {
            conn.unread.set(conn.unread.get() || !empty);
            return Ok(refuse(record, &forward, failure));
        }
    };

    let retry = &service.upstream.retry;
    let others = retry.attempts > 1 && target.view.fleet.members.len() > 1;
    let repeatable = parts.method.is_idempotent() || forward.retry_unsafe;
    let keep = repeatable && (others || lease.reused);
    let copy = forward.mirror.as_ref().and_then(|mirror| copy(&worker, mirror, &parts));
    let upload = if empty {
        if let Some(copy) = copy {
            copy.send();
        }
        Upload::empty(body)
    } else {
        let progress = Rc::new(Progress::default());
        record.progress = Some(Rc::clone(&progress));
        // Messages of a gRPC stream come when there is something to say.
        progress.dialogue.set(service.protocol == Protocol::Grpc);
        *progress.kept.borrow_mut() = keep.then(Kept::default);
        *progress.copy.borrow_mut() = copy;
        let limits = &worker.shared.config.limits;
        let floor = Floor::new(limits.body_rate, Timers::ticks(limits.body_idle));
        let meter = Meter::new(service.body_limit, forward.grpc);
        let bounds = Bounds { meter, floor, decompression, idle: service.timeouts.idle };
        Upload::new(body, bounds, progress, &worker.timers)
    };
    let idempotent = parts.method.is_idempotent();
    let mut replay = keep.then(|| Replay::keep(&parts, worker.buffer()));
    let mut request = Request::from_parts(parts, upload);
    let first_byte = service.timeouts.first_byte;
    let deadline = worker.timers.deadline(first_byte);
    let mut renewed = false;
    let (mut head, body) = loop {
        let result = match lease.sender() {
            Some(Sender::One(sender)) => {
                let sending = pin!(sender.try_send_request(request));
                answer(sending, &deadline, &record, first_byte).await
            }
            Some(Sender::Many(sender)) => {
                let sending = pin!(sender.try_send_request(request));
                answer(sending, &deadline, &record, first_byte).await
            }
            None => Err(Late),
        };
        let (failure, unsent) = match result {
            Ok(Ok(response)) => break response.into_parts(),
            Err(Late) => (Failure::FirstByte, None),
            Ok(Err(mut error)) => {
                (record.body_fault().unwrap_or_else(|| why(&lease, error.error())), error.take_message())
            }
        };
        let again = upstream::again::again(&Attempt {
            failure,
            sent: unsent.is_none(),
            idempotent,
            retry_unsafe: forward.retry_unsafe,
            kept: unsent.is_some()
                || (replay.is_some() && record.progress.as_ref().is_none_or(|progress| progress.is_whole())),
            reused: lease.reused,
            renewed,
            answered: false,
            made: tried.count() + 1,
            most: retry.attempts,
        });
        match Box::pin(resend(&worker, &forward, &mut record, failure, again, &mut tried)).await {
            Ok(next) => lease = next,
            Err(failure) => {
                conn.unread.set(conn.unread.get() || !record.body_sent());
                return Ok(refuse(record, &forward, failure));
            }
        }
        renewed |= again == Again::Renewed;
        let replayed = || {
            let body = record.progress.as_ref().map_or_else(Upload::none, |body| Upload::again(body));
            replay.as_ref().map(|replay| replay.request(body))
        };
        match unsent.or_else(replayed) {
            Some(again) => request = again,
            // Never: what is not kept is not sent again.
            None => return Ok(refuse(record, &forward, failure)),
        }
    };
    if let Some(progress) = &record.progress {
        progress.forget();
    }
    if let Some(replay) = replay.take() {
        worker.recycle(replay.into_buffer());
    }
    record.answered(head.status.as_u16());
    if let Some(progress) = &record.progress {
        progress.dialogue.set(true);
    }
    head.version = Version::HTTP_11;
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let Some(leftover) = lease.leftover().filter(|_| upgrade) else {
            return Ok(refuse(record, &forward, Failure::BadAnswer));
        };
        fields::switching(&mut head.headers);
        *conn.tunnel.borrow_mut() = Some(Pending { leftover, lease, record, idle: service.timeouts.idle });
        return Ok(Response::from_parts(head, Answer::Own(None)));
    }
    fields::to_client(&mut head.headers);
    let compression = accepted.and_then(|accepted| {
        let (status, length) = (head.status.as_u16(), body.size_hint().exact());
        let answer = encode::Answer { head: asked_head, status, length, fields: &head.headers };
        let choice = encode::choose(accepted, &answer, &service.compression);
        let (choice, compression) = compression(&worker, choice);
        fields::coded(&mut head.headers, choice);
        compression
    });
    let mut relay = Relay::new(body, record, lease, deadline, service.timeouts.idle);
    if let Some(compression) = compression {
        relay.compress(compression);
    }
    Ok(Response::from_parts(head, Answer::Relay(relay)))
}

/// The transformer of a request body that the instance shall get decompressed.
fn decompression(
    worker: &Rc<Worker>,
    service: &Service,
    parts: &Parts,
    empty: bool,
) -> Result<Option<Decompression>, Failure> {
    // gRPC compresses its messages itself, and the limit is theirs.
    if empty || !service.decompress || service.protocol == Protocol::Grpc {
        return Ok(None);
    }
    let Some(encoding) = encode::requested(&parts.headers)? else { return Ok(None) };
    let cost = Decoder::cost(encoding, service.body_limit);
    let grant = worker.budget.grant(cost).ok_or(Failure::Overloaded)?;
    Ok(Some(Decompression::new(Decoder::new(encoding, service.body_limit)?, grant)))
}

/// The transformer of an answer. Where there is no memory for one, the answer passes as it is.
fn compression(worker: &Rc<Worker>, choice: Choice) -> (Choice, Option<Compression>) {
    let Choice::Encode { encoding, events } = choice else { return (choice, None) };
    let grant = worker.budget.grant(encode::cost(encoding));
    let made = grant.and_then(|grant| Some(Compression::new(Encoder::new(encoding, events).ok()?, grant)));
    if made.is_some() { (choice, made) } else { (Choice::Vary, None) }
}

/// Ends a request that got past the pipeline.
fn refuse(mut record: Record, forward: &Forward, failure: Failure) -> Response<Answer> {
    record.refused(failure);
    let limit = Some(forward.target.view.service.body_limit).filter(|_| failure == Failure::BodyTooLarge);
    // Room comes back as soon as others are done.
    let retry = (failure == Failure::Overloaded).then_some(1);
    respond::refuse(failure, &Details { id: &record.id, grpc: forward.grpc, retry, limit })
}

/// Runs the pipeline. The error is the answer to a request that goes no further.
#[expect(clippy::result_large_err, reason = "a box would be an allocation for each refusal")]
fn judge(
    worker: &Rc<Worker>,
    conn: &Conn,
    parts: &Parts,
    now: u64,
    turn: u64,
    record: &mut Record,
) -> Result<Forward, Response<Answer>> {
    let current = worker.current();
    let view = &current.view;
    let head = Head {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        authority: parts.uri.authority().map(Authority::as_str),
        http10: parts.version == Version::HTTP_10,
        fields: &parts.headers,
    };
    // A new view renumbers listeners; the socket tells which one this connection belongs to.
    let (seen, mut index) = conn.listener.get();
    if seen != view.generation.0 {
        index = view.sockets.get(&conn.socket).map_or(usize::MAX, |(index, _)| *index);
        conn.listener.set((view.generation.0, index));
    }
    let mut decision = Decision::default();
    let forwarders = view.listeners.get(index).map(|view| &view.listener.forwarders);
    let mut told = Told::Nothing;
    let (name, outcome) = match view.listeners.get(index) {
        Some(listener) if is_crowded(&parts.headers, worker.shared.config.limits.head_fields) => {
            (listener.listener.name.as_str(), Outcome::Refuse(Failure::HeadTooLarge, None))
        }
        Some(listener) => {
            let speaker = conn.client.borrow().address.ip();
            told = forwarded::read(head.fields, speaker, &listener.listener.forwarders);
            let sni = conn.sni.borrow();
            let certificate = conn.certificate.borrow();
            let arrival = Arrival {
                scheme: conn.scheme,
                local: &conn.local,
                sni: sni.as_deref(),
                certificate: &certificate,
                now,
                turn,
            };
            let outcome = pipeline::judge(view, listener, &arrival, &head, &mut decision);
            (listener.listener.name.as_str(), outcome)
        }
        None => ("", Outcome::Refuse(Failure::UnknownHost, None)),
    };
    let host = decision.host.as_ref().map_or("", Host::as_str);
    record.asked(&Asked {
        client: told.client(),
        forwarded: told.believed(),
        generation: view.generation.0,
        listener: name,
        method: head.method,
        host,
        path: head.path,
    });
    let target = decision.service.and_then(|service| current.targets.get(service));
    if target.is_some() {
        record.routed(decision.route.map(|route| &*route.name), target);
    }
    let limit = target.map(|target| target.view.service.body_limit);
    match (outcome, target) {
        (Outcome::Continue, Some(target)) => {
            target.count(worker);
            let mirror = decision
                .route
                .and_then(|route| route.mirror.as_ref())
                .filter(|mirror| mirror::is_copied(mirror.percent, balance::mix(turn ^ worker.prefix)));
            let mirror = mirror.and(decision.mirror).and_then(|index| current.targets.get(index));
            Ok(Forward {
                mirror: mirror.map(Rc::clone),
                target: Rc::clone(target),
                strip: decision.strip,
                grpc: decision.grpc,
                declared: decision.declared,
                key: target.key(&head, told.client().unwrap_or_else(|| conn.client.borrow().address.ip())),
                forwarders: told.believed().then(|| forwarders.map(Arc::clone)).flatten(),
                retry_unsafe: decision.route.is_some_and(|route| route.retry_unsafe),
            })
        }
        (Outcome::Redirect(place), _) => {
            let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
            record.answered(StatusCode::PERMANENT_REDIRECT.as_u16());
            record.completed();
            Err(respond::redirect(&format!("{place}{target}"), &record.id))
        }
        (Outcome::Refuse(failure, retry), _) => {
            record.refused(failure);
            let limit = limit.filter(|_| failure == Failure::BodyTooLarge);
            Err(respond::refuse(failure, &Details { id: &record.id, grpc: decision.grpc, retry, limit }))
        }
        (Outcome::Continue, None) => {
            record.refused(Failure::NoRoute);
            Err(respond::refuse(
                Failure::NoRoute,
                &Details { id: &record.id, grpc: decision.grpc, retry: None, limit: None },
            ))
        }
    }
}

/// Whether there are more fields than `most`. The pieces into which HTTP/2 clients cut their cookies are one field, which
/// the parser's bound on bytes keeps small (RFC 9113 §8.2.3).
fn is_crowded(fields: &HeaderMap, most: usize) -> bool {
    fields.len() > most && fields.len() - fields.get_all(header::COOKIE).iter().count() > most
}

/// The copy of a request whose head is ready for its instance.
fn copy(worker: &Rc<Worker>, mirror: &Rc<Target>, parts: &Parts) -> Option<Box<Copy>> {
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut headers = parts.headers.clone();
    if let Some(host) = parts.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        headers.insert(header::HOST, host);
    }
    // Boxed: it is rare, and would make the state of every request larger.
    Copy::new(worker, mirror, (parts.method.clone(), path, headers)).map(Box::new)
}

/// What an error of the HTTP client means.
fn why(lease: &Lease, error: &hyper::Error) -> Failure {
    tracing::debug!(instance = lease.pool().place.name, %error, "no answer");
    if error.is_parse() { Failure::BadAnswer } else { Failure::Reset }
}

/// A new connection for `pick`; while nothing is sent, other instances are tried.
async fn connect(
    worker: &Rc<Worker>,
    forward: &Forward,
    record: &mut Record,
    mut pick: Pick,
    tried: &mut Tried,
) -> Result<Lease, Failure> {
    let target = &forward.target;
    let service = &target.view.service;
    loop {
        target.view.counters.worker(worker.id).connects.add(1);
        let failure = match upstream::connect(worker, pick.pool(), &service.timeouts).await {
            Ok(lease) => {
                record.instance(pick);
                return Ok(lease);
            }
            Err(failure) => failure,
        };
        record.instance(pick);
        record.failed(failure);
        record.note_tried(tried);
        let again = upstream::again::again(&Attempt {
            failure,
            sent: false,
            idempotent: false,
            retry_unsafe: forward.retry_unsafe,
            kept: true,
            reused: false,
            renewed: false,
            answered: false,
            made: tried.count(),
            most: service.upstream.retry.attempts,
        });
        if again == Again::No {
            return Err(failure);
        }
        pick = target.pick(worker, forward.key, tried).map_err(|_| failure)?;
        record.retried();
        if let Some(lease) = pick.pool().take() {
            record.instance(pick);
            return Ok(lease);
        }
    }
}

/// A connection for a request that is sent once more; `failure` is what it is answered with otherwise.
async fn resend(
    worker: &Rc<Worker>,
    forward: &Forward,
    record: &mut Record,
    failure: Failure,
    again: Again,
    tried: &mut Tried,
) -> Result<Lease, Failure> {
    record.failed(failure);
    let target = &forward.target;
    let pick = match again {
        Again::Renewed => record.take_pick().ok_or(failure)?,
        Again::Another { paid } if !paid || target.may_retry(worker) => {
            record.note_tried(tried);
            let next = target.pick(worker, forward.key, tried).map_err(|_| failure)?;
            if let Some(lease) = next.pool().take() {
                record.retried();
                record.instance(next);
                return Ok(lease);
            }
            next
        }
        Again::Another { .. } | Again::No => return Err(failure),
    };
    record.retried();
    connect(worker, forward, record, pick, tried).await
}

/// Waits for the head of the answer. The first-byte deadline counts from the end of the request body, whose own
/// deadline is the client's.
async fn answer<F: Future>(
    mut sending: Pin<&mut F>,
    deadline: &Deadline,
    record: &Record,
    first_byte: Duration,
) -> Result<F::Output, Late> {
    let (mut sent, mut passed) = (record.body_sent(), record.bytes_in());
    deadline.arm(first_byte);
    std::future::poll_fn(|context| {
        if let Poll::Ready(result) = sending.as_mut().poll(context) {
            return Poll::Ready(Ok(result));
        }
        match deadline.poll(context) {
            Poll::Ready(Late) if sent => Poll::Ready(Err(Late)),
            // An instance that stopped to take the body.
            Poll::Ready(Late) if passed == record.bytes_in() && !record.awaits_client() => {
                Poll::Ready(Err(Late))
            }
            Poll::Ready(Late) => {
                // The body was still on its way when the deadline was set.
                (sent, passed) = (record.body_sent(), record.bytes_in());
                deadline.arm(first_byte);
                deadline.poll(context).map(Err)
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Turns the client's head into the one for the instance.
fn prepare(
    parts: &mut Parts,
    conn: &Conn,
    record: &Record,
    forward: &Forward,
    upgrade: bool,
) -> Result<(), Failure> {
    let service = &forward.target.view.service;
    let http2 = service.protocol.is_http2();
    let host = match (parts.uri.authority(), parts.headers.get(header::HOST)) {
        (Some(authority), _) => HeaderValue::from_str(authority.as_str()).map_err(|_| Failure::BadHost)?,
        (None, Some(host)) => host.clone(),
        (None, None) => HeaderValue::from_str(conn.local.text()).map_err(|_| Failure::BadHost)?,
    };
    let path = target(&parts.uri, forward.strip)?;
    parts.uri = if http2 {
        let authority = Authority::try_from(host.as_bytes()).map_err(|_| Failure::BadHost)?;
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(if service.upstream.tls.is_some() { UriScheme::HTTPS } else { UriScheme::HTTP });
        uri.authority = Some(authority);
        uri.path_and_query = Some(path);
        Uri::from_parts(uri).map_err(|_| Failure::BadPath)?
    } else {
        Uri::from(path)
    };
    let version = via(parts.version);
    parts.version = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
    fields::to_instance(
        &mut parts.headers,
        Forwarding {
            hop: conn.client.borrow().hop(conn.scheme, version),
            forwarders: forward.forwarders.as_deref().unwrap_or_default(),
            host,
            id: record.id.header(),
            token: service.forward_token,
            upgrade,
            http2,
        },
    );
    // Extensions carry hyper's own state of the client's connection.
    parts.extensions = http::Extensions::new();
    if let (Some(length), false) = (forward.declared, parts.headers.contains_key(header::CONTENT_LENGTH)) {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(())
}

/// A version as `Via` names it.
fn via(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
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
