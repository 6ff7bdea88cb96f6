//! Defence against sources that the allowlist admits: bans and budgets of new connections.
//!
//! Nothing here is ever asked about a packet that the allowlist refuses, so a flood of outsiders costs no more for it;
//! and a budget or a ban never admits anybody.

use crate::packet::{Family, Packet};

/// Sources that can be banned at a time.
pub const BANS: u32 = 4096;
/// Sources whose budget is remembered; the one that was quiet for longest is forgotten first.
pub const BUDGETED_SOURCES: u32 = 16 * 1024;

/// Bit of the word that says what there is to look for: bans.
pub const GUARD_BANS: u32 = 1 << 0;
/// Another: budgets, of one listener at least.
pub const GUARD_BUDGETS: u32 = 1 << 1;

/// Nanoseconds of a budget that may be saved up: a burst of one second's connections.
pub const BURST: u64 = 1_000_000_000;

/// A source as bans and budgets know it: an IPv4 address, or the first half of an IPv6 address, because whoever has
/// one of its addresses has them all.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// As it came off the wire.
    pub address: [u32; 2],
    /// 4 or 6.
    pub family: u32,
    /// Counter id of the listener whose budget it is; 0 in a ban, which holds at every listener.
    pub listener: u32,
}

/// A ban, in the clock that counts from the machine's start (`CLOCK_MONOTONIC`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Nanoseconds.
    pub until: u64,
    pub since: u64,
    /// 1: packets are dropped; 0: it is only observed what would be.
    pub enforced: u32,
    /// Number of the reason, for the daemon.
    pub cause: u32,
    /// How often the source was banned before, for the daemon.
    pub repeats: u32,
    /// User id of who banned it by hand, for the daemon.
    pub actor: u32,
    /// Why, in UTF-8, filled up with zeros; for the daemon.
    pub note: [u8; NOTE],
}

/// Bytes of a ban's note.
pub const NOTE: usize = 96;

/// A listener's budgets of new connections, as a GCRA: nanoseconds per connection. 0 is no limit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Of all sources together.
    pub interval: u64,
    /// Of each source: its share.
    pub share: u64,
    /// When the budget of all sources will be even again. The program writes it, from several CPUs and without a lock:
    /// a connection may be forgotten, which errs on the side of the client.
    pub even: u64,
}

/// What became of a connection in a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    pub conforms: bool,
    /// The new value of "even again".
    pub even: u64,
}

/// Takes one connection out of a budget at `now`.
#[inline(always)]
#[must_use]
pub const fn spend(even: u64, now: u64, interval: u64) -> Spent {
    let from = if even > now { even } else { now };
    let next = from + interval;
    if next - now > BURST + interval {
        Spent { conforms: false, even }
    } else {
        Spent { conforms: true, even: next }
    }
}

impl Source {
    /// The source of `packet` at `listener`.
    #[inline(always)]
    #[must_use]
    pub const fn of(packet: &Packet, listener: u32) -> Self {
        let [first, second, _, _] = packet.source;
        match packet.family {
            Family::V4 => Self { address: [first, 0], family: 4, listener },
            Family::V6 => Self { address: [first, second], family: 6, listener },
        }
    }
}

impl Ban {
    /// Whether packets are dropped for it at `now`.
    #[inline(always)]
    #[must_use]
    pub const fn bites(&self, now: u64) -> bool {
        self.enforced != 0 && self.until > now
    }
}

const _: () = {
    // Sum of the fields == size of the type: there is no padding.
    assert!(size_of::<Source>() == 16);
    assert!(size_of::<Ban>() == 2 * 8 + 4 * 4 + NOTE);
    assert!(size_of::<Budget>() == 24);
};

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "aya moves these types in and out of maps as bytes")]
    // SAFETY: repr(C), integers only, no padding (asserted above), valid for every bit pattern.
    unsafe impl aya::Pod for super::Source {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Ban {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Budget {}
}

#[cfg(test)]
mod tests {
    use super::{BURST, spend};

    #[test]
    fn a_budget_lets_its_rate_through_and_a_second_of_it_at_once() {
        let interval = BURST / 10;
        let mut even = 0;
        let mut passed = |now: u64| {
            let spent = spend(even, now, interval);
            even = spent.even;
            spent.conforms
        };
        let start = 5 * BURST;
        // The burst, then the rate.
        assert_eq!((0..100).filter(|_| passed(start)).count(), 11);
        assert!(!passed(start + interval - 1));
        assert!(passed(start + interval));
        assert!(!passed(start + interval));
        // Over ten seconds of asking too often: ten per second.
        let steps = 1..=10_000_u64;
        let count = steps.filter(|step| passed(start + interval + step * BURST / 1000)).count();
        assert_eq!(count, 100);
        // A rest of a second saves up the burst, and a rest of a day not more than that.
        assert_eq!((0..100).filter(|_| passed(start + 86_400 * BURST)).count(), 11);
    }
}
