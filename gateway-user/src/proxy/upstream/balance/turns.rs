//! Pure: weighted round robin, smooth: with weights 5, 1, 1 the turns are a a b a c a a, never five in a row.

use super::Candidate;

/// Whose turn it is. Instances are known by index; a new list of instances begins anew.
#[derive(Debug, Default)]
pub(crate) struct Turns(Vec<i64>);

// === impl Turns ===

impl Turns {
    /// The turns of one of several workers: each begins with another instance, or all would begin with the first.
    pub(crate) fn of_worker(worker: usize, candidates: &[Candidate]) -> Self {
        let mut turns = Self::default();
        for _ in 0..worker {
            turns.next(candidates);
        }
        turns
    }

    /// The index of the next: everybody gains its weight, the richest takes the turn and pays for all.
    pub(crate) fn next(&mut self, candidates: &[Candidate]) -> Option<usize> {
        let mut total = 0_i64;
        let mut best: Option<(usize, i64)> = None;
        for candidate in candidates {
            if self.0.len() <= candidate.index {
                self.0.resize(candidate.index + 1, 0);
            }
            let weight = i64::try_from(candidate.weight).unwrap_or(i64::MAX >> 20);
            total = total.saturating_add(weight);
            let Some(credit) = self.0.get_mut(candidate.index) else { continue };
            *credit = credit.saturating_add(weight);
            if best.is_none_or(|(_, most)| *credit > most) {
                best = Some((candidate.index, *credit));
            }
        }
        let (index, _) = best?;
        if let Some(credit) = self.0.get_mut(index) {
            *credit -= total;
        }
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::simulation::{candidates, seeds},
        Turns,
    };

    #[test]
    fn turns_are_smooth_and_exact_over_the_sum_of_the_weights() {
        let world = candidates(&[5, 1, 1]);
        let mut turns = Turns::default();
        let order: Vec<usize> = (0..14).map(|_| turns.next(&world).unwrap()).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(Turns::default().next(&[]), None);
        let firsts = [0, 1, 2, 4].map(|worker| Turns::of_worker(worker, &world).next(&world));
        assert_eq!(firsts, [Some(0), Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn shares_are_exact_whatever_the_weights_and_hold_while_some_are_out() {
        seeds(50, |random| {
            let weights: Vec<u64> = (0..1 + random.below(6)).map(|_| 1 + random.below(20)).collect();
            let world = candidates(&weights);
            let mut turns = Turns::default();
            let total: u64 = weights.iter().sum();
            let mut count = vec![0; weights.len()];
            (0..total * 3).for_each(|_| count[turns.next(&world).unwrap()] += 1);
            assert_eq!(count, weights.iter().map(|weight| weight * 3).collect::<Vec<_>>());
            // The first goes out for a while and comes back: it does not make up for what it missed by a rush.
            let (_, others) = world.split_first().unwrap();
            (0..total * 3).for_each(|_| assert_eq!(turns.next(others).is_none(), others.is_empty()));
            let mut row = 0;
            let mut longest = 0;
            for _ in 0..total * 3 {
                row = if turns.next(&world) == Some(0) { row + 1 } else { 0 };
                longest = longest.max(row);
            }
            let fair = weights[0].div_ceil((total - weights[0]).max(1)) + 1;
            assert!(weights.len() == 1 || longest <= fair + 1, "{weights:?}: {longest} in a row");
        });
    }
}
