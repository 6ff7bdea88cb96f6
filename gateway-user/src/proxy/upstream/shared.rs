//! HTTP/2 connections to one instance: each carries many calls, up to the number of streams that the instance allows;
//! beyond it another connection is opened. One that the instance is about to close (GOAWAY) takes no more calls, and ends
//! with the last one that it has.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use hyper::client::conn::http2;

use super::Link;
use crate::proxy::http::body::Upload;

/// Connections to one instance in one worker. Where all are full, calls wait for a stream in the least busy one: more
/// connections would go round the limit that the instance set itself.
const CONNECTIONS_MAX: usize = 16;

/// The connections that may carry one more call.
#[derive(Default)]
pub(super) struct Connections(RefCell<Vec<Connection>>);

struct Connection {
    sender: http2::SendRequest<Upload>,
    /// Every call holds it, too.
    link: Rc<Link>,
    /// Streams that the instance allows, as its driver saw last.
    streams: Rc<Cell<usize>>,
    /// Tick at which it was last seen in use.
    used: u32,
}

// === impl Connections ===

impl Connections {
    /// A connection with a free stream; `None`: another one is to be opened.
    pub(super) fn take(&self) -> Option<(http2::SendRequest<Upload>, Rc<Link>)> {
        let mut all = self.0.borrow_mut();
        all.retain(|connection| !connection.sender.is_closed());
        // The oldest first, so that those that a wave needed are free again after it, and expire.
        let free = all.iter().find(|connection| connection.calls() < connection.streams.get());
        let least = || all.iter().min_by_key(|connection| connection.calls());
        let found = if all.len() < CONNECTIONS_MAX { free } else { free.or_else(least) };
        found.map(|connection| (connection.sender.clone(), Rc::clone(&connection.link)))
    }

    pub(super) fn add(&self, sender: http2::SendRequest<Upload>, link: &Rc<Link>, streams: Rc<Cell<usize>>) {
        self.0.borrow_mut().push(Connection { sender, link: Rc::clone(link), streams, used: 0 });
    }

    /// Closes all but the first that were unused for `idle` ticks.
    pub(super) fn expire(&self, tick: u32, idle: u32) {
        let mut first = true;
        self.0.borrow_mut().retain_mut(|connection| {
            if connection.used == 0 || connection.calls() > 0 {
                connection.used = tick;
            }
            let kept = std::mem::take(&mut first) || tick.saturating_sub(connection.used) < idle;
            kept && !connection.sender.is_closed()
        });
    }

    /// Forgets all: each ends with its last call.
    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

impl Connection {
    /// Calls that it carries.
    fn calls(&self) -> usize {
        Rc::strong_count(&self.link).saturating_sub(1)
    }
}
