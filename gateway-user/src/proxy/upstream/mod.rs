//! The way to instances: which one takes a request, what is known of it, and the connection to it.
//!
//! A request gets a [`Pick`], a counted place at an instance, from its worker's `Target`; what all workers know of
//! instances is in their `Fleet`. Connections are pooled per worker and instance, so a request never waits for another
//! core.

pub(crate) mod again;
mod answer;
pub(crate) mod balance;
mod budget;
mod call;
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

use hyper::client::conn::http2;
use tokio::task::AbortHandle;

pub(crate) use answer::Answer;
pub(crate) use call::Call;
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
    stream: Stream,
    since: u32,
}

/// The task that drives an HTTP/2 connection.
pub(crate) struct Link {
    task: AbortHandle,
}

/// A connection in the hands of one exchange. Dropped before the exchange is over, it is closed at once: the instance
/// learns that nobody waits any more.
pub(crate) struct Lease {
    sender: Option<Sender>,
    /// Keeps an HTTP/2 connection's task.
    _link: Option<Rc<Link>>,
    pool: Rc<Pool>,
    /// It served a request before, so the instance may be closing it this moment.
    pub(crate) reused: bool,
}

/// A connection by protocol.
pub(crate) enum Sender {
    One(Stream),
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
        let lease =
            |sender, link| Lease { sender: Some(sender), _link: link, pool: Rc::clone(self), reused: true };
        if self.protocol.is_http2() {
            return self.shared.take().map(|(sender, link)| lease(Sender::Many(sender), Some(link)));
        }
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { mut stream, .. }) = idle.pop() {
            if stream.is_quiet() {
                return Some(lease(Sender::One(stream), None));
            }
        }
        None
    }

    fn put(&self, stream: Stream, tick: u32, spare: usize) {
        let mut idle = self.idle.borrow_mut();
        if !self.retired.get() && idle.len() < spare {
            idle.push(Idle { stream, since: tick });
        }
    }

    /// Closes connections that were unused for `idle` ticks.
    pub(crate) fn expire(&self, tick: u32, idle: u32) {
        self.shared.expire(tick, idle);
        self.idle
            .borrow_mut()
            .retain_mut(|entry| tick.saturating_sub(entry.since) < idle && entry.stream.is_quiet());
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
        // Whoever held the connection is gone.
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
        if let Some(Sender::One(stream)) = self.sender.take() {
            self.pool.put(stream, tick, spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{rc::Rc, sync::Arc};

    use rcgen::{CertificateParams, KeyPair};
    use rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::{Place, Pool, Protocol, Stream};

    fn tls() -> (TlsConnector, TlsAcceptor) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        (Arc::new(client).into(), Arc::new(server).into())
    }

    /// More than the runtime lets a task read in one turn.
    #[tokio::test]
    async fn connections_that_ended_are_not_taken_however_many() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connector, acceptor) = tls();
        for encrypted in [false, true] {
            let pool = Rc::new(Pool::new(Place::new("127.0.0.1", address.port(), None), Protocol::Http));
            for _ in 0..200 {
                let ours = TcpStream::connect(address).await.unwrap();
                let (theirs, _) = listener.accept().await.unwrap();
                let ours = if encrypted {
                    let name = "localhost".try_into().unwrap();
                    let (ours, theirs) = tokio::join!(connector.connect(name, ours), acceptor.accept(theirs));
                    drop(theirs.unwrap());
                    Stream::Tls(Box::new(ours.unwrap()))
                } else {
                    drop(theirs);
                    ours.readable().await.unwrap();
                    Stream::Plain(ours)
                };
                pool.put(ours, 1, 256);
            }
            // The runtime learns of the last ends.
            tokio::task::yield_now().await;
            assert!(pool.take().is_none(), "encrypted: {encrypted}");
        }
    }
}
