//! Pure: edits of allowlists.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use ipnet::IpNet;

use super::{Draining, Effect, Entry, ListenerRecord, State, not_found, record::ENTRY_IDS};
use crate::{
    base::{Name, Refusal},
    resource::{
        Allowlist, Kind,
        allowlist::{MAX_DRAINING, MAX_PUBLIC},
        duration,
    },
};

/// Longest drain.
const MAX_DRAIN: Duration = Duration::from_secs(24 * 3600);

impl State {
    pub(super) fn allow_add(&mut self, name: &Name, cidrs: &Allowlist) -> Result<Effect, Refusal> {
        self.change_entries(name, |before| before.iter().copied().chain(cidrs.iter()).collect())
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
        for cidr in cidrs.iter() {
            next.remove(cidr, drain, now).ok_or_else(|| {
                Refusal::new("not_found", format_args!("{cidr} is not on the allowlist of `{name}`"))
                    .field("cidr", cidr)
                    .remedy(format_args!(
                        "`gateway allow list {name}` shows the entries; they match as a whole only"
                    ))
            })?;
        }
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
        change: impl FnOnce(&BTreeSet<IpNet>) -> BTreeSet<IpNet>,
    ) -> Result<Effect, Refusal> {
        let record = self.listeners.get_mut(name).ok_or_else(|| not_found(Kind::Listener, name))?;
        let before: BTreeSet<IpNet> = record.entries.iter().map(|entry| entry.cidr).collect();
        let after = change(&before);
        if after.len() > MAX_PUBLIC {
            return Err(Refusal::new(
                "limit",
                format_args!(
                    "the allowlist of `{name}` would have {} entries; nothing was changed",
                    after.len()
                ),
            )
            .field("allow", format_args!("{} entries", after.len()))
            .limit(MAX_PUBLIC)
            .remedy("remove entries or join them into wider CIDRs"));
        }
        let mut next = ListenerRecord::clone(record);
        next.entries.retain(|entry| after.contains(&entry.cidr));
        for cidr in after.difference(&before) {
            let id = next.take_id(*cidr)?;
            next.entries.push(Entry { cidr: *cidr, id });
        }
        next.entries.sort_unstable();
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
    /// Takes an entry off the list, or ends its drain, or lets it drain.
    fn remove(&mut self, cidr: IpNet, drain: Option<Duration>, now: Duration) -> Option<()> {
        let until = drain.map(|drain| (now + drain).as_millis().div_ceil(1000) as u64);
        if let Some(place) = self.entries.iter().position(|entry| entry.cidr == cidr) {
            let Entry { cidr, id } = self.entries.remove(place);
            if let Some(until) = until {
                self.draining.push(Draining { cidr, id, until });
                self.draining.sort_unstable();
            }
            return Some(());
        }
        let place = self.draining.iter().position(|drain| drain.cidr == cidr)?;
        match until {
            None => drop(self.draining.remove(place)),
            Some(until) => self.draining.get_mut(place)?.until = until,
        }
        Some(())
    }

    /// The id of a CIDR that joins the list: its own if it is draining, else one that was not used for longest.
    fn take_id(&mut self, cidr: IpNet) -> Result<u8, Refusal> {
        if let Some(place) = self.draining.iter().position(|drain| drain.cidr == cidr) {
            return Ok(self.draining.remove(place).id);
        }
        let used = |id: u8| {
            self.entries.iter().any(|entry| entry.id == id)
                || self.draining.iter().any(|drain| drain.id == id)
        };
        let count = ENTRY_IDS;
        let id = (1..=count).map(|step| self.last_entry.wrapping_add(step) % count).find(|id| !used(*id));
        // 15 entries and 15 drains leave two ids free, so this cannot happen; a refusal is still better than a wrong count.
        let id =
            id.ok_or_else(|| Refusal::new("limit", "every counter of the listener is in use").limit(count))?;
        self.last_entry = id;
        Ok(id)
    }
}
