//! One object that the control plane drives as a subscriber and others read: the filter, the proxy.

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use crate::{
    base::{Generation, Name, Refusal},
    dns::Dns,
    observe::{
        dns::{NameAnswer, NameRecord, NameSource, NameStatus},
        filter::{DropRecord, FilterReport, FilterSource, FilterStatus},
        top::TopRow,
    },
    snapshot::{Snapshot, Subscriber, filter::Explanation},
};

/// A handle; the control runtime has one thread, so borrows never meet.
pub(super) struct Shared<T>(pub(super) Rc<RefCell<T>>);

impl<T> Shared<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Rc::new(RefCell::new(value)))
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: Subscriber> Subscriber for Shared<T> {
    fn name(&self) -> &'static str {
        self.0.borrow().name()
    }

    fn stage(&mut self, next: &Arc<Snapshot>) -> Result<(), Refusal> {
        self.0.borrow_mut().stage(next)
    }

    fn hush(&mut self) {
        self.0.borrow_mut().hush();
    }

    fn commit(&mut self) -> Result<(), Refusal> {
        self.0.borrow_mut().commit()
    }

    fn abandon(&mut self) {
        self.0.borrow_mut().abandon();
    }

    fn generation(&self) -> Generation {
        self.0.borrow().generation()
    }
}

impl<T: FilterSource> FilterSource for Shared<T> {
    fn report(&self) -> FilterReport {
        self.0.borrow().report()
    }

    fn status(&self) -> FilterStatus {
        self.0.borrow().status()
    }

    fn drops(&self, after: u64) -> Vec<DropRecord> {
        self.0.borrow().drops(after)
    }

    fn top(
        &self,
        window: Duration,
        limit: usize,
        wanted: &dyn Fn(Option<&Name>, &str) -> bool,
    ) -> Vec<TopRow> {
        self.0.borrow().top(window, limit, wanted)
    }

    fn judge(
        &self,
        interface: &str,
        vlan: Option<u16>,
        source: IpAddr,
        destination: SocketAddr,
    ) -> Option<Explanation> {
        self.0.borrow().judge(interface, vlan, source, destination)
    }
}

impl NameSource for Shared<Dns> {
    fn status(&self) -> NameStatus {
        self.0.borrow().status()
    }

    fn query(&self, name: &str, kind: &str, vpc: Option<&str>) -> Result<NameAnswer, Refusal> {
        self.0.borrow().query(name, kind, vpc)
    }

    fn records(&self, vpc: Option<&str>) -> Result<Vec<NameRecord>, Refusal> {
        self.0.borrow().records(vpc)
    }
}
