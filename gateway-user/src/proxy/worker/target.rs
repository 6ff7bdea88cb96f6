//! A service as one worker calls it: its pools and its place in the round robin.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use crate::{
    proxy::{
        upstream::Pool,
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

impl Target {
    /// The targets of `view`; what did not change is taken over with its connections.
    pub(super) fn all(view: &View, previous: &[Rc<Self>]) -> Vec<Rc<Self>> {
        let same: HashMap<*const ServiceView, &Rc<Self>> =
            previous.iter().map(|target| (Arc::as_ptr(&target.view), target)).collect();
        let pools: HashMap<(&Instance, Protocol), &Rc<Pool>> = previous
            .iter()
            .flat_map(|target| &target.instances)
            .map(|pool| ((&pool.instance, pool.protocol), pool))
            .collect();
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
        pools.values().filter(|pool| !used.contains(&Rc::as_ptr(pool))).for_each(|pool| pool.retire());
        targets
    }

    fn new(view: &Arc<ServiceView>, pools: &HashMap<(&Instance, Protocol), &Rc<Pool>>) -> Self {
        let protocol = view.service.protocol;
        let instances = view
            .service
            .instances
            .iter()
            .map(|instance| match pools.get(&(instance, protocol)) {
                Some(pool) => Rc::clone(pool),
                None => Rc::new(Pool::new(instance.clone(), protocol)),
            })
            .collect();
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
