//! What a worker does when there is no room: it stops taking connections, sends away who waits with nothing to do, and
//! says so.

use std::{rc::Rc, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::task::{spawn_local, yield_now};

use super::{Worker, timer::Timers};
use crate::{
    observe::load::{Full, REASONS},
    proxy::{
        budget::cost,
        listener::{
            gate::{Level, Levels},
            live::{Age, Conn},
        },
    },
};

/// How long new clients are left in the kernel's queue before they are sent away instead: they believe themselves
/// connected, and a reset now is kinder than a silence until their own deadline.
const PATIENCE: Duration = Duration::from_secs(1);
/// Clients of one socket that are sent away in one tick.
const SHED: u32 = 64;
/// Connections that are closed in one turn of the runtime. Closing one costs as much as a request or two, and a hundred of
/// them at once would hold up everybody else's.
const ROUND: usize = 4;
/// Nobody is sent away who was idle for less than this: it may just be between two requests.
const IDLE: Duration = Duration::from_secs(1);
/// A handshake that is on its way for less than this is a slow network's.
const SLOW_HANDSHAKE: Duration = Duration::from_secs(3);

impl Worker {
    fn levels(&self) -> Levels {
        let limits = &self.shared.config.limits;
        let level = |used: usize, limit: usize| Level { used: used as u64, limit: limit as u64 };
        let budget = &self.shared.budget;
        Levels {
            memory: Level { used: budget.used(), limit: budget.limit() },
            connections: level(self.shared.seats.open(), limits.connections),
            handshakes: level(self.turnstile.waiting(), limits.handshakes),
        }
    }

    /// Looks whether connections are to be taken.
    pub(super) fn look_at_gate(&self) {
        let Some((from, to)) = self.gate.look(self.levels(), self.timers.tick()) else { return };
        self.shared.traffic.load.turned(from, to);
        match to {
            Some(full) => self.tell(full, "no more connections are taken"),
            None => self.acceptors.borrow().values().for_each(|acceptor| acceptor.wake()),
        }
    }

    /// The kernel had no descriptor or no memory for a connection.
    pub(super) fn exhausted(&self, error: &std::io::Error) {
        tracing::debug!(%error, "accept");
        self.gate.exhausted(self.timers.tick());
        self.look_at_gate();
    }

    /// Once a tick: makes room while the gate is shut, and lets in who came meanwhile when it opens.
    pub(super) fn relieve(self: &Rc<Self>) {
        self.shared.traffic.load.memory_used.store(self.shared.budget.used(), Relaxed);
        self.look_at_gate();
        let Some(full) = self.gate.shut() else { return };
        let tick = self.timers.tick();
        let surplus = self.gate.surplus(self.levels(), cost::CONNECTION as u64);
        // Every worker sees the same surplus and makes room for its share of it.
        let share = surplus.div_ceil(self.shared.workers.max(1) as u64);
        let limits = &self.shared.config.limits;
        let age = Age {
            tick,
            keep_alive: Timers::ticks(limits.keep_alive),
            handshake: Timers::ticks(limits.handshake),
            idle: Timers::ticks(IDLE),
            slow: Timers::ticks(SLOW_HANDSHAKE),
        };
        // Those of the last look first: they are part of this surplus.
        if !self.evicting.replace(true) {
            let idlest = self.live.idlest(usize::try_from(share).unwrap_or(usize::MAX), age);
            spawn_local(Rc::clone(self).evict(idlest, age));
        }
        if full != Full::Descriptors && self.gate.age(tick) >= Timers::ticks(PATIENCE) {
            self.acceptors.borrow().values().for_each(|acceptor| acceptor.shed(SHED));
        }
    }

    /// Lets go of connections, a few at a time, until there is room.
    async fn evict(self: Rc<Self>, idlest: Vec<Rc<Conn>>, age: Age) {
        for few in idlest.chunks(ROUND) {
            if self.gate.shut().is_none() {
                break;
            }
            let gone = few.iter().filter(|conn| age.let_go(conn)).count();
            self.shared.traffic.load.evicted.fetch_add(gone as u64, Relaxed);
            yield_now().await;
        }
        self.evicting.set(false);
    }

    /// A request or a connection is refused because there is no room for it.
    pub(crate) fn overloaded(&self, full: Full) {
        self.shared.traffic.load.refused.fetch_add(1, Relaxed);
        self.tell(full, "requests are refused");
    }

    /// A line a second for all workers.
    fn tell(&self, full: Full, what: &str) {
        let load = &self.shared.traffic.load;
        if !load.may_tell(self.now().as_secs()) {
            return;
        }
        let reason = REASONS.get(full as usize).copied().unwrap_or_default();
        let Levels { memory, connections, handshakes } = self.levels();
        tracing::warn!(
            reason,
            memory = memory.used,
            memory_limit = memory.limit,
            connections = connections.used,
            handshakes = handshakes.used,
            "overloaded: {what}"
        );
    }

    /// The wall clock, as exact as a tick.
    pub(crate) fn now(&self) -> Duration {
        self.epoch.get() + super::timer::TICK * self.timers.tick()
    }
}
