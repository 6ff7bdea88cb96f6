//! Pure: order statistics of what was measured, and how they are printed.

use std::{fmt, time::Duration};

/// Measured times.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<f64>);

// === impl Figures ===

impl Figures {
    pub(crate) fn add(&mut self, time: Duration) {
        self.add_ms(time.as_secs_f64() * 1e3);
    }

    /// A difference may be negative, so it is no `Duration`.
    pub(crate) fn add_ms(&mut self, milliseconds: f64) {
        self.0.push(milliseconds);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The value below which `share` of all lie, in milliseconds (nearest rank); 0 of none.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| self.quantile(share));
        write!(formatter, "p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms of {}", self.count())
    }
}

#[test]
fn quantiles_are_nearest_ranks() {
    let mut figures = Figures::default();
    assert!(figures.quantile(0.99).abs() < f64::EPSILON);
    (1..=100).rev().for_each(|value| figures.add_ms(f64::from(value)));
    let ranks = [0.0, 0.5, 0.99, 1.0].map(|share| figures.quantile(share) as u32);
    assert_eq!(ranks, [1, 50, 99, 100]);
}
