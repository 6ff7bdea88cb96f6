//! Metrics in the OpenMetrics text format, on a local admin address.

pub mod admin;
mod collect;
pub mod dns;
pub mod filter;
mod instances;
mod load;
pub mod names;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::{collector::Collector, registry::Registry};

use super::traffic::Traffic;

pub use dns::NameMetrics;
pub use filter::FilterMetrics;

/// The collectors of every room.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Registry>);

impl Metrics {
    /// Metrics with the traffic counters registered.
    #[must_use]
    pub fn new(traffic: Arc<Traffic>) -> Self {
        let metrics = Self::default();
        metrics.register(Box::new(collect::TrafficCollector(Arc::clone(&traffic))));
        metrics.register(Box::new(load::LoadCollector(traffic)));
        metrics
    }

    /// Adds a room's collector; it is asked at every scrape.
    pub fn register(&self, collector: Box<dyn Collector>) {
        self.lock().register_collector(collector);
    }

    /// The text of one scrape.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail; a collector's own failure leaves the text cut short, as Prometheus expects.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.lock());
        text
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
