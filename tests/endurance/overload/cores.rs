//! Who computes where, when times are asserted: the gateway has one half of the cores, everybody else the other, and there
//! the flood gets only what the steady clients leave. Else the test would measure how they share a core.

use harness::process;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::{Pid, gettid},
};

/// The two halves; none where no times are asserted.
#[derive(Clone, Debug)]
pub(super) struct Cores(Option<[Vec<usize>; 2]>);

// === impl Cores ===

impl Cores {
    /// The cores that this thread may use, in halves.
    #[track_caller]
    pub(super) fn split(wanted: bool) -> Self {
        if !wanted {
            return Self(None);
        }
        let all = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let all: Vec<usize> =
            (0..CpuSet::count()).filter(|core| all.is_set(*core).unwrap_or_default()).collect();
        assert!(all.len() > 1, "times are measured on two cores or more");
        let (first, second) = all.split_at(all.len() / 2);
        Self(Some([first.to_vec(), second.to_vec()]))
    }

    /// Workers that the gateway is to have: one for each of its cores, and more than one where nothing is timed.
    pub(super) fn gateways(&self) -> usize {
        self.0.as_ref().map_or(2, |[gateways, _]| gateways.len())
    }

    /// What this thread starts from now on runs where the gateway has to.
    pub(super) fn enter_gateways(&self) {
        self.enter(0);
    }

    /// This thread and what it starts from now on runs elsewhere.
    pub(super) fn enter_others(&self) {
        self.enter(1);
    }

    fn enter(&self, half: usize) {
        let Some(halves) = &self.0 else { return };
        let mut set = CpuSet::new();
        for core in &halves[half] {
            set.set(*core).unwrap();
        }
        sched_setaffinity(Pid::from_raw(0), &set).unwrap();
    }

    /// This thread runs while nobody else wants to (sched(7), SCHED_IDLE).
    pub(super) fn yield_to_others(&self) {
        if self.0.is_some() {
            process::check("chrt", &["--idle", "--pid", "0", &gettid().to_string()]);
        }
    }
}
