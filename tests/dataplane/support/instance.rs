//! An instance: a real hyper server on a thread of its own, HTTP/1.1 or HTTP/2.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use harness::ca::Leaf;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    body::{Body, Frame, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::oneshot,
};
use tokio_rustls::TlsAcceptor;

use super::client;

/// A running instance. By path: `/echo` sends the body back as it comes, `/head` tells the request's head,
/// `/who` the instance's name, `/connection` the number of the connection, `/events/N` N events 50 ms apart,
/// `/cued/N` N events, each on [`Seen::cue`], `/hang` never answers, `/hang-up` tells the body's length once it has all of
/// it, `/status/N` has that status, `/slow-start` begins after 300 ms, `/drop` closes without an answer, `/json/N` is JSON of
/// N bytes with a strong ETag, `/trailers` ends in trailers, `/close` closes the connection after the answer, `/break` breaks
/// off in the middle.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What the instance saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) connections: AtomicUsize,
    pub(crate) requests: AtomicUsize,
    /// Requests that were given up by the other side before the answer was complete.
    pub(crate) abandoned: AtomicUsize,
    /// Body bytes received.
    pub(crate) bytes: AtomicUsize,
    /// Answers that are being made now, and the most at once.
    pub(crate) running: AtomicUsize,
    /// Streams that a new HTTP/2 connection allows at once; 0: hyper's default.
    pub(crate) streams: AtomicUsize,
    /// Tells HTTP/2 connections to send GOAWAY and to end with their last call.
    pub(crate) goaway: tokio::sync::Notify,
    /// Lets the next event of `/cued/N` go.
    pub(crate) cue: tokio::sync::Notify,
    pub(crate) most: AtomicUsize,
}

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

impl Upstream {
    pub(crate) fn new() -> Self {
        Self::named("test", false)
    }

    pub(crate) fn grpc() -> Self {
        Self::named("grpc", true)
    }

    pub(crate) fn named(name: &str, prior_http2: bool) -> Self {
        Self::start(name, prior_http2, None)
    }

    /// An instance over TLS that offers these protocols by ALPN and speaks HTTP/2 where it is chosen.
    pub(crate) fn tls(name: &str, leaf: &Leaf, alpn: &[&[u8]]) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = client::der(&leaf.chain).into_iter().map(Into::into).collect();
        let key = client::key(&leaf.key).try_into().unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Self::start(name, false, Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn start(name: &str, prior_http2: bool, tls: Option<TlsAcceptor>) -> Self {
        let (ready, address) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let seen = Arc::new(Seen::default());
        let (shared, name) = (Arc::clone(&seen), name.to_owned());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                ready.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! { _ = stopped => {}, () = accept(listener, name, shared, prior_http2, tls) => {} }
            });
        });
        Self { address: address.recv().unwrap(), seen, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.requests.load(SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(SeqCst)
    }

    pub(crate) fn abandoned(&self) -> usize {
        self.seen.abandoned.load(SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn accept(
    listener: TcpListener,
    name: String,
    seen: Arc<Seen>,
    prior_http2: bool,
    tls: Option<TlsAcceptor>,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let number = seen.connections.fetch_add(1, SeqCst) + 1;
        let (name, seen) = (name.clone(), Arc::clone(&seen));
        let tls = tls.clone();
        tokio::spawn(async move {
            match tls {
                None => serve(stream, prior_http2, name, number, seen).await,
                Some(acceptor) => {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    serve(stream, http2, name, number, seen).await;
                }
            }
        });
    }
}

async fn serve<S>(stream: S, http2: bool, name: String, number: usize, seen: Arc<Seen>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (shared, io) = (Arc::clone(&seen), TokioIo::new(stream));
    let service = service_fn(move |request| answer(request, name.clone(), number, Arc::clone(&seen)));
    if http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        if let streams @ 1.. = shared.streams.load(SeqCst) {
            builder.max_concurrent_streams(streams as u32);
        }
        let mut connection = std::pin::pin!(builder.serve_connection(io, service));
        tokio::select! {
            _ = connection.as_mut() => return,
            () = shared.goaway.notified() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    } else {
        let _ = http1::Builder::new().serve_connection(io, service).with_upgrades().await;
    }
}

/// Counts a request that is dropped before it is done.
struct Watch(Arc<Seen>, bool);

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.1 {
            self.0.abandoned.fetch_add(1, SeqCst);
        }
    }
}

/// Counts an answer while it is made.
struct Running(Arc<Seen>);

impl Running {
    fn new(seen: &Arc<Seen>) -> Self {
        let now = seen.running.fetch_add(1, SeqCst) + 1;
        seen.most.fetch_max(now, SeqCst);
        Self(Arc::clone(seen))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

async fn answer(
    mut request: Request<Incoming>,
    name: String,
    connection: usize,
    seen: Arc<Seen>,
) -> Result<Answer, std::io::Error> {
    seen.requests.fetch_add(1, SeqCst);
    let mut watch = Watch(Arc::clone(&seen), false);
    let _running = Running::new(&seen);
    let path = request.uri().path().to_owned();
    let argument = || path.rsplit('/').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let response = match path.as_str() {
        "/echo" => {
            if request.headers().contains_key("upgrade") {
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let mut stream = TokioIo::new(upgrade.await.unwrap());
                    let (mut read, mut write) = tokio::io::split(&mut stream);
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
                let mut response = text(String::new());
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                response.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
                response.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
                response
            } else {
                watch.1 = true;
                let body = Counted(request.into_body(), seen, Watch(Arc::clone(&watch.0), false));
                return Ok(Response::new(body.boxed()));
            }
        }
        "/head" => {
            let headers: Vec<(String, String)> = request
                .headers()
                .iter()
                .map(|(name, value)| {
                    (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                })
                .collect();
            let uri = request.uri().to_string();
            text(
                serde_json::json!({ "method": request.method().as_str(), "uri": uri, "headers": headers })
                    .to_string(),
            )
        }
        "/who" => text(name),
        "/connection" => text(connection.to_string()),
        "/hang" => {
            // A server that does not read cannot notice that nobody waits any more.
            let body = request.into_body().collect().await;
            if body.is_err() {
                return Err(std::io::Error::other("the body broke off"));
            }
            std::future::pending().await
        }
        "/hang-up" => match request.into_body().collect().await {
            Ok(body) => text(body.to_bytes().len().to_string()),
            Err(_) => return Err(std::io::Error::other("the body broke off")),
        },
        "/drop" => return Err(std::io::Error::other("dropped on purpose")),
        "/slow-start" => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            text("late".into())
        }
        "/close" => {
            let mut response = text("closing".into());
            response.headers_mut().insert("connection", HeaderValue::from_static("close, x-hop"));
            response.headers_mut().insert("x-hop", HeaderValue::from_static("1"));
            response
        }
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let body =
                Full::new(Bytes::from_static(b"message")).with_trailers(async move { Some(Ok(trailers)) });
            let mut response = Response::new(body.map_err(|never: Infallible| match never {}).boxed());
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            response
        }
        "/break" => {
            let mut response = Response::new(Events::new(2, false, watch.0.clone()).boxed());
            response.headers_mut().insert("content-length", HeaderValue::from_static("1000000"));
            watch.1 = true;
            return Ok(response);
        }
        path if path.starts_with("/events/") || path.starts_with("/cued/") => {
            watch.1 = true;
            let events = Events::new(argument(), path.starts_with("/cued/"), seen);
            let mut response = Response::new(events.boxed());
            response.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
            return Ok(response);
        }
        path if path.starts_with("/status/") => {
            let mut response = text("said so".into());
            *response.status_mut() = StatusCode::from_u16(argument() as u16).unwrap();
            response
        }
        path if path.starts_with("/json/") => {
            let mut response = text("{\"a\":1}\n".repeat(argument() as usize / 8));
            for (name, value) in
                [("content-type", "application/json"), ("etag", "\"v1\""), ("accept-ranges", "bytes")]
            {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            response
        }
        path if path.starts_with("/bytes/") => text("x".repeat(argument() as usize)),
        _ => text("True".into()),
    };
    watch.1 = true;
    Ok(response)
}

fn text(body: String) -> Answer {
    Response::new(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed())
}

/// The request's body, counted.
struct Counted(Incoming, Arc<Seen>, Watch);

impl Body for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.0).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.1.bytes.fetch_add(frame.data_ref().map_or(0, Bytes::len), SeqCst);
                self.2.1 = self.0.is_end_stream();
            }
            Poll::Ready(None) => self.2.1 = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// `data: N` every 50 ms, or on cue.
struct Events {
    left: u64,
    cued: bool,
    next: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    watch: Watch,
}

impl Events {
    fn new(count: u64, cued: bool, seen: Arc<Seen>) -> Self {
        let mut events =
            Self { left: count, cued, next: Box::pin(std::future::ready(())), watch: Watch(seen, false) };
        if cued {
            events.await_next();
        }
        events
    }

    fn await_next(&mut self) {
        let seen = Arc::clone(&self.watch.0);
        self.next = match self.cued {
            true => Box::pin(async move { seen.cue.notified().await }),
            false => Box::pin(tokio::time::sleep(Duration::from_millis(50))),
        };
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.left == 0 {
            self.watch.1 = true;
            return Poll::Ready(None);
        }
        std::task::ready!(self.next.as_mut().poll(context));
        self.await_next();
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(format!("data: {}\n\n", self.left))))))
    }
}
