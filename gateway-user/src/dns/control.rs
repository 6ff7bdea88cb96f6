//! The name server as the control plane drives it: stage binds what is new, commit swaps the views and answers.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{
    server::{self, Command, Desk, IsDead},
    socket::{self, Key, Pair},
    view::{Slot, View},
};
use crate::{
    base::{Generation, Name, Refusal},
    observe::dns::{NameSocket, NameStatus, NameTraffic},
    snapshot::{
        Snapshot, Subscriber,
        dns::{DnsData, DnsPlan, DnsView},
    },
};

/// The server's thread takes a command within a turn of its loop; one that does not within this time is stuck.
const ACK: Duration = Duration::from_secs(5);

/// What the name server is started with.
pub struct Config {
    /// Where those who are in no private network ask.
    pub public: Vec<SocketAddr>,
    /// Answers per second and network of askers (/24, /56); 0: no limit.
    pub rate: u32,
    /// Whether an address cannot be reached by an interface now.
    pub dead: IsDead,
}

/// The name server.
pub struct Dns {
    commands: UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
    pub(super) dead: IsDead,
    public: Vec<SocketAddr>,
    pub(super) traffic: NameTraffic,
    pub(super) plan: Arc<DnsPlan>,
    generation: Generation,
    /// By view: what is answered there.
    slots: BTreeMap<Option<Name>, Slot>,
    held: BTreeMap<Key, Held>,
    /// Bound at the start, so that a port in use is said at once.
    reserved: BTreeMap<Key, Pair>,
    /// Places that could not be bound and are tried again, with what stands in the way.
    waiting: BTreeMap<Key, String>,
    next: u32,
    /// The addresses of the interfaces that the plan names.
    addresses: BTreeMap<String, Vec<IpAddr>>,
    staged: Option<Staged>,
}

/// A pair of sockets that the server's thread has.
struct Held {
    id: u32,
    vpc: Option<Name>,
    /// Number of the interface: a new interface of the old name is another one.
    device: u32,
}

struct Staged {
    generation: Generation,
    plan: Arc<DnsPlan>,
    new: BTreeMap<Key, (Option<Name>, Pair, u32)>,
    waiting: BTreeMap<Key, String>,
}

/// How a view is called in status, metrics and log.
pub(super) fn view_name(vpc: Option<&Name>) -> String {
    vpc.map_or_else(|| "public".to_owned(), |vpc| format!("vpc:{vpc}"))
}

// === impl Dns ===

impl Dns {
    /// Starts the server's thread, which answers nothing before a plan is committed.
    ///
    /// # Errors
    /// An address of `public` is in use, or the thread cannot be made.
    pub fn start(config: Config) -> Result<Self, Refusal> {
        let mut reserved = BTreeMap::new();
        for address in &config.public {
            let key = Key { interface: None, address: *address };
            let pair = socket::bind(&key).map_err(|error| error.refusal("public", &key))?;
            reserved.insert(key, pair);
        }
        let (commands, receiver) = unbounded_channel();
        let (rate, dead) = (config.rate, Arc::clone(&config.dead));
        let run = move || {
            if let Err(error) = server::run(rate, dead, receiver) {
                tracing::error!(%error, "the name server cannot run");
            }
        };
        let thread = std::thread::Builder::new()
            .name("gateway-dns".to_owned())
            .spawn(run)
            .map_err(|error| Refusal::new("internal", format!("the name server cannot start: {error}")))?;
        Ok(Self {
            commands,
            thread: Some(thread),
            dead: config.dead,
            public: config.public,
            traffic: NameTraffic::default(),
            plan: Arc::default(),
            generation: Generation::default(),
            slots: BTreeMap::new(),
            held: BTreeMap::new(),
            reserved,
            waiting: BTreeMap::new(),
            next: 0,
            addresses: BTreeMap::new(),
            staged: None,
        })
    }

    /// The counters, to be shared with the metrics.
    #[must_use]
    pub fn counters(&self) -> NameTraffic {
        self.traffic.clone()
    }

    /// Tries again what could not be bound, and follows the interfaces. Called once a second.
    pub fn retry(&mut self) {
        let lost: Vec<Key> = self
            .held
            .iter()
            .filter(|(key, held)| {
                key.interface.is_some() && socket::device(key.interface.as_deref()) != held.device
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in lost {
            tracing::warn!(place = %key, "the interface of a name server went away");
            self.close(&key);
            self.waiting.insert(key, "its interface went away".to_owned());
        }
        if !self.waiting.is_empty() {
            let plan = Arc::clone(&self.plan);
            for (key, vpc) in self.wanted(&plan) {
                if !self.waiting.contains_key(&key) {
                    continue;
                }
                let device = socket::device(key.interface.as_deref());
                let view = view_name(vpc.as_ref());
                match socket::bind(&key) {
                    Ok(pair) => match self.open(key.clone(), vpc, pair, device) {
                        Ok(()) => {
                            self.waiting.remove(&key);
                            tracing::info!(view, place = %key, "names are answered");
                        }
                        Err(refusal) => drop(self.waiting.insert(key, refusal.message)),
                    },
                    Err(error) => {
                        let refusal = error.refusal(&view, &key);
                        self.waiting.insert(key, refusal.message);
                    }
                }
            }
        }
        let addresses = addresses(&self.plan);
        if addresses != self.addresses {
            self.addresses = addresses;
            self.swap();
        }
    }

    /// Where the plan is answered. Two views never share a place: the interface or the address differs.
    fn wanted(&self, plan: &DnsPlan) -> BTreeMap<Key, Option<Name>> {
        let mut wanted = BTreeMap::new();
        for view in &plan.views {
            if let Some(place) = &view.place {
                let address = SocketAddr::new(place.address, socket::PORT);
                let key = Key { interface: Some(place.interface.clone()), address };
                wanted.insert(key, view.vpc.clone());
            }
            if view.vpc.is_none() {
                let key = |address: &SocketAddr| (Key { interface: None, address: *address }, None);
                wanted.extend(self.public.iter().map(key));
            }
        }
        wanted
    }

    fn open(&mut self, key: Key, vpc: Option<Name>, pair: Pair, device: u32) -> Result<(), Refusal> {
        let view = view_name(vpc.as_ref());
        socket::listen(&pair).map_err(|error| {
            Refusal::new("bind_failed", format!("names for {view}: {key}: listen: {error}"))
                .field("address", key.address)
        })?;
        self.next = self.next.wrapping_add(1).max(1);
        let desk = Desk {
            // A private network has one pair of sockets; outsiders may ask at several.
            number: vpc.as_ref().map_or(0, |_| self.next),
            slot: Arc::clone(self.slots.entry(vpc.clone()).or_default()),
            traffic: self.traffic.view(&view),
            view: view.into(),
        };
        let _ = self.commands.send(Command::Open { id: self.next, pair, desk });
        self.held.insert(key, Held { id: self.next, vpc, device });
        Ok(())
    }

    fn close(&mut self, key: &Key) {
        if let Some(held) = self.held.remove(key) {
            let _ = self.commands.send(Command::Close(held.id));
        }
    }

    /// Puts every view of the plan into its slot.
    fn swap(&mut self) {
        let none: Vec<IpAddr> = Vec::new();
        let addresses = |interface: &str| self.addresses.get(interface).unwrap_or(&none).clone();
        for view in &self.plan.views {
            let loaded = Arc::new(View::load(view, self.plan.serial, self.plan.ttl, &addresses));
            match self.slots.get(&view.vpc) {
                Some(slot) => slot.store(loaded),
                None => drop(self.slots.insert(view.vpc.clone(), Arc::new(ArcSwap::new(loaded)))),
            }
        }
    }

    pub(super) fn slot(&self, view: &DnsView) -> Option<&Slot> {
        self.slots.get(&view.vpc)
    }

    pub(super) fn address_of(&self, interface: &str) -> &[IpAddr] {
        self.addresses.get(interface).map_or(&[], Vec::as_slice)
    }

    /// The state of the sockets.
    #[must_use]
    pub fn status(&self) -> NameStatus {
        let plan = Arc::clone(&self.plan);
        let sockets = self.wanted(&plan).into_iter().map(|(key, vpc)| {
            let detail = self.waiting.get(&key).cloned();
            let state = if detail.is_some() { "failed" } else { "answering" };
            NameSocket {
                view: view_name(vpc.as_ref()),
                interface: key.interface,
                address: key.address,
                state,
                detail,
            }
        });
        NameStatus { generation: self.generation, sockets: sockets.collect() }
    }
}

impl Subscriber for Dns {
    fn name(&self) -> &'static str {
        "dns"
    }

    fn stage(&mut self, next: &Arc<Snapshot>) -> Result<(), Refusal> {
        // At the start the daemon comes up all the same; what cannot be bound is `failed` and tried again.
        let starting = self.generation == Generation::default();
        let mut staged = Staged {
            generation: next.generation,
            plan: Arc::clone(&next.dns),
            new: BTreeMap::new(),
            waiting: BTreeMap::new(),
        };
        for (key, vpc) in self.wanted(&next.dns) {
            let device = socket::device(key.interface.as_deref());
            if self.held.get(&key).is_some_and(|held| held.vpc == vpc && held.device == device) {
                continue;
            }
            // What a view gives up only at the commit cannot be bound yet: it is bound a moment after it.
            if self.held.contains_key(&key) {
                staged.waiting.insert(key, "its sockets are changing hands".to_owned());
                continue;
            }
            match self.reserved.remove(&key).map_or_else(|| socket::bind(&key), Ok) {
                Ok(pair) => drop(staged.new.insert(key, (vpc, pair, device))),
                Err(error) => {
                    let refusal = error.refusal(&view_name(vpc.as_ref()), &key);
                    // An interface that is missing is the affair of the network's listener.
                    let comes = refusal.code == "interface_not_found";
                    if !(starting || comes || self.waiting.contains_key(&key)) {
                        return Err(refusal);
                    }
                    tracing::warn!(%refusal, "names are not answered yet; it is tried again");
                    staged.waiting.insert(key, refusal.message);
                }
            }
        }
        self.staged = Some(staged);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Refusal> {
        let Some(staged) = self.staged.take() else { return Ok(()) };
        let changing = staged.waiting.keys().filter(|key| self.held.contains_key(*key)).cloned();
        let wanted = self.wanted(&staged.plan);
        let gone: Vec<Key> =
            self.held.keys().filter(|key| !wanted.contains_key(*key)).cloned().chain(changing).collect();
        for key in &gone {
            self.close(key);
        }
        self.plan = staged.plan;
        self.addresses = addresses(&self.plan);
        let views: Vec<_> = self.plan.views.iter().map(|view| view.vpc.clone()).collect();
        self.slots.retain(|vpc, _| views.contains(vpc));
        // Views before sockets: no query is answered from an empty one.
        self.swap();
        self.waiting = staged.waiting;
        for (key, (vpc, pair, device)) in staged.new {
            if let Err(refusal) = self.open(key.clone(), vpc, pair, device) {
                tracing::warn!(%refusal, "names are not answered yet; it is tried again");
                self.waiting.insert(key, refusal.message);
            }
        }
        let (done, sync) = mpsc::channel();
        let _ = self.commands.send(Command::Sync(done));
        if sync.recv_timeout(ACK).is_err() {
            return Err(Refusal::new("internal", "the name server does not answer")
                .remedy("restart the daemon, and report it with the log"));
        }
        self.generation = staged.generation;
        if !gone.is_empty() {
            // What changes hands is free now.
            self.retry();
        }
        Ok(())
    }

    fn abandon(&mut self) {
        self.staged = None;
    }

    fn generation(&self) -> Generation {
        self.generation
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The addresses of the interfaces that the plan names, without those that no name should lead to.
fn addresses(plan: &DnsPlan) -> BTreeMap<String, Vec<IpAddr>> {
    let data =
        plan.views.iter().flat_map(|view| &view.zones).flat_map(|zone| zone.records.values()).flatten();
    let mut found: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for datum in data {
        if let DnsData::Interface { interface, .. } = datum {
            found.entry(interface.clone()).or_default();
        }
    }
    if found.is_empty() {
        return found;
    }
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return found };
    for one in all {
        let Some(addresses) = found.get_mut(&one.interface_name) else { continue };
        let Some(storage) = one.address else { continue };
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let ip = v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())));
        let usable = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_loopback(),
            IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_loopback(),
        };
        addresses.extend(ip.filter(usable));
    }
    found
}
