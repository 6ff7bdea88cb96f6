//! The desk of bans with its enforcer, lent to the API and driven by the upkeep.

use std::cell::RefCell;

use super::shared::Shared;
use crate::{
    base::{Refusal, clock},
    defence::{Ban, Bans, Desk, Inbox, Order, Overview, Settings, Source},
    kernel::Filter,
};

pub(super) struct Defence {
    desk: RefCell<Desk>,
    filter: Shared<Filter>,
}

impl Defence {
    /// Opens the desk and takes over the bans that are in force. The filter's tables are open by now.
    pub(super) fn open(settings: Settings, inbox: Inbox, filter: &Shared<Filter>) -> Self {
        let mut desk = Desk::new(settings, inbox);
        desk.adopt(&*filter.0.borrow(), clock::unix());
        Self { desk: RefCell::new(desk), filter: filter.clone() }
    }

    /// Judges what the workers reported. Call it every 100 ms.
    pub(super) fn poll(&self) {
        self.desk.borrow_mut().poll(&mut *self.filter.0.borrow_mut(), clock::unix());
    }

    /// Looks whether the kernel has every ban. Call it every second.
    pub(super) fn reconcile(&self) {
        self.desk.borrow().reconcile(&mut *self.filter.0.borrow_mut());
    }
}

impl Bans for Defence {
    fn overview(&self) -> Overview {
        self.desk.borrow().overview()
    }

    fn ban(&self, order: Order, dry_run: bool) -> Result<Ban, Refusal> {
        self.desk.borrow_mut().ban(&mut *self.filter.0.borrow_mut(), order, clock::unix(), dry_run)
    }

    fn lift(&self, source: Source, actor: Option<u32>, dry_run: bool) -> Result<Ban, Refusal> {
        let (mut desk, now) = (self.desk.borrow_mut(), clock::unix());
        desk.lift(&mut *self.filter.0.borrow_mut(), source, actor, now, dry_run)
    }
}
