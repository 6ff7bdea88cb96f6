//! Pure: consistent hash with bounded load, by rendezvous (highest random weight).
//!
//! Every instance scores the key; the highest score takes it. A ring would answer faster for hundreds of instances,
//! but it has to be built and kept for each list of instances, spreads only as evenly as its points, and approximates
//! weights; here nothing is kept, weights are exact, all workers agree by construction, and an instance that comes or
//! goes moves only the keys that it wins or had won. Services have tens of instances at most.
//!
//! No instance takes more than a quarter above its share of the requests in flight (Mirrokni et al. 2016); beyond it
//! a key goes to its next choice, the same one for every request, until there is room again.

use super::{Candidate, mix};

/// The index of the instance that takes `key`.
pub(crate) fn ranked(candidates: &[Candidate], key: u64) -> Option<usize> {
    let mut weights = 0_u128;
    let mut in_flight = 1_u128;
    for candidate in candidates {
        weights += u128::from(candidate.weight);
        in_flight += u128::from(candidate.in_flight);
    }
    let has_room = |candidate: &&Candidate| {
        let share = (in_flight * 5 * u128::from(candidate.weight)).div_ceil(weights * 4);
        u128::from(candidate.in_flight) < share
    };
    let best = candidates.iter().filter(has_room).map(|candidate| (score(candidate, key), candidate.index));
    // Somebody is always below a share that is more than the average.
    best.max_by(|left, right| left.0.total_cmp(&right.0)).map(|(_, index)| index)
}

/// `-weight / ln(u)` for a `u` in (0, 1) made of key and instance: the chance to be the highest is the weight's share.
fn score(candidate: &Candidate, key: u64) -> f64 {
    let unit = ((mix(key ^ candidate.identity) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    candidate.weight as f64 / -unit.ln()
}

/// The identity of an instance.
pub(crate) fn identity(name: &str) -> u64 {
    key(name.as_bytes())
}

/// The hash of what requests are kept together by (FNV-1a, mixed). Not keyed: whoever aims at one instance reaches
/// it no better than by any key that it won, and the bound on its load holds all the same.
pub(crate) fn key(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(hash)
}

#[cfg(test)]
mod tests {
    use super::{
        super::simulation::{candidates, seeds},
        key, ranked,
    };

    #[test]
    fn a_key_stays_and_only_what_an_instance_wins_or_loses_moves() {
        seeds(20, |random| {
            let world = candidates(&[1, 1, 1, 1, 1]);
            let without = |gone: usize| -> Vec<_> {
                world.iter().filter(|candidate| candidate.index != gone).copied().collect()
            };
            let gone = random.below(5) as usize;
            let fewer = without(gone);
            let mut moved = 0;
            for _ in 0..1_000 {
                let key = random.next();
                let (all, rest) = (ranked(&world, key).unwrap(), ranked(&fewer, key).unwrap());
                assert_eq!(ranked(&world, key), Some(all), "the same key, the same instance");
                assert!(all == rest || all == gone, "only keys of the one that is gone may move");
                moved += usize::from(all != rest);
            }
            assert!((120..280).contains(&moved), "{moved} of 1000 keys were on one of five");
        });
    }

    #[test]
    fn keys_are_shared_by_weight() {
        let world = candidates(&[6, 3, 1]);
        let mut count = [0_usize; 3];
        for number in 0..20_000_u64 {
            count[ranked(&world, key(&number.to_ne_bytes())).unwrap()] += 1;
        }
        for (count, expected) in count.iter().zip([12_000, 6_000, 2_000]) {
            assert!(count.abs_diff(expected) < 500, "{count} of {expected}");
        }
    }

    #[test]
    fn a_hot_key_overflows_to_its_second_choice_and_comes_back() {
        seeds(20, |random| {
            let mut world = candidates(&[1, 1, 1, 1]);
            let key = random.next();
            let first = ranked(&world, key).unwrap();
            let mut took = Vec::new();
            for turn in 1..=100_u32 {
                let index = ranked(&world, key).unwrap();
                world[index].in_flight += 1;
                took.push(index);
                let bound = (f64::from(turn) * 1.25 / 4.0).ceil() as u32;
                assert!(world[index].in_flight <= bound, "{turn}: {}", world[index].in_flight);
            }
            assert!(took.iter().filter(|index| **index == first).count() >= 25);
            world.iter_mut().for_each(|candidate| candidate.in_flight = 0);
            assert_eq!(ranked(&world, key), Some(first));
        });
    }

    #[test]
    fn nobody_is_nobody() {
        assert_eq!(ranked(&[], 1), None);
        assert_eq!(ranked(&candidates(&[3]), 1), Some(0));
    }
}
