//! The proxy as the control plane drives it: stage a snapshot, commit it on every worker, stop.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{SocketAddr, TcpListener},
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde::Serialize;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{
    budget::Budget,
    config::{Closed, Config},
    listener::{
        SocketId, SocketKey,
        bind::{self, BindError, How},
        hush::Hush,
        wanted,
    },
    memory,
    tls::{Tls, TlsView},
    upstream::{Checks, Clients, Fleet},
    view::{ServiceView, Sockets, View},
    worker::{self, Command, Seed, Shared},
};
use crate::{
    base::{Generation, Name, Refusal, clock},
    observe::{
        access::Log,
        seen::{self, Seen},
        traffic::{Report, Traffic},
    },
    snapshot::{Exposure, Snapshot, Subscriber, filter::FilterTables, http::Service},
};

/// A worker takes a new view within a turn of its loop; one that does not within this time is stuck.
const ACK: Duration = Duration::from_secs(5);

/// The data plane.
pub struct Proxy {
    shared: Arc<Shared>,
    tls: Tls,
    clients: Clients,
    checks: Checks,
    workers: Vec<WorkerHandle>,
    view: Arc<View>,
    sockets: BTreeMap<SocketKey, Held>,
    /// Sockets that could not be bound and are tried again, with what stands in the way.
    waiting: BTreeMap<SocketKey, String>,
    next_socket: u64,
    staged: Option<Staged>,
}

struct WorkerHandle {
    seed: Arc<Mutex<Seed>>,
    commands: UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

/// One bound address: a socket per worker.
struct Held {
    id: SocketId,
    /// Number of the interface that the sockets are bound to: a new interface of the old name is another one.
    device: u32,
    sockets: Vec<Arc<TcpListener>>,
    hush: Hush,
}

/// New sockets, and those that cannot be bound yet.
type Bound = (BTreeMap<SocketKey, Held>, BTreeMap<SocketKey, String>);

struct Staged {
    snapshot: Arc<Snapshot>,
    tables: Arc<FilterTables>,
    new: BTreeMap<SocketKey, Held>,
    waiting: BTreeMap<SocketKey, String>,
}

/// Cuts what a stop waits for.
#[derive(Debug)]
pub struct Cutter(Vec<UnboundedSender<Command>>);

/// A listener's sockets, for status.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerStatus {
    pub gateway: String,
    pub name: String,
    /// `listening`, `closed` (bound, every connection refused), `waiting` or `failed` (see `error`).
    pub state: &'static str,
    pub addresses: Vec<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

// === impl Proxy ===

impl Proxy {
    /// Starts the workers. They serve nothing until a snapshot is committed.
    ///
    /// # Errors
    /// The default certificate, the access log or a thread cannot be set up.
    pub fn start(config: Config) -> io::Result<Self> {
        let count =
            config.workers.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        let tls = Tls::new(config.default_certificate.as_deref(), config.unknown_sni)?;
        let traffic = Arc::new(Traffic::new(count));
        let log = Log::open(&config.access_log, Arc::clone(&traffic))?;
        let usable = memory::usable();
        let budget = Budget::new(config.memory.unwrap_or(memory::share(usable)), count);
        traffic.load.memory_limit.store(budget.limit(), Relaxed);
        traffic.load.memory_usable.store(usable, Relaxed);
        if let Some(warning) = traffic.load.report().warning() {
            tracing::warn!("{warning}");
        }
        traffic.load.connections_limit.store(config.limits.connections as u64, Relaxed);
        let shared = Arc::new(Shared {
            config,
            traffic,
            log,
            base: clock::now(),
            workers: count,
            budget,
            served: (0..count).map(|_| AtomicU64::new(0)).collect(),
            seats: Arc::default(),
        });
        let view = Arc::new(View::empty());
        let checks = Checks::start(&shared)?;
        let workers =
            (0..count).map(|id| WorkerHandle::start(id, &shared, &view)).collect::<io::Result<_>>()?;
        Ok(Self {
            shared,
            tls,
            clients: Clients::new(),
            checks,
            workers,
            view,
            sockets: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_socket: 0,
            staged: None,
        })
    }

    /// The counters, to be shared with metrics and statistics.
    #[must_use]
    pub fn counters(&self) -> Arc<Traffic> {
        Arc::clone(&self.shared.traffic)
    }

    /// All traffic figures at this moment.
    #[must_use]
    pub fn traffic(&self) -> Report {
        self.shared.traffic.report()
    }

    /// Everybody who is connected, and who was let in lately, over all workers.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        let (answer, answers) = mpsc::channel();
        let asked = self.workers.iter().filter(|worker| {
            let survey = Command::Survey(answer.clone());
            worker.commands.send(survey).is_ok()
        });
        let asked = asked.count();
        drop(answer);
        // A worker that is stuck for longer is left out, rather than holding up who asks.
        seen::merge((0..asked).map_while(|_| answers.recv_timeout(ACK).ok()).flatten())
    }

    /// The generation that each worker serves. One that is older than the proxy's belongs to a worker that is stuck.
    #[must_use]
    pub fn workers(&self) -> Vec<Generation> {
        self.shared.served.iter().map(|served| Generation(served.load(Relaxed))).collect()
    }

    /// Ends a [`Self::shutdown`] that is waiting for requests, from another thread.
    #[must_use]
    pub fn cutter(&self) -> Cutter {
        Cutter(self.workers.iter().map(|worker| worker.commands.clone()).collect())
    }

    /// The state of every listener's sockets.
    #[must_use]
    pub fn listeners(&self) -> Vec<ListenerStatus> {
        let snapshot = &self.view.snapshot;
        snapshot
            .listeners
            .iter()
            .map(|listener| {
                let keys = wanted(listener);
                let error = keys.iter().find_map(|key| self.waiting.get(key)).cloned();
                let addresses: Vec<_> = keys
                    .iter()
                    .filter(|key| self.sockets.contains_key(*key))
                    .map(|key| key.address)
                    .collect();
                let barred =
                    keys.iter().any(|key| self.waiting.contains_key(key) && self.barred(key).is_some());
                let state = match (&error, listener.open) {
                    (Some(_), _) if barred => "failed",
                    (Some(_), _) if listener.wait_address => "waiting",
                    (Some(_), _) => "failed",
                    (None, true) => "listening",
                    (None, false) => "closed",
                };
                let (gateway, name) = (listener.gateway.to_string(), listener.name.to_string());
                ListenerStatus { gateway, name, state, addresses, error }
            })
            .collect()
    }

    /// Tries the sockets again that wait for their address, or whose interface went away. Called once a second.
    ///
    /// # Errors
    /// The workers did not take the new sockets over.
    pub fn retry(&mut self) -> Result<bool, Refusal> {
        if self.staged.is_some() {
            return Ok(false);
        }
        let let_go = self.let_go_of_lost_interfaces();
        if self.waiting.is_empty() {
            return Ok(false);
        }
        let keys: Vec<SocketKey> = self.waiting.keys().cloned().collect();
        let mut bound = BTreeMap::new();
        let snapshot = Arc::clone(&self.view.snapshot);
        for key in keys {
            if let Some(refusal) = self.barred(&key) {
                self.waiting.insert(key, refusal.to_string());
                continue;
            }
            match self.bind(&key, &snapshot) {
                Ok(held) => {
                    self.waiting.remove(&key);
                    bound.insert(key, held);
                }
                Err(error) => drop(self.waiting.insert(key, error.to_string())),
            }
        }
        // Workers hold sockets too, and an interface that was only renamed still brings them packets.
        if bound.is_empty() && !let_go {
            return Ok(false);
        }
        let tables = Arc::clone(&self.view.tables);
        self.go_live(&snapshot, tables, bound)?;
        Ok(true)
    }

    /// Stops: no more connections, requests in flight may finish within `deadline`, the rest is cut.
    pub fn shutdown(mut self, deadline: Duration) {
        let (done, finished) = mpsc::channel();
        let asked = self
            .workers
            .iter()
            .filter(|worker| worker.commands.send(Command::Stop(deadline, done.clone())).is_ok())
            .count();
        // The kernel resets what still waits in the accept queues.
        self.sockets.clear();
        for worker in &self.workers {
            worker.seed.lock().unwrap_or_else(PoisonError::into_inner).sockets.clear();
        }
        for _ in 0..asked {
            if finished.recv_timeout(deadline + ACK).is_err() {
                tracing::error!("a worker did not stop in time");
                return;
            }
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                // Its panics are counted where they are caught.
                let _ = thread.join();
            }
        }
    }

    /// Sockets bound to an interface that is gone hear nothing, even when one of its name comes back; they wait for it.
    /// Returns whether there were any.
    fn let_go_of_lost_interfaces(&mut self) -> bool {
        let mut devices: HashMap<&str, u32> = HashMap::new();
        let lost: Vec<SocketKey> = self
            .sockets
            .iter()
            .filter(|(key, held)| {
                let now = devices
                    .entry(&key.interface)
                    .or_insert_with(|| bind::device(&key.interface).unwrap_or(held.device));
                *now != held.device
            })
            .map(|(key, _)| key.clone())
            .collect();
        let any = !lost.is_empty();
        for key in lost {
            tracing::warn!(interface = key.interface, address = %key.address, "the interface of a listener went away");
            self.sockets.remove(&key);
            self.waiting.insert(key, "its interface went away".to_owned());
        }
        any
    }

    /// Answers as the live snapshot says, and parses its certificates again; they were good once.
    fn go_back(&mut self) {
        let live = Arc::clone(&self.view.snapshot);
        self.quiet(&self.sockets, &live, true);
        if let Err(error) = self.tls.prepare(&live).and_then(|()| self.clients.prepare(&live)) {
            tracing::error!(%error, "certificates of the live snapshot");
        }
    }

    /// Why nothing may be bound there: the filter is required, and not on. A missing interface has its own errors.
    fn barred(&self, key: &SocketKey) -> Option<Refusal> {
        self.shared.config.barred.why(&key.interface).filter(|_| bind::device(&key.interface).ok() != Some(0))
    }

    fn bind(&mut self, key: &SocketKey, snapshot: &Snapshot) -> Result<Held, BindError> {
        let owned = snapshot
            .addresses
            .iter()
            .any(|own| own.interface == key.interface && own.address.addr() == key.address.ip());
        let shared = self.sockets.keys().any(|held| bind::overlap(held.address, key.address));
        // Asked before: an interface that changes in between is noticed at the next look.
        let device = bind::device(&key.interface).map_err(|error| BindError { step: "interface", error })?;
        let sockets =
            bind::bind(key, self.workers.len(), How { shared, owned })?.into_iter().map(Arc::new).collect();
        self.next_socket += 1;
        Ok(Held { id: SocketId(self.next_socket), device, sockets, hush: Hush::default() })
    }

    /// Binds what `next` wants and is not there yet.
    fn bind_all(&mut self, next: &Snapshot) -> Result<Bound, Refusal> {
        // At the start the daemon comes up all the same; what cannot be bound is `failed` and tried again.
        let starting = self.view.generation == Generation::default();
        let mut new: BTreeMap<SocketKey, Held> = BTreeMap::new();
        let mut waiting = BTreeMap::new();
        let mut claimed: HashMap<(String, SocketAddr), &str> = HashMap::new();
        for listener in &next.listeners {
            for key in wanted(listener) {
                if let Some(other) = claimed.insert((key.interface.clone(), key.address), &listener.name) {
                    return Err(Refusal::new(
                        "address_in_use",
                        format!(
                            "listener {}: {} on {} belongs to listener {other}",
                            listener.name, key.address, key.interface
                        ),
                    )
                    .field("address", key.address)
                    .remedy("choose another address or port"));
                }
                if self.sockets.contains_key(&key) {
                    continue;
                }
                if let Some(refusal) = self.barred(&key) {
                    if !starting && !self.waiting.contains_key(&key) {
                        return Err(refusal);
                    }
                    if self.waiting.get(&key) != Some(&refusal.to_string()) {
                        tracing::error!(listener = %listener.name, address = %key.address, %refusal, "not bound; it is tried again");
                    }
                    waiting.insert(key, refusal.to_string());
                    continue;
                }
                match self.bind(&key, next) {
                    Ok(held) => drop(new.insert(key, held)),
                    // A kernel without IPv6 still has the IPv4 half of `*`.
                    Err(error) if error.no_family() && key.address.ip().is_unspecified() => {}
                    Err(error) if starting || (listener.wait_address && error.may_come()) => {
                        let refusal = error.refusal(&listener.name, &key);
                        tracing::warn!(listener = %listener.name, address = %key.address, %refusal, "not bound yet; it is tried again");
                        waiting.insert(key, error.to_string());
                    }
                    Err(error) if self.waiting.contains_key(&key) => {
                        drop(waiting.insert(key, error.to_string()))
                    }
                    Err(error) => return Err(error.refusal(&listener.name, &key)),
                }
            }
        }
        Ok((new, waiting))
    }

    /// Listens on `new`, hands everything to the workers and waits until each serves it.
    fn go_live(
        &mut self,
        snapshot: &Arc<Snapshot>,
        tables: Arc<FilterTables>,
        new: BTreeMap<SocketKey, Held>,
    ) -> Result<(), Refusal> {
        // A closed listener's sockets are silent before they listen, and before the workers know.
        self.quiet(&new, snapshot, false);
        self.quiet(&self.sockets, snapshot, false);
        for (key, held) in &new {
            for socket in &held.sockets {
                bind::listen(socket).map_err(|error| {
                    let error = BindError { step: "listen", error };
                    error.refusal("", key)
                })?;
            }
        }
        self.sockets.extend(new);
        let keys: HashMap<SocketKey, usize> = snapshot
            .listeners
            .iter()
            .enumerate()
            .flat_map(|(index, listener)| wanted(listener).into_iter().map(move |key| (key, index)))
            .collect();
        self.sockets.retain(|key, _| keys.contains_key(key));
        let listening = self
            .sockets
            .iter()
            .filter_map(|(key, held)| Some((held.id, (*keys.get(key)?, key.scheme))))
            .collect();
        let own = self
            .sockets
            .keys()
            .map(|key| key.address)
            .chain(self.shared.config.own_addresses.iter().copied())
            .collect();
        let traffic = &self.shared.traffic;
        // Listeners of one gateway and exposure show the same certificates.
        let mut shown: HashMap<(&Name, &Exposure), Arc<TlsView>> = HashMap::new();
        for listener in snapshot.listeners.iter().filter(|listener| listener.https.is_some()) {
            shown
                .entry((&listener.gateway, &listener.exposure))
                .or_insert_with(|| self.tls.view(listener, snapshot));
        }
        let view = View::build(
            snapshot,
            tables,
            &self.view,
            traffic,
            Sockets { listening, own },
            |listener| {
                listener.https.and_then(|_| shown.get(&(&listener.gateway, &listener.exposure)).cloned())
            },
            |service, old| self.service(service, old),
        );
        self.view = Arc::new(view);
        self.publish();
        self.checks.watch(&self.view);
        self.quiet(&self.sockets, snapshot, true);
        let listeners = snapshot.listeners.iter().map(|listener| &listener.name);
        traffic.set_channels(listeners.map(|name| (name.clone(), snapshot.channel(name))).collect());
        traffic.retain(
            snapshot.generation,
            |gateway, name| snapshot.services.iter().any(|s| s.gateway == *gateway && s.name == *name),
            |gateway, name| snapshot.listeners.iter().any(|l| l.gateway == *gateway && l.name == *name),
        );
        Ok(())
    }

    /// The view of a service; what outlives edits is taken over from the old one.
    fn service(&self, service: &Arc<Service>, old: Option<&ServiceView>) -> ServiceView {
        let shared = &self.shared;
        let fleet = old.map(|old| &*old.fleet);
        let fleet = Arc::new(Fleet::new(service, fleet, self.workers.len(), shared.base));
        let counters = shared.traffic.service(&service.gateway, &service.name);
        counters.watch(Arc::<Fleet>::clone(&fleet));
        ServiceView {
            service: Arc::clone(service),
            counters,
            throttle: old.map(|old| Arc::clone(&old.throttle)).unwrap_or_default(),
            tls: self.clients.of(service),
            fleet,
        }
    }

    /// Makes those of `held` silent that `next` closes or has no use for; with `answer` lets the others answer again.
    fn quiet(&self, held: &BTreeMap<SocketKey, Held>, next: &Snapshot, answer: bool) {
        let silent = self.shared.config.closed == Closed::Silence;
        let listeners = next.listeners.iter();
        let keys: HashMap<SocketKey, bool> = listeners
            .flat_map(|listener| wanted(listener).into_iter().map(|key| (key, listener.open || !silent)))
            .collect();
        for (key, held) in held {
            let answers = keys.get(key).copied().unwrap_or(false);
            if !answers || answer {
                held.hush.set(!answers, held.sockets.iter().map(|socket| &**socket));
            }
        }
    }

    /// Gives every worker the view and its sockets, and waits for all of them. When this returns, removed sockets are
    /// closed and connections without access are on their way out.
    fn publish(&self) {
        let (done, finished) = mpsc::channel();
        let mut asked = 0;
        for (index, worker) in self.workers.iter().enumerate() {
            let sockets = self
                .sockets
                .values()
                .filter_map(|held| held.sockets.get(index).map(|socket| (held.id, Arc::clone(socket))))
                .collect();
            *worker.seed.lock().unwrap_or_else(PoisonError::into_inner) =
                Seed { view: Arc::clone(&self.view), sockets };
            asked += usize::from(worker.commands.send(Command::Apply(done.clone())).is_ok());
        }
        if asked < self.workers.len() {
            tracing::error!(alive = asked, of = self.workers.len(), "worker threads are missing");
        }
        for _ in 0..asked {
            if finished.recv_timeout(ACK).is_err() {
                // It has the view in its seed and takes it at its next turn; the change itself cannot be undone half-way.
                tracing::error!(generation = %self.view.generation, "a worker is stuck and still serves an older generation");
                return;
            }
        }
    }
}

impl Subscriber for Proxy {
    fn name(&self) -> &'static str {
        "proxy"
    }

    fn stage(&mut self, next: &Arc<Snapshot>) -> Result<(), Refusal> {
        self.abandon();
        self.tls.prepare(next)?;
        self.clients.prepare(next)?;
        let tables = Arc::new(FilterTables::unresolved(&next.filter)?);
        let (new, waiting) = self.bind_all(next)?;
        self.staged = Some(Staged { snapshot: Arc::clone(next), tables, new, waiting });
        Ok(())
    }

    fn hush(&mut self) {
        if let Some(staged) = &self.staged {
            self.quiet(&self.sockets, &staged.snapshot, false);
        }
    }

    fn commit(&mut self) -> Result<(), Refusal> {
        let Some(staged) = self.staged.take() else {
            return Err(Refusal::new("nothing_staged", "the proxy has no staged snapshot"));
        };
        match self.go_live(&staged.snapshot, staged.tables, staged.new) {
            Ok(()) => {
                self.waiting = staged.waiting;
                Ok(())
            }
            Err(refusal) => {
                self.go_back();
                Err(refusal)
            }
        }
    }

    fn abandon(&mut self) {
        if self.staged.take().is_some() {
            self.go_back();
        }
    }

    fn generation(&self) -> Generation {
        self.view.generation
    }
}

// === impl Cutter ===

impl Cutter {
    /// Cuts every connection that is still open.
    pub fn cut(&self) {
        for commands in &self.0 {
            // One that has stopped has nothing left to cut.
            let _ = commands.send(Command::Cut);
        }
    }
}

// === impl WorkerHandle ===

impl WorkerHandle {
    fn start(id: usize, shared: &Arc<Shared>, view: &Arc<View>) -> io::Result<Self> {
        let seed = Arc::new(Mutex::new(Seed { view: Arc::clone(view), sockets: HashMap::new() }));
        let (commands, mut receiver) = unbounded_channel();
        let (shared, inner) = (Arc::clone(shared), Arc::clone(&seed));
        let thread = thread::Builder::new().name(format!("worker-{id}")).spawn(move || {
            if let Err(error) = worker::run(id, &shared, &inner, &mut receiver) {
                tracing::error!(worker = id, %error, "worker cannot run");
            }
        })?;
        Ok(Self { seed, commands, thread: Some(thread) })
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Proxy").field("generation", &self.view.generation).finish_non_exhaustive()
    }
}

impl std::fmt::Display for BindError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {} ({})", self.step, self.error, self.errno())
    }
}

#[cfg(test)]
mod tests;
