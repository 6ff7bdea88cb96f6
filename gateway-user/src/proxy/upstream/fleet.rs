//! A service's instances as all workers share them, beside its view: atomics only, nothing on the request path locks.
//!
//! An edit makes a new fleet; whatever stays (an instance's address, the queue, the budget) is taken over from the old
//! one, so that neither a new weight nor an edit elsewhere forgets who was slow a moment ago.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Instant,
};

use super::{
    budget::Budget,
    member::Member,
    outlier::{self, Standing},
    place_name,
    queue::Queue,
};
use crate::{
    base::clock,
    observe::instances::{InstanceSource, InstanceTraffic},
    proxy::worker::timer::Timers,
    snapshot::http::Service,
};

/// The instances of one service, and what its requests share.
pub(crate) struct Fleet {
    /// In the order of the service's instances.
    pub(crate) members: Vec<Arc<Member>>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) budget: Arc<Budget>,
    /// Somebody is taking an instance out: the share of those that are out is looked at by one at a time.
    ejecting: Arc<AtomicBool>,
    /// Origin of the ticks.
    base: Instant,
}

// === impl Fleet ===

impl Fleet {
    /// The fleet of `service`, with what `previous` had of it.
    pub(crate) fn new(service: &Service, previous: Option<&Self>, workers: usize, base: Instant) -> Self {
        let now = tick(base);
        let member = |name: String| {
            let known = previous.and_then(|fleet| fleet.members.iter().find(|member| member.name == name));
            known.map_or_else(|| Arc::new(Member::new(name.clone(), now)), Arc::clone)
        };
        let names = service.instances.iter().map(|instance| place_name(&instance.host, instance.port));
        let members = names.map(member).collect();
        match previous {
            Some(old) => Self {
                members,
                queue: Arc::clone(&old.queue),
                budget: Arc::clone(&old.budget),
                ejecting: Arc::clone(&old.ejecting),
                base,
            },
            None => Self {
                members,
                queue: Arc::new(Queue::new(workers)),
                budget: Arc::new(Budget::new(workers)),
                ejecting: Arc::default(),
                base,
            },
        }
    }

    /// Notes a failure that counts against a member, and takes the member out if it is due; says so if it did.
    pub(crate) fn failed(&self, member: &Member, service: &Service, now: u32) -> bool {
        let rules = &service.upstream.outlier;
        let standing: Standing = member.failed(now);
        if !standing.is_due(rules, now) || self.ejecting.swap(true, SeqCst) {
            return false;
        }
        let out = self.members.iter().filter(|member| member.is_out(now)).count();
        let may = outlier::may_eject(out, self.members.len(), rules);
        let done = may && member.eject(now, Timers::ticks(rules.ejection));
        self.ejecting.store(false, SeqCst);
        done
    }
}

impl InstanceSource for Fleet {
    fn instances(&self) -> Vec<InstanceTraffic> {
        let now = tick(self.base);
        self.members.iter().map(|member| member.report(now)).collect()
    }

    fn waiting(&self) -> u64 {
        u64::from(self.queue.waiting())
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(&self.members).finish()
    }
}

/// The tick that the workers are at, for whoever has none of its own.
pub(crate) fn tick(base: Instant) -> u32 {
    Timers::at(clock::now().saturating_duration_since(base))
}
