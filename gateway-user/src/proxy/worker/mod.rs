//! One worker: a thread with its own runtime, sockets, connections and upstream pools. Nothing here is `Send`.

mod accept;
mod drain;
mod overload;
pub(crate) mod record;
pub(crate) mod target;
pub(crate) mod timer;
mod turnstile;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::TcpListener,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use tokio::{
    runtime::Builder,
    sync::mpsc::UnboundedReceiver,
    task::LocalSet,
    time::{MissedTickBehavior, interval},
};

use self::{accept::Acceptor, target::Target, timer::Timers, turnstile::Turnstile};
use super::{
    budget::{Budget, Purse},
    config::Config,
    io::Blocks,
    listener::{
        SocketId,
        gate::Gate,
        live::{Conn, End, Live},
        recent::Recent,
        seats::Seats,
    },
    upstream::{Resolver, mirror::Mirrors},
    view::View,
};
use crate::{
    base::{Generation, clock},
    observe::{
        access,
        seen::{self, Seen},
        traffic::Traffic,
    },
};

/// Ticks of a second.
const SECOND: u32 = 10;

/// An IMF-fixdate.
pub(crate) type Date = [u8; 29];

/// What all workers share. Only atomics and immutable data on the request path.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) log: access::Log,
    /// Origin of the clock that throttles count in.
    pub(crate) base: Instant,
    pub(crate) workers: usize,
    /// The memory of all connections and requests.
    pub(crate) budget: Arc<Budget>,
    /// Client connections by listener and source, against their caps.
    pub(crate) seats: Arc<Seats>,
    /// The generation that each worker serves.
    pub(crate) served: Box<[AtomicU64]>,
}

/// What a worker starts with; kept up to date, so that a restart finds it.
pub(crate) struct Seed {
    pub(crate) view: Arc<View>,
    pub(crate) sockets: HashMap<SocketId, Arc<TcpListener>>,
}

/// What the control thread asks of a worker.
pub(crate) enum Command {
    /// The seed changed: serve its view, on its sockets.
    Apply(mpsc::Sender<usize>),
    /// Say who is connected and who was let in lately.
    Survey(mpsc::Sender<Vec<Seen>>),
    /// Take no more connections, finish what is in flight, cut the rest after the deadline.
    Stop(Duration, mpsc::Sender<usize>),
    /// The rest of a stop at once.
    Cut,
    /// Panic, as a defect would.
    #[cfg(test)]
    Panic,
}

/// One worker's state.
pub(crate) struct Worker {
    pub(crate) id: usize,
    pub(crate) shared: Arc<Shared>,
    current: RefCell<Rc<Current>>,
    pub(crate) timers: Rc<Timers>,
    pub(crate) resolver: Rc<Resolver>,
    pub(crate) mirrors: Mirrors,
    pub(crate) live: Rc<Live>,
    pub(crate) recent: Recent,
    /// Permission to hold memory.
    pub(crate) budget: Rc<Purse>,
    /// Whether connections are taken.
    gate: Gate,
    /// Whether connections are just let go of.
    evicting: Cell<bool>,
    /// The turn of TLS handshakes.
    pub(crate) turnstile: Turnstile,
    pub(crate) log: RefCell<access::Buffer>,
    /// The times of its lines.
    pub(crate) stamps: RefCell<access::Stamps>,
    pub(crate) blocks: Rc<Blocks>,
    /// `Date`, with the second that it is of.
    dated: RefCell<(u64, Date)>,
    /// Buffers to be used again.
    spare: RefCell<Vec<Vec<u8>>>,
    /// Requests so far; drives weighted choices and request ids.
    pub(crate) turn: Cell<u64>,
    /// First half of this worker's request ids.
    pub(crate) prefix: u64,
    /// The version of the bans that was looked at last.
    bans: Cell<u64>,
    /// Tick of the last line about refused connections.
    told: Cell<u32>,
    /// Wall clock minus `base`, refreshed by the tick, so that a log line costs no clock read of its own.
    pub(crate) epoch: Cell<Duration>,
    acceptors: RefCell<HashMap<SocketId, Rc<Acceptor>>>,
}

/// The view with this worker's own state beside it.
pub(crate) struct Current {
    pub(crate) view: Arc<View>,
    /// In the order of `view.services`.
    pub(crate) targets: Vec<Rc<Target>>,
}

/// Runs a worker on the calling thread until it is told to stop. A panic is counted and the worker starts anew with
/// the sockets and the view that it had.
pub(crate) fn run(
    id: usize,
    shared: &Arc<Shared>,
    seed: &Mutex<Seed>,
    commands: &mut UnboundedReceiver<Command>,
) -> std::io::Result<()> {
    if shared.config.drop_capabilities {
        drop_capabilities();
    }
    loop {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let local = LocalSet::new();
        let body = AssertUnwindSafe(|| local.block_on(&runtime, Worker::serve(id, shared, seed, commands)));
        match catch_unwind(body) {
            Ok(()) => return Ok(()),
            Err(_) => {
                shared.traffic.worker_panics.fetch_add(1, Relaxed);
                tracing::error!(worker = id, "worker panicked; it starts again");
                // One that panics as soon as it runs must not take a core.
                std::thread::sleep(timer::TICK);
            }
        }
    }
}

/// Workers open plain sockets only; whoever takes one over shall have nothing else.
pub(super) fn drop_capabilities() {
    for set in [caps::CapSet::Effective, caps::CapSet::Permitted, caps::CapSet::Inheritable] {
        if let Err(error) = caps::clear(None, set) {
            tracing::warn!(%error, "cannot give up capabilities");
        }
    }
}

// === impl Shared ===

impl Shared {
    fn served(&self, worker: usize, generation: Generation) {
        if let Some(place) = self.served.get(worker) {
            place.store(generation.0, Relaxed);
        }
    }
}

// === impl Worker ===

impl Worker {
    async fn serve(
        id: usize,
        shared: &Arc<Shared>,
        seed: &Mutex<Seed>,
        commands: &mut UnboundedReceiver<Command>,
    ) {
        let worker = Rc::new(Self::new(id, shared));
        worker.apply(seed);
        let mut ticks = interval(timer::TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (deadline, done) = loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Apply(done)) => {
                        worker.apply(seed);
                        let _ = done.send(id);
                    }
                    Some(Command::Survey(answer)) => drop(answer.send(worker.survey())),
                    Some(Command::Stop(deadline, done)) => break (deadline, Some(done)),
                    // Nothing is being stopped.
                    Some(Command::Cut) => {}
                    #[cfg(test)]
                    Some(Command::Panic) => panic!("asked to"),
                    // The proxy is gone without a stop: nobody is left to serve for.
                    None => break (Duration::ZERO, None),
                },
                _ = ticks.tick() => worker.tick(),
            }
        };
        worker.stop(deadline, &mut ticks, commands).await;
        if let Some(done) = done {
            let _ = done.send(id);
        }
    }

    fn new(id: usize, shared: &Arc<Shared>) -> Self {
        let mut prefix = [0; 8];
        // A failing random source only makes request ids predictable; they are no secrets.
        let _ = aws_lc_rs::rand::fill(&mut prefix);
        let worker = Self {
            id,
            shared: Arc::clone(shared),
            current: RefCell::new(Rc::new(Current { view: Arc::new(View::empty()), targets: Vec::new() })),
            timers: Timers::new(),
            resolver: Resolver::new(),
            mirrors: Mirrors::default(),
            live: Rc::default(),
            recent: Recent::default(),
            budget: Purse::new(&shared.budget),
            gate: Gate::default(),
            evicting: Cell::default(),
            turnstile: Turnstile::default(),
            log: RefCell::new(shared.log.buffer()),
            stamps: RefCell::default(),
            blocks: Blocks::new(shared.budget.limit(), shared.workers),
            dated: RefCell::default(),
            spare: RefCell::default(),
            turn: Cell::new(id as u64 * 7919),
            prefix: u64::from_ne_bytes(prefix),
            bans: Cell::default(),
            told: Cell::default(),
            epoch: Cell::default(),
            acceptors: RefCell::default(),
        };
        worker.set_clocks();
        worker
    }

    /// The view now. A request takes it once and keeps the targets that it uses, not the view.
    pub(crate) fn current(&self) -> Rc<Current> {
        Rc::clone(&self.current.borrow())
    }

    /// Counts a request.
    pub(crate) fn next_turn(&self) -> u64 {
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        turn
    }

    /// An empty buffer for a log line or the like.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// Takes a buffer back.
    pub(crate) fn recycle(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < 512 && buffer.capacity() <= 4096 {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// The value of `Date` (RFC 9110 §6.6.1).
    pub(crate) fn date(&self) -> Date {
        let now = self.now();
        let mut dated = self.dated.borrow_mut();
        if dated.0 != now.as_secs() {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + now);
            // Its length is fixed.
            if let Ok(date) = Date::try_from(text.as_bytes()) {
                *dated = (now.as_secs(), date);
            }
        }
        dated.1
    }

    /// Whether a refused connection may have a line in the log: one a second, lest a crowd fills it.
    pub(crate) fn may_tell(&self) -> bool {
        let tick = self.timers.tick();
        let may = tick.saturating_sub(self.told.get()) >= SECOND;
        if may {
            self.told.set(tick);
        }
        may
    }

    fn set_clocks(&self) -> u32 {
        let elapsed = clock::now().saturating_duration_since(self.shared.base);
        self.epoch.set(clock::unix().saturating_sub(elapsed));
        Timers::at(elapsed)
    }

    fn tick(self: &Rc<Self>) {
        let tick = self.set_clocks();
        let bans = self.shared.config.reports.version();
        if self.bans.replace(bans) != bans {
            self.cut_banned();
        }
        self.timers.advance(tick);
        self.current().targets.iter().for_each(|target| target.nudge());
        self.log.borrow_mut().flush();
        self.relieve();
        // Connections and pools are looked at once a second: their deadlines are long.
        let limits = &self.shared.config.limits;
        for conn in self.live.reap(tick, SECOND as usize) {
            self.cut(&conn);
        }
        if tick.is_multiple_of(SECOND) {
            self.acceptors.borrow().values().for_each(|acceptor| acceptor.renew());
            let idle = Timers::ticks(limits.upstream_idle);
            self.current().targets.iter().for_each(|target| target.expire(tick, idle));
            self.mirrors.expire(tick, idle);
        }
    }

    /// Serves what the seed says: new sockets are heard, removed ones closed, connections without access cut.
    fn apply(self: &Rc<Self>, seed: &Mutex<Seed>) {
        let (view, sockets) = {
            // Clones handles only; nothing in there can be left half-done by a panic.
            let seed = seed.lock().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&seed.view), seed.sockets.clone())
        };
        let previous = self.current();
        let targets = Target::all(&view, &previous.targets, self);
        self.end_removed(&previous.targets, &targets);
        *self.current.borrow_mut() = Rc::new(Current { view: Arc::clone(&view), targets });

        let mut acceptors = self.acceptors.borrow_mut();
        acceptors.retain(|id, acceptor| sockets.contains_key(id) || acceptor.close());
        for (id, socket) in &sockets {
            if !acceptors.contains_key(id) {
                match Acceptor::start(self, *id, socket) {
                    Ok(acceptor) => drop(acceptors.insert(*id, acceptor)),
                    Err(error) => {
                        tracing::error!(worker = self.id, %error, "cannot take over a listening socket")
                    }
                }
            }
        }
        self.judge_again(&view, &previous.view);
        self.shared.served(self.id, view.generation);
    }

    /// Who is connected, and who was let in lately.
    fn survey(&self) -> Vec<Seen> {
        let current = self.current();
        let tick = self.timers.tick();
        let now = self.now();
        let mut parts = Vec::new();
        self.live.each(|conn| {
            let (_, index) = conn.listener.get();
            let Some(view) = current.view.listeners.get(index) else { return };
            parts.push(Seen {
                listener: view.listener.name.clone(),
                interface: view.listener.interface.clone(),
                source: conn.peer.ip().to_canonical(),
                local: conn.local_address,
                connections: 1,
                admitted: 0,
                last: now,
            });
        });
        for visit in self.recent.all() {
            let of = current.view.listeners.iter().find(|view| view.listener.id == visit.listener);
            let Some(view) = of else { continue };
            parts.push(Seen {
                listener: view.listener.name.clone(),
                interface: view.listener.interface.clone(),
                source: visit.source,
                local: visit.local,
                connections: 0,
                admitted: visit.admitted,
                last: now.saturating_sub(timer::TICK * tick.saturating_sub(visit.tick)),
            });
        }
        seen::merge(parts)
    }

    /// Cuts the connections of sources that are banned: the kernel drops their packets, and nobody would end them.
    fn cut_banned(&self) {
        let now = clock::unix();
        self.live.each(|conn| {
            if self.shared.config.reports.is_banned(conn.peer.ip(), now) {
                self.cut(conn);
            }
        });
    }

    /// Cuts a connection, and counts it once.
    fn cut(&self, conn: &Conn) {
        if conn.end().is_none() {
            conn.counters.borrow().worker(self.id).cut.add(1);
        }
        conn.finish(End::Cut);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have panicked with its gate shut; the one that follows begins with an open one.
        self.shared.traffic.load.turned(self.gate.shut(), None);
    }
}
