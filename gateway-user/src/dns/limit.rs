//! Pure: response-rate limiting, so that nobody can use us to flood somebody else with answers to forged queries.
//!
//! A network of askers (/24, /56) has a token bucket in each view: private networks may use the same addresses. Of the queries over its rate every second one gets a short
//! truncated answer, which a real asker repeats over TCP, and the others silence. The table has a fixed size: a network
//! that finds its places taken takes that of the one with the most tokens left, which loses least by starting anew.

use std::{hash::BuildHasher, net::IpAddr, time::Duration};

/// Networks per hash value that are looked at.
const WAYS: usize = 4;
/// Networks that are remembered.
pub(super) const NETWORKS: usize = 16 * 1024;
/// Bucket depth in seconds of the rate.
const BURST: u64 = 2;
/// Tokens are counted in thousandths, so that slow rates refill smoothly.
const TOKEN: u64 = 1000;

/// What becomes of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Answer,
    /// A truncated answer.
    Slip,
    Drop,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// 0: free. The network's bits behind the family's and the view's numbers.
    network: u128,
    tokens: u64,
    /// Milliseconds.
    last: u64,
    slip: bool,
}

/// The buckets of all askers.
#[derive(Debug)]
pub(super) struct Limit<S> {
    rate: u64,
    buckets: Vec<Bucket>,
    hasher: S,
}

// === impl Limit ===

impl<S: BuildHasher> Limit<S> {
    /// `rate` answers per second and network; 0: no limit. The hasher is keyed, so that nobody can aim at a place.
    pub(super) fn new(rate: u32, hasher: S) -> Self {
        let buckets = if rate == 0 { Vec::new() } else { vec![Bucket::default(); NETWORKS] };
        Self { rate: u64::from(rate), buckets, hasher }
    }

    /// Takes a token of the asker's network in a view. `now` is the time since some fixed moment.
    pub(super) fn take(&mut self, view: u32, asker: IpAddr, now: Duration) -> Pass {
        let full = self.rate * BURST * TOKEN;
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let network = (u128::from(view) << 72) | network(asker);
        let Some(bucket) = self.place(network, now) else { return Pass::Answer };
        if bucket.network != network {
            *bucket = Bucket { network, tokens: full, last: now, slip: false };
        }
        if bucket.tokens < TOKEN {
            bucket.slip = !bucket.slip;
            return if bucket.slip { Pass::Slip } else { Pass::Drop };
        }
        bucket.tokens -= TOKEN;
        Pass::Answer
    }

    /// The network's bucket, else a free one, else the fullest; all of them refilled. `None` without a limit.
    fn place(&mut self, network: u128, now: u64) -> Option<&mut Bucket> {
        let (rate, full) = (self.rate, self.rate * BURST * TOKEN);
        let hash = usize::try_from(self.hasher.hash_one(network) % (NETWORKS / WAYS) as u64).ok()?;
        let ways = self.buckets.get_mut(hash * WAYS..(hash + 1) * WAYS)?;
        for bucket in ways.iter_mut() {
            // A rate per second is as many thousandths of a token per millisecond.
            let refill = now.saturating_sub(bucket.last).saturating_mul(rate);
            bucket.tokens = bucket.tokens.saturating_add(refill).min(full);
            bucket.last = now;
        }
        ways.iter_mut().max_by_key(|bucket| (bucket.network == network, bucket.network == 0, bucket.tokens))
    }
}

/// The /24 or /56 of an address, never 0.
fn network(asker: IpAddr) -> u128 {
    match asker.to_canonical() {
        IpAddr::V4(ip) => (4 << 64) | u128::from(u32::from(ip) >> 8),
        IpAddr::V6(ip) => (6 << 64) | (u128::from(ip) >> 72),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        hash::{BuildHasherDefault, DefaultHasher},
        net::IpAddr,
        time::Duration,
    };

    use super::{BURST, Limit, NETWORKS, Pass};

    fn limit(rate: u32) -> Limit<BuildHasherDefault<DefaultHasher>> {
        Limit::new(rate, BuildHasherDefault::default())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_gets_its_burst_and_then_every_second_query_slips() {
        let mut limit = limit(10);
        let now = Duration::from_secs(100);
        for count in 0..10 * BURST {
            // All of the /24 and all of the /56 share.
            assert_eq!(limit.take(0, ip(&format!("192.0.2.{count}")), now), Pass::Answer, "{count}");
            assert_eq!(limit.take(0, ip(&format!("2001:db8:0:{count:x}::1")), now), Pass::Answer, "{count}");
        }
        for asker in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.9"] {
            let passes: Vec<_> = (0..4).map(|_| limit.take(0, ip(asker), now)).collect();
            assert_eq!(passes, [Pass::Slip, Pass::Drop, Pass::Slip, Pass::Drop], "{asker}");
        }
        assert_eq!(limit.take(0, ip("192.0.3.1"), now), Pass::Answer, "another /24");
        assert_eq!(limit.take(0, ip("2001:db8:0:100::1"), now), Pass::Answer, "another /56");
        assert_eq!(
            limit.take(1, ip("192.0.2.1"), now),
            Pass::Answer,
            "the same addresses in another network"
        );
    }

    #[test]
    fn tokens_come_back_with_time_and_not_beyond_the_burst() {
        let mut limit = limit(2);
        let mut answered = |at: Duration, tries: usize| {
            (0..tries).filter(|_| limit.take(0, ip("192.0.2.1"), at) == Pass::Answer).count()
        };
        assert_eq!(answered(Duration::from_secs(1), 100), 4);
        assert_eq!(answered(Duration::from_millis(1499), 100), 0);
        assert_eq!(answered(Duration::from_millis(1999), 100), 1);
        assert_eq!(answered(Duration::from_secs(1000), 100), 4);
        // A clock that stands still or goes back gives nothing.
        assert_eq!(answered(Duration::from_secs(1), 100), 0);
    }

    #[test]
    fn no_limit_lets_all_pass_and_a_flood_of_networks_does_not_grow_the_table() {
        let mut open = limit(0);
        assert!((0..1000).all(|_| open.take(0, ip("192.0.2.1"), Duration::ZERO) == Pass::Answer));
        let mut limit = limit(5);
        for number in 0..200_000_u32 {
            let asker = IpAddr::from((number << 8).to_be_bytes());
            assert_eq!(limit.take(0, asker, Duration::from_secs(1)), Pass::Answer);
        }
        assert_eq!(limit.buckets.len(), NETWORKS);
        // Whoever is over the rate stays so while others come: a bucket with tokens gives way first.
        let mut limit = self::limit(5);
        let greedy = ip("198.51.100.1");
        while limit.take(0, greedy, Duration::from_secs(1)) == Pass::Answer {}
        for number in 0..200_000_u32 {
            limit.take(0, IpAddr::from((number << 8).to_be_bytes()), Duration::from_secs(1));
        }
        assert_ne!(limit.take(0, greedy, Duration::from_secs(1)), Pass::Answer);
    }
}
