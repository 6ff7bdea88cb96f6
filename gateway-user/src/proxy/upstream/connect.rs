//! Opens a connection to an instance: resolve, connect, refuse loops, start its driver. Every step has a deadline.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpStream, lookup_host},
    sync::oneshot,
    task::spawn_local,
};

use super::{Lease, Link, Pool, Sender};
use crate::{
    proxy::{
        failure::Failure,
        view::View,
        worker::{Worker, timer::Late},
    },
    snapshot::http::{Protocol, Timeouts},
};

/// Bytes of a response head, and the most that is read ahead of a slow client.
const READ_MAX: usize = 256 * 1024;
/// Header fields of a response.
const FIELDS_MAX: usize = 256;

/// Connects to the pool's instance within the service's connect deadline.
pub(crate) async fn connect(
    worker: &Rc<Worker>,
    pool: &Rc<Pool>,
    timeouts: &Timeouts,
) -> Result<Lease, Failure> {
    let deadline = worker.timers.deadline(timeouts.connect);
    let opened = deadline.bound(open(worker, pool)).await;
    let result = match opened {
        Ok(result) => result,
        Err(Late) => Err(Failure::ConnectTimeout),
    };
    if let Err(Failure::Connect | Failure::ConnectTimeout | Failure::Resolve) = result {
        pool.down(worker.timers.tick());
    }
    result
}

async fn open(worker: &Rc<Worker>, pool: &Rc<Pool>) -> Result<Lease, Failure> {
    let mut last = Failure::Resolve;
    for address in resolve(pool).await? {
        if is_own(&worker.current().view, address, None) {
            return Err(Failure::Loop);
        }
        match TcpStream::connect(address).await {
            Ok(stream) => {
                if is_own(&worker.current().view, address, stream.local_addr().ok()) {
                    return Err(Failure::Loop);
                }
                let _ = stream.set_nodelay(true);
                return handshake(pool, stream).await;
            }
            Err(error) => {
                tracing::debug!(instance = pool.name, %error, "connect");
                last = Failure::Connect;
            }
        }
    }
    Err(last)
}

async fn resolve(pool: &Pool) -> Result<Vec<SocketAddr>, Failure> {
    let instance = &pool.instance;
    if let Ok(ip) = instance.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, instance.port)]);
    }
    match lookup_host((instance.host.as_str(), instance.port)).await {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => {
            tracing::debug!(instance = pool.name, %error, "resolve");
            Err(Failure::Resolve)
        }
    }
}

/// Whether the address is one of the gateway's own sockets. A wildcard socket is told by the connection itself: its
/// local address equals the remote one only on this very host.
fn is_own(view: &View, address: SocketAddr, local: Option<SocketAddr>) -> bool {
    view.own.iter().any(|own| {
        own.port() == address.port()
            && (own.ip() == address.ip()
                || (own.ip().is_unspecified()
                    && own.is_ipv4() == address.is_ipv4()
                    && !address.ip().is_loopback()
                    && local.is_some_and(|local| local.ip() == address.ip())))
    })
}

async fn handshake(pool: &Rc<Pool>, stream: TcpStream) -> Result<Lease, Failure> {
    let io = TokioIo::new(stream);
    let lease = |sender, link| Lease { sender: Some(sender), link, pool: Rc::clone(pool), reused: false };
    match pool.protocol {
        Protocol::Http => {
            let mut builder = http1::Builder::new();
            builder.max_buf_size(READ_MAX).max_headers(FIELDS_MAX).writev(true);
            let (sender, mut connection) = builder.handshake(io).await.map_err(|_| Failure::Connect)?;
            let (give, leftover) = oneshot::channel();
            let driver = spawn_local(async move {
                // Not the connection's own future: that would shut the stream down, which an upgrade lives on with.
                if poll_fn(|context| connection.poll_without_shutdown(context)).await.is_ok() {
                    let _ = give.send(connection.into_parts());
                }
            });
            let link = Link { task: driver.abort_handle(), leftover: RefCell::new(Some(leftover)) };
            Ok(lease(Sender::One(sender), Rc::new(link)))
        }
        Protocol::Http2 | Protocol::Grpc => {
            let mut builder = http2::Builder::new(LocalExecutor);
            builder
                .timer(TokioTimer::new())
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(8 << 20)
                .max_frame_size(16 * 1024)
                .max_header_list_size(64 * 1024)
                .max_concurrent_streams(0)
                .max_concurrent_reset_streams(128)
                .max_send_buf_size(256 * 1024)
                .keep_alive_interval(std::time::Duration::from_secs(20))
                .keep_alive_timeout(std::time::Duration::from_secs(10));
            let (sender, connection) = builder.handshake(io).await.map_err(|_| Failure::Connect)?;
            let driver = spawn_local(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "HTTP/2 connection to an instance");
                }
            });
            let link = Rc::new(Link { task: driver.abort_handle(), leftover: RefCell::new(None) });
            if !pool.retired.get() {
                *pool.shared.borrow_mut() = Some((sender.clone(), Rc::clone(&link)));
            }
            Ok(lease(Sender::Many(sender), link))
        }
    }
}

/// Runs hyper's own tasks on the worker.
#[derive(Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        spawn_local(async move {
            future.await;
        });
    }
}
