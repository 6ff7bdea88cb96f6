//! A service as one worker calls it: its pools, and which instance takes a request.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
};

use super::{Worker, timer::Timers};
use crate::{
    proxy::{
        failure::Failure,
        http::head::{Fields, Head},
        upstream::{
            Line, Member, Missed, Pick, Place, Pool, Tried,
            balance::{self, Candidate, Turns},
        },
        view::{ServiceView, View},
    },
    snapshot::{
        http::{Instance, Protocol},
        upstream::{Balance, HashKey},
    },
};

/// A service's state in one worker. A request pins it, so an edit of the service never pulls it away.
pub(crate) struct Target {
    pub(crate) view: Arc<ServiceView>,
    /// In the order of the service's instances.
    pools: Vec<Rc<Pool>>,
    /// Requests of this worker that wait for a free place.
    line: Rc<Line>,
    turns: RefCell<Turns>,
    /// The candidates of the choice that is being made; kept for its memory.
    candidates: RefCell<Vec<Candidate>>,
    chance: Cell<u64>,
    /// The tick at which what still runs is ended, because the service is gone; 0: it is not. Shared by the service's
    /// targets of before its edits, which older requests still have.
    over: Rc<Cell<u32>>,
}

/// How gladly an instance is asked. Only the best that any instance of the service offers is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Ready,
    /// On probation, and its one request is on its way.
    Proving,
    /// Unhealthy or ejected: asked where all are, because a guess is better than a refusal.
    Out,
}

/// Pools by host, port and protocol; more than one where services differ in their TLS.
type Pools<'a> = HashMap<(&'a str, u16, Protocol), Vec<&'a Rc<Pool>>>;

fn key(pool: &Rc<Pool>) -> (&str, u16, Protocol) {
    (&pool.place.host, pool.place.port, pool.protocol)
}

// === impl Target ===

impl Target {
    /// The targets of `view`; what did not change is taken over with its connections.
    pub(super) fn all(view: &View, previous: &[Rc<Self>], worker: &Worker) -> Vec<Rc<Self>> {
        let same: HashMap<*const ServiceView, &Rc<Self>> =
            previous.iter().map(|target| (Arc::as_ptr(&target.view), target)).collect();
        let mut pools: Pools<'_> = HashMap::new();
        for pool in previous.iter().flat_map(|target| &target.pools) {
            pools.entry(key(pool)).or_default().push(pool);
        }
        let targets: Vec<Rc<Self>> = view
            .services
            .iter()
            .map(|service| match same.get(&Arc::as_ptr(service)) {
                Some(target) => Rc::clone(target),
                None => Rc::new(Self::new(service, &pools, previous, worker)),
            })
            .collect();
        // Connections to instances that nobody names any more are closed as they become idle.
        let used: HashSet<*const Pool> =
            targets.iter().flat_map(|target| &target.pools).map(Rc::as_ptr).collect();
        let gone = pools.values().flatten().filter(|pool| !used.contains(&Rc::as_ptr(pool)));
        gone.for_each(|pool| pool.retire());
        targets
    }

    fn new(view: &Arc<ServiceView>, pools: &Pools<'_>, previous: &[Rc<Self>], worker: &Worker) -> Self {
        let service = &view.service;
        let protocol = service.protocol;
        let pool = |instance: &Instance| {
            let known = pools.get(&(instance.host.as_str(), instance.port, protocol));
            known
                .and_then(|pools| pools.iter().find(|pool| pool.place.wrapped_in(view.tls.as_ref())))
                .map(|pool| Rc::clone(pool))
                .unwrap_or_else(|| {
                    let place = Place::new(&instance.host, instance.port, view.tls.clone());
                    Rc::new(Pool::new(place, protocol))
                })
        };
        let queue = &view.fleet.queue;
        let all: Vec<Candidate> = (service.instances.iter().zip(&view.fleet.members).enumerate())
            .map(|(index, (instance, member))| Candidate {
                index,
                weight: member.weight(instance.weight, 0, 0),
                in_flight: 0,
                identity: member.identity,
            })
            .collect();
        let same = |target: &&Rc<Self>| {
            let known = &target.view.service;
            known.gateway == service.gateway && known.name == service.name
        };
        let line = previous.iter().map(|target| &target.line).find(|line| line.is_of(queue));
        Self {
            view: Arc::clone(view),
            pools: service.instances.iter().map(pool).collect(),
            line: line.map_or_else(|| Rc::new(Line::new(Arc::clone(queue), worker.id)), Rc::clone),
            turns: RefCell::new(Turns::of_worker(worker.id, &all)),
            candidates: RefCell::default(),
            chance: Cell::new(worker.prefix),
            over: previous.iter().find(same).map(|target| Rc::clone(&target.over)).unwrap_or_default(),
        }
    }

    /// Ends what still runs at that tick: the service is gone.
    pub(super) fn end_at(&self, tick: u32) {
        self.over.set(tick);
    }

    /// Whether that time has come.
    pub(crate) fn is_over(&self, tick: u32) -> bool {
        let over = self.over.get();
        over != 0 && tick >= over
    }

    /// What a consistent hash keeps this request with; of no meaning for other ways to balance.
    pub(crate) fn key<F: Fields>(&self, head: &Head<'_, F>, client: IpAddr) -> u64 {
        let source = || match client.to_canonical() {
            IpAddr::V4(address) => balance::key(&address.octets()),
            IpAddr::V6(address) => balance::key(&address.octets()),
        };
        match &self.view.service.upstream.balance {
            Balance::LeastRequest | Balance::RoundRobin => 0,
            Balance::Hash(HashKey::Source) => source(),
            Balance::Hash(HashKey::Path) => balance::key(head.path.as_bytes()),
            Balance::Hash(HashKey::Header(name)) => {
                head.fields.any(name).next().map_or_else(source, balance::key)
            }
        }
    }

    /// Counts a request, against which retries are budgeted.
    pub(crate) fn count(&self, worker: &Worker) {
        self.view.fleet.budget.count(worker.id, second(worker));
    }

    /// Whether a request that may have been worked on may be sent once more: the budget is drawn on.
    pub(crate) fn may_retry(&self, worker: &Worker) -> bool {
        let percent = self.view.service.upstream.retry.budget_percent;
        let may = self.view.fleet.budget.draw(second(worker), percent);
        if !may {
            self.view.counters.worker(worker.id).retries_refused.add(1);
        }
        may
    }

    /// An instance other than those that were tried, at once or not at all.
    pub(crate) fn pick(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        key: u64,
        tried: &Tried,
    ) -> Result<Pick, Missed> {
        // Nobody overtakes those who wait.
        if self.view.service.upstream.bounds.in_flight.is_some() && !self.view.fleet.queue.is_empty() {
            return Err(Missed::Full);
        }
        self.take(worker, key, tried)
    }

    /// An instance as soon as one has a free place. Dropped, it does not wait any more.
    pub(crate) async fn wait(self: &Rc<Self>, worker: &Rc<Worker>, key: u64) -> Result<Pick, Failure> {
        let bounds = &self.view.service.upstream.bounds;
        let deadline = worker.timers.deadline(bounds.queue_wait);
        let nothing = Tried::default();
        let take = || self.take(worker, key, &nothing).ok();
        let cells = self.view.counters.worker(worker.id);
        cells.queued.add(1);
        let result = self.line.wait(bounds.queue, &deadline, take).await;
        if result.is_err() {
            cells.queue_full.add(1);
        }
        result
    }

    fn take(self: &Rc<Self>, worker: &Rc<Worker>, key: u64, tried: &Tried) -> Result<Pick, Missed> {
        let now = worker.timers.tick();
        let service = &self.view.service;
        let members = &self.view.fleet.members;
        let bound = service.upstream.bounds.in_flight;
        let window = service.upstream.slow_start;
        let slow_start = if window.is_zero() { 0 } else { Timers::ticks(window) };
        let best = members.iter().map(|member| tier(member, now)).min().ok_or(Missed::Nobody)?;
        // One that has to prove itself gets one request, unless all have to.
        let most = |member: &Member| if best == Tier::Ready { member.bound(now, bound) } else { bound };
        let mut candidates = self.candidates.borrow_mut();
        candidates.clear();
        let mut missed = Missed::Nobody;
        for (index, (member, instance)) in members.iter().zip(&service.instances).enumerate() {
            if tried.has(index) || tier(member, now) > best {
                continue;
            }
            let in_flight = member.in_flight();
            if most(member).is_some_and(|most| in_flight >= most) {
                missed = Missed::Full;
                continue;
            }
            let weight = member.weight(instance.weight, now, slow_start);
            candidates.push(Candidate { index, weight, in_flight, identity: member.identity });
        }
        loop {
            let index = self.choose(&candidates, key).ok_or(missed)?;
            let (Some(member), Some(pool)) = (members.get(index), self.pools.get(index)) else {
                return Err(Missed::Nobody);
            };
            if member.enter(most(member)) {
                return Ok(Pick::new(worker, self, index, pool, member));
            }
            // Another worker took the last place in this moment.
            missed = Missed::Full;
            candidates.retain(|candidate| candidate.index != index);
        }
    }

    fn choose(&self, candidates: &[Candidate], key: u64) -> Option<usize> {
        match &self.view.service.upstream.balance {
            Balance::LeastRequest => {
                let chance = self.chance.get().wrapping_add(1);
                self.chance.set(chance);
                balance::least(candidates, balance::mix(chance))
            }
            Balance::RoundRobin => self.turns.borrow_mut().next(candidates),
            Balance::Hash(_) => balance::ranked(candidates, key),
        }
    }

    /// Lets the first of those who wait look again: instances come back, and bounds change, without a place given back.
    pub(super) fn nudge(&self) {
        self.line.nudge();
    }

    /// Closes connections that were unused for `idle` ticks.
    pub(super) fn expire(&self, tick: u32, idle: u32) {
        self.pools.iter().for_each(|pool| pool.expire(tick, idle));
    }
}

fn tier(member: &Member, now: u32) -> Tier {
    if member.is_out(now) {
        Tier::Out
    } else if member.standing().on_probation(now) && member.in_flight() > 0 {
        Tier::Proving
    } else {
        Tier::Ready
    }
}

/// Seconds of the clock that all workers share.
fn second(worker: &Worker) -> u32 {
    worker.timers.tick() / Timers::PER_SECOND
}
