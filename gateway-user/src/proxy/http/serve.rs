//! Serves one client connection: TLS, protocol choice, the end.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{ServerConfig, server::Acceptor};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{exchange, h2, tunnel};
use crate::defence::Offence;
use crate::proxy::{
    budget::cost,
    listener::{
        live::{Conn, Phase},
        socket::Socket,
    },
    proxy_protocol,
    view::Scheme,
    worker::{Worker, timer::Timers},
};

/// How long and how much of an unread body is taken in after a refusal, so that the client can read the answer
/// before the close would reset it.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 << 20;

/// Serves `stream` until it ends.
pub(crate) async fn connection(worker: Rc<Worker>, stream: TcpStream, conn: Rc<Conn>) {
    let _watch = Watch(&worker);
    let _seat = worker.live.open(&conn, worker.id);
    let limits = &worker.shared.config.limits;
    conn.enter(Phase::Handshake, worker.timers.tick().saturating_add(Timers::ticks(limits.handshake)));
    let socket = Socket::new(stream, &conn, &worker.timers, limits);
    let served = async {
        if proxy_protocol::accept(&worker, &conn, socket.tcp()).await {
            serve(&worker, socket, &conn).await;
        }
    };
    until_ended(&conn, served).await;
}

/// Runs `future` until it is done or the connection is told to end; whatever it holds is dropped then.
async fn until_ended(conn: &Conn, future: impl Future<Output = ()>) {
    let mut future = std::pin::pin!(future);
    poll_fn(|context| {
        if conn.end().is_some() {
            return Poll::Ready(());
        }
        conn.register(context);
        future.as_mut().poll(context)
    })
    .await;
}

async fn serve(worker: &Rc<Worker>, mut socket: Socket, conn: &Rc<Conn>) {
    match conn.scheme {
        Scheme::Http => {
            let Ok((prior, seen)) = first_bytes(&mut socket).await else { return };
            socket.replay(seen);
            if prior { h2::serve(worker, socket, conn).await } else { http1(worker, socket, conn).await }
        }
        Scheme::Https => {
            let counters = Arc::clone(&conn.counters.borrow());
            let cells = counters.worker(worker.id);
            let Some(stream) = handshake(worker, socket, conn).await else {
                cells.handshake_failures.add(1);
                return;
            };
            cells.handshakes.add(1);
            conn.grant.borrow_mut().shrink_to(cost::CONNECTION);
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                h2::serve(worker, stream, conn).await;
            } else {
                http1(worker, stream, conn).await;
            }
        }
    }
}

/// Reads until it is clear whether the client speaks HTTP/2.
async fn first_bytes(socket: &mut Socket) -> io::Result<(bool, Bytes)> {
    let mut seen = Vec::with_capacity(4096);
    loop {
        if socket.read_buf(&mut seen).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = seen.len().min(h2::PREFACE.len());
        if seen.get(..length) != h2::PREFACE.get(..length) {
            return Ok((false, seen.into()));
        }
        if length == h2::PREFACE.len() {
            return Ok((true, seen.into()));
        }
    }
}

async fn handshake(worker: &Rc<Worker>, socket: Socket, conn: &Conn) -> Option<TlsStream<Socket>> {
    let (_, index) = conn.listener.get();
    let tls = worker.current().view.listeners.get(index).and_then(|listener| listener.tls.clone())?;
    let stream = match shake(worker, socket, &tls.config).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(client = %conn.peer, %error, "TLS handshake");
            // A balancer is not to blame for what it passes on.
            if is_garbage(&error) && !conn.client.borrow().declared {
                worker.shared.config.reports.offence(conn.peer.ip(), Offence::Handshake);
            }
            return None;
        }
    };
    if let Some(name) = stream.get_ref().1.server_name() {
        let name = name.to_ascii_lowercase();
        if let Some(named) = tls.certificates.find(Some(&name)) {
            *conn.certificate.borrow_mut() = Arc::clone(&named.names);
        }
        *conn.sni.borrow_mut() = Some(name.into());
    }
    Some(stream)
}

/// The client's hello costs nothing; what follows it does, and waits for its turn.
async fn shake(worker: &Worker, socket: Socket, config: &Arc<ServerConfig>) -> io::Result<TlsStream<Socket>> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
    worker.turnstile.pass().await;
    hello.into_stream(Arc::clone(config)).await
}

/// Whether the client sent what is no TLS. One that went away, was too slow or does not like the certificate did not.
fn is_garbage(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    cause.is_some_and(|cause| !matches!(cause, rustls::Error::AlertReceived(_)))
}

/// The client's stream, whatever lies between it and the socket.
trait Transport: AsyncRead + AsyncWrite + Unpin {
    fn socket(&mut self) -> &mut Socket;
}

impl Transport for Socket {
    fn socket(&mut self) -> &mut Socket {
        self
    }
}

impl Transport for TlsStream<Socket> {
    fn socket(&mut self) -> &mut Socket {
        self.get_mut().0
    }
}

async fn http1<S: Transport>(worker: &Rc<Worker>, stream: S, conn: &Rc<Conn>) {
    let limits = &worker.shared.config.limits;
    conn.enter(Phase::Head, worker.timers.tick().saturating_add(Timers::ticks(limits.header)));
    let handler = service_fn({
        let (worker, conn) = (Rc::clone(worker), Rc::clone(conn));
        move |request| exchange::run(Rc::clone(&worker), Rc::clone(&conn), request)
    });
    let mut connection = http1::Builder::new()
        // The worker's own deadlines cover head and keep-alive without a timer for each request.
        .header_read_timeout(None)
        .max_headers(limits.head_fields)
        .max_buf_size(limits.head_bytes)
        .half_close(false)
        .keep_alive(true)
        .pipeline_flush(false)
        .ignore_invalid_headers(false)
        .serve_connection(TokioIo::new(stream), handler);
    let mut drained = false;
    let result = poll_fn(|context| {
        if conn.draining.get() && !drained {
            drained = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        Pin::new(&mut connection).poll(context)
    })
    .await;
    if let Err(error) = result {
        tracing::debug!(client = %conn.peer, %error, "HTTP/1.1 connection");
    }
    let pending = conn.tunnel.borrow_mut().take();
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    if let Some(pending) = pending {
        conn.enter(Phase::Busy, 0);
        tunnel::run(stream, parts.read_buf, pending).await;
    } else if conn.unread.get() {
        linger(worker, stream.socket()).await;
    }
}

/// Takes in what the client still sends. hyper has shut our side down; closing with unread bytes would reset the
/// connection and could destroy the answer on its way (RFC 9112 §9.6).
async fn linger(worker: &Rc<Worker>, socket: &mut Socket) {
    let deadline = worker.timers.deadline(LINGER);
    let drain = async {
        let mut block = vec![0; 16 * 1024];
        let mut left = LINGER_BYTES;
        while let Ok(length @ 1..) = socket.read(&mut block).await {
            left = left.saturating_sub(length);
            if left == 0 {
                break;
            }
        }
    };
    let _ = deadline.bound(drain).await;
}

/// Counts a panic in the connection's task.
struct Watch<'w>(&'w Worker);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.shared.traffic.connection_panics.fetch_add(1, Relaxed);
        }
    }
}
