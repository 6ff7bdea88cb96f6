//! Serves the control socket: connections, who may do what, body limits, JSON errors, followed streams.
//!
//! It runs on the control plane's current-thread runtime, so handlers are plain functions over `Rc` and never race.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::{
    net::UnixListener,
    net::UnixStream,
    sync::{mpsc, watch},
    task::JoinSet,
    time,
};

use super::{
    Context, Writers, handler,
    peer::Peer,
    request::{Query, Request, unescape},
    route::{self, Access, Reply},
    wire::{self, ErrorReply},
};
use crate::base::Refusal;

/// Connections of users who may only read; those who may write are not held up by them.
const MAX_READERS: usize = 32;
/// Connections in all.
const MAX_CONNECTIONS: usize = 256;
/// How long a request's head and body may take to arrive.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// How often a followed stream looks for new samples. The filter's reader collects every 100 ms.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);
/// An empty line this often tells a dead client from a quiet filter.
const FOLLOW_KEEPALIVE: Duration = Duration::from_secs(15);

/// Serves until `stop` completes, then lets answers under way finish for a moment.
pub async fn serve(
    listener: UnixListener,
    context: Rc<Context>,
    writers: Writers,
    stop: impl Future<Output = ()>,
) {
    let writers = Rc::new(writers);
    let readers = Rc::new(());
    let (stopper, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "control socket: accept failed");
                // Out of file descriptors: spinning would not free one.
                time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(peer) = credentials(&stream) else { continue };
        let reader = (writers.check(peer).is_err()).then(|| Rc::clone(&readers));
        if connections.len() >= MAX_CONNECTIONS || Rc::strong_count(&readers) > MAX_READERS + 1 {
            tracing::warn!(uid = peer.uid, "control socket: too many connections, one is closed");
            continue;
        }
        let (context, writers, stopping) = (Rc::clone(&context), Rc::clone(&writers), stopping.clone());
        connections.spawn_local(async move {
            connection(stream, peer, context, writers, stopping).await;
            drop(reader);
        });
    }
    drop(stopper);
    // A reader that takes nothing from its stream would hold this up, so it is bounded.
    let finish = async { while connections.join_next().await.is_some() {} };
    let _ = time::timeout(Duration::from_millis(500), finish).await;
}

fn credentials(stream: &UnixStream) -> Option<Peer> {
    match stream.peer_cred() {
        Ok(credentials) => Some(Peer { uid: credentials.uid(), gid: credentials.gid() }),
        Err(error) => {
            tracing::warn!(%error, "control socket: the peer cannot be identified, it is closed");
            None
        }
    }
}

async fn connection(
    stream: UnixStream,
    peer: Peer,
    context: Rc<Context>,
    writers: Rc<Writers>,
    mut stopping: watch::Receiver<()>,
) {
    let streams = stopping.clone();
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (context, writers, stopping) = (Rc::clone(&context), Rc::clone(&writers), streams.clone());
        async move { Ok::<_, Infallible>(answer(request, peer, &context, &writers, stopping).await) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_DEADLINE)
            .max_buf_size(64 * 1024)
            .serve_connection(TokioIo::new(stream), service)
    );
    let result = tokio::select! {
        result = &mut connection => result,
        // The sender is dropped at the stop: an answer under way is finished, an idle connection is closed.
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(uid = peer.uid, %error, "control socket: connection ended");
    }
}

async fn answer(
    request: http::Request<Incoming>,
    peer: Peer,
    context: &Rc<Context>,
    writers: &Writers,
    stopping: watch::Receiver<()>,
) -> Response<Answer> {
    match handle(request, peer, context, writers).await {
        Ok(Reply::Json(value)) => json(StatusCode::OK, &value),
        Ok(Reply::Check(plan)) => json(StatusCode::OK, &plan.run().await),
        Ok(Reply::Drops { after, wanted }) => follow(Rc::clone(context), after, wanted, stopping),
        Err(refusal) => refuse(refusal),
    }
}

async fn handle(
    request: http::Request<Incoming>,
    peer: Peer,
    context: &Context,
    writers: &Writers,
) -> Result<Reply, Refusal> {
    let (head, body) = request.into_parts();
    let (route, segments) = route::find(&head.method, head.uri.path())?;
    let segments = segments.into_iter().map(unescape).collect::<Result<_, _>>()?;
    let query = Query::parse(head.uri.query().unwrap_or_default(), route.query)?;
    if route.access == Access::Write || query.flag("with_secrets")? {
        writers.check(peer)?;
    }
    let body = if head.method == Method::GET { Bytes::new() } else { read(body).await? };
    let request = Request { segments, query, body, uid: peer.uid };
    (route.handle)(context, &request)
}

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    let too_large = || {
        Refusal::new("too_large", "the request body is too large")
            .limit(format!("{} bytes", wire::BODY_LIMIT))
            .remedy("split the change")
    };
    // A declared length is judged before the body is waited for.
    if body.size_hint().lower() > wire::BODY_LIMIT as u64 {
        return Err(too_large());
    }
    let whole = Limited::new(body, wire::BODY_LIMIT).collect();
    match time::timeout(REQUEST_DEADLINE, whole).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Refusal::new("invalid", format!("the request body broke off: {error}"))),
        Err(_) => Err(Refusal::new("timeout", "the request body did not arrive in time")
            .limit(format!("{} s", REQUEST_DEADLINE.as_secs()))),
    }
}

/// The status of a refusal. What the resources refuse is 422: understood, and not possible.
fn status(code: &str) -> StatusCode {
    match code {
        "not_found" | "unknown_path" => StatusCode::NOT_FOUND,
        "forbidden" => StatusCode::FORBIDDEN,
        "method_not_allowed" => StatusCode::METHOD_NOT_ALLOWED,
        "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        "timeout" => StatusCode::REQUEST_TIMEOUT,
        "exists" | "conflict" | "duplicate" | "in_use" | "address_in_use" | "confirm_pending" => {
            StatusCode::CONFLICT
        }
        "invalid" | "unknown_parameter" | "unknown_field" | "missing_field" => StatusCode::BAD_REQUEST,
        "internal" => StatusCode::INTERNAL_SERVER_ERROR,
        "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

fn refuse(refusal: Refusal) -> Response<Answer> {
    let status = status(&refusal.code);
    let mut response = match serde_json::to_value(ErrorReply { error: refusal }) {
        Ok(value) => json(status, &value),
        // An object of strings always serialises.
        Err(_) => json(status, &Value::Null),
    };
    if status == StatusCode::PAYLOAD_TOO_LARGE || status == StatusCode::REQUEST_TIMEOUT {
        // The rest of the body is not read, so nothing more can be understood on this connection.
        response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    response
}

fn json(status: StatusCode, value: &Value) -> Response<Answer> {
    let mut text = value.to_string();
    text.push('\n');
    respond(status, wire::JSON, Answer::Whole(Some(text.into())))
}

fn respond(status: StatusCode, media: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media));
    response
}

/// Streams samples as they are collected. The task ends when the client goes away or the daemon stops.
fn follow(
    context: Rc<Context>,
    mut after: u64,
    wanted: handler::stats::Wanted,
    mut stopping: watch::Receiver<()>,
) -> Response<Answer> {
    let (sender, receiver) = mpsc::channel::<Bytes>(4);
    tokio::task::spawn_local(async move {
        let mut quiet = Duration::ZERO;
        loop {
            let (next, mut text) = handler::stats::lines(&context, after, &wanted);
            after = next;
            if text.is_empty() {
                quiet += FOLLOW_INTERVAL;
                if quiet >= FOLLOW_KEEPALIVE {
                    text.push('\n');
                }
            }
            if !text.is_empty() {
                quiet = Duration::ZERO;
                if sender.send(text.into()).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = sender.closed() => return,
                // The stream ends as a whole answer, so that the reader sees an end and not a failure.
                _ = stopping.changed() => return,
                () = time::sleep(FOLLOW_INTERVAL) => {}
            }
        }
    });
    respond(StatusCode::OK, wire::LINES, Answer::Lines(receiver))
}

/// A body: known at once, or growing.
enum Answer {
    Whole(Option<Bytes>),
    Lines(mpsc::Receiver<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Lines(receiver) => {
                receiver.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(bytes) => {
                http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Lines(_) => http_body::SizeHint::default(),
        }
    }
}
