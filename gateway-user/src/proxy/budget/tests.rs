//! No byte of the budget is lost or granted twice, in any order of grants, growth, returns and workers that die.
//! `BUDGET_SEED` repeats a run.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

use super::{Budget, Grant, Purse};

const LIMIT: u64 = 1 << 20;

/// xorshift64*: enough to pick steps, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % end
    }
}

fn seeds() -> Vec<u64> {
    let wanted = std::env::var("BUDGET_SEED").ok().and_then(|seed| seed.parse().ok());
    wanted.map_or_else(|| (1..=200).collect(), |seed| vec![seed])
}

/// Everything that is drawn is granted or waits in a purse.
fn check(budget: &Budget, purses: &[(Rc<Purse>, Vec<Grant>)]) {
    let held: u64 = purses.iter().flat_map(|(_, grants)| grants).map(|grant| grant.bytes).sum();
    let spare: u64 = purses.iter().map(|(purse, _)| purse.spare.get()).sum();
    assert_eq!(budget.used(), held + spare);
    assert!(budget.used() <= budget.limit());
    assert!(purses.iter().all(|(purse, _)| purse.spare.get() <= 2 * budget.chunk));
}

#[test]
fn every_byte_is_granted_spare_or_free_under_random_steps() {
    for seed in seeds() {
        println!("BUDGET_SEED={seed}");
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let workers = 1 + dice.below(4) as usize;
        let budget = Budget::new(LIMIT, workers);
        let mut purses: Vec<(Rc<Purse>, Vec<Grant>)> =
            (0..workers).map(|_| (Purse::new(&budget), Vec::new())).collect();
        let mut refused = 0;
        for _ in 0..2000 {
            let (purse, grants) = &mut purses[dice.below(workers as u64) as usize];
            let bytes = dice.below(64 << 10) as usize;
            let at = dice.below(grants.len().max(1) as u64) as usize;
            match (dice.below(100), grants.get_mut(at)) {
                (0..55, _) | (_, None) => match purse.grant(bytes) {
                    Some(grant) => grants.push(grant),
                    None => refused += 1,
                },
                (55..65, Some(grant)) => {
                    let before = grant.bytes;
                    let grown = grant.grow(bytes);
                    assert_eq!(grant.bytes, if grown { before + bytes as u64 } else { before });
                }
                (65..70, Some(grant)) => {
                    let before = grant.bytes;
                    let grown = grant.grow_to(bytes);
                    assert_eq!(grant.bytes, if grown { before.max(bytes as u64) } else { before });
                }
                (70..80, Some(grant)) => grant.shrink_to(bytes),
                (80..99, Some(_)) => drop(grants.swap_remove(at)),
                // The worker ends with all that it has, and another takes its place.
                (_, Some(_)) => {
                    grants.clear();
                    *purse = Purse::new(&budget);
                }
            }
            check(&budget, &purses);
        }
        assert!(refused > 0, "the budget was never used up, so nothing was shown");
        drop(purses);
        assert_eq!(budget.used(), 0);
    }
}

/// Workers are threads: what they hold together is never more than the limit, and all of it comes back.
#[test]
fn threads_never_hold_more_than_the_limit_together() {
    let budget = Budget::new(LIMIT, 4);
    let held = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (1..=4_u64)
        .map(|seed| {
            let (budget, held) = (Arc::clone(&budget), Arc::clone(&held));
            thread::spawn(move || {
                let mut dice = Dice(seed);
                let purse = Purse::new(&budget);
                let mut grants = Vec::new();
                let mut refused = 0;
                for _ in 0..20_000 {
                    if dice.below(3) > 0 {
                        match purse.grant(dice.below(32 << 10) as usize) {
                            Some(grant) => {
                                let all = held.fetch_add(grant.bytes, SeqCst) + grant.bytes;
                                assert!(all <= LIMIT, "{all}");
                                grants.push(grant);
                            }
                            None => refused += 1,
                        }
                    } else if !grants.is_empty() {
                        let grant: Grant = grants.swap_remove(dice.below(grants.len() as u64) as usize);
                        held.fetch_sub(grant.bytes, SeqCst);
                    }
                }
                held.fetch_sub(grants.iter().map(|grant| grant.bytes).sum(), SeqCst);
                refused
            })
        })
        .collect();
    let refused: u32 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    assert!(refused > 0, "the budget was never used up, so nothing was shown");
    assert_eq!((budget.used(), held.load(SeqCst)), (0, 0));
}

#[test]
fn the_last_bytes_can_be_used_and_the_first_byte_beyond_cannot() {
    let budget = Budget::new(10_000, 1);
    let purse = Purse::new(&budget);
    let mut all = purse.grant(9_999).unwrap();
    assert!(purse.grant(2).is_none() && !all.grow(2));
    assert!(all.grow(1));
    assert!(purse.grant(1).is_none());
    assert!(purse.grant(0).is_some());
    all.shrink_to(10);
    assert!(purse.grant(9_990).is_some());
    assert!(Budget::new(0, 0).used() == 0 && purse.grant(usize::MAX).is_none());
}
