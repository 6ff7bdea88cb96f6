//! Pure: which of the instances that may be used takes a request. Each way to choose is a file of its own; all of them
//! see the same candidates, whose weights already hold the share that a new instance has so far.

mod hash;
mod least;
mod turns;

pub(crate) use hash::{identity, key, ranked};
pub(crate) use least::least;
pub(crate) use turns::Turns;

/// One instance that may take the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its place among all instances.
    pub(crate) index: usize,
    /// At least 1; only the proportions matter.
    pub(crate) weight: u64,
    /// Requests in flight, of all workers.
    pub(crate) in_flight: u32,
    /// A hash of its address.
    pub(crate) identity: u64,
}

/// Spreads a counter or a poor hash over 64 bits (the finaliser of SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A number below `bound` from 32 random bits.
fn below(random: u32, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 32) as u64
}

#[cfg(test)]
pub(super) mod simulation {
    //! Seeds and a world of instances for the simulations of the cores.

    use super::{Candidate, identity, mix};

    /// Runs `check` for many seeds; `GATEWAY_SEED` replays one.
    pub(in crate::proxy::upstream) fn seeds(count: u64, check: impl Fn(&mut Random)) {
        let only = std::env::var("GATEWAY_SEED").ok().and_then(|text| text.parse().ok());
        for seed in only.map_or(0..count, |seed: u64| seed..seed + 1) {
            let run = std::panic::AssertUnwindSafe(|| check(&mut Random(seed)));
            if let Err(panic) = std::panic::catch_unwind(run) {
                eprintln!("fails with GATEWAY_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }

    /// A sequence that a seed gives.
    pub(in crate::proxy::upstream) struct Random(u64);

    impl Random {
        pub(in crate::proxy::upstream) fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(self.0)
        }

        pub(in crate::proxy::upstream) fn below(&mut self, bound: u64) -> u64 {
            self.next() % bound
        }
    }

    /// Idle instances with these weights.
    pub(in crate::proxy::upstream) fn candidates(weights: &[u64]) -> Vec<Candidate> {
        let candidate = |(index, weight): (usize, &u64)| Candidate {
            index,
            weight: *weight,
            in_flight: 0,
            identity: identity(&format!("10.0.0.{index}:80")),
        };
        weights.iter().enumerate().map(candidate).collect()
    }
}
