//! HTTP/2 towards clients: hyper with every limit set, and a guard before it for what hyper does not count.

use std::{error::Error as _, future::poll_fn, rc::Rc, time::Duration};

use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    exchange,
    frames::Flood,
    guard::{Dismissal, Watched},
};
use crate::{
    defence::Offence,
    observe::load::Full,
    proxy::{
        budget::cost,
        forwarded,
        listener::live::{Conn, Phase},
        upstream::LocalExecutor,
        worker::{Worker, timer::Timers},
    },
};

/// What an HTTP/2 connection begins with (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Streams of a connection at a time. RFC 9113 §6.5.2 asks for 100 at least; gRPC clients open no second connection.
const STREAMS: u32 = 256;
/// Bytes of a body that a client may send before its instance has taken them. 256 KiB keep 20 Mbit/s busy at a round trip
/// of 100 ms; all streams together may hold 1 MiB.
const STREAM_WINDOW: u32 = cost::WINDOW as u32;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The protocol's least, so that no frame keeps others waiting for long.
const FRAME: u32 = 16 * 1024;
/// Bytes of a request's fields after decompression, each with 32 bytes on top (RFC 9113 §6.5.2): 1,024 fields at most,
/// however small they are in the table. Answered with 431; four times as much closes the connection, and so do more
/// than five CONTINUATION frames (CVE-2024-27316).
const FIELDS: u32 = 32 * 1024;
/// The decoder's table: the protocol's default, which clients assume until they have read ours.
const FIELD_TABLE: u16 = 4096;
/// Streams that are reset before we have looked at them (CVE-2023-44487): a batch of read bytes may hold so many.
const UNSEEN_RESETS: usize = 20;
/// Streams that a client makes us reset, in the life of a connection (CVE-2025-8671). Clients make no mistakes;
/// those that send much to services that refuse it are answered first, which does not count.
const FORCED_RESETS: usize = 128;
/// A peer that answers no PING for this long is gone.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_WAIT: Duration = Duration::from_secs(10);

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
    // As long as for a head: the client's preface is the first thing that it has to say.
    conn.enter(Phase::Head, worker.timers.tick().saturating_add(Timers::ticks(limits.header)));
    let (watched, guard) = Watched::new(stream, PREFACE.len() as u32, FIELD_TABLE, &worker.timers);
    let handler = service_fn({
        let (worker, conn) = (Rc::clone(worker), Rc::clone(conn));
        move |request| exchange::run(Rc::clone(&worker), Rc::clone(&conn), request)
    });
    let result = {
        let connection = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .adaptive_window(false)
            .max_frame_size(FRAME)
            .max_header_list_size(FIELDS)
            .header_table_size(u32::from(FIELD_TABLE))
            .max_send_buf_size(cost::SEND_BUFFER)
            .max_pending_accept_reset_streams(UNSEEN_RESETS)
            .max_local_error_reset_streams(FORCED_RESETS)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_WAIT)
            .serve_connection(TokioIo::new(guard), handler);
        let mut connection = std::pin::pin!(connection);
        let mut drained = false;
        poll_fn(|context| {
            if conn.draining.get() && !drained {
                drained = true;
                connection.as_mut().graceful_shutdown();
            }
            connection.as_mut().poll(context)
        })
        .await
        // The connection goes here, and with it everything that its requests hold.
    };
    let Err(error) = result else { return };
    tracing::debug!(client = %conn.peer, %error, "HTTP/2 connection");
    // Nobody else holds it any more.
    let Ok(mut watched) = Rc::try_unwrap(watched).map(|watched| watched.into_inner()) else { return };
    let dismissal = watched.dismissal();
    match dismissal {
        Some(Dismissal::Flood(flood)) => noted(worker, conn, flood),
        None if is_calmed(&error) => noted(worker, conn, Flood::Frames),
        Some(Dismissal::Fault(fault)) => tracing::debug!(client = %conn.peer, ?fault, "HTTP/2 frames"),
        None => {}
    }
    if let Some(why) = dismissal {
        watched.dismiss(why).await;
    }
}

/// Whether hyper closed the connection because the client exceeds its limits.
fn is_calmed(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<::h2::Error>());
    cause.is_some_and(|cause| cause.is_library() && cause.reason() == Some(::h2::Reason::ENHANCE_YOUR_CALM))
}

fn noted(worker: &Worker, conn: &Conn, flood: Flood) {
    let counters = conn.counters.borrow();
    if let Some(count) = counters.worker(worker.id).floods.get(flood.index()) {
        count.add(1);
    }
    tracing::debug!(client = %conn.peer, ?flood, "HTTP/2 flood");
    // What a client does behind a balancer or a forwarder is not the fault of who forwards it.
    if !is_relayed(worker, conn) {
        worker.shared.config.reports.offence(conn.peer.ip(), Offence::Limit);
    }
}

/// Whether the TCP peer speaks for others.
fn is_relayed(worker: &Worker, conn: &Conn) -> bool {
    let current = worker.current();
    let view = &current.view;
    let listener = view.sockets.get(&conn.socket).and_then(|(index, _)| view.listeners.get(*index));
    let forwards = listener
        .is_some_and(|view| forwarded::is_among(conn.peer.ip().to_canonical(), &view.listener.forwarders));
    forwards || conn.client.borrow().declared
}
