//! The live connections of one worker: who they are, what they wait for, and how to end them from outside.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Waker},
};

use super::{SocketId, seats::Place};
use crate::{
    observe::traffic::ListenerCounters,
    proxy::{
        budget::Grant, forwarded::Hop, proxy_protocol::Declared, sites::LocalName, view::Scheme,
        worker::target::Target,
    },
};

/// What a connection is waiting for; each has its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The header of the PROXY protocol, where the listener demands one.
    Preamble,
    /// TLS handshake, or the first byte of a plain connection.
    Handshake,
    /// The next request.
    Idle,
    /// The rest of a request head; over HTTP/1.1 the connection's task sees to the deadline itself, to answer 408.
    Head,
    /// A request is in flight; its own deadlines count.
    Busy,
}

/// How a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With RST: access was taken away, or the stop deadline passed.
    Cut,
    /// By a deadline.
    Late,
}

/// One client connection.
pub(crate) struct Conn {
    pub(crate) socket: SocketId,
    pub(crate) scheme: Scheme,
    /// The other end of the TCP connection: allowlist, bans and caps judge it and nobody else.
    pub(crate) peer: SocketAddr,
    pub(crate) local: LocalName,
    pub(crate) local_address: SocketAddr,
    /// Who speaks HTTP.
    pub(crate) client: RefCell<Client>,
    /// Index of the listener in the view of generation `seen`.
    pub(crate) listener: Cell<(u64, usize)>,
    pub(crate) counters: RefCell<Arc<ListenerCounters>>,
    pub(crate) phase: Cell<Phase>,
    /// Tick at which the phase is over; 0: never.
    pub(crate) deadline: Cell<u32>,
    /// Tick at which a write that is stuck has been so for too long; 0: none is.
    pub(crate) stalled: Cell<u32>,
    /// HTTP/2 only: one cell per answer on its way, the tick at which the client took too little of it; 0: it takes it.
    pub(crate) streams: RefCell<Vec<Rc<Cell<u32>>>>,
    pub(crate) in_flight: Cell<u32>,
    pub(crate) http2: Cell<bool>,
    pub(crate) sni: RefCell<Option<Box<str>>>,
    /// Names of the certificate that was shown.
    pub(crate) certificate: RefCell<Arc<[String]>>,
    /// Finish what is in flight, then close.
    pub(crate) draining: Cell<bool>,
    /// Ticks at which the connection is to drain and to be cut, if an edit took its listener's socket away; 0: it stays.
    pub(crate) leave: Cell<(u32, u32)>,
    /// HTTP/1.1 only: the service that works on the request.
    pub(crate) target: RefCell<Option<Rc<Target>>>,
    /// Second of the last 2xx that was told to the defence.
    served: Cell<u64>,
    _place: Place,
    /// The memory that the connection may hold; what its requests hold is theirs.
    pub(crate) grant: RefCell<Grant>,
    end: Cell<Option<End>>,
    waker: RefCell<Option<Waker>>,
}

/// Who is at the other end of the conversation: the TCP peer, or whom it declares with a PROXY protocol header.
pub(crate) struct Client {
    /// In its canonical form.
    pub(crate) address: SocketAddr,
    /// Its IP address, as fields and logs say it.
    pub(crate) text: Box<str>,
    /// The port that it reached.
    reached: u16,
    /// The peer speaks for it.
    pub(crate) declared: bool,
}

/// What is known at accept.
pub(crate) struct Opening {
    pub(crate) socket: SocketId,
    pub(crate) scheme: Scheme,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) listener: (u64, usize),
    pub(crate) counters: Arc<ListenerCounters>,
    pub(crate) place: Place,
    pub(crate) grant: Grant,
}

/// What ages are measured with where room is to be made, in ticks.
#[derive(Clone, Copy)]
pub(crate) struct Age {
    pub(crate) tick: u32,
    /// How long the two phases may last whose ends are known.
    pub(crate) keep_alive: u32,
    pub(crate) handshake: u32,
    /// Nobody leaves who waits for less.
    pub(crate) idle: u32,
    pub(crate) slow: u32,
}

/// Who leaves first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    handshake: bool,
    /// Since when it waits.
    since: u32,
}

// === impl Client ===

impl Client {
    fn new(address: SocketAddr, reached: u16, declared: bool) -> Self {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { address, text: address.ip().to_string().into(), reached, declared }
    }

    /// The way of a request in this version of HTTP.
    pub(crate) fn hop(&self, scheme: Scheme, version: &'static str) -> Hop<'_> {
        let https = scheme == Scheme::Https;
        Hop { address: self.address.ip(), text: &self.text, https, port: self.reached, version }
    }
}

// === impl Conn ===

impl Conn {
    pub(crate) fn new(opening: Opening) -> Self {
        let client = Client::new(opening.peer, opening.local.port(), false);
        Self {
            socket: opening.socket,
            scheme: opening.scheme,
            peer: opening.peer,
            local: LocalName::new(opening.local.ip()),
            local_address: opening.local,
            client: RefCell::new(client),
            listener: Cell::new(opening.listener),
            counters: RefCell::new(opening.counters),
            phase: Cell::new(Phase::Handshake),
            deadline: Cell::new(0),
            stalled: Cell::new(0),
            streams: RefCell::default(),
            in_flight: Cell::new(0),
            http2: Cell::new(false),
            sni: RefCell::new(None),
            certificate: RefCell::new(Arc::new([])),
            draining: Cell::new(false),
            leave: Cell::default(),
            target: RefCell::default(),
            served: Cell::new(0),
            _place: opening.place,
            grant: RefCell::new(opening.grant),
            end: Cell::new(None),
            waker: RefCell::new(None),
        }
    }

    /// The peer speaks for another (PROXY protocol).
    pub(crate) fn declare(&self, declared: Declared) {
        *self.client.borrow_mut() = Client::new(declared.source, declared.destination.port(), true);
    }

    /// Whether a 2xx at this second is news.
    pub(crate) fn serves(&self, second: u64) -> bool {
        self.served.replace(second) != second
    }

    /// Whether the connection was told to end, and how.
    pub(crate) fn end(&self) -> Option<End> {
        self.end.get()
    }

    /// Tells the connection's task to end. The first reason stays.
    pub(crate) fn finish(&self, end: End) {
        if self.end.get().is_none() {
            self.end.set(Some(end));
        }
        self.wake();
    }

    /// Tells the connection's task to finish what is in flight and then to close.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        self.wake();
    }

    /// Wakes the connection's task, to look at its flags.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Remembers whom to wake.
    pub(crate) fn register(&self, context: &Context<'_>) {
        let mut slot = self.waker.borrow_mut();
        match &mut *slot {
            Some(waker) => waker.clone_from(context.waker()),
            None => *slot = Some(context.waker().clone()),
        }
    }

    /// Whether an HTTP/1.1 request head is on its way, or waited for.
    fn reads_head(&self) -> bool {
        self.phase.get() == Phase::Head && !self.http2.get()
    }

    /// The phase whose deadline ended the connection; `None`: it ended otherwise.
    pub(crate) fn late_in(&self, tick: u32) -> Option<Phase> {
        let deadline = self.deadline.get();
        let late = self.end() == Some(End::Late) && deadline != 0 && tick >= deadline;
        late.then(|| self.phase.get())
    }

    /// Whether a request head is on its way, and its time is over at `tick`.
    pub(crate) fn is_head_late(&self, tick: u32) -> bool {
        self.reads_head() && tick >= self.deadline.get()
    }

    /// Enters a phase that ends at `deadline`.
    pub(crate) fn enter(&self, phase: Phase, deadline: u32) {
        self.phase.set(phase);
        self.deadline.set(deadline);
    }
}

// === impl Age ===

impl Age {
    /// Where a connection stands among those that may be let go of; `None`: it stays.
    fn rank(self, conn: &Conn) -> Option<Rank> {
        let (handshake, lasts, least) = match conn.phase.get() {
            Phase::Idle => (false, self.keep_alive, self.idle),
            Phase::Preamble | Phase::Handshake => (true, self.handshake, self.slow),
            Phase::Head | Phase::Busy => return None,
        };
        let since = conn.deadline.get().saturating_sub(lasts);
        let waits = self.tick.saturating_sub(since) >= least;
        (waits && conn.end().is_none() && !conn.draining.get()).then_some(Rank { handshake, since })
    }

    /// Lets go of a connection if it still may be. An idle one is closed as a stop would close it, so a request that
    /// crosses the close is not lost on HTTP/2.
    pub(crate) fn let_go(self, conn: &Conn) -> bool {
        let rank = self.rank(conn);
        match rank {
            Some(Rank { handshake: false, .. }) => conn.drain(),
            Some(Rank { handshake: true, .. }) => conn.finish(End::Late),
            None => {}
        }
        rank.is_some()
    }
}

/// The connections of one worker.
#[derive(Default)]
pub(crate) struct Live {
    slots: RefCell<Vec<Option<Rc<Conn>>>>,
    free: RefCell<Vec<usize>>,
    /// Which part [`Live::reap`] looks at next.
    turn: Cell<usize>,
}

/// Keeps a connection in the registry.
pub(crate) struct Seat {
    live: Rc<Live>,
    index: usize,
    conn: Rc<Conn>,
    worker: usize,
}

// === impl Live ===

impl Live {
    /// Registers a connection until the seat is dropped.
    pub(crate) fn open(self: &Rc<Self>, conn: &Rc<Conn>, worker: usize) -> Seat {
        let mut slots = self.slots.borrow_mut();
        let index = match self.free.borrow_mut().pop() {
            Some(index) => {
                if let Some(slot) = slots.get_mut(index) {
                    *slot = Some(Rc::clone(conn));
                }
                index
            }
            None => {
                slots.push(Some(Rc::clone(conn)));
                slots.len() - 1
            }
        };
        conn.counters.borrow().worker(worker).live.add(1);
        Seat { live: Rc::clone(self), index, conn: Rc::clone(conn), worker }
    }

    /// Visits every connection. `visit` may end connections, which takes effect later, in their own tasks.
    pub(crate) fn each(&self, mut visit: impl FnMut(&Rc<Conn>)) {
        for conn in self.slots.borrow().iter().flatten() {
            visit(conn);
        }
    }

    /// Whether no connection is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.borrow().len() == self.free.borrow().len()
    }

    /// Up to `count` connections that do nothing and may be let go of: the longest idle, then handshakes that do not go on.
    pub(crate) fn idlest(&self, count: usize, age: Age) -> Vec<Rc<Conn>> {
        let mut ranked: Vec<(Rank, Rc<Conn>)> = Vec::new();
        if count > 0 {
            self.each(|conn| ranked.extend(age.rank(conn).map(|rank| (rank, Rc::clone(conn)))));
        }
        if count < ranked.len() {
            ranked.select_nth_unstable_by_key(count, |(rank, _)| *rank);
            ranked.truncate(count);
        }
        ranked.into_iter().map(|(_, conn)| conn).collect()
    }

    /// Ends what is over its deadline at `tick`, among every `of`-th connection: looking at all of them at once would
    /// hold requests up when they are many. Returns those whose time after an edit is over.
    pub(crate) fn reap(&self, tick: u32, of: usize) -> Vec<Rc<Conn>> {
        let mut cut = Vec::new();
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let slots = self.slots.borrow();
        slots.iter().skip(turn % of.max(1)).step_by(of.max(1)).flatten().for_each(|conn| {
            let late = |deadline: u32| deadline != 0 && tick >= deadline;
            // A client that keeps its window shut stalls a stream, not the socket; it would hold buffers for ever.
            let stuck = || conn.streams.borrow().iter().any(|deadline| late(deadline.get()));
            let (drain, end) = conn.leave.get();
            let served = || conn.target.borrow().as_ref().is_none_or(|target| !target.is_over(tick));
            if late(end) || !served() {
                cut.push(Rc::clone(conn));
            } else if late(drain) && !conn.draining.get() {
                conn.drain();
            } else if late(conn.stalled.get()) || stuck() || (late(conn.deadline.get()) && !conn.reads_head())
            {
                conn.finish(End::Late);
            } else if conn.stalled.get() != 0 || late(conn.deadline.get()) {
                // The kernel knows whether the client takes anything; the task asks. Or it answers a head that is late.
                conn.wake();
            }
        });
        cut
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.conn.counters.borrow().worker(self.worker).live.sub(1);
        if let Some(slot) = self.live.slots.borrow_mut().get_mut(self.index) {
            *slot = None;
        }
        self.live.free.borrow_mut().push(self.index);
    }
}
