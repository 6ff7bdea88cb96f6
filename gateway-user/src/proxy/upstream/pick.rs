//! A request's place at an instance: counted while it is held, told how the request went.

use std::{rc::Rc, sync::Arc};

use super::{Pool, member::Member, outlier};
use crate::proxy::{
    failure::Failure,
    worker::{Worker, target::Target},
};

/// A place at an instance. Dropped when the last byte is through, or the client is gone.
pub(crate) struct Pick {
    worker: Rc<Worker>,
    target: Rc<Target>,
    member: Arc<Member>,
    pool: Rc<Pool>,
    /// Its place among the service's instances.
    index: usize,
}

/// The instances that a request was sent to in vain.
#[derive(Debug, Default)]
pub(crate) struct Tried(Vec<usize>);

/// Why no instance was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// Every instance that might take the request is at its bound.
    Full,
    /// There is none.
    Nobody,
}

// === impl Pick ===

impl Pick {
    /// `member` has been entered.
    pub(crate) fn new(
        worker: &Rc<Worker>,
        target: &Rc<Target>,
        index: usize,
        pool: &Rc<Pool>,
        member: &Arc<Member>,
    ) -> Self {
        Self {
            worker: Rc::clone(worker),
            target: Rc::clone(target),
            member: Arc::clone(member),
            pool: Rc::clone(pool),
            index,
        }
    }

    pub(crate) fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// The head of an answer came. That much ends a probation, because the rest may take hours; failures in a row go
    /// on, because an instance may stop in the middle of every answer.
    pub(crate) fn answered(&self, status: u16) {
        if outlier::is_bad(status) {
            self.count()
        } else {
            self.member.answered(self.worker.timers.tick(), false)
        }
    }

    /// The whole answer came.
    pub(crate) fn completed(&self, status: u16) {
        if !outlier::is_bad(status) {
            self.member.answered(self.worker.timers.tick(), true);
        }
    }

    /// The instance failed; what says nothing about it is ignored.
    pub(crate) fn failed(&self, failure: Failure) {
        if outlier::counts(failure) {
            self.count();
        }
    }

    fn count(&self) {
        let now = self.worker.timers.tick();
        let view = &self.target.view;
        if view.fleet.failed(&self.member, &view.service, now) {
            tracing::warn!(service = %view.service.name, instance = self.member.name, "ejected: too many failures in a row");
        }
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.member.leave();
        self.target.view.fleet.queue.freed();
    }
}

// === impl Tried ===

impl Tried {
    pub(crate) fn add(&mut self, pick: &Pick) {
        self.0.push(pick.index);
    }

    pub(crate) fn has(&self, index: usize) -> bool {
        self.0.contains(&index)
    }

    /// Instances so far.
    pub(crate) fn count(&self) -> u32 {
        self.0.len() as u32
    }
}
