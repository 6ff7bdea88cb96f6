//! Pure: which offences make a ban, how long it is, and who is spared.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use ipnet::IpNet;

use super::{Ban, Cause, MAX_BANS, Offence, Source};

/// Offences are counted within this time.
const WINDOW: Duration = Duration::from_secs(60);
/// The first ban, and the longest: each repeat doubles it.
const BAN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(900));
/// After this long without a ban, the next one is a first one again.
const FORGIVEN: Duration = Duration::from_secs(3600);
/// At most one of so many active sources is banned by the gateway itself.
const SHARE: usize = 20;
/// Sources whose offences are counted.
const COUNTED: usize = 4096;

/// What follows from offences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is counted.
    Off,
    /// What would be a ban is logged and listed.
    #[default]
    Observe,
    /// Sources are banned.
    Enforce,
}

/// What follows from one offence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    Nothing,
    /// It would be a ban, but not of this source, and why.
    Spared(&'static str),
    /// A ban.
    Ban(Ban),
}

/// What is known of the other sources.
pub(super) trait World {
    /// Whether the source was served well of late.
    fn was_served(&self, source: Source) -> bool;
    /// How many sources were active of late.
    fn active(&self) -> usize;
}

/// Offences and bans.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) mode: Mode,
    pub(super) trusted: Vec<IpNet>,
    pub(super) counted: HashMap<Source, Record>,
    pub(super) bans: BTreeMap<Source, Ban>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    since: Duration,
    last: Duration,
    /// By [`Offence`].
    offences: [u32; 3],
    repeats: u32,
    /// End of the last ban.
    free: Duration,
}

impl Mode {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

/// How many offences of a kind within the window make a ban.
const fn enough(offence: Offence) -> u32 {
    match offence {
        // Somebody who mistyped a token tries a few times; a script with an old one is told by 401 twenty times.
        Offence::Unauthorized | Offence::Handshake => 20,
        // A body that is too long is an honest mistake, more often than not.
        Offence::Limit => 100,
    }
}

// === impl Ledger ===

impl Ledger {
    /// Counts an offence.
    pub(super) fn offend(
        &mut self,
        source: Source,
        offence: Offence,
        now: Duration,
        world: &dyn World,
    ) -> Verdict {
        if self.mode == Mode::Off || self.bans.get(&source).is_some_and(|ban| ban.until > now) {
            return Verdict::Nothing;
        }
        if self.counted.len() >= COUNTED && !self.counted.contains_key(&source) {
            self.forget(now);
        }
        let fresh = Record { since: now, last: now, offences: [0; 3], repeats: 0, free: Duration::ZERO };
        let record = self.counted.entry(source).or_insert(fresh);
        if now.saturating_sub(record.since) > WINDOW {
            (record.since, record.offences) = (now, [0; 3]);
        }
        if now.saturating_sub(record.free) > FORGIVEN {
            record.repeats = 0;
        }
        record.last = now;
        let Some(count) = record.offences.get_mut(offence as usize) else { return Verdict::Nothing };
        *count += 1;
        if *count < enough(offence) {
            return Verdict::Nothing;
        }
        *count = 0;
        let (address, whole) = (source.address(), source.net());
        if self.trusted.iter().any(|net| net.contains(&address) || whole.contains(&net.addr())) {
            return Verdict::Spared("a trusted proxy");
        }
        if world.was_served(source) {
            return Verdict::Spared("it was served well of late");
        }
        let bans = || self.bans.values().filter(|ban| ban.until > now);
        // Rounded up: where there are few sources, one may be banned.
        if bans().filter(|ban| ban.cause != Cause::Manual).count() >= world.active().div_ceil(SHARE).max(1) {
            return Verdict::Spared("a twentieth of the active sources is banned already");
        }
        if bans().count() >= MAX_BANS {
            return Verdict::Spared("there are as many bans as can be");
        }
        let length = BAN.0.saturating_mul(1 << record.repeats.min(8)).min(BAN.1);
        let ban = Ban {
            source,
            cause: offence.cause(),
            since: now,
            until: now + length,
            enforced: self.mode == Mode::Enforce,
            repeats: record.repeats,
            actor: None,
            note: format!("{} offences within {} s", enough(offence), WINDOW.as_secs()),
        };
        record.repeats += 1;
        record.free = ban.until;
        self.bans.insert(source, ban.clone());
        Verdict::Ban(ban)
    }

    /// Takes out the bans whose time is over.
    pub(super) fn expired(&mut self, now: Duration) -> Vec<Ban> {
        let over: Vec<Source> =
            self.bans.values().filter(|ban| ban.until <= now).map(|ban| ban.source).collect();
        over.into_iter().filter_map(|source| self.bans.remove(&source)).collect()
    }

    /// Makes room: who did nothing for longest goes, half of them at once, so that this is rare.
    fn forget(&mut self, now: Duration) {
        self.counted.retain(|_, record| {
            now.saturating_sub(record.last) <= WINDOW || now.saturating_sub(record.free) <= FORGIVEN
        });
        if self.counted.len() >= COUNTED {
            let mut times: Vec<Duration> = self.counted.values().map(|record| record.last).collect();
            times.sort_unstable();
            let middle = times.get(times.len() / 2).copied().unwrap_or_default();
            let mut room = COUNTED / 2;
            self.counted.retain(|_, record| {
                let stays = record.last > middle || record.last == middle && room > 0;
                room -= usize::from(stays && room > 0);
                stays
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

    use super::{COUNTED, Ledger, Mode, Offence, Source, Verdict, World};
    use crate::defence::{Ban, Cause};

    #[derive(Default)]
    struct Others {
        served: BTreeSet<Source>,
        active: usize,
    }

    impl World for Others {
        fn was_served(&self, source: Source) -> bool {
            self.served.contains(&source)
        }

        fn active(&self) -> usize {
            self.active
        }
    }

    fn source(number: u32) -> Source {
        Source::of(Ipv4Addr::from_bits(number).into())
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_900_000_000 + seconds)
    }

    fn ledger(mode: Mode) -> Ledger {
        Ledger { mode, ..Ledger::default() }
    }

    /// What the last of `count` offences at one moment leads to; those before lead to nothing.
    fn last(ledger: &mut Ledger, number: u32, count: u32, seconds: u64, others: &Others) -> Verdict {
        for _ in 1..count {
            let verdict = ledger.offend(source(number), Offence::Unauthorized, at(seconds), others);
            assert_eq!(verdict, Verdict::Nothing);
        }
        ledger.offend(source(number), Offence::Unauthorized, at(seconds), others)
    }

    fn ban(verdict: Verdict) -> Ban {
        let Verdict::Ban(ban) = verdict else { panic!("{verdict:?} is no ban") };
        ban
    }

    #[test]
    fn repeats_double_a_ban_up_to_a_quarter_of_an_hour_and_are_forgiven() {
        let (mut ledger, others) = (ledger(Mode::Enforce), Others::default());
        let mut now = 0;
        for (repeats, seconds) in [(0, 60), (1, 120), (2, 240), (3, 480), (4, 900), (5, 900)] {
            let ban = ban(last(&mut ledger, 1, 20, now, &others));
            assert_eq!((ban.cause, ban.enforced, ban.repeats), (Cause::Unauthorized, true, repeats));
            assert_eq!(ban.until - ban.since, Duration::from_secs(seconds));
            // Nothing counts while it lasts.
            assert_eq!(last(&mut ledger, 1, 40, now, &others), Verdict::Nothing);
            now += seconds;
            assert_eq!(ledger.expired(at(now)), [ban]);
        }
        assert_eq!(ban(last(&mut ledger, 1, 20, now + 3601, &others)).repeats, 0);
    }

    #[test]
    fn offences_count_within_a_minute_and_by_kind() {
        let (mut ledger, others) = (ledger(Mode::Observe), Others::default());
        assert_eq!(last(&mut ledger, 1, 19, 0, &others), Verdict::Nothing);
        assert_eq!(ledger.offend(source(1), Offence::Handshake, at(1), &others), Verdict::Nothing);
        assert_eq!(last(&mut ledger, 1, 19, 62, &others), Verdict::Nothing, "the first ones are too old");
        assert!(!ban(last(&mut ledger, 1, 1, 63, &others)).enforced, "observed");
        for offence in 0..100 {
            let verdict = ledger.offend(source(2), Offence::Limit, at(70), &others);
            assert_eq!(verdict == Verdict::Nothing, offence < 99, "{offence}");
        }
        let mut off = self::ledger(Mode::Off);
        assert_eq!(last(&mut off, 1, 200, 0, &others), Verdict::Nothing);
    }

    #[test]
    fn good_sources_and_trusted_proxies_and_too_many_are_spared() {
        let mut ledger = ledger(Mode::Enforce);
        ledger.trusted = vec!["0.0.1.0/24".parse().unwrap()];
        let mut others = Others { active: 40, ..Others::default() };
        others.served.insert(source(7));
        for number in [7, 0x101] {
            assert!(matches!(last(&mut ledger, number, 20, 0, &others), Verdict::Spared(_)), "{number}");
        }
        // Two of forty.
        for number in [1, 2] {
            ban(last(&mut ledger, number, 20, 0, &others));
        }
        assert!(matches!(last(&mut ledger, 3, 20, 0, &others), Verdict::Spared(_)));
        assert_eq!(ledger.expired(at(60)).len(), 2);
        ban(last(&mut ledger, 3, 20, 61, &others));
    }

    /// A source of IPv6 is a /64, and a trusted proxy mostly one address in it.
    #[test]
    fn a_trusted_proxy_is_spared_wherever_in_its_source_it_is() {
        let source: Source = "2001:db8::5".parse().unwrap();
        for (trusted, spared) in [
            ("2001:db8::5/128", true),
            ("2001:db8::/48", true),
            ("2001:db8:0:1::5/128", false),
            ("0.0.0.0/0", false),
        ] {
            let mut ledger = ledger(Mode::Enforce);
            ledger.trusted = vec![trusted.parse().unwrap()];
            let mut verdict = Verdict::Nothing;
            for _ in 0..20 {
                verdict = ledger.offend(source, Offence::Handshake, at(0), &Others::default());
            }
            assert_eq!(matches!(verdict, Verdict::Spared(_)), spared, "{trusted}: {verdict:?}");
        }
    }

    #[test]
    fn a_crowd_of_offenders_takes_no_more_memory() {
        let (mut ledger, others) = (ledger(Mode::Enforce), Others::default());
        for number in 0..20_000 {
            ledger.offend(source(number), Offence::Limit, at(u64::from(number / 1000)), &others);
            assert!(ledger.counted.len() <= COUNTED);
        }
    }
}
