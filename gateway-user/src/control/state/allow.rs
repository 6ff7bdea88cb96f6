//! Pure: edits of allowlists.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;

use super::{Draining, Effect, Entries, Entry, Large, ListenerRecord, State, not_found, record::ENTRY_IDS};
use crate::{
    base::{Name, Refusal},
    resource::{
        Allowlist, Kind,
        allowlist::{MAX_COUNTED, MAX_DRAINING, MAX_PRIVATE, MAX_PUBLIC},
        duration,
    },
};

/// Longest drain.
const MAX_DRAIN: Duration = Duration::from_secs(24 * 3600);

impl State {
    pub(super) fn allow_add(&mut self, name: &Name, cidrs: &Allowlist) -> Result<Effect, Refusal> {
        self.change_entries(name, |before| before.cidrs().chain(cidrs.iter()).collect())
    }

    pub(super) fn allow_set(
        &mut self,
        name: &Name,
        cidrs: &Allowlist,
        allow_empty: bool,
    ) -> Result<Effect, Refusal> {
        if cidrs.is_empty() && !allow_empty {
            return Err(Refusal::new("empty_list", "an empty list admits nobody")
                .field("allow", "(empty)")
                .remedy("say `--allow-empty` if that is meant"));
        }
        self.change_entries(name, |_| cidrs.iter().collect())
    }

    pub(super) fn allow_remove(
        &mut self,
        name: &Name,
        cidrs: &Allowlist,
        drain: Option<Duration>,
        now: Duration,
    ) -> Result<Effect, Refusal> {
        let drain = drain.filter(|drain| !drain.is_zero());
        if let Some(drain) = drain
            && drain > MAX_DRAIN
        {
            return Err(Refusal::new("limit", "the drain is too long")
                .field("drain", duration::text(drain))
                .limit("24h")
                .remedy("give a shorter one"));
        }
        let record = self.listener_mut(name)?;
        let mut next = ListenerRecord::clone(record);
        let mut gone: Vec<IpNet> = cidrs.iter().collect();
        gone.sort_unstable();
        for cidr in &gone {
            next.forget(*cidr, drain, now)?.ok_or_else(|| {
                Refusal::new("not_found", format_args!("{cidr} is not on the allowlist of `{name}`"))
                    .field("cidr", cidr)
                    .remedy(format_args!(
                        "`gateway allow list {name}` shows the entries; they match as a whole only"
                    ))
            })?;
        }
        let left = next.entries.cidrs().filter(|cidr| gone.binary_search(cidr).is_err()).collect();
        next.set(left)?;
        if next.draining.len() > MAX_DRAINING {
            return Err(Refusal::new("limit", "too many entries would be draining at a time")
                .field("draining", next.draining.len())
                .limit(MAX_DRAINING)
                .remedy("remove without a drain, or wait until some have ended"));
        }
        replace(record, next);
        Ok(Effect::of(Kind::Listener, name))
    }

    /// Ends drains; one that is not there has ended already.
    pub(super) fn end_drain(&mut self, drains: &[(Name, IpNet)]) -> Result<Effect, Refusal> {
        for (name, cidr) in drains {
            if let Some(record) = self.listeners.get_mut(name) {
                let mut next = ListenerRecord::clone(record);
                next.draining.retain(|drain| drain.cidr != *cidr);
                replace(record, next);
            }
        }
        Ok(Effect::default())
    }

    fn change_entries(
        &mut self,
        name: &Name,
        change: impl FnOnce(&Entries) -> Vec<IpNet>,
    ) -> Result<Effect, Refusal> {
        let record = self.listeners.get_mut(name).ok_or_else(|| not_found(Kind::Listener, name))?;
        let mut after = change(&record.entries);
        after.sort_unstable();
        after.dedup();
        if after.len() > record.limit() {
            return Err(Refusal::new(
                "limit",
                format_args!(
                    "the allowlist of `{name}` would have {} entries; nothing was changed",
                    after.len()
                ),
            )
            .field("allow", format_args!("{} entries", after.len()))
            .limit(record.limit())
            .remedy("remove entries or join them into wider CIDRs"));
        }
        let mut next = ListenerRecord::clone(record);
        // What comes back does not drain any more.
        let drained: Vec<Draining> =
            next.draining.iter().filter(|drain| after.binary_search(&drain.cidr).is_ok()).copied().collect();
        next.set(after)?;
        next.draining.retain(|drain| !drained.contains(drain));
        replace(record, next);
        Ok(Effect::of(Kind::Listener, name))
    }
}

/// Keeps the old object where nothing changed, so that nothing is written or compiled anew.
fn replace(record: &mut Arc<ListenerRecord>, next: ListenerRecord) {
    if **record != next {
        *record = Arc::new(next);
    }
}

impl ListenerRecord {
    /// How many entries its allowlist may have.
    pub(super) fn limit(&self) -> usize {
        if self.listener.name.vpc().is_some() { MAX_PRIVATE } else { MAX_PUBLIC }
    }

    /// Makes these sorted CIDRs the allowlist. Those that stay keep their ids, as far as they have one.
    fn set(&mut self, cidrs: Vec<IpNet>) -> Result<(), Refusal> {
        if cidrs.len() > MAX_COUNTED {
            if self.entries.large().is_none_or(|held| held.list().cidrs() != cidrs) {
                self.entries = Entries::Large(Arc::new(Large::new(cidrs)));
            }
            return Ok(());
        }
        let held: Vec<Entry> = self.entries.counted().to_vec();
        let mut entries: Vec<Entry> =
            held.into_iter().filter(|entry| cidrs.binary_search(&entry.cidr).is_ok()).collect();
        for cidr in cidrs {
            if entries.iter().all(|entry| entry.cidr != cidr) {
                let id = self.take_id(cidr, &entries)?;
                entries.push(Entry { cidr, id });
            }
        }
        entries.sort_unstable();
        self.entries = Entries::Counted(entries);
        Ok(())
    }

    /// Whether a CIDR is there to be removed, as an entry or a draining one. Ends its drain, or lets it drain; the entry
    /// itself is taken off by the caller.
    fn forget(&mut self, cidr: IpNet, drain: Option<Duration>, now: Duration) -> Result<Option<()>, Refusal> {
        let until = drain.map(|drain| (now + drain).as_millis().div_ceil(1000) as u64);
        if self.entries.contains(&cidr) {
            if let Some(until) = until {
                let own =
                    self.entries.counted().iter().find(|entry| entry.cidr == cidr).map(|entry| entry.id);
                let id = match own {
                    Some(id) => id,
                    None => self.take_id(cidr, &[])?,
                };
                self.draining.push(Draining { cidr, id, until });
                self.draining.sort_unstable();
            }
            return Ok(Some(()));
        }
        let Some(place) = self.draining.iter().position(|drain| drain.cidr == cidr) else { return Ok(None) };
        match (until, self.draining.get_mut(place)) {
            (Some(until), Some(drain)) => drain.until = until,
            (_, _) => drop(self.draining.remove(place)),
        }
        Ok(Some(()))
    }

    /// The id of a CIDR beside `entries`: its own if it is draining, else one that was not used for longest.
    fn take_id(&mut self, cidr: IpNet, entries: &[Entry]) -> Result<u8, Refusal> {
        if let Some(place) = self.draining.iter().position(|drain| drain.cidr == cidr) {
            return Ok(self.draining.remove(place).id);
        }
        let used = |id: u8| {
            entries.iter().any(|entry| entry.id == id) || self.draining.iter().any(|drain| drain.id == id)
        };
        let count = ENTRY_IDS;
        let id = (1..=count).map(|step| self.last_entry.wrapping_add(step) % count).find(|id| !used(*id));
        // 15 entries and 15 drains leave one id free, so this can happen only when a large list drains more than may.
        let id =
            id.ok_or_else(|| Refusal::new("limit", "every counter of the listener is in use").limit(count))?;
        self.last_entry = id;
        Ok(id)
    }
}
