//! What the daemon holds: its memory as the kernel sees it, and its own figures.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{task::JoinSet, time::interval};

use crate::control::{Control, Edit};

/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(100);

/// Resident bytes of a process, sampled.
#[derive(Clone, Debug, Default)]
pub(super) struct Resident(Arc<Mutex<Vec<u64>>>);

/// A quarter of the samples of a phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quarter {
    pub(super) min: u64,
    pub(super) median: u64,
    pub(super) max: u64,
}

/// Figures of the daemon at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) live: u64,
    /// Requests in flight.
    pub(super) active: u64,
    /// Of the budget.
    pub(super) used: u64,
    /// Workers that take no connections.
    pub(super) paused: u64,
    pub(super) pauses: u64,
    pub(super) evicted: u64,
    pub(super) panics: u64,
}

// === impl Resident ===

impl Resident {
    /// Samples the memory of `process` until the set is dropped.
    pub(super) fn of(process: u32, running: &mut JoinSet<()>) -> Self {
        let resident = Self::default();
        let samples = Arc::clone(&resident.0);
        running.spawn(async move {
            let mut ticks = interval(LOOK);
            loop {
                ticks.tick().await;
                samples.lock().unwrap().push(resident_bytes(process));
            }
        });
        resident
    }

    /// The samples since the last call.
    pub(super) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

// === impl Quarter ===

impl Quarter {
    /// The quarters of a phase.
    #[track_caller]
    pub(super) fn of(samples: &[u64]) -> [Self; 4] {
        assert!(samples.len() >= 4, "{} samples", samples.len());
        std::array::from_fn(|index| {
            let bound = |quarter| quarter * samples.len() / 4;
            let mut sorted = samples[bound(index)..bound(index + 1)].to_vec();
            sorted.sort_unstable();
            Self { min: sorted[0], median: sorted[sorted.len() / 2], max: sorted[sorted.len() - 1] }
        })
    }
}

/// The second figure of /proc/PID/statm, in pages (proc(5)).
fn resident_bytes(process: u32) -> u64 {
    let path = format!("/proc/{process}/statm");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).unwrap().unwrap_or(4096);
    pages.unwrap_or_else(|| panic!("{path}: {text}")) * page as u64
}

impl fmt::Display for Quarter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [min, median, max] =
            [self.min, self.median, self.max].map(|bytes| bytes as f64 / f64::from(1 << 20));
        write!(formatter, "{median:.1} [{min:.1}..{max:.1}] MiB")
    }
}

// === impl State ===

impl State {
    pub(super) async fn read(control: &Control) -> Self {
        let ask = Edit { method: "GET", path: "/v1/stats".to_owned(), body: Value::Null };
        let (status, stats) = control.ask(&ask).await;
        assert_eq!(status, 200, "{stats}");
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value} in {stats}"));
        let sum = |objects: &str, field: &str| {
            stats[objects].as_array().into_iter().flatten().map(|object| number(&object[field])).sum()
        };
        let load = &stats["load"];
        let all = |figures: &Value| figures.as_object().into_iter().flatten().map(|(_, n)| number(n)).sum();
        Self {
            live: sum("listeners", "live"),
            active: sum("services", "active"),
            used: number(&load["memory_used"]),
            paused: all(&load["paused"]),
            pauses: all(&load["pauses"]),
            evicted: number(&load["evicted"]),
            panics: number(&stats["worker_panics"]) + number(&stats["connection_panics"]),
        }
    }
}
