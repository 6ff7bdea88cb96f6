//! How full the data plane is, and what it refuses or gives up for that.
//!
//! Everything here is counted when there is no room, or once a tick; so plain shared atomics do.

use std::{
    collections::BTreeMap,
    sync::atomic::{
        AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
};

use serde::Serialize;

/// What there is no more of, in the order of [`REASONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Full {
    /// The byte budget.
    Memory,
    /// Places for client connections.
    Connections,
    /// Patience: too many TLS clients wait for their turn.
    Handshakes,
    /// File descriptors, or the kernel's own memory for sockets.
    Descriptors,
}

/// Stable names of [`Full`].
pub const REASONS: [&str; 4] = ["memory", "connections", "handshakes", "descriptors"];

/// The figures.
#[derive(Debug, Default)]
pub struct Load {
    pub memory_limit: AtomicU64,
    /// All that the process may use, of which the limit should be a part.
    pub memory_usable: AtomicU64,
    pub memory_used: AtomicU64,
    pub connections_limit: AtomicU64,
    /// Requests that were answered 503 `overloaded`.
    pub refused: AtomicU64,
    /// Clients that waited with an unused connection, or with a handshake that did not go on, and had to leave.
    pub evicted: AtomicU64,
    /// Workers that take no connections now, by what there is no more of.
    paused: [AtomicU64; REASONS.len()],
    /// How often one stopped to.
    pauses: [AtomicU64; REASONS.len()],
    /// Second of the last line in the log.
    told: AtomicU64,
}

/// The same at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LoadReport {
    pub memory_limit: u64,
    pub memory_usable: u64,
    pub memory_used: u64,
    pub connections_limit: u64,
    pub refused: u64,
    pub evicted: u64,
    pub paused: BTreeMap<&'static str, u64>,
    pub pauses: BTreeMap<&'static str, u64>,
}

// === impl Load ===

impl Load {
    /// A worker stops taking connections, or goes on: `from` and `to` are why it does not before and after.
    pub fn turned(&self, from: Option<Full>, to: Option<Full>) {
        if let Some(gauge) = from.and_then(|full| self.paused.get(full as usize)) {
            gauge.fetch_sub(1, Relaxed);
        }
        if let Some(full) = to {
            self.paused.get(full as usize).map(|gauge| gauge.fetch_add(1, Relaxed));
            self.pauses.get(full as usize).map(|count| count.fetch_add(1, Relaxed));
        }
    }

    /// Whether a line may be written now; one a second may, so that an overload does not fill the log.
    #[must_use]
    pub fn may_tell(&self, second: u64) -> bool {
        self.told.swap(second, SeqCst) != second
    }

    /// All figures.
    #[must_use]
    pub fn report(&self) -> LoadReport {
        let by_reason = |figures: &[AtomicU64; REASONS.len()]| {
            REASONS.into_iter().zip(figures.iter().map(|figure| figure.load(Relaxed))).collect()
        };
        LoadReport {
            memory_limit: self.memory_limit.load(Relaxed),
            memory_usable: self.memory_usable.load(Relaxed),
            memory_used: self.memory_used.load(Relaxed),
            connections_limit: self.connections_limit.load(Relaxed),
            refused: self.refused.load(Relaxed),
            evicted: self.evicted.load(Relaxed),
            paused: by_reason(&self.paused),
            pauses: by_reason(&self.pauses),
        }
    }
}

// === impl LoadReport ===

impl LoadReport {
    /// What is wrong with the settings: a budget that is larger than the memory bounds nothing, and the process is killed
    /// before a request is refused.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let (limit, usable) = (self.memory_limit, self.memory_usable);
        (limit > usable).then(|| {
            format!("memory is set to {limit} bytes, and this process may use {usable} (the machine's memory, or the smallest limit among its control groups)")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Full, Load, LoadReport};

    #[test]
    fn a_budget_that_is_not_there_is_warned_of() {
        let report = |limit| LoadReport { memory_limit: limit, memory_usable: 5, ..LoadReport::default() };
        assert_eq!(report(5).warning(), None);
        assert!(report(6).warning().is_some_and(|text| text.contains("6 bytes") && text.contains("use 5")));
    }

    #[test]
    fn a_turn_moves_the_gauge_and_counts_each_stop() {
        let load = Load::default();
        load.turned(None, Some(Full::Memory));
        load.turned(None, Some(Full::Connections));
        load.turned(Some(Full::Memory), Some(Full::Descriptors));
        load.turned(Some(Full::Descriptors), None);
        let report = load.report();
        assert_eq!((report.paused["memory"], report.paused["connections"]), (0, 1));
        assert_eq!((report.paused["descriptors"], report.pauses["descriptors"]), (0, 1));
        assert_eq!((report.pauses["memory"], report.pauses["handshakes"]), (1, 0));
    }

    #[test]
    fn one_line_a_second_may_be_written() {
        let load = Load::default();
        assert!(load.may_tell(7) && !load.may_tell(7) && load.may_tell(8));
    }
}
