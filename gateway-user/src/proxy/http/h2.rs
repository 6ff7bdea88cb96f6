//! HTTP/2 towards clients: hyper with every limit set.

use std::{future::poll_fn, rc::Rc, time::Duration};

use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::exchange;
use crate::{
    observe::load::Full,
    proxy::{
        budget::cost,
        listener::live::{Conn, Phase},
        upstream::LocalExecutor,
        worker::{Worker, timer::Timers},
    },
};

/// Serves `stream` until it ends.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    worker: &Rc<Worker>,
    stream: S,
    conn: &Rc<Conn>,
) {
    let limits = &worker.shared.config.limits;
    if !conn.grant.borrow_mut().grow(cost::HTTP2) {
        worker.overloaded(Full::Memory);
        return;
    }
    conn.http2.set(true);
    conn.enter(Phase::Idle, worker.timers.tick().saturating_add(Timers::ticks(limits.keep_alive)));
    let handler = service_fn({
        let (worker, conn) = (Rc::clone(worker), Rc::clone(conn));
        move |request| exchange::run(Rc::clone(&worker), Rc::clone(&conn), request)
    });
    let connection = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .adaptive_window(false)
        .max_frame_size(16 * 1024)
        .max_header_list_size(32 * 1024)
        .header_table_size(4096)
        .max_send_buf_size(128 * 1024)
        // Rapid reset (CVE-2023-44487) and its relatives: few streams may be reset before they are accepted or answered.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(128)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
        .serve_connection(TokioIo::new(stream), handler);
    let mut connection = std::pin::pin!(connection);
    let mut drained = false;
    let result = poll_fn(|context| {
        if conn.draining.get() && !drained {
            drained = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(context)
    })
    .await;
    if let Err(error) = result {
        tracing::debug!(client = %conn.peer, %error, "HTTP/2 connection");
    }
}
