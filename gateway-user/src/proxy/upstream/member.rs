//! Pure: one instance as all workers share it: atomics only, kept across edits while its address stays.

use std::sync::atomic::{
    AtomicU8, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use super::{balance::identity, outlier::Standing, slow_start};
use crate::observe::instances::{InstanceStatus, InstanceTraffic};

/// What active checks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Verdict {
    /// Nothing yet, or it is not checked.
    None = 0,
    Healthy = 1,
    Unhealthy = 2,
}

/// One instance. Aligned so that two of them never share a cache line: all workers write here for each request.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Member {
    /// `host:port`.
    pub(crate) name: String,
    pub(crate) identity: u64,
    in_flight: AtomicU32,
    /// A packed [`Standing`].
    standing: AtomicU64,
    /// A [`Verdict`].
    verdict: AtomicU8,
    /// Tick at which it was added, or found healthy again.
    since: AtomicU32,
    requests: AtomicU64,
    failures: AtomicU64,
    ejections: AtomicU64,
    checks_failed: AtomicU64,
}

// === impl Member ===

impl Member {
    /// An instance that appears at tick `now`.
    pub(crate) fn new(name: String, now: u32) -> Self {
        Self {
            identity: identity(&name),
            name,
            in_flight: AtomicU32::new(0),
            standing: AtomicU64::new(0),
            verdict: AtomicU8::new(Verdict::None as u8),
            since: AtomicU32::new(now),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            checks_failed: AtomicU64::new(0),
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(crate) fn standing(&self) -> Standing {
        Standing::unpack(self.standing.load(Relaxed))
    }

    /// What active checks say; `None`: nothing.
    pub(crate) fn healthy(&self) -> Option<bool> {
        match self.verdict.load(Relaxed) {
            0 => None,
            verdict => Some(verdict == Verdict::Healthy as u8),
        }
    }

    fn unhealthy(&self) -> bool {
        self.healthy() == Some(false)
    }

    /// Whether it is not to be used while another can be.
    pub(crate) fn is_out(&self, now: u32) -> bool {
        self.unhealthy() || self.standing().is_out(now)
    }

    /// Requests that may be in flight to it: `bound`, or one while it is on probation.
    pub(crate) fn bound(&self, now: u32, bound: Option<u32>) -> Option<u32> {
        if self.standing().on_probation(now) { Some(1) } else { bound }
    }

    /// Its weight with the share that it has so far.
    pub(crate) fn weight(&self, weight: u32, now: u32, slow_start: u32) -> u64 {
        let since = self.since.load(Relaxed).max(self.standing().until());
        u64::from(weight.max(1)) * slow_start::share(since, now, slow_start)
    }

    /// Takes a place for a request, unless `bound` are taken.
    pub(crate) fn enter(&self, bound: Option<u32>) -> bool {
        let entered = match bound {
            None => {
                self.in_flight.fetch_add(1, Relaxed);
                true
            }
            Some(bound) => {
                let more = |count| (count < bound).then_some(count + 1);
                self.in_flight.fetch_update(SeqCst, SeqCst, more).is_ok()
            }
        };
        if entered {
            self.requests.fetch_add(1, Relaxed);
        }
        entered
    }

    /// Gives the place back. Ordered before a look at who waits: see `queue`.
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, SeqCst);
    }

    /// A request goes well, or went well as a `whole`.
    pub(crate) fn answered(&self, now: u32, whole: bool) {
        // Nearly always there is nothing to change, and nothing is written.
        let standing = self.standing();
        if standing.answered(now, whole) != standing {
            self.change(|standing| Some(standing.answered(now, whole)));
        }
    }

    /// A request failed in a way that counts; returns the standing after it.
    pub(crate) fn failed(&self, now: u32) -> Standing {
        self.failures.fetch_add(1, Relaxed);
        self.change(|standing| Some(standing.failed(now)));
        self.standing()
    }

    /// Takes it out, unless another worker just did.
    pub(crate) fn eject(&self, now: u32, first: u32) -> bool {
        let done = self.change(|standing| (!standing.is_out(now)).then(|| standing.ejected(now, first)));
        self.ejections.fetch_add(u64::from(done), Relaxed);
        done
    }

    fn change(&self, change: impl Fn(Standing) -> Option<Standing>) -> bool {
        let update = |word| Some(change(Standing::unpack(word))?.pack());
        self.standing.fetch_update(Relaxed, Relaxed, update).is_ok()
    }

    /// Notes what active checks say; returns whether that is news.
    pub(crate) fn judge(&self, verdict: Verdict, now: u32) -> bool {
        let old = self.verdict.swap(verdict as u8, Relaxed);
        if old == Verdict::Unhealthy as u8 && verdict != Verdict::Unhealthy {
            // It begins like a new one.
            self.since.store(now, Relaxed);
        }
        old != verdict as u8
    }

    /// Counts an active check that failed.
    pub(crate) fn check_failed(&self) {
        self.checks_failed.fetch_add(1, Relaxed);
    }

    pub(crate) fn report(&self, now: u32) -> InstanceTraffic {
        let standing = self.standing();
        let status = if self.unhealthy() {
            InstanceStatus::Unhealthy
        } else if standing.is_out(now) {
            InstanceStatus::Ejected
        } else if standing.on_probation(now) {
            InstanceStatus::Probation
        } else {
            InstanceStatus::Up
        };
        InstanceTraffic {
            instance: self.name.clone(),
            status,
            healthy: self.healthy(),
            active: u64::from(self.in_flight()),
            requests: self.requests.load(Relaxed),
            failures: self.failures.load(Relaxed),
            ejections: self.ejections.load(Relaxed),
            checks_failed: self.checks_failed.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Member, Verdict};
    use crate::observe::instances::InstanceStatus;

    #[test]
    fn a_bound_holds_and_probation_is_a_bound_of_one() {
        let member = Member::new("a:1".into(), 1);
        assert!(member.enter(Some(2)) && member.enter(Some(2)) && !member.enter(Some(2)));
        member.leave();
        assert!(member.enter(Some(2)) && member.enter(None), "no bound, no end");
        assert_eq!((member.in_flight(), member.bound(5, None)), (3, None));
        assert!(member.eject(5, 10) && !member.eject(5, 10), "once");
        assert!(member.is_out(14) && !member.is_out(15));
        assert_eq!((member.bound(15, None), member.bound(15, Some(7))), (Some(1), Some(1)));
        member.answered(15, false);
        assert_eq!(member.bound(15, Some(7)), Some(7));
        assert_eq!(member.report(15).ejections, 1);
    }

    #[test]
    fn verdict_and_standing_are_told_apart() {
        let member = Member::new("a:1".into(), 1);
        assert_eq!((member.report(1).status, member.report(1).healthy), (InstanceStatus::Up, None));
        assert!(member.judge(Verdict::Unhealthy, 5) && !member.judge(Verdict::Unhealthy, 6));
        assert!(member.is_out(6));
        assert_eq!(member.report(6).status, InstanceStatus::Unhealthy);
        assert!(member.judge(Verdict::Healthy, 100));
        assert_eq!(member.report(100).healthy, Some(true));
        assert!(member.weight(1, 150, 100) < member.weight(1, 200, 100), "it starts slowly");
        member.eject(300, 10);
        assert_eq!(member.report(300).status, InstanceStatus::Ejected);
        assert_eq!(member.report(310).status, InstanceStatus::Probation);
        assert_eq!(member.weight(1, 310, 100), 1, "and once more");
    }
}
