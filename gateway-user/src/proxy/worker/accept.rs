//! Takes connections off a listening socket and judges each before a byte of it is read.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    net::TcpListener as StdListener,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use nix::errno::Errno;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{spawn_local, yield_now},
};

use super::Worker;
use crate::{
    base::clock,
    defence::Offence,
    observe::{load::Full, traffic::Refused},
    proxy::{
        budget::cost,
        config::Closed,
        forwarded,
        http::serve,
        listener::{
            SocketId,
            admission::{self, Flow},
            bind,
            live::{Conn, Opening},
            seats::Cap,
        },
        view::Scheme,
    },
};

/// Resets per second of one socket of a closed listener: enough for people, nothing for a flood to be answered with.
const RESETS: u32 = 100;

/// Connections of one socket that are taken in one turn of the runtime. Each costs as much as several requests, and a crowd
/// that arrives at once must not hold up those who are there.
const AT_ONCE: u32 = 4;

/// A listening socket of this worker, which can be closed from outside at once.
pub(super) struct Acceptor {
    listener: RefCell<Option<TcpListener>>,
    /// Connections to a closed listener that were reset since the second began; at [`RESETS`] nobody
    /// is taken any more.
    resets: Cell<u32>,
    /// Connections that are to be taken only to be sent away, while the gate is shut.
    shed: Cell<u32>,
    waker: RefCell<Option<Waker>>,
}

impl Acceptor {
    /// Begins to accept on `socket`.
    pub(super) fn start(
        worker: &Rc<Worker>,
        id: SocketId,
        socket: &Arc<StdListener>,
    ) -> io::Result<Rc<Self>> {
        let listener = TcpListener::from_std(socket.try_clone()?)?;
        let acceptor = Rc::new(Self {
            listener: RefCell::new(Some(listener)),
            resets: Cell::default(),
            shed: Cell::default(),
            waker: RefCell::default(),
        });
        spawn_local(Rc::clone(&acceptor).run(Rc::clone(worker), id));
        Ok(acceptor)
    }

    /// Closes the socket. Returns false, which reads as "do not keep it".
    pub(super) fn close(&self) -> bool {
        drop(self.listener.borrow_mut().take());
        self.wake();
        false
    }

    /// Has the gate looked at again.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Lets up to `count` connections in to be sent away.
    pub(super) fn shed(&self, count: u32) {
        self.shed.set(count);
        self.wake();
    }

    /// Begins a new second: a socket that had sent all its resets answers again.
    pub(super) fn renew(&self) {
        if self.resets.replace(0) >= RESETS {
            self.set_backlog(bind::BACKLOG);
            self.wake();
        }
    }

    /// Counts a reset of a closed listener.
    fn reset(&self) {
        self.resets.set(self.resets.get() + 1);
        if self.resets.get() == RESETS {
            // Nobody takes from the queue until the second is over, and the kernel answers no SYN while it is full.
            self.set_backlog(0);
        }
    }

    /// A worker has no privilege, and listening again with another backlog needs none.
    fn set_backlog(&self, backlog: i32) {
        let listener = self.listener.borrow();
        let Some(listener) = &*listener else { return };
        if let Err(error) = socket2::SockRef::from(listener).listen(backlog) {
            tracing::warn!(%error, backlog, "the queue of a listening socket cannot be changed");
        }
    }

    async fn run(self: Rc<Self>, worker: Rc<Worker>, id: SocketId) {
        let scheme = worker.current().view.sockets.get(&id).map(|(_, scheme)| *scheme);
        // Why this socket's clients are kept waiting; those of a plain port wait for no handshake.
        let full =
            || worker.gate.shut().filter(|full| *full != Full::Handshakes || scheme == Some(Scheme::Https));
        let mut taken = 0;
        loop {
            let accepted = poll_fn(|context| {
                let listener = self.listener.borrow();
                let Some(listener) = &*listener else { return Poll::Ready(None) };
                // Other workers fill the same places: a look before each connection, not only once a tick.
                worker.look_at_gate();
                *self.waker.borrow_mut() = Some(context.waker().clone());
                if self.resets.get() >= RESETS || (full().is_some() && self.shed.get() == 0) {
                    return Poll::Pending;
                }
                listener.poll_accept(context).map(Some)
            })
            .await;
            match accepted {
                None => return,
                Some(Ok((stream, peer))) => {
                    let full = full();
                    self.shed.set(self.shed.get().saturating_sub(1));
                    match admit(&worker, id, &stream, peer, full) {
                        Ok(conn) => drop(spawn_local(serve::connection(Rc::clone(&worker), stream, conn))),
                        Err(refused) => {
                            if refused == Some(Refused::Closed)
                                && worker.shared.config.closed == Closed::Reset
                            {
                                self.reset();
                            }
                            // Zero linger: a RST instead of the four-way close that the peer would keep waiting in.
                            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                        }
                    }
                }
                // That connection is gone already; the next one may be there (accept(2), "Error handling").
                Some(Err(error)) if is_of_one_connection(&error) => {}
                Some(Err(error)) => worker.exhausted(&error),
            }
            // While room is short, sockets take turns: one at which many knock would have all of it, and who waits at
            // another would neither be let in nor sent away.
            taken += 1;
            if taken >= if worker.gate.is_tight(worker.timers.tick()) { 1 } else { AT_ONCE } {
                taken = 0;
                yield_now().await;
            }
        }
    }
}

/// Whether an error of accept is about the connection that was to be taken, not about taking connections.
fn is_of_one_connection(error: &io::Error) -> bool {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
    matches!(
        errno,
        Errno::ECONNABORTED
            | Errno::EPROTO
            | Errno::EPERM
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
            | Errno::ENONET
            | Errno::ETIMEDOUT
            | Errno::EINTR
    )
}

/// The verdict of tier (c), always on: whatever the kernel filter let through is judged here again. `Err(None)`: the
/// socket or the connection is gone already. `full`: there is no room for anybody.
fn admit(
    worker: &Rc<Worker>,
    id: SocketId,
    stream: &TcpStream,
    peer: std::net::SocketAddr,
    full: Option<Full>,
) -> Result<Rc<Conn>, Option<Refused>> {
    let current = worker.current();
    let view = &current.view;
    let (index, scheme) = *view.sockets.get(&id).ok_or(None)?;
    let listener = view.listeners.get(index).ok_or(None)?;
    let cells = listener.counters.worker(worker.id);
    let local = stream.local_addr().map_err(|_| None)?;
    let flow = Flow { interface: &listener.listener.interface, peer: peer.ip(), local, new: true };
    let (reports, now) = (&worker.shared.config.reports, clock::unix());
    let refused = admission::refused(&view.tables, flow).or_else(|| {
        // Whoever gets here is admitted by the list and has completed a handshake: an active source.
        reports.connected(peer.ip(), now);
        let banned = reports.is_banned(peer.ip(), now).then_some(Refused::Banned);
        banned.or(full.map(|full| match full {
            Full::Memory => Refused::Memory,
            Full::Connections | Full::Handshakes | Full::Descriptors => Refused::Capacity,
        }))
    });
    // Before anything is spent on it: what it will hold at least, and until it speaks HTTP.
    let grant = match refused {
        Some(refused) => Err(refused),
        None => worker.budget.grant(cost::CONNECTION + cost::HANDSHAKE).ok_or(Refused::Memory),
    };
    let taken = match grant {
        Err(refused) => Err(refused),
        Ok(grant) => {
            let seat = worker.shared.seats.take(listener.listener.id, peer.ip(), listener.listener.caps);
            seat.map(|seat| (seat, grant)).map_err(|cap| {
                // At a full listener it is chance who comes too late; and who connects for others does so often.
                let relays = listener.listener.proxy_protocol
                    || forwarded::is_among(peer.ip().to_canonical(), &listener.listener.forwarders);
                if cap == Cap::Source && !relays {
                    reports.offence(peer.ip(), Offence::Limit);
                }
                Refused::ConnectionCap
            })
        }
    };
    let (place, grant) = match taken {
        Ok(taken) => taken,
        Err(refused) => {
            if let Some(cell) = cells.refused.get(refused as usize) {
                cell.add(1);
            }
            if refused == Refused::ConnectionCap && worker.may_tell() {
                tracing::warn!(listener = %listener.listener.name, source = %peer.ip(), "connection_cap: refused");
            }
            return Err(Some(refused));
        }
    };
    cells.accepted.add(1);
    worker.recent.note(listener.listener.id, peer.ip().to_canonical(), local, worker.timers.tick());
    let counters = Arc::clone(&listener.counters);
    Ok(Rc::new(Conn::new(Opening {
        socket: id,
        scheme,
        peer,
        local,
        listener: (view.generation.0, index),
        counters,
        place,
        grant,
    })))
}
