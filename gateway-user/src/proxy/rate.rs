//! Pure: the least rate at which a client must go on with what it sends or takes.
//!
//! A silence has a deadline, but one byte before each of them would keep a request alive for hours. So a client has a
//! credit of bytes: waiting for it uses the credit up at the least rate, what it sends or takes fills it, up to what one
//! silence of the longest kind costs. It begins full. Whoever is silent for that long is late, and so is whoever stays
//! below the rate on average; whoever is fast may pause. Only the time counts in which the client is waited for: an
//! instance that does not read is not the client's fault.
//!
//! Time comes in as ticks of the worker's clock.

/// Ticks of a second.
const SECOND: u64 = 10;

/// One transfer's credit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    /// Bytes per second, which are tenths of bytes per tick.
    rate: u64,
    /// The most that the credit may be, in tenths of bytes.
    most: u64,
    credit: u64,
    /// Tick since when the client is waited for; 0: it is not.
    since: u32,
}

impl Floor {
    /// At least `rate` bytes per second, and no silence of more than `patience` ticks. A rate of 0 asks for the latter
    /// only, as nearly as one byte a second does.
    pub(crate) fn new(rate: u32, patience: u32) -> Self {
        let rate = u64::from(rate.max(1));
        let most = rate.saturating_mul(u64::from(patience.max(1)));
        Self { rate, most, credit: most, since: 0 }
    }

    /// From now on the client is waited for.
    pub(crate) fn wait(&mut self, tick: u32) {
        if self.since == 0 {
            self.since = tick.max(1);
        }
    }

    /// So many bytes passed; the client is not waited for any more.
    pub(crate) fn note(&mut self, bytes: u64, tick: u32) {
        self.credit = self.left(tick).saturating_add(bytes.saturating_mul(SECOND)).min(self.most);
        self.since = 0;
    }

    /// The first tick at which it is too slow if nothing comes until then; `None`: it is not waited for.
    pub(crate) fn due(&self) -> Option<u32> {
        let ticks = u32::try_from(self.credit.div_ceil(self.rate)).unwrap_or(u32::MAX / 2);
        (self.since != 0).then(|| self.since.saturating_add(ticks))
    }

    fn left(&self, tick: u32) -> u64 {
        let waited = if self.since == 0 { 0 } else { tick.saturating_sub(self.since) };
        self.credit.saturating_sub(self.rate.saturating_mul(u64::from(waited)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::Floor;

    fn late(floor: &Floor, tick: u32) -> bool {
        floor.due().is_some_and(|due| due <= tick)
    }

    /// Sends `bytes` every `every` ticks and tells the tick at which it is late, if it is before `end`.
    fn trickle(mut floor: Floor, bytes: u64, every: u32, end: u32) -> Option<u32> {
        let mut tick = 1;
        while tick < end {
            floor.wait(tick);
            let due = floor.due().unwrap();
            if due <= tick + every {
                assert!(floor.left(due) == 0 && floor.left(due - 1) > 0);
                return Some(due);
            }
            tick += every;
            floor.note(bytes, tick);
        }
        None
    }

    #[test]
    fn a_silence_and_a_trickle_end_alike() {
        let floor = Floor::new(240, 300);
        assert_eq!(trickle(floor, 0, 1000, 10_000), Some(301));
        // One byte before each deadline of silence: a second more, not hours.
        assert!(trickle(floor, 1, 290, 1_000_000).is_some_and(|tick| tick < 310));
        assert!(trickle(floor, 100, 10, 1_000_000).is_some_and(|tick| tick < 600));
    }

    #[test]
    fn who_keeps_the_rate_may_go_on_for_ever_and_pause() {
        let floor = Floor::new(240, 300);
        assert_eq!(trickle(floor, 240, 10, 1_000_000), None);
        assert_eq!(trickle(floor, 24, 1, 1_000_000), None);
        assert_eq!(trickle(floor, 1 << 20, 299, 1_000_000), None, "fast, with long pauses");
        assert_eq!(trickle(floor, 1 << 20, 301, 1_000_000), Some(301));
    }

    #[test]
    fn time_in_which_nobody_waits_does_not_count() {
        let mut floor = Floor::new(240, 300);
        floor.wait(1);
        floor.note(0, 200);
        assert!(floor.due().is_none());
        floor.wait(1_000_000);
        assert_eq!(floor.due(), Some(1_000_000 + 101));
    }

    #[test]
    fn without_a_rate_silence_alone_counts() {
        assert_eq!(trickle(Floor::new(0, 300), 0, 1000, 10_000), Some(301));
        assert_eq!(trickle(Floor::new(0, 300), 30, 290, 1_000_000), None);
    }

    proptest! {
        /// Whatever arrives and when: it is late exactly if a credit that is counted by the tick is used up.
        #[test]
        fn it_agrees_with_a_count_by_the_tick(
            rate in 1_u32..5000,
            patience in 1_u32..600,
            steps in proptest::collection::vec((any::<bool>(), 0_u32..400, 0_u64..20_000), 1..60),
        ) {
            let mut floor = Floor::new(rate, patience);
            let most = u64::from(rate) * u64::from(patience);
            let (mut credit, mut tick) = (most, 1_u32);
            for (waits, ticks, bytes) in steps {
                if waits {
                    floor.wait(tick);
                }
                for _ in 0..ticks {
                    tick += 1;
                    credit = credit.saturating_sub(if waits { u64::from(rate) } else { 0 });
                    prop_assert_eq!(late(&floor, tick), waits && credit == 0);
                }
                prop_assert!(floor.due().is_some() == waits);
                floor.note(bytes, tick);
                credit = (credit + bytes * 10).min(most);
            }
        }
    }
}
