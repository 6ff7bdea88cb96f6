//! Serves one client connection: TLS, protocol choice, the end.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
};

use tokio::net::TcpStream;

use super::h2;
use crate::defence::Offence;
use crate::proxy::{
    budget::cost,
    h1,
    io::{Block, Stream},
    listener::{
        live::{Conn, Phase},
        socket::Socket,
    },
    proxy_protocol,
    tls::Session,
    view::Scheme,
    worker::{Worker, timer::Timers},
};

/// Serves `stream` until it ends.
pub(crate) async fn connection(worker: Rc<Worker>, stream: TcpStream, conn: Rc<Conn>) {
    let _watch = Watch(&worker);
    let _seat = worker.live.open(&conn, worker.id);
    let limits = &worker.shared.config.limits;
    conn.enter(Phase::Handshake, worker.timers.tick().saturating_add(Timers::ticks(limits.handshake)));
    let mut stream = Stream::plain(Socket::new(stream, &conn, &worker.timers, limits), &worker.blocks);
    // Pinned where it is: handed on by value it would be there twice.
    let served = pin!(async {
        if !proxy_protocol::accept(&worker, &conn, stream.tcp()).await {
            return;
        }
        match spoken(&worker, &mut stream, &conn).await {
            Some(Spoken::Http1(seen)) => h1::serve(&worker, &mut stream, seen, &conn).await,
            // Boxed: what is there for others shall not make every idle connection larger.
            Some(Spoken::Http2) => Box::pin(h2::serve(&worker, stream, &conn)).await,
            None => {}
        }
    });
    until_ended(&conn, served).await;
    // What waited was dropped where it stood, and could not count its own end.
    match conn.late_in(worker.timers.tick()) {
        Some(Phase::Preamble) => proxy_protocol::late(&worker, &conn),
        Some(Phase::Handshake) if conn.scheme == Scheme::Https => {
            conn.counters.borrow().worker(worker.id).handshake_failures.add(1);
        }
        Some(Phase::Handshake | Phase::Idle | Phase::Head | Phase::Busy) | None => {}
    }
}

/// What a client speaks.
enum Spoken {
    /// With the first bytes, if they were read to find out.
    Http1(Option<Block>),
    Http2,
}

/// Runs `future` until it is done or the connection is told to end; whatever it holds is dropped then.
async fn until_ended(conn: &Conn, mut future: Pin<&mut impl Future<Output = ()>>) {
    poll_fn(|context| {
        if conn.end().is_some() {
            return Poll::Ready(());
        }
        conn.register(context);
        future.as_mut().poll(context)
    })
    .await;
}

/// Brings the connection to where it carries HTTP; `None`: it does not get there.
async fn spoken(worker: &Rc<Worker>, stream: &mut Stream, conn: &Rc<Conn>) -> Option<Spoken> {
    if conn.scheme == Scheme::Http {
        let (prior, seen) = first_bytes(worker, conn, stream).await.ok()?;
        conn.grant.borrow_mut().shrink_to(cost::CONNECTION);
        if !prior {
            return Some(Spoken::Http1(Some(seen)));
        }
        stream.put_back(seen);
        return Some(Spoken::Http2);
    }
    // Boxed: it is there for a moment.
    let secured = Box::pin(handshake(worker, stream, conn)).await;
    let counters = conn.counters.borrow();
    let cells = counters.worker(worker.id);
    if secured.is_none() {
        cells.handshake_failures.add(1);
        return None;
    }
    cells.handshakes.add(1);
    conn.grant.borrow_mut().shrink_to(cost::CONNECTION);
    let http2 = stream.session().and_then(|session| session.alpn()) == Some(b"h2");
    Some(if http2 { Spoken::Http2 } else { Spoken::Http1(None) })
}

/// Reads until it is clear whether the client speaks HTTP/2. Who is late in the middle does not.
async fn first_bytes(worker: &Worker, conn: &Conn, stream: &mut Stream) -> io::Result<(bool, Block)> {
    let mut seen = worker.blocks.take();
    loop {
        let filled = poll_fn(|context| match stream.poll_fill(context, &mut seen) {
            Poll::Ready(filled) => Poll::Ready(Some(filled)),
            Poll::Pending if conn.is_head_late(worker.timers.tick()) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        match filled.await.transpose()? {
            Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(_) => {}
            None => return Ok((false, seen)),
        }
        if conn.phase.get() == Phase::Handshake {
            let limit = Timers::ticks(worker.shared.config.limits.header);
            conn.enter(Phase::Head, worker.timers.tick().saturating_add(limit));
        }
        let length = seen.len().min(h2::PREFACE.len());
        if seen.data().get(..length) != h2::PREFACE.get(..length) {
            return Ok((false, seen));
        }
        if length == h2::PREFACE.len() {
            return Ok((true, seen));
        }
    }
}

async fn handshake(worker: &Rc<Worker>, stream: &mut Stream, conn: &Conn) -> Option<()> {
    let (_, index) = conn.listener.get();
    let tls = worker.current().view.listeners.get(index).and_then(|listener| listener.tls.clone())?;
    // The client's hello costs nothing; what follows it does, and waits for its turn.
    let turn = worker.turnstile.pass();
    if let Err(error) = stream.secure(Arc::clone(&tls.config), turn).await {
        tracing::debug!(client = %conn.peer, %error, "TLS handshake");
        // A balancer is not to blame for what it passes on.
        if is_garbage(&error) && !conn.client.borrow().declared {
            worker.shared.config.reports.offence(conn.peer.ip(), Offence::Handshake);
        }
        return None;
    }
    if let Some(shown) = stream.session().and_then(Session::shown) {
        if let Some(named) = &shown.certificate {
            *conn.certificate.borrow_mut() = Arc::clone(&named.names);
        }
        *conn.sni.borrow_mut() = shown.name;
    }
    Some(())
}

/// Whether the client sent what is no TLS. One that went away, was too slow or does not like the certificate did not.
fn is_garbage(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    cause.is_some_and(|cause| !matches!(cause, rustls::Error::AlertReceived(_)))
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

#[cfg(test)]
mod tests {
    use super::connection;

    /// Every connection holds this state from its first byte to its last, idle or not.
    #[test]
    fn the_state_of_a_connection_is_small() {
        fn size<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(connection) <= 1024, "{}", size(connection));
    }
}
