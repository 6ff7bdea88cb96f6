//! Pure: how many retries a service may cause. Without a bound, retries of a service that is down in part multiply the
//! load on the part that is up, and take it down, too.
//!
//! Three retries a second are always allowed, so that a service with little traffic has retries at all; beyond them,
//! retries of the last ten seconds are a share of the requests of the last ten seconds. Every worker counts requests in
//! a window of its own, with plain stores; the window of retries is shared, because retries are rare.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Retries a second that need no requests.
const ALWAYS: u32 = 3;
/// Seconds that are looked back.
const WINDOW: u32 = 10;

/// The budget of one service.
#[derive(Debug)]
pub(crate) struct Budget {
    requests: Box<[Window]>,
    retries: Window,
}

/// Counts of the last seconds, each in a word with the second it belongs to.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Window([AtomicU64; WINDOW as usize]);

// === impl Budget ===

impl Budget {
    pub(crate) fn new(workers: usize) -> Self {
        Self { requests: (0..workers).map(|_| Window::default()).collect(), retries: Window::default() }
    }

    /// Counts a request. Only the worker itself may call this.
    #[inline]
    pub(crate) fn count(&self, worker: usize, second: u32) {
        if let Some(slot) = self.requests.get(worker).and_then(|window| window.slot(second)) {
            slot.store(added(slot.load(Relaxed), second, 1), Relaxed);
        }
    }

    /// Takes one retry out of the budget, if there is one left.
    pub(crate) fn draw(&self, second: u32, percent: u8) -> bool {
        let Some(slot) = self.retries.slot(second) else { return false };
        // Taken first and given back: two workers never share the last one.
        let taken = slot.fetch_update(Relaxed, Relaxed, |word| Some(added(word, second, 1)));
        let now = count(taken.unwrap_or_default(), second);
        if now < ALWAYS {
            return true;
        }
        let requests: u64 = self.requests.iter().map(|window| window.sum(second)).sum();
        let allowed = requests * u64::from(percent) / 100;
        if self.retries.sum(second) <= allowed {
            return true;
        }
        let _ = slot.fetch_update(Relaxed, Relaxed, |word| {
            Some(if count(word, second) > 0 { word - 1 } else { word })
        });
        false
    }
}

// === impl Window ===

impl Window {
    fn slot(&self, second: u32) -> Option<&AtomicU64> {
        self.0.get((second % WINDOW) as usize)
    }

    fn sum(&self, second: u32) -> u64 {
        let oldest = second.saturating_sub(WINDOW - 1);
        let words = self.0.iter().map(|slot| slot.load(Relaxed));
        words.filter(|word| (word >> 32) as u32 >= oldest).map(|word| word & u64::from(u32::MAX)).sum()
    }
}

fn count(word: u64, second: u32) -> u32 {
    if (word >> 32) as u32 == second { word as u32 } else { 0 }
}

fn added(word: u64, second: u32, more: u32) -> u64 {
    u64::from(second) << 32 | u64::from(count(word, second).saturating_add(more))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{ALWAYS, Budget, WINDOW};
    use crate::proxy::upstream::balance::simulation::seeds;

    #[test]
    fn three_a_second_are_always_allowed() {
        let budget = Budget::new(1);
        for second in 100..120 {
            assert_eq!((0..10).filter(|_| budget.draw(second, 0)).count(), ALWAYS as usize);
        }
    }

    #[test]
    fn a_share_of_the_last_ten_seconds_is_allowed_and_forgotten_after_them() {
        let budget = Budget::new(2);
        for number in 0..1000 {
            budget.count(number % 2, 100);
        }
        assert_eq!((0..1000).filter(|_| budget.draw(100, 20)).count(), 200);
        assert_eq!((0..1000).filter(|_| budget.draw(101, 20)).count(), ALWAYS as usize, "it is used up");
        for _ in 0..1000 {
            budget.count(0, 110);
        }
        assert_eq!((0..1000).filter(|_| budget.draw(110, 20)).count(), 197, "three are from second 101");
    }

    #[test]
    fn over_any_ten_seconds_retries_stay_below_the_share_and_the_minimum() {
        seeds(50, |random| {
            let budget = Budget::new(2);
            let percent = random.below(101) as u8;
            let mut past: VecDeque<(u64, u64)> = VecDeque::new();
            for second in 1..200_u32 {
                let (mut requests, mut retries) = (0, 0);
                for _ in 0..random.below(60) {
                    budget.count(random.below(2) as usize, second);
                    requests += 1;
                    // Everything fails, and everybody wants to try again at once.
                    retries += (0..random.below(4)).filter(|_| budget.draw(second, percent)).count() as u64;
                }
                past.push_back((requests, retries));
                if past.len() > WINDOW as usize {
                    past.pop_front();
                }
                let total = |pick: fn(&(u64, u64)) -> u64| past.iter().map(pick).sum::<u64>();
                // A share that was allowed may belong to requests that are older than those in the window by now.
                let share = total(|(requests, _)| *requests) * u64::from(percent) / 100;
                let minimum = u64::from(ALWAYS * WINDOW);
                assert!(retries <= share + u64::from(ALWAYS), "{second}: {retries} of {share}");
                assert!(total(|(_, retries)| *retries) <= 2 * share + minimum + 60, "{second}");
            }
        });
    }
}
