//! Keeps ledger, enforcer and audit together, on the control thread.

use std::{collections::VecDeque, time::Duration};

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::{
    Ban, Cause, Enforcer, Inbox, MAX_BANS, MAX_MANUAL, MAX_NOTE, Mode, Reports, Source, Verdict,
    ledger::{Ledger, World},
};
use crate::base::Refusal;

/// Deeds that are remembered; the log has them all.
const REMEMBERED: usize = 256;
/// A source that was served within this time is not banned, and one that connected counts as active.
const OF_LATE: Duration = Duration::from_secs(300);

/// What operators decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub mode: Mode,
    /// Sources that stand for many clients and are never banned by the gateway itself.
    pub trusted: Vec<IpNet>,
}

/// One deed, for the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Since the Unix epoch.
    #[serde(serialize_with = "seconds")]
    pub at: Duration,
    /// `ban`, `would_ban`, `spared`, `lift` or `end`.
    pub action: &'static str,
    pub source: Source,
    pub cause: Cause,
    /// User id of who did it; absent for the gateway itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<u32>,
    pub note: String,
}

fn seconds<S: Serializer>(at: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(at.as_secs())
}

/// What is banned and what was.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Overview {
    pub mode: &'static str,
    pub items: Vec<Ban>,
    /// Newest first.
    pub history: Vec<Event>,
    /// Offences that were not counted, because too many came at once.
    pub offences_lost: u64,
    /// Bans since the start, by what became of them.
    pub banned: u64,
    pub would_ban: u64,
    pub spared: u64,
}

/// The only place where bans are made and lifted.
#[derive(Debug)]
pub struct Desk {
    ledger: Ledger,
    inbox: Inbox,
    history: VecDeque<Event>,
    banned: u64,
    would_ban: u64,
    spared: u64,
}

/// What the workers saw of sources.
struct Seen<'a> {
    reports: &'a Reports,
    since: Duration,
}

impl World for Seen<'_> {
    fn was_served(&self, source: Source) -> bool {
        self.reports.was_served(source, self.since)
    }

    fn active(&self) -> usize {
        self.reports.active(self.since)
    }
}

// === impl Desk ===

impl Desk {
    /// A desk over the proxy's reports.
    #[must_use]
    pub fn new(settings: Settings, inbox: Inbox) -> Self {
        Self {
            ledger: Ledger { mode: settings.mode, trusted: settings.trusted, ..Ledger::default() },
            inbox,
            history: VecDeque::new(),
            banned: 0,
            would_ban: 0,
            spared: 0,
        }
    }

    /// Takes over the bans that an earlier daemon left with the enforcer.
    pub fn adopt(&mut self, enforcer: &dyn Enforcer, now: Duration) {
        for ban in enforcer.bans().into_iter().filter(|ban| ban.until > now) {
            tracing::info!(source = %ban.source, until = ban.until.as_secs(), "a ban of an earlier run goes on");
            self.ledger.bans.insert(ban.source, ban);
        }
        self.inbox.reports.publish(self.ledger.bans.values());
    }

    /// Judges what was reported, and ends bans whose time is over.
    pub fn poll(&mut self, enforcer: &mut dyn Enforcer, now: Duration) {
        let offences: Vec<_> = self.inbox.take().collect();
        let mut changed = false;
        for (source, offence) in offences {
            let seen = Seen { reports: &self.inbox.reports, since: now.saturating_sub(OF_LATE) };
            match self.ledger.offend(source, offence, now, &seen) {
                Verdict::Nothing => {}
                Verdict::Spared(why) => {
                    self.spared += 1;
                    tracing::info!(%source, cause = offence.cause().name(), why, "not banned");
                    self.note(now, "spared", source, offence.cause(), None, why);
                }
                Verdict::Ban(ban) => {
                    changed |= ban.enforced;
                    self.made(&ban, enforcer, now);
                }
            }
        }
        for ban in self.ledger.expired(now) {
            changed |= ban.enforced;
            if let Err(refusal) = enforcer.lift(ban.source) {
                tracing::warn!(source = %ban.source, %refusal, "an ended ban stays in the kernel's table");
            }
            tracing::info!(source = %ban.source, cause = ban.cause.name(), "ban ended");
            self.note(now, "end", ban.source, ban.cause, None, "");
        }
        if changed {
            self.inbox.reports.publish(self.ledger.bans.values());
        }
    }

    /// Puts bans in force that the enforcer does not have: its tables may be younger than they.
    pub fn reconcile(&self, enforcer: &mut dyn Enforcer) {
        if self.ledger.bans.is_empty() {
            return;
        }
        let held = enforcer.bans();
        for ban in self.ledger.bans.values().filter(|ban| held.iter().all(|one| one.source != ban.source)) {
            if let Err(refusal) = enforcer.ban(ban) {
                tracing::warn!(source = %ban.source, %refusal, "a ban is enforced at accept only");
            }
        }
    }

    fn made(&mut self, ban: &Ban, enforcer: &mut dyn Enforcer, now: Duration) {
        let (source, cause, seconds) = (ban.source, ban.cause.name(), (ban.until - ban.since).as_secs());
        // An observed ban stands in the kernel's table too, so that it outlives the daemon like the others.
        if let Err(refusal) = enforcer.ban(ban) {
            tracing::warn!(%source, %refusal, "the ban is enforced at accept only");
        }
        if ban.enforced {
            self.banned += 1;
            tracing::warn!(%source, cause, seconds, repeats = ban.repeats, note = ban.note, "banned");
            self.note(now, "ban", source, ban.cause, ban.actor, &ban.note);
        } else {
            self.would_ban += 1;
            tracing::warn!(%source, cause, seconds, note = ban.note, "would be banned (ban = \"observe\")");
            self.note(now, "would_ban", source, ban.cause, None, &ban.note);
        }
    }

    /// Bans a source by hand. With `dry_run` it is only checked.
    ///
    /// # Errors
    /// The time is out of range, or there is no room.
    pub fn ban(
        &mut self,
        enforcer: &mut dyn Enforcer,
        order: Order,
        now: Duration,
        dry_run: bool,
    ) -> Result<Ban, Refusal> {
        if order.wait > MAX_MANUAL || order.wait < Duration::from_secs(1) {
            return Err(Refusal::new("limit", "a ban has an end")
                .field("for", format_args!("{}s", order.wait.as_secs()))
                .limit("1s to 24h")
                .remedy("take the source off the allowlist to keep it out for good"));
        }
        if order.note.len() > MAX_NOTE {
            return Err(Refusal::new("limit", "the reason is too long")
                .field("reason", format_args!("{} bytes", order.note.len()))
                .limit(MAX_NOTE)
                .remedy("say it shorter"));
        }
        let others = self.ledger.bans.keys().filter(|source| **source != order.source).count();
        if others >= MAX_BANS {
            return Err(Refusal::new("limit", "there are as many bans as can be")
                .field("bans", others + 1)
                .limit(MAX_BANS)
                .remedy("lift some first"));
        }
        let ban = Ban {
            source: order.source,
            cause: Cause::Manual,
            since: now,
            until: now + order.wait,
            enforced: true,
            repeats: 0,
            actor: order.actor,
            note: order.note,
        };
        if !dry_run {
            self.ledger.bans.insert(ban.source, ban.clone());
            self.made(&ban, enforcer, now);
            self.inbox.reports.publish(self.ledger.bans.values());
        }
        Ok(ban)
    }

    /// Ends a ban by hand.
    ///
    /// # Errors
    /// There is none, or the enforcer keeps it.
    pub fn lift(
        &mut self,
        enforcer: &mut dyn Enforcer,
        source: Source,
        actor: Option<u32>,
        now: Duration,
        dry_run: bool,
    ) -> Result<Ban, Refusal> {
        let Some(ban) = self.ledger.bans.get(&source).cloned() else {
            return Err(Refusal::new("not_found", format_args!("{source} is not banned"))
                .field("source", source)
                .remedy("`gateway ban list` shows who is"));
        };
        if !dry_run {
            enforcer.lift(source)?;
            self.ledger.bans.remove(&source);
            tracing::info!(%source, actor, "ban lifted");
            self.note(now, "lift", source, ban.cause, actor, "");
            self.inbox.reports.publish(self.ledger.bans.values());
        }
        Ok(ban)
    }

    /// Everything there is to say.
    #[must_use]
    pub fn overview(&self) -> Overview {
        Overview {
            mode: self.ledger.mode.name(),
            items: self.ledger.bans.values().cloned().collect(),
            history: self.history.iter().rev().cloned().collect(),
            offences_lost: self.inbox.reports.lost(),
            banned: self.banned,
            would_ban: self.would_ban,
            spared: self.spared,
        }
    }

    fn note(
        &mut self,
        at: Duration,
        action: &'static str,
        source: Source,
        cause: Cause,
        actor: Option<u32>,
        note: &str,
    ) {
        if self.history.len() == REMEMBERED {
            self.history.pop_front();
        }
        self.history.push_back(Event { at, action, source, cause, actor, note: note.to_owned() });
    }
}

/// A ban by hand.
#[derive(Clone, Debug)]
pub struct Order {
    pub source: Source,
    pub wait: Duration,
    pub note: String,
    /// User id.
    pub actor: Option<u32>,
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::{Ban, Desk, Enforcer, Mode, Order, Refusal, Settings, Source};
    use crate::defence::{Offence, reports};

    #[derive(Default)]
    struct Kernel(BTreeMap<Source, Ban>);

    impl Enforcer for Kernel {
        fn bans(&self) -> Vec<Ban> {
            self.0.values().cloned().collect()
        }

        fn ban(&mut self, ban: &Ban) -> Result<(), Refusal> {
            self.0.insert(ban.source, ban.clone());
            Ok(())
        }

        fn lift(&mut self, source: Source) -> Result<(), Refusal> {
            self.0.remove(&source);
            Ok(())
        }
    }

    const NOW: Duration = Duration::from_secs(1_900_000_000);

    fn order(source: &str, seconds: u64) -> Order {
        let wait = Duration::from_secs(seconds);
        Order { source: source.parse().unwrap(), wait, note: "because".to_owned(), actor: Some(0) }
    }

    #[test]
    fn offences_become_a_ban_that_workers_see_and_that_ends() {
        let (reports, inbox) = reports();
        let settings = Settings { mode: Mode::Enforce, trusted: Vec::new() };
        let (mut desk, mut kernel) = (Desk::new(settings, inbox), Kernel::default());
        let peer = "192.0.2.1".parse().unwrap();
        let before = reports.version();
        (0..20).for_each(|_| reports.offence(peer, Offence::Handshake));
        desk.poll(&mut kernel, NOW);
        assert!(reports.is_banned(peer, NOW) && reports.version() > before);
        assert!(!reports.is_banned("192.0.2.2".parse().unwrap(), NOW));
        assert!(!reports.is_banned(peer, NOW + Duration::from_secs(60)));
        assert_eq!(kernel.bans(), desk.overview().items);
        desk.poll(&mut kernel, NOW + Duration::from_secs(60));
        assert!(kernel.bans().is_empty() && desk.overview().items.is_empty());
        let actions: Vec<_> = desk.overview().history.iter().map(|event| event.action).collect();
        assert_eq!(actions, ["end", "ban"]);

        // Who was served well is not banned.
        reports.served(peer, NOW);
        (0..20).for_each(|_| reports.offence(peer, Offence::Handshake));
        desk.poll(&mut kernel, NOW + Duration::from_secs(61));
        assert_eq!((desk.overview().spared, desk.overview().items.len()), (1, 0));
    }

    #[test]
    fn a_ban_by_hand_is_enforced_whatever_the_mode_and_outlives_the_daemon() {
        let (first, inbox) = reports();
        let (mut desk, mut kernel) = (Desk::new(Settings::default(), inbox), Kernel::default());
        desk.ban(&mut kernel, order("192.0.2.1", 60), NOW, true).unwrap();
        assert!(kernel.bans().is_empty(), "a dry run");
        let ban = desk.ban(&mut kernel, order("192.0.2.1", 60), NOW, false).unwrap();
        assert!(ban.enforced && first.is_banned(ban.source.address(), NOW));
        for bad in [0, 24 * 3600 + 1] {
            assert_eq!(desk.ban(&mut kernel, order("192.0.2.9", bad), NOW, false).unwrap_err().code, "limit");
        }
        drop(desk);

        let (second, inbox) = reports();
        let mut desk = Desk::new(Settings::default(), inbox);
        desk.adopt(&kernel, NOW + Duration::from_secs(1));
        assert_eq!(desk.overview().items, std::slice::from_ref(&ban));
        assert!(second.is_banned(ban.source.address(), NOW));
        kernel.0.clear();
        desk.reconcile(&mut kernel);
        assert_eq!(kernel.bans(), std::slice::from_ref(&ban), "younger tables get it again");
        let lifted = desk.lift(&mut kernel, ban.source, Some(7), NOW, false).unwrap();
        assert_eq!(lifted, ban);
        assert!(kernel.bans().is_empty() && !second.is_banned(ban.source.address(), NOW));
        assert_eq!(desk.lift(&mut kernel, ban.source, None, NOW, false).unwrap_err().code, "not_found");
    }
}
