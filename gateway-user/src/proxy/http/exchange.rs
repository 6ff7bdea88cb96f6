//! One request: judged, sent to an instance, answered. hyper's types end here; the stages know the head view only.

use std::{convert::Infallible, rc::Rc, task::Poll};

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme as UriScheme},
};
use hyper::body::{Body, Incoming};

use super::{
    body::{Answer, Bounds, Progress, Relay, Upload},
    fields::{self, Forwarding},
    head::{Head, Host},
    pipeline::{self, Arrival, Decision},
    respond::{self, Details},
    tunnel::Pending,
};
use crate::{
    base::clock,
    proxy::{
        failure::Failure,
        listener::live::Conn,
        stage::Outcome,
        upstream::{self, Lease, Pool, SendError},
        view::Scheme,
        worker::{
            Worker,
            record::{Asked, Record},
            target::Target,
            timer::{Deadline, Late},
        },
    },
    snapshot::http::Protocol,
};

/// Instances tried for one request while nothing was sent.
const ATTEMPTS: usize = 3;

/// Where a judged request goes.
struct Forward {
    target: Rc<Target>,
    strip: usize,
    grpc: bool,
    declared: Option<u64>,
}

/// Answers one request.
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
    let (parts, body) = request.into_parts();
    let forward = match judge(&worker, &conn, &parts, now, turn, &mut record) {
        Ok(forward) => forward,
        Err(response) => {
            conn.unread.set(conn.unread.get() || !body.is_end_stream());
            return Ok(response);
        }
    };
    Ok(send(&worker, &conn, record, forward, parts, body).await)
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
    let (name, outcome) = match view.listeners.get(index) {
        Some(listener) => {
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
        (Outcome::Continue, Some(target)) => Ok(Forward {
            target: Rc::clone(target),
            strip: decision.strip,
            grpc: decision.grpc,
            declared: decision.declared,
        }),
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

/// Sends the request to an instance and passes the answer on.
async fn send(
    worker: &Rc<Worker>,
    conn: &Rc<Conn>,
    mut record: Record,
    forward: Forward,
    parts: Parts,
    body: Incoming,
) -> Response<Answer> {
    let service = Rc::clone(&forward.target).view.service.clone();
    let upgrade = parts.version == Version::HTTP_11
        && service.protocol == Protocol::Http
        && body.is_end_stream()
        && fields::wants_upgrade(&parts.headers);
    let progress = Rc::new(Progress::default());
    let sent = deliver(worker, conn, &mut record, &forward, parts, body, upgrade, &progress).await;
    let (response, lease, deadline) = match sent {
        Ok(sent) => sent,
        Err(failure) => {
            conn.unread.set(conn.unread.get() || !progress.sent.get());
            record.refused(failure);
            let limit = Some(service.body_limit).filter(|_| failure == Failure::BodyTooLarge);
            return respond::refuse(
                failure,
                &Details { id: &record.id, grpc: forward.grpc, retry: None, limit },
            );
        }
    };
    let (mut head, body) = response.into_parts();
    record.answered(head.status.as_u16());
    head.version = Version::HTTP_11;
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let Some(leftover) = lease.leftover().filter(|_| upgrade) else {
            record.refused(Failure::BadAnswer);
            return respond::refuse(
                Failure::BadAnswer,
                &Details { id: &record.id, grpc: forward.grpc, retry: None, limit: None },
            );
        };
        fields::switching(&mut head.headers);
        *conn.tunnel.borrow_mut() = Some(Pending { leftover, lease, record, idle: service.timeouts.idle });
        return Response::from_parts(head, Answer::Own(None));
    }
    fields::to_client(&mut head.headers);
    Response::from_parts(
        head,
        Answer::Relay(Relay::new(body, record, lease, progress, deadline, service.timeouts.idle)),
    )
}

type Delivered = (Response<Incoming>, Lease, Deadline);

#[expect(clippy::too_many_arguments, reason = "one call; a struct would only name them twice")]
async fn deliver(
    worker: &Rc<Worker>,
    conn: &Rc<Conn>,
    record: &mut Record,
    forward: &Forward,
    mut parts: Parts,
    body: Incoming,
    upgrade: bool,
    progress: &Rc<Progress>,
) -> Result<Delivered, Failure> {
    let target = &forward.target;
    let service = &target.view.service;
    let cells = target.view.counters.worker(worker.id);
    let tick = worker.timers.tick();
    let mut pool = Rc::clone(target.choose(tick).ok_or(Failure::NoInstance)?);
    let mut lease = checkout(worker, target, &mut pool).await?;
    record.instance(&pool);

    let empty = body.is_end_stream();
    prepare(&mut parts, conn, record, forward, upgrade)?;
    let upload = if empty {
        progress.sent.set(true);
        Upload::empty(body)
    } else {
        let idle = worker.shared.config.limits.body_idle;
        let bounds = Bounds { limit: service.body_limit, idle, deadline: worker.timers.deadline(idle) };
        Upload::new(body, bounds, Rc::clone(&record.bytes_in), Rc::clone(progress))
    };
    // Only a connection that was used before can have been closed by the instance in the same moment.
    let again = (lease.reused && empty && parts.method.is_idempotent()).then(|| copy(&parts));
    let mut request = Request::from_parts(parts, upload);
    let deadline = worker.timers.deadline(service.timeouts.first_byte);
    let mut retried = false;
    loop {
        let error = match answer(&mut lease, request, &deadline, progress, service.timeouts.first_byte).await
        {
            Ok(Ok(response)) => return Ok((response, lease, deadline)),
            Ok(Err(error)) => error,
            Err(Late) => return Err(Failure::FirstByte),
        };
        if let Some(fault) = progress.fault.get() {
            return Err(fault);
        }
        let SendError { error, unsent } = error;
        // Once more, if not a byte was sent, or if the method may be repeated and the connection was an old one.
        let next = match (unsent, &again) {
            _ if retried => None,
            (Some(request), _) => Some(*request),
            (None, Some(parts)) => Some(Request::from_parts(copy(parts), Upload::none())),
            (None, None) => None,
        };
        let Some(next) = next else {
            tracing::debug!(instance = pool.name, %error, "no answer");
            return Err(if error.is_parse() { Failure::BadAnswer } else { Failure::Reset });
        };
        request = next;
        retried = true;
        cells.retries.add(1);
        cells.connects.add(1);
        lease = upstream::connect(worker, &pool, &service.timeouts).await?;
    }
}

/// A connection from the pool, or a new one; while nothing is sent, other instances are tried.
async fn checkout(worker: &Rc<Worker>, target: &Rc<Target>, pool: &mut Rc<Pool>) -> Result<Lease, Failure> {
    let mut attempt = 1;
    loop {
        if let Some(lease) = pool.take() {
            return Ok(lease);
        }
        target.view.counters.worker(worker.id).connects.add(1);
        let failure = match upstream::connect(worker, pool, &target.view.service.timeouts).await {
            Ok(lease) => return Ok(lease),
            Err(failure) => failure,
        };
        if attempt >= ATTEMPTS.min(target.instances.len()) {
            return Err(failure);
        }
        attempt += 1;
        target.view.counters.worker(worker.id).retries.add(1);
        *pool = Rc::clone(target.choose(worker.timers.tick()).ok_or(Failure::NoInstance)?);
    }
}

/// Waits for the head of the answer. The first-byte deadline counts from the end of the request body, whose own
/// deadline is the client's.
async fn answer(
    lease: &mut Lease,
    request: Request<Upload>,
    deadline: &Deadline,
    progress: &Progress,
    first_byte: std::time::Duration,
) -> Result<Result<Response<Incoming>, SendError>, Late> {
    let mut sending = std::pin::pin!(lease.send(request));
    let mut armed = progress.sent.get();
    deadline.arm(first_byte);
    std::future::poll_fn(|context| {
        if let Poll::Ready(result) = sending.as_mut().poll(context) {
            return Poll::Ready(Ok(result));
        }
        match deadline.poll(context) {
            Poll::Ready(Late) if armed => Poll::Ready(Err(Late)),
            Poll::Ready(Late) => {
                // The body was still on its way when the deadline was set.
                armed = progress.sent.get();
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
    let http2 = service.protocol == Protocol::Grpc;
    let host = match (parts.uri.authority(), parts.headers.get(header::HOST)) {
        (Some(authority), _) => HeaderValue::from_str(authority.as_str()).map_err(|_| Failure::BadHost)?,
        (None, Some(host)) => host.clone(),
        (None, None) => HeaderValue::from_str(conn.local.text()).map_err(|_| Failure::BadHost)?,
    };
    let path = target(&parts.uri, forward.strip)?;
    parts.uri = if http2 {
        let authority = Authority::try_from(host.as_bytes()).map_err(|_| Failure::BadHost)?;
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(UriScheme::HTTP);
        uri.authority = Some(authority);
        uri.path_and_query = Some(path);
        Uri::from_parts(uri).map_err(|_| Failure::BadPath)?
    } else {
        Uri::from(path)
    };
    parts.version = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
    fields::to_instance(
        &mut parts.headers,
        Forwarding {
            client: conn.client.clone(),
            https: conn.scheme == Scheme::Https,
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

fn copy(parts: &Parts) -> Parts {
    let (mut copy, ()) = Request::new(()).into_parts();
    copy.method = parts.method.clone();
    copy.uri = parts.uri.clone();
    copy.version = parts.version;
    copy.headers = HeaderMap::clone(&parts.headers);
    copy
}
