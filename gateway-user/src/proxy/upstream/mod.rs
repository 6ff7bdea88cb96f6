//! The way to instances: which one takes a request, what is known of it, and the connection to it.
//!
//! A request gets a [`Pick`], a counted place at an instance, from its worker's `Target`; what all workers know of
//! instances is in their `Fleet`. Connections are pooled per worker and instance, so a request never waits for another
//! core.

pub(crate) mod again;
pub(crate) mod balance;
mod budget;
mod connect;
mod dial;
pub(crate) mod fleet;
mod health;
mod member;
pub(crate) mod mirror;
mod names;
mod outlier;
mod pick;
mod queue;
mod race;
mod resolve;
mod shared;
mod slow_start;
mod stream;
mod tls;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::{sync::oneshot, task::AbortHandle};

pub(crate) use connect::{LocalExecutor, connect};
pub(crate) use dial::{Place, place_name};
pub(crate) use fleet::Fleet;
pub(crate) use health::Checks;
pub(crate) use member::Member;
pub(crate) use pick::{Missed, Pick, Tried};
pub(crate) use queue::Line;
pub(crate) use resolve::Resolver;
pub(crate) use stream::Stream;
pub(crate) use tls::{ClientTls, Clients};

use self::shared::Connections;
use crate::{proxy::http::body::Upload, snapshot::http::Protocol};

/// The unused connections of one instance in one worker.
pub(crate) struct Pool {
    pub(crate) place: Place,
    pub(crate) protocol: Protocol,
    /// Last in, first out: a warm connection is preferred, the others can expire.
    idle: RefCell<Vec<Idle>>,
    /// HTTP/2 carries many calls on one connection.
    shared: Connections,
    /// One HTTP/2 connection is opened at a time: whoever waits for it may find room on it.
    opening: tokio::sync::Mutex<()>,
    retired: Cell<bool>,
}

struct Idle {
    sender: http1::SendRequest<Upload>,
    link: Rc<Link>,
    since: u32,
}

/// What a connection that ended by an upgrade leaves: the stream and what was read past the 101.
pub(crate) type Leftover = hyper::client::conn::http1::Parts<TokioIo<Stream>>;

/// The task that drives a connection.
pub(crate) struct Link {
    task: AbortHandle,
    leftover: RefCell<Option<oneshot::Receiver<Leftover>>>,
}

/// A connection in the hands of one exchange. Dropped before the exchange is over, it is closed at once: the instance
/// learns that nobody waits any more.
pub(crate) struct Lease {
    sender: Option<Sender>,
    link: Rc<Link>,
    pool: Rc<Pool>,
    /// It served a request before, so the instance may be closing it this moment.
    pub(crate) reused: bool,
}

/// A connection by protocol.
pub(crate) enum Sender {
    One(http1::SendRequest<Upload>),
    Many(http2::SendRequest<Upload>),
}

// === impl Pool ===

impl Pool {
    pub(crate) fn new(place: Place, protocol: Protocol) -> Self {
        Self {
            place,
            protocol,
            idle: RefCell::default(),
            shared: Connections::default(),
            opening: tokio::sync::Mutex::new(()),
            retired: Cell::new(false),
        }
    }

    /// A connection that is open and unused.
    pub(crate) fn take(self: &Rc<Self>) -> Option<Lease> {
        let lease = |sender, link| Lease { sender: Some(sender), link, pool: Rc::clone(self), reused: true };
        if self.protocol.is_http2() {
            return self.shared.take().map(|(sender, link)| lease(Sender::Many(sender), link));
        }
        let mut idle = self.idle.borrow_mut();
        let mut index = idle.len();
        while index > 0 {
            index -= 1;
            let (ready, closed) = idle
                .get(index)
                .map_or((false, true), |entry| (entry.sender.is_ready(), entry.sender.is_closed()));
            if ready {
                let entry = idle.swap_remove(index);
                return Some(lease(Sender::One(entry.sender), entry.link));
            }
            if closed {
                idle.remove(index);
            }
        }
        None
    }

    fn put(&self, sender: http1::SendRequest<Upload>, link: Rc<Link>, tick: u32, spare: usize) {
        let mut idle = self.idle.borrow_mut();
        if !self.retired.get() && !sender.is_closed() && idle.len() < spare {
            idle.push(Idle { sender, link, since: tick });
        }
    }

    /// Closes connections that were unused for `idle` ticks.
    pub(crate) fn expire(&self, tick: u32, idle: u32) {
        self.shared.expire(tick, idle);
        self.idle
            .borrow_mut()
            .retain(|entry| tick.saturating_sub(entry.since) < idle && !entry.sender.is_closed());
    }

    /// No request will come any more.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
        self.idle.borrow_mut().clear();
        self.shared.clear();
    }
}

// === impl Link ===

impl Drop for Link {
    fn drop(&mut self) {
        // Whoever held the connection is gone; an upgraded one has left the task already.
        self.task.abort();
    }
}

// === impl Lease ===

impl Lease {
    /// Where the connection leads.
    pub(crate) fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// The connection itself; `None` never, because a lease is emptied only by `done`, which consumes it.
    pub(crate) fn sender(&mut self) -> Option<&mut Sender> {
        self.sender.as_mut()
    }

    /// The exchange is over; the connection may serve another.
    pub(crate) fn done(mut self, tick: u32, spare: usize) {
        if let Some(Sender::One(sender)) = self.sender.take() {
            self.pool.put(sender, Rc::clone(&self.link), tick, spare);
        }
    }

    /// What is left of the connection after a 101.
    pub(crate) fn leftover(&self) -> Option<oneshot::Receiver<Leftover>> {
        self.link.leftover.borrow_mut().take()
    }
}
