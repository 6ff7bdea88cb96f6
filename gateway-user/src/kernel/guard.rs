//! Bans and budgets in the kernel: maps that belong to no generation, written as they change.

use std::{num::NonZeroU32, time::Duration};

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use gateway_common::{
    counters::MAX_LISTENERS,
    defence::{self, BURST, Budget, GUARD_BANS, GUARD_BUDGETS, NOTE},
    packet::Family,
};
use nix::time::{ClockId, clock_gettime};

use crate::{
    base::clock,
    defence::{Ban, Cause, Source},
    snapshot::{
        FilterPlan,
        filter::{ListenerOptions, address},
    },
};

/// A listener's share by source, where only the listener's rate is given: an eighth of it.
const SHARES: u64 = 8;
/// The actor of a ban that the gateway made itself.
const NOBODY: u32 = u32::MAX;

/// The open maps.
pub(crate) struct Guard {
    flags: Array<MapData, u32>,
    bans: HashMap<MapData, defence::Source, defence::Ban>,
    budgets: Array<MapData, Budget>,
    /// Rates in force, by listener id.
    rates: Vec<(u64, u64)>,
}

impl Guard {
    /// Takes the maps, and what an earlier daemon left in them.
    ///
    /// # Errors
    /// They are not what they should be.
    pub(crate) fn open(flags: Map, bans: Map, budgets: Map) -> Result<Self, MapError> {
        let budgets: Array<MapData, Budget> = budgets.try_into()?;
        let rates = (0..MAX_LISTENERS)
            .map(|id| budgets.get(&id, 0).map(|budget| (budget.interval, budget.share)))
            .collect::<Result<_, _>>()?;
        Ok(Self { flags: flags.try_into()?, bans: bans.try_into()?, budgets, rates })
    }

    /// Sets the budgets that `plan` says, where they differ.
    ///
    /// # Errors
    /// The kernel refused a write.
    pub(crate) fn follow(&mut self, plan: &FilterPlan) -> Result<(), MapError> {
        let mut wanted = vec![(0, 0); self.rates.len()];
        for listener in &plan.listeners {
            if let Some(rate) = wanted.get_mut(usize::from(listener.id)) {
                *rate = rates(&listener.options);
            }
        }
        for (id, (rate, wanted)) in (0..).zip(self.rates.iter_mut().zip(wanted)) {
            if *rate != wanted {
                self.budgets.set(id, Budget { interval: wanted.0, share: wanted.1, even: 0 }, 0)?;
                *rate = wanted;
            }
        }
        self.arm()
    }

    /// Tells the program what there is to look for.
    fn arm(&mut self) -> Result<(), MapError> {
        let bans = if self.bans.keys().next().is_some() { GUARD_BANS } else { 0 };
        let limited = self.rates.iter().any(|rate| *rate != (0, 0));
        let budgets = if limited { GUARD_BUDGETS } else { 0 };
        self.flags.set(0, bans | budgets, 0)
    }

    /// Every ban in the map, also those whose time is over.
    pub(crate) fn bans(&self) -> Vec<Ban> {
        let clocks = Clocks::read();
        self.bans
            .iter()
            .filter_map(Result::ok)
            .filter_map(|(source, ban)| clocks.ban(&source, &ban))
            .collect()
    }

    /// Puts a ban in force, or changes it.
    ///
    /// # Errors
    /// The map is full, or the kernel refused the write.
    pub(crate) fn ban(&mut self, ban: &Ban) -> Result<(), MapError> {
        self.bans.insert(key(ban.source), Clocks::read().row(ban), 0)?;
        self.arm()
    }

    /// Ends a ban.
    ///
    /// # Errors
    /// The kernel refused the write.
    pub(crate) fn lift(&mut self, source: Source) -> Result<(), MapError> {
        match self.bans.remove(&key(source)) {
            Ok(()) | Err(MapError::KeyNotFound) => self.arm(),
            Err(error) => Err(error),
        }
    }
}

/// Nanoseconds per connection: of the listener, and of each source.
fn rates(options: &ListenerOptions) -> (u64, u64) {
    let interval = |rate: Option<NonZeroU32>| rate.map(|rate| BURST / u64::from(rate.get()));
    let all = interval(options.syn_rate);
    let share = interval(options.syn_rate_per_source).or(all.map(|all| (all * SHARES).min(BURST)));
    (all.unwrap_or(0), share.unwrap_or(0))
}

fn key(source: Source) -> defence::Source {
    let (family, [first, second, _, _]) = address::words(source.address());
    let family = match family {
        Family::V4 => 4,
        Family::V6 => 6,
    };
    defence::Source { address: [first, second], family, listener: 0 }
}

/// The same moment on both clocks: bans are told in the time of day, and the kernel has one that is never set.
struct Clocks {
    day: Duration,
    kernel: Duration,
}

impl Clocks {
    fn read() -> Self {
        // A kernel without this clock does not exist.
        let kernel = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        Self { day: clock::unix(), kernel }
    }

    fn row(&self, ban: &Ban) -> defence::Ban {
        let nanos = |at: Duration| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        let mut note = [0; NOTE];
        for (to, from) in note.iter_mut().zip(ban.note.as_bytes()) {
            *to = *from;
        }
        defence::Ban {
            until: nanos((self.kernel + ban.until).saturating_sub(self.day)),
            since: nanos((self.kernel + ban.since).saturating_sub(self.day)),
            enforced: u32::from(ban.enforced),
            cause: ban.cause as u32,
            repeats: ban.repeats,
            actor: ban.actor.unwrap_or(NOBODY),
            note,
        }
    }

    fn ban(&self, source: &defence::Source, row: &defence::Ban) -> Option<Ban> {
        let [first, second] = source.address.map(u32::to_ne_bytes);
        let source = if source.family == 4 {
            Source::of(first.into())
        } else {
            let [a, b, c, d] = first;
            let [e, f, g, h] = second;
            Source::of([a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0].into())
        };
        let day = |at: u64| (self.day + Duration::from_nanos(at)).saturating_sub(self.kernel);
        let note = row.note.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Ban {
            source,
            cause: Cause::from_number(row.cause)?,
            since: day(row.since),
            until: day(row.until),
            enforced: row.enforced != 0,
            repeats: row.repeats,
            actor: Some(row.actor).filter(|actor| *actor != NOBODY),
            // A note that was cut within a character loses that character.
            note: String::from_utf8_lossy(note).trim_end_matches('\u{fffd}').to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use super::{BURST, Clocks, key, rates};
    use crate::{
        defence::{Ban, Cause},
        snapshot::filter::ListenerOptions,
    };

    #[test]
    fn a_ban_is_read_as_it_was_written() {
        let clocks = Clocks { day: Duration::from_secs(1_900_000_000), kernel: Duration::from_secs(77) };
        for (source, note) in [("192.0.2.1", "why not"), ("2001:db8::/64", ""), ("10.0.0.255", "ä")] {
            for (since, until) in [(-5_i64, 60), (0, 86_400), (-70, -3)] {
                let at = |offset: i64| Duration::from_secs((1_900_000_000 + offset) as u64);
                let ban = Ban {
                    source: source.parse().unwrap(),
                    cause: Cause::Handshake,
                    since: at(since),
                    until: at(until),
                    enforced: until > 60,
                    repeats: 3,
                    actor: (since == 0).then_some(0),
                    note: note.to_owned(),
                };
                assert_eq!(clocks.ban(&key(ban.source), &clocks.row(&ban)), Some(ban));
            }
        }
    }

    #[test]
    fn a_share_is_an_eighth_where_it_is_not_said() {
        let options = |all, share| ListenerOptions {
            syn_rate: NonZeroU32::new(all),
            syn_rate_per_source: NonZeroU32::new(share),
            ..ListenerOptions::default()
        };
        assert_eq!(rates(&options(0, 0)), (0, 0));
        assert_eq!(rates(&options(1000, 0)), (BURST / 1000, BURST / 125));
        assert_eq!(rates(&options(4, 0)), (BURST / 4, BURST), "one connection per second at least");
        assert_eq!(rates(&options(1000, 10)), (BURST / 1000, BURST / 10));
        assert_eq!(rates(&options(0, 10)), (0, BURST / 10));
    }
}
