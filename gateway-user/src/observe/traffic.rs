//! Traffic counters of services and listeners. Every worker writes its own plain cells; readers merge them.
//!
//! A cell has one writer, so counting is a relaxed load and a relaxed store: no locked instruction on the request path,
//! and a reader sees each figure at most one event late.

use std::{
    array,
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde::Serialize;

use super::{
    instances::{InstanceSource, InstanceTraffic},
    load::{Load, LoadReport},
};
use crate::{
    base::{Generation, Name},
    snapshot::Channel,
};

/// Buckets of the latency histogram: bucket `n` counts durations below `2^n` µs, the last one everything longer.
pub const BUCKETS: usize = 28;

/// Why a connection was closed at accept by tier (c), or before its first byte of TLS or HTTP, in the order of
/// [`REFUSALS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Refused {
    /// The source is not on the allowlist.
    NotAllowed,
    /// The listener is closed.
    Closed,
    /// The source's entry is being drained.
    DrainingNew,
    /// Any other verdict that drops.
    Other,
    /// The gateway has as many connections as it may hold.
    Capacity,
    /// The source is banned.
    Banned,
    /// The listener, or the source at it, has as many connections as it may hold.
    ConnectionCap,
    /// The gateway's memory is used up.
    Memory,
    /// What it began with is no PROXY protocol header, or breaks off in the middle of one.
    ProxyHeader,
    /// The whole PROXY protocol header was not there in time.
    ProxyHeaderLate,
}

impl Refused {
    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        REFUSALS.get(self as usize).copied().unwrap_or_default()
    }
}

/// What an HTTP/2 client floods the gateway with: requests that it cancels, frames that carry nothing, frames beyond
/// the bounds of the protocol's library.
pub const FLOODS: [&str; 3] = ["resets", "overhead", "frames"];

/// Stable names of [`Refused`].
pub const REFUSALS: [&str; 10] = [
    "not_allowed",
    "closed",
    "draining_new",
    "other",
    "capacity",
    "banned",
    "connection_cap",
    "memory",
    "proxy_header",
    "proxy_header_late",
];

/// Response classes: 1xx … 5xx, and 499 (the client went away), which is a class of its own (DESIGN §7.9).
pub const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "499"];

/// One figure with one writer.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds `amount`. Only the worker that owns the cell may call this.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// Takes `amount` away (gauges).
    #[inline]
    pub fn sub(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).saturating_sub(amount), Relaxed);
    }

    /// The figure now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One worker's counters of one service. Aligned so that two workers never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ServiceCells {
    pub classes: [Cell; CLASSES.len()],
    pub bytes_in: Cell,
    pub bytes_out: Cell,
    /// Requests in flight.
    pub active: Cell,
    pub retries: Cell,
    /// Connections opened to instances.
    pub connects: Cell,
    pub micros: Cell,
    pub latency: [Cell; BUCKETS],
    /// Refused with 401.
    pub unauthorized: Cell,
    /// Refused with 429.
    pub throttled: Cell,
    /// Waited for a free place at an instance.
    pub queued: Cell,
    /// Refused with 450: the queue was full, or the wait too long.
    pub queue_full: Cell,
    /// Retries that the budget did not allow.
    pub retries_refused: Cell,
    /// Copies sent to the mirror of a route.
    pub mirrored: Cell,
    /// Copies that were not answered.
    pub mirror_failed: Cell,
    /// Copies that were not made: too many at once, or the body too large.
    pub mirror_dropped: Cell,
}

/// One worker's counters of one listener.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ListenerCells {
    pub accepted: Cell,
    /// Body bytes of requests and answers.
    pub bytes_in: Cell,
    pub bytes_out: Cell,
    pub refused: [Cell; REFUSALS.len()],
    /// Connections open now.
    pub live: Cell,
    /// Connections cut because their source is no longer allowed or the listener is gone.
    pub cut: Cell,
    pub handshakes: Cell,
    pub handshake_failures: Cell,
    /// HTTP/2 connections closed because their client floods us, by [`FLOODS`].
    pub floods: [Cell; FLOODS.len()],
    /// Answers that no service gave: unknown host, no route, malformed requests, by class.
    pub classes: [Cell; CLASSES.len()],
}

/// The index of a status in [`CLASSES`].
#[must_use]
pub fn class(status: u16) -> usize {
    match status {
        499 => 5,
        100..=199 => 0,
        200..=299 => 1,
        300..=399 => 2,
        400..=499 => 3,
        _ => 4,
    }
}

/// The histogram bucket of a duration.
#[must_use]
pub fn bucket(micros: u64) -> usize {
    (u64::BITS - micros.leading_zeros()).min(BUCKETS as u32 - 1) as usize
}

/// A service's counters, one set of cells per worker.
pub struct ServiceCounters {
    pub gateway: Name,
    pub name: Name,
    cells: Box<[ServiceCells]>,
    /// Who knows the instances; set by the control thread, asked by whoever reports.
    instances: Mutex<Option<Arc<dyn InstanceSource>>>,
}

/// A listener's counters, one set of cells per worker.
#[derive(Debug)]
pub struct ListenerCounters {
    pub gateway: Name,
    pub name: Name,
    cells: Box<[ListenerCells]>,
}

/// All counters, by name. They outlive edits of the object they belong to and go with its deletion.
#[derive(Debug, Default)]
pub struct Traffic {
    workers: usize,
    inner: Mutex<Inner>,
    /// Access log lines that were left out because the writer was behind.
    pub log_lost: AtomicU64,
    pub worker_panics: AtomicU64,
    pub connection_panics: AtomicU64,
    pub load: Load,
}

#[derive(Debug, Default)]
struct Inner {
    generation: Generation,
    services: BTreeMap<(Name, Name), Arc<ServiceCounters>>,
    listeners: BTreeMap<(Name, Name), Arc<ListenerCounters>>,
    /// How each listener's traffic is metered; public, where nothing else is said.
    channels: BTreeMap<Name, Channel>,
}

/// A service's figures, merged.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ServiceTraffic {
    pub gateway: String,
    pub name: String,
    pub requests: u64,
    /// By [`CLASSES`].
    pub classes: BTreeMap<&'static str, u64>,
    /// 2xx / all, by the letter (DESIGN §7.8); `None` before the first request.
    pub success_rate: Option<f64>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub active: u64,
    pub retries: u64,
    pub connects: u64,
    pub unauthorized: u64,
    pub throttled: u64,
    /// Retries that the budget did not allow.
    pub retries_refused: u64,
    pub queue: QueueTraffic,
    pub mirror: MirrorTraffic,
    pub instances: Vec<InstanceTraffic>,
    /// Mean duration to the last byte in µs.
    pub mean_us: u64,
    /// Upper bound of the histogram bucket that holds the quantile, in µs.
    pub p50_us: u64,
    pub p99_us: u64,
    #[serde(skip)]
    pub micros: u64,
    #[serde(skip)]
    pub latency: [u64; BUCKETS],
}

/// Requests that wait, or waited, for a free place at an instance.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct QueueTraffic {
    /// Now.
    pub waiting: u64,
    pub waited: u64,
    /// The queue was full, or the wait too long.
    pub refused: u64,
}

/// Copies that a route made of requests for another service, counted at that service.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct MirrorTraffic {
    pub sent: u64,
    pub failed: u64,
    /// Too many at once, or the body too large.
    pub dropped: u64,
}

/// A listener's figures, merged.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ListenerTraffic {
    pub gateway: String,
    pub name: String,
    pub channel: Channel,
    /// Body bytes of requests and answers.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub accepted: u64,
    pub live: u64,
    pub cut: u64,
    pub handshakes: u64,
    pub handshake_failures: u64,
    /// HTTP/2 connections closed because their client floods the gateway, by what with.
    pub floods: BTreeMap<&'static str, u64>,
    /// Connections closed at accept (tier (c)) or for want of a PROXY protocol header, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Answers that no service gave.
    pub classes: BTreeMap<&'static str, u64>,
}

/// Everything at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub generation: Generation,
    pub services: Vec<ServiceTraffic>,
    pub listeners: Vec<ListenerTraffic>,
    pub log_lost: u64,
    pub worker_panics: u64,
    pub connection_panics: u64,
    pub load: LoadReport,
}

// === impl ServiceCounters ===

impl ServiceCounters {
    /// Says who knows the instances now.
    pub fn watch(&self, source: Arc<dyn InstanceSource>) {
        // One word is set or read at a time: a panic leaves nothing half-done.
        *self.instances.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }

    /// The cells of one worker.
    #[must_use]
    pub fn worker(&self, worker: usize) -> &ServiceCells {
        #[expect(
            clippy::indexing_slicing,
            reason = "workers are numbered below the length given at the start"
        )]
        &self.cells[worker]
    }

    fn report(&self) -> ServiceTraffic {
        let sum =
            |pick: fn(&ServiceCells) -> &Cell| self.cells.iter().map(|cells| pick(cells).get()).sum::<u64>();
        let classes: [u64; CLASSES.len()] = array::from_fn(|index| {
            self.cells.iter().filter_map(|cells| cells.classes.get(index)).map(Cell::get).sum()
        });
        let latency: [u64; BUCKETS] = array::from_fn(|index| {
            self.cells.iter().filter_map(|cells| cells.latency.get(index)).map(Cell::get).sum()
        });
        let requests: u64 = classes.iter().sum();
        let micros = sum(|cells| &cells.micros);
        let [_, succeeded, ..] = classes;
        let source = self.instances.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ServiceTraffic {
            gateway: self.gateway.to_string(),
            name: self.name.to_string(),
            requests,
            classes: CLASSES.into_iter().zip(classes).collect(),
            success_rate: (requests > 0).then(|| succeeded as f64 / requests as f64),
            bytes_in: sum(|cells| &cells.bytes_in),
            bytes_out: sum(|cells| &cells.bytes_out),
            active: sum(|cells| &cells.active),
            retries: sum(|cells| &cells.retries),
            connects: sum(|cells| &cells.connects),
            unauthorized: sum(|cells| &cells.unauthorized),
            throttled: sum(|cells| &cells.throttled),
            retries_refused: sum(|cells| &cells.retries_refused),
            queue: QueueTraffic {
                waiting: source.as_ref().map_or(0, |source| source.waiting()),
                waited: sum(|cells| &cells.queued),
                refused: sum(|cells| &cells.queue_full),
            },
            mirror: MirrorTraffic {
                sent: sum(|cells| &cells.mirrored),
                failed: sum(|cells| &cells.mirror_failed),
                dropped: sum(|cells| &cells.mirror_dropped),
            },
            instances: source.map(|source| source.instances()).unwrap_or_default(),
            mean_us: micros.checked_div(requests).unwrap_or(0),
            p50_us: quantile(&latency, 0.50),
            p99_us: quantile(&latency, 0.99),
            micros,
            latency,
        }
    }
}

// === impl ListenerCounters ===

impl ListenerCounters {
    /// The cells of one worker.
    #[must_use]
    pub fn worker(&self, worker: usize) -> &ListenerCells {
        #[expect(
            clippy::indexing_slicing,
            reason = "workers are numbered below the length given at the start"
        )]
        &self.cells[worker]
    }

    fn report(&self, channel: Channel) -> ListenerTraffic {
        let sum =
            |pick: fn(&ListenerCells) -> &Cell| self.cells.iter().map(|cells| pick(cells).get()).sum::<u64>();
        let each =
            |pick: &dyn Fn(&ListenerCells) -> Option<u64>| self.cells.iter().filter_map(pick).sum::<u64>();
        ListenerTraffic {
            gateway: self.gateway.to_string(),
            name: self.name.to_string(),
            channel,
            bytes_in: sum(|cells| &cells.bytes_in),
            bytes_out: sum(|cells| &cells.bytes_out),
            accepted: sum(|cells| &cells.accepted),
            live: sum(|cells| &cells.live),
            cut: sum(|cells| &cells.cut),
            handshakes: sum(|cells| &cells.handshakes),
            handshake_failures: sum(|cells| &cells.handshake_failures),
            floods: FLOODS
                .into_iter()
                .enumerate()
                .map(|(index, name)| (name, each(&|cells| cells.floods.get(index).map(Cell::get))))
                .collect(),
            refused: REFUSALS
                .into_iter()
                .enumerate()
                .map(|(index, name)| (name, each(&|cells| cells.refused.get(index).map(Cell::get))))
                .collect(),
            classes: CLASSES
                .into_iter()
                .enumerate()
                .map(|(index, name)| (name, each(&|cells| cells.classes.get(index).map(Cell::get))))
                .collect(),
        }
    }
}

impl fmt::Debug for ServiceCounters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServiceCounters")
            .field("gateway", &self.gateway)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

// === impl Traffic ===

impl Traffic {
    /// Counters for this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { workers, ..Self::default() }
    }

    /// The counters of a service, made at the first call.
    pub fn service(&self, gateway: &Name, name: &Name) -> Arc<ServiceCounters> {
        let cells = || (0..self.workers).map(|_| ServiceCells::default()).collect();
        let make = || {
            Arc::new(ServiceCounters {
                gateway: gateway.clone(),
                name: name.clone(),
                cells: cells(),
                instances: Mutex::default(),
            })
        };
        Arc::clone(self.lock().services.entry((gateway.clone(), name.clone())).or_insert_with(make))
    }

    /// The counters of a listener, made at the first call.
    pub fn listener(&self, gateway: &Name, name: &Name) -> Arc<ListenerCounters> {
        let cells = || (0..self.workers).map(|_| ListenerCells::default()).collect();
        let make =
            || Arc::new(ListenerCounters { gateway: gateway.clone(), name: name.clone(), cells: cells() });
        Arc::clone(self.lock().listeners.entry((gateway.clone(), name.clone())).or_insert_with(make))
    }

    /// Forgets the counters of what is not in `services` and `listeners` any more.
    pub fn retain(
        &self,
        generation: Generation,
        service: impl Fn(&Name, &Name) -> bool,
        listener: impl Fn(&Name, &Name) -> bool,
    ) {
        let mut inner = self.lock();
        inner.generation = generation;
        inner.services.retain(|(gateway, name), _| service(gateway, name));
        inner.listeners.retain(|(gateway, name), _| listener(gateway, name));
    }

    /// Says how each listener's traffic is metered.
    pub fn set_channels(&self, channels: BTreeMap<Name, Channel>) {
        self.lock().channels = channels;
    }

    /// All figures, merged over the workers.
    #[must_use]
    pub fn report(&self) -> Report {
        let inner = self.lock();
        Report {
            generation: inner.generation,
            services: inner.services.values().map(|counters| counters.report()).collect(),
            listeners: inner
                .listeners
                .values()
                .map(|counters| {
                    counters.report(inner.channels.get(&counters.name).copied().unwrap_or_default())
                })
                .collect(),
            log_lost: self.log_lost.load(Relaxed),
            worker_panics: self.worker_panics.load(Relaxed),
            connection_panics: self.connection_panics.load(Relaxed),
            load: self.load.report(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // The maps are only ever extended or filtered: a panic in between leaves nothing half-done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn quantile(latency: &[u64; BUCKETS], quantile: f64) -> u64 {
    let total: u64 = latency.iter().sum();
    let rank = (total as f64 * quantile).ceil() as u64;
    let mut seen = 0;
    for (index, count) in latency.iter().enumerate() {
        seen += count;
        if seen >= rank && rank > 0 {
            return 1 << index;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Refused, Traffic, bucket, class};
    use crate::base::{Generation, Name};

    #[test]
    fn workers_count_apart_and_are_reported_together() {
        let traffic = Traffic::new(2);
        let name = Name::new("test").unwrap();
        let service = traffic.service(&name, &name);
        for worker in 0..2 {
            service.worker(worker).classes[class(200)].add(1);
            service.worker(worker).latency[bucket(900)].add(1);
        }
        traffic.listener(&name, &name).worker(1).refused[Refused::Closed as usize].add(3);
        let report = traffic.report();
        assert_eq!(report.services[0].requests, 2);
        assert_eq!(report.services[0].success_rate, Some(1.0));
        assert_eq!(report.services[0].p99_us, 1024);
        assert_eq!(report.listeners[0].refused["closed"], 3);
        traffic.retain(Generation(2), |_, _| false, |_, _| true);
        assert!(traffic.report().services.is_empty());
    }

    #[test]
    fn the_class_of_499_is_its_own() {
        assert_eq!(
            [class(101), class(200), class(308), class(404), class(502), class(499)],
            [0, 1, 2, 3, 4, 5]
        );
    }

    #[test]
    fn buckets_are_powers_of_two_and_never_overflow() {
        assert_eq!(
            [bucket(0), bucket(1), bucket(2), bucket(3), bucket(1023), bucket(1024)],
            [0, 1, 2, 2, 10, 11]
        );
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }
}
