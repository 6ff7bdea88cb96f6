//! A service as one worker calls it: its pools and its place in the round robin.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use crate::{
    proxy::{
        upstream::{Place, Pool},
        view::{ServiceView, View},
    },
    snapshot::http::{Instance, Protocol},
};

/// A service's state in one worker. A request pins it, so an edit of the service never pulls it away.
pub(crate) struct Target {
    pub(crate) view: Arc<ServiceView>,
    pub(crate) instances: Vec<Rc<Pool>>,
    next: Cell<usize>,
}

/// Pools by host, port and protocol; more than one where services differ in their TLS.
type Pools<'a> = HashMap<(&'a str, u16, Protocol), Vec<&'a Rc<Pool>>>;

fn key(pool: &Rc<Pool>) -> (&str, u16, Protocol) {
    (&pool.place.host, pool.place.port, pool.protocol)
}

// === impl Target ===

impl Target {
    /// The targets of `view`; what did not change is taken over with its connections.
    pub(super) fn all(view: &View, previous: &[Rc<Self>]) -> Vec<Rc<Self>> {
        let same: HashMap<*const ServiceView, &Rc<Self>> =
            previous.iter().map(|target| (Arc::as_ptr(&target.view), target)).collect();
        let mut pools: Pools<'_> = HashMap::new();
        for pool in previous.iter().flat_map(|target| &target.instances) {
            pools.entry(key(pool)).or_default().push(pool);
        }
        let targets: Vec<Rc<Self>> = view
            .services
            .iter()
            .map(|service| match same.get(&Arc::as_ptr(service)) {
                Some(target) => Rc::clone(target),
                None => Rc::new(Self::new(service, &pools)),
            })
            .collect();
        // Connections to instances that nobody names any more are closed as they become idle.
        let used: HashSet<*const Pool> =
            targets.iter().flat_map(|target| &target.instances).map(Rc::as_ptr).collect();
        let gone = pools.values().flatten().filter(|pool| !used.contains(&Rc::as_ptr(pool)));
        gone.for_each(|pool| pool.retire());
        targets
    }

    fn new(view: &Arc<ServiceView>, pools: &Pools<'_>) -> Self {
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
        let instances = service.instances.iter().map(pool).collect();
        Self { view: Arc::clone(view), instances, next: Cell::new(0) }
    }

    /// The next instance in turn, skipping those that could not be reached a moment ago unless all are like that.
    pub(crate) fn choose(&self, tick: u32) -> Option<&Rc<Pool>> {
        let count = self.instances.len();
        let start = self.next.get();
        self.next.set(start.wrapping_add(1));
        let turn = |offset: usize| self.instances.get(start.wrapping_add(offset).checked_rem(count)?);
        (0..count).filter_map(turn).find(|pool| pool.usable(tick)).or_else(|| turn(0))
    }

    /// Closes connections that were unused for `idle` ticks.
    pub(super) fn expire(&self, tick: u32, idle: u32) {
        self.instances.iter().for_each(|pool| pool.expire(tick, idle));
    }
}
