//! Makes a connection speak its protocol and starts its driver.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    task::spawn_local,
    time::{sleep, timeout},
};

use super::{Lease, Link, Pool, Sender, Stream, dial::dial};
use crate::{
    observe::load::Full,
    proxy::{failure::Failure, worker::Worker},
    snapshot::http::{Protocol, Timeouts},
};

/// Streams that an instance allows before it said how many.
const UNKNOWN: usize = usize::MAX - 1;

/// Connects to the pool's instance within the service's connect deadline.
pub(crate) async fn connect(
    worker: &Rc<Worker>,
    pool: &Rc<Pool>,
    timeouts: &Timeouts,
) -> Result<Lease, Failure> {
    let _opening = if pool.protocol.is_http2() {
        let Ok(opening) = timeout(timeouts.connect, pool.opening.lock()).await else {
            return Err(Failure::ConnectTimeout);
        };
        if let Some(lease) = pool.take() {
            return Ok(lease);
        }
        Some(opening)
    } else {
        None
    };
    let view = Arc::clone(&worker.current().view);
    let stream =
        dial(&pool.place, &worker.resolver, &view, timeouts.connect).await.inspect_err(|failure| {
            if *failure == Failure::Overloaded {
                worker.overloaded(Full::Descriptors);
            }
        })?;
    handshake(pool, stream, timeouts.connect).await
}

async fn handshake(pool: &Rc<Pool>, stream: Stream, limit: Duration) -> Result<Lease, Failure> {
    let lease =
        |sender, link| Lease { sender: Some(sender), _link: link, pool: Rc::clone(pool), reused: false };
    match pool.protocol {
        Protocol::Http => Ok(lease(Sender::One(stream), None)),
        Protocol::Http2 | Protocol::Grpc => {
            let mut builder = http2::Builder::new(LocalExecutor);
            builder
                .timer(TokioTimer::new())
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(8 << 20)
                .max_frame_size(16 * 1024)
                .max_header_list_size(64 * 1024)
                .max_concurrent_streams(0)
                .initial_max_send_streams(UNKNOWN)
                .max_concurrent_reset_streams(128)
                .max_send_buf_size(256 * 1024)
                .keep_alive_interval(Duration::from_secs(20))
                .keep_alive_timeout(Duration::from_secs(10));
            let (sender, mut connection) =
                builder.handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Connect)?;
            // A server's SETTINGS are the first that it says (RFC 9113 §3.4); one that does not say them is stalled, and
            // how many calls it takes is not known before. hyper tells nobody when they come, so it is asked.
            let known = async {
                while connection.current_max_send_streams() == UNKNOWN {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            timeout(limit, known).await.map_err(|_| Failure::ConnectTimeout)?;
            let streams = Rc::new(Cell::new(connection.current_max_send_streams()));
            let seen = Rc::clone(&streams);
            // It is polled for each call, so the next one knows what the instance's SETTINGS said.
            let driving = poll_fn(move |context| {
                let polled = Pin::new(&mut connection).poll(context);
                seen.set(connection.current_max_send_streams());
                polled
            });
            let driver = spawn_local(async move {
                if let Err(error) = driving.await {
                    tracing::debug!(%error, "HTTP/2 connection to an instance");
                }
            });
            let link = Rc::new(Link { task: driver.abort_handle() });
            if !pool.retired.get() {
                pool.shared.add(sender.clone(), &link, streams);
            }
            Ok(lease(Sender::Many(sender), Some(link)))
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
