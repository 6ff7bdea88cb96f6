//! Pure: whether a worker takes connections now. It stops at a mark and goes on at a lower one, so that a load at the
//! limit does not make it flap; what waits meanwhile stays in the kernel's queue.
//!
//! The marks leave room above them: connections that are open may use the last tenth of the budget for their requests,
//! so a wave of new clients cannot take it from those who were there first.

use std::cell::Cell;

use crate::observe::load::Full;

/// How full things are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Level {
    pub(crate) used: u64,
    pub(crate) limit: u64,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Levels {
    pub(crate) memory: Level,
    pub(crate) connections: Level,
    /// TLS clients of this worker that wait for their turn.
    pub(crate) handshakes: Level,
}

/// Stop at so many percent, and go on below so many.
#[derive(Clone, Copy, Debug)]
struct Marks {
    stop: u64,
    resume: u64,
}

const MEMORY: Marks = Marks { stop: 90, resume: 85 };
const CONNECTIONS: Marks = Marks { stop: 100, resume: 95 };
const HANDSHAKES: Marks = Marks { stop: 100, resume: 50 };

/// Ticks without a try after the kernel had no descriptor or no memory for another connection.
const BREATHER: u32 = 2;

/// Ticks after the gate opened in which room is likely to run out again.
const TIGHT: u32 = 10;

/// One worker's gate.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    shut: Cell<Option<Full>>,
    /// Tick of the last change.
    since: Cell<u32>,
    /// Until this tick the kernel is left alone.
    breather: Cell<u32>,
}

// === impl Level ===

impl Level {
    /// Whether it stands at `percent` of the limit or above. A limit of nothing is always reached.
    fn is_at(self, percent: u64) -> bool {
        u128::from(self.used) * 100 >= u128::from(self.limit) * u128::from(percent)
    }

    /// How much must go until it is below `percent`.
    fn above(self, percent: u64) -> u64 {
        let mark = u128::from(self.limit) * u128::from(percent) / 100;
        self.used.saturating_add(1).saturating_sub(u64::try_from(mark).unwrap_or(u64::MAX))
    }
}

// === impl Gate ===

impl Gate {
    /// Why no connections are taken.
    pub(crate) fn shut(&self) -> Option<Full> {
        self.shut.get()
    }

    /// For how many ticks it has been as it is.
    pub(crate) fn age(&self, tick: u32) -> u32 {
        tick.saturating_sub(self.since.get())
    }

    /// Whether room is short: the gate is shut, or was a moment ago.
    pub(crate) fn is_tight(&self, tick: u32) -> bool {
        self.shut.get().is_some() || (self.since.get() != 0 && self.age(tick) <= TIGHT)
    }

    /// The kernel had nothing left for another connection.
    pub(crate) fn exhausted(&self, tick: u32) {
        self.breather.set(tick.saturating_add(BREATHER));
    }

    /// Looks again. Returns what was and what is, when that changed.
    pub(crate) fn look(&self, levels: Levels, tick: u32) -> Option<(Option<Full>, Option<Full>)> {
        let before = self.shut.get();
        // The reason that shut the gate keeps it shut until its lower mark; any other only at its upper one.
        let holds = |full: Full, level: Level, marks: Marks| {
            level.is_at(if before == Some(full) { marks.resume } else { marks.stop })
        };
        let after = if tick < self.breather.get() {
            Some(Full::Descriptors)
        } else if holds(Full::Memory, levels.memory, MEMORY) {
            Some(Full::Memory)
        } else if holds(Full::Connections, levels.connections, CONNECTIONS) {
            Some(Full::Connections)
        } else if holds(Full::Handshakes, levels.handshakes, HANDSHAKES) {
            Some(Full::Handshakes)
        } else {
            None
        };
        if before == after {
            return None;
        }
        self.shut.set(after);
        self.since.set(tick);
        Some((before, after))
    }

    /// How many waiting connections must leave until the gate can open, if one gives `each` bytes back.
    pub(crate) fn surplus(&self, levels: Levels, each: u64) -> u64 {
        match self.shut.get() {
            Some(Full::Memory) => levels.memory.above(MEMORY.resume).div_ceil(each.max(1)),
            Some(Full::Connections) => levels.connections.above(CONNECTIONS.resume),
            // One place in a hundred: a descriptor each, and the kernel says itself when it is not enough.
            Some(Full::Descriptors) => levels.connections.used.div_ceil(100),
            // Those who wait for their turn are new; nobody else could make room for them.
            Some(Full::Handshakes) | None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BREATHER, Gate, Level, Levels, TIGHT};
    use crate::observe::load::Full;

    fn levels(memory: u64, connections: u64, handshakes: u64) -> Levels {
        let of = |used| Level { used, limit: 1000 };
        Levels { memory: of(memory), connections: of(connections), handshakes: of(handshakes) }
    }

    #[test]
    fn it_stops_at_the_upper_mark_and_goes_on_below_the_lower() {
        for (full, at, stop, resume) in [
            (Full::Memory, (|used| levels(used, 0, 0)) as fn(u64) -> Levels, 900, 850),
            (Full::Connections, |used| levels(0, used, 0), 1000, 950),
            (Full::Handshakes, |used| levels(0, 0, used), 1000, 500),
        ] {
            let gate = Gate::default();
            assert!(!gate.is_tight(1));
            assert_eq!(gate.look(at(stop - 1), 1), None);
            assert_eq!(gate.look(at(stop), 2), Some((None, Some(full))));
            assert_eq!(gate.look(at(resume), 7), None);
            assert_eq!((gate.shut(), gate.age(7)), (Some(full), 5));
            assert!(gate.is_tight(7));
            assert_eq!(gate.look(at(resume - 1), 8), Some((Some(full), None)));
            assert!(gate.is_tight(8 + TIGHT) && !gate.is_tight(9 + TIGHT));
            assert_eq!(gate.look(at(stop - 1), 9), None);
        }
    }

    #[test]
    fn the_kernel_is_left_alone_for_a_moment() {
        let gate = Gate::default();
        gate.exhausted(10);
        assert_eq!(gate.look(levels(0, 0, 0), 10), Some((None, Some(Full::Descriptors))));
        assert_eq!(
            gate.look(levels(950, 0, 0), 10 + BREATHER),
            Some((Some(Full::Descriptors), Some(Full::Memory)))
        );
        assert_eq!(gate.look(levels(0, 0, 0), 11 + BREATHER), Some((Some(Full::Memory), None)));
    }

    /// Whatever the load does, the gate turns only when a mark is passed: never twice without the level having crossed
    /// the whole distance between the marks.
    #[test]
    fn a_load_at_the_limit_does_not_make_it_flap() {
        let gate = Gate::default();
        let mut seed = 7_u64;
        let (mut level, mut turned_at, mut turns) = (0_i64, None::<i64>, 0);
        for tick in 0..200_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            level = (level + (seed >> 33) as i64 % 21 - 10).clamp(0, 1000);
            if gate.look(levels(level as u64, 0, 0), tick).is_some() {
                if let Some(before) = turned_at.replace(level) {
                    assert!((level - before).abs() >= 50, "{before} {level}");
                }
                turns += 1;
            }
            assert!(level < 900 || gate.shut().is_some());
            assert!(level >= 850 || gate.shut().is_none());
        }
        assert!(turns > 100, "{turns}");
    }

    #[test]
    fn the_surplus_is_what_brings_it_below_the_lower_mark() {
        let gate = Gate::default();
        assert_eq!(gate.surplus(levels(999, 999, 999), 10), 0);
        gate.look(levels(950, 0, 0), 1);
        assert_eq!(gate.surplus(levels(950, 0, 0), 16), 7);
        let gate = Gate::default();
        gate.look(levels(0, 1000, 0), 1);
        assert_eq!(gate.surplus(levels(0, 1000, 0), 16), 51);
        gate.exhausted(2);
        gate.look(levels(0, 1000, 0), 2);
        assert_eq!(gate.surplus(levels(0, 1000, 0), 16), 10);
    }
}
