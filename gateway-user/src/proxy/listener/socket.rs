//! A client's TCP stream below TLS: notices phases and stalls as bytes pass, and resets when the connection is cut.

use std::{
    io::{self, IoSlice},
    os::fd::AsFd as _,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    live::{Conn, End, Phase},
    outflow::Outflow,
};
use crate::proxy::{config::Limits, worker::timer::Timers};

/// A client's stream.
pub(crate) struct Socket {
    tcp: TcpStream,
    conn: Rc<Conn>,
    timers: Rc<Timers>,
    /// Ticks from the first byte of a head to its end.
    header: u32,
    /// Ticks that an HTTP/2 client may be without a request.
    keep_alive: u32,
    outflow: Outflow,
}

impl Socket {
    pub(crate) fn new(tcp: TcpStream, conn: &Rc<Conn>, timers: &Rc<Timers>, limits: &Limits) -> Self {
        let (conn, timers) = (Rc::clone(conn), Rc::clone(timers));
        let outflow = Outflow::new(limits.answer_rate, Timers::ticks(limits.write_stall));
        let (header, keep_alive) = (Timers::ticks(limits.header), Timers::ticks(limits.keep_alive));
        Self { tcp, conn, timers, header, keep_alive, outflow }
    }

    /// The bare socket.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.conn.end() == Some(End::Cut) {
            // Zero linger turns the close into a RST: the peer learns at once, and no data is sent after the cut.
            let _ = socket2::SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.tcp).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            match (this.conn.http2.get(), this.conn.phase.get()) {
                (false, Phase::Idle) => this.conn.enter(Phase::Head, this.timers.tick() + this.header),
                // It speaks; from now on its requests tell whether it is idle, and pings whether it is there.
                (true, Phase::Head) => this.conn.enter(Phase::Idle, this.timers.tick() + this.keep_alive),
                _ => {}
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Socket {
    /// Notes how far the client is; a connection that is stuck is woken once a second to look again.
    fn noted(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let tick = self.timers.tick();
        match &result {
            Poll::Pending => self.conn.stalled.set(self.outflow.blocked(self.tcp.as_fd(), tick)),
            Poll::Ready(Ok(bytes)) => {
                self.outflow.wrote(*bytes, tick);
                self.conn.stalled.set(0);
            }
            Poll::Ready(Err(_)) => {}
        }
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.noted(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write_vectored(context, slices);
        self.noted(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
