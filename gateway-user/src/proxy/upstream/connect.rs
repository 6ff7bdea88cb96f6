//! Makes a connection speak its protocol and starts its driver.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    rc::Rc,
    sync::Arc,
};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{sync::oneshot, task::spawn_local};

use super::{Lease, Link, Pool, Sender, Stream, dial::dial};
use crate::{
    observe::load::Full,
    proxy::{failure::Failure, worker::Worker},
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
    let view = Arc::clone(&worker.current().view);
    let stream =
        dial(&pool.place, &worker.resolver, &view, timeouts.connect).await.inspect_err(|failure| {
            if *failure == Failure::Overloaded {
                worker.overloaded(Full::Descriptors);
            }
        })?;
    handshake(pool, stream).await
}

async fn handshake(pool: &Rc<Pool>, stream: Stream) -> Result<Lease, Failure> {
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
