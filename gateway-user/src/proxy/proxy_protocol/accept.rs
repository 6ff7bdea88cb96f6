//! Takes the PROXY protocol header off a client's socket, and not a byte more.
//!
//! The bytes are looked at in the kernel's buffer (MSG_PEEK) and taken only when it is clear that they belong to the
//! header. What follows, a TLS handshake or a request, is where it was: nothing has to be carried to whoever reads next.

use std::{rc::Rc, sync::Arc};

use tokio::{io::Interest, net::TcpStream};

use super::{Header, LONGEST, Parsed, Reason, parse};
use crate::{
    defence::Offence,
    proxy::{listener::live::Conn, worker::Worker},
};

/// Reads the header of a connection to a listener that demands one, and notes on `conn` who the client is. False: the
/// connection is not to be served.
///
/// It is called before the first byte is read, in the phase of the handshake, whose deadline ends it.
pub(crate) async fn accept(worker: &Rc<Worker>, conn: &Rc<Conn>, stream: &TcpStream) -> bool {
    let (_, index) = conn.listener.get();
    let demanded =
        worker.current().view.listeners.get(index).is_some_and(|view| view.listener.proxy_protocol);
    if !demanded {
        return true;
    }
    match read(stream).await {
        Ok(header) => {
            if let Some(declared) = header.declared {
                conn.declare(declared);
            }
            true
        }
        Err(End::Refused(reason)) => {
            tracing::debug!(peer = %conn.peer, reason = reason.name(), "no PROXY protocol header");
            Arc::clone(&conn.counters.borrow()).worker(worker.id).handshake_failures.add(1);
            worker.shared.config.reports.offence(conn.peer.ip(), Offence::Handshake);
            false
        }
        // Balancers probe a port by opening it and going away; that is no offence.
        Err(End::Gone(before)) => {
            if before > 0 {
                Arc::clone(&conn.counters.borrow()).worker(worker.id).handshake_failures.add(1);
            }
            false
        }
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
