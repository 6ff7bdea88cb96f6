//! Takes the PROXY protocol header off a client's socket, and not a byte more.
//!
//! The bytes are looked at in the kernel's buffer (MSG_PEEK) and taken only when it is clear that they belong to the
//! header. What follows, a TLS handshake or a request, is where it was: nothing has to be carried to whoever reads next.

use std::{rc::Rc, sync::Arc};

use tokio::{io::Interest, net::TcpStream};

use super::{Header, LONGEST, Parsed, Reason, parse};
use crate::{
    defence::Offence,
    observe::traffic::Refused,
    proxy::{
        listener::live::{Conn, Phase},
        worker::Worker,
    },
};

/// Reads the header of a connection to a listener that demands one, and notes on `conn` who the client is. False: the
/// connection is not to be served.
///
/// It is called before the first byte is read; the handshake's deadline is for it, too, and whoever ends the connection
/// then says so with [`late`].
pub(crate) async fn accept(worker: &Rc<Worker>, conn: &Rc<Conn>, stream: &TcpStream) -> bool {
    let (_, index) = conn.listener.get();
    let demanded =
        worker.current().view.listeners.get(index).is_some_and(|view| view.listener.proxy_protocol);
    if !demanded {
        return true;
    }
    conn.phase.set(Phase::Preamble);
    let why = match read(stream).await {
        Ok(header) => {
            if let Some(declared) = header.declared {
                conn.declare(declared);
            }
            conn.phase.set(Phase::Handshake);
            return true;
        }
        Err(End::Refused(reason)) => {
            worker.shared.config.reports.offence(conn.peer.ip(), Offence::Handshake);
            reason.name()
        }
        // Balancers probe a port by opening it and going away; that is no offence.
        Err(End::Gone(0)) => return false,
        Err(End::Gone(_)) => "broken_off",
    };
    refuse(worker, conn, Refused::ProxyHeader, why);
    false
}

/// The deadline passed before the header was there. To be slow is no offence, as in a handshake: a balancer whose packets
/// are lost must not be banned for it.
pub(crate) fn late(worker: &Worker, conn: &Conn) {
    refuse(worker, conn, Refused::ProxyHeaderLate, "late");
}

fn refuse(worker: &Worker, conn: &Conn, refused: Refused, why: &str) {
    let counters = Arc::clone(&conn.counters.borrow());
    let cells = counters.worker(worker.id);
    cells.handshake_failures.add(1);
    if let Some(cell) = cells.refused.get(refused as usize) {
        cell.add(1);
    }
    // Mostly one side of a balancer is set up and the other is not, which nobody would find in counters alone.
    if worker.may_tell() {
        tracing::warn!(listener = %counters.name, peer = %conn.peer, why, "{}: refused", refused.name());
    }
}

/// Why there is no header.
enum End {
    /// The peer closed, or the connection failed, after so many bytes.
    Gone(usize),
    Refused(Reason),
}

async fn read(stream: &TcpStream) -> Result<Header, End> {
    let mut bytes = vec![0; LONGEST];
    // How many of them are taken off the socket.
    let mut taken = 0;
    loop {
        let room = bytes.get_mut(taken..).unwrap_or_default();
        let seen = match stream.peek(room).await {
            Ok(seen @ 1..) => taken + seen,
            Ok(0) | Err(_) => return Err(End::Gone(taken)),
        };
        let (upto, done) = match parse(bytes.get(..seen).unwrap_or_default()) {
            // All of it belongs to the header. Taken now, so that the next peek waits for news.
            Parsed::NeedMore => (seen, None),
            Parsed::Done(header) => (header.consumed, Some(header)),
            Parsed::Refused(reason) => return Err(End::Refused(reason)),
        };
        while taken < upto {
            let room = bytes.get_mut(taken..upto).unwrap_or_default();
            taken += match stream.async_io(Interest::READABLE, || stream.try_read(room)).await {
                Ok(count @ 1..) => count,
                Ok(0) | Err(_) => return Err(End::Gone(taken)),
            };
        }
        if let Some(header) = done {
            return Ok(header);
        }
    }
}
