//! Pure: power of two choices. Two instances are drawn by weight, and the one that would be less loaded takes the
//! request. It needs no ordering of all instances, does not herd (two workers draw different pairs), and its longest
//! queue grows with log log n (Mitzenmacher 2001).

use super::{Candidate, below};

/// The index of the instance that takes the request; `random` is fresh for every call.
pub(crate) fn least(candidates: &[Candidate], random: u64) -> Option<usize> {
    let (low, high) = (random as u32, (random >> 32) as u32);
    let first = drawn(candidates, None, low)?;
    let Some(second) = drawn(candidates, Some(first.index), high) else { return Some(first.index) };
    // The second takes it only where it is better off with the request than the first is without: then idle
    // instances share by their weights, and busy ones have requests in flight by their weights.
    let with = (u128::from(second.in_flight) + 1) * u128::from(first.weight);
    let without = u128::from(first.in_flight) * u128::from(second.weight);
    Some(if with <= without { second.index } else { first.index })
}

/// One of the candidates by weight, other than `except`.
fn drawn(candidates: &[Candidate], except: Option<usize>, random: u32) -> Option<&Candidate> {
    let others = || candidates.iter().filter(|candidate| Some(candidate.index) != except);
    let total: u64 = others().map(|candidate| candidate.weight).sum();
    let mut point = below(random, total);
    others().find(|candidate| match point.checked_sub(candidate.weight) {
        Some(left) => {
            point = left;
            false
        }
        None => true,
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::simulation::{Random, candidates, seeds},
        least,
    };

    /// Requests of random length at a fixed concurrency; returns how many each instance took and the most in flight.
    fn run(random: &mut Random, weights: &[u64], concurrency: usize, requests: usize) -> Vec<(usize, u32)> {
        let mut world = candidates(weights);
        let mut taken = vec![(0, 0); weights.len()];
        let mut running: Vec<usize> = Vec::new();
        for _ in 0..requests {
            while running.len() >= concurrency {
                let done = running.swap_remove(random.below(running.len() as u64) as usize);
                world[done].in_flight -= 1;
            }
            let index = least(&world, random.next()).unwrap();
            world[index].in_flight += 1;
            taken[index] = (taken[index].0 + 1, taken[index].1.max(world[index].in_flight));
            running.push(index);
        }
        taken
    }

    #[test]
    fn an_idle_service_is_shared_by_weight() {
        seeds(20, |random| {
            let taken = run(random, &[6, 3, 1], 1, 10_000);
            for ((count, _), expected) in taken.iter().zip([6_000, 3_000, 1_000]) {
                assert!(count.abs_diff(expected) < 300, "{taken:?}");
            }
        });
    }

    #[test]
    fn a_busy_service_is_loaded_by_weight() {
        seeds(20, |random| {
            let taken = run(random, &[8, 4, 4], 64, 20_000);
            for ((count, most), weight) in taken.iter().zip([8_usize, 4, 4]) {
                assert!(count.abs_diff(20_000 * weight / 16) < 1_000, "{taken:?}");
                assert!((*most as usize) < 64 * weight / 16 + 14, "{taken:?}");
            }
        });
    }

    #[test]
    fn a_slow_instance_gets_less() {
        seeds(20, |random| {
            let mut world = candidates(&[1, 1, 1, 1]);
            // The first never finishes anything, as if it were stalled.
            let mut running: Vec<usize> = Vec::new();
            let mut to_stalled = 0;
            for _ in 0..2_000 {
                let index = least(&world, random.next()).unwrap();
                world[index].in_flight += 1;
                if index == 0 {
                    to_stalled += 1;
                } else {
                    running.push(index);
                }
                while running.len() > 8 {
                    let done = running.swap_remove(random.below(running.len() as u64) as usize);
                    world[done].in_flight -= 1;
                }
            }
            assert!(to_stalled < 20, "{to_stalled} of 2000 went where nothing comes back");
        });
    }

    #[test]
    fn one_takes_all_and_none_nothing() {
        assert_eq!(least(&candidates(&[7]), u64::MAX), Some(0));
        assert_eq!(least(&[], 1), None);
    }
}
