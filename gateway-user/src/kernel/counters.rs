//! Reads the per-CPU counters, summed, and zeroes those of ids that begin a new life.

use aya::{
    maps::{MapData, MapError, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use gateway_common::{
    counters::{Counter, entry_index, verdict_index},
    reason::{Action, Reason},
};

use super::tables::Tables;
use crate::{
    base::Generation,
    observe::filter::{Count, EntryCount, FilterReport, ListenerCounts, ReasonCount},
    snapshot::{FilterPlan, filter::FilterListener},
};

/// The counters of every listener of `plan`.
///
/// # Errors
/// A table cannot be read.
pub(crate) fn report(tables: &Tables, plan: &FilterPlan) -> Result<FilterReport, MapError> {
    let listeners = plan
        .listeners
        .iter()
        .map(|listener| {
            Ok(ListenerCounts {
                id: listener.id,
                listener: listener.name.clone(),
                reasons: reasons(tables, u32::from(listener.id))?,
                entries: entries(tables, listener)?,
            })
        })
        .collect::<Result<Vec<_>, MapError>>()?;
    let unlisted = reasons(tables, 0)?;
    let counted = listeners.iter().flat_map(|listener| &listener.reasons).chain(&unlisted);
    let drops_seen = counted.filter(|reason| reason.dropped).map(|reason| reason.count.packets).sum();
    let drops_lost = tables.lost.get(&0, 0)?.iter().sum();
    Ok(FilterReport { generation: plan.generation, listeners, unlisted, drops_seen, drops_lost })
}

/// A report without a kernel filter: listeners with nothing counted.
pub(crate) fn empty(plan: Option<&FilterPlan>) -> FilterReport {
    let listeners = plan.map_or(&[][..], |plan| &plan.listeners);
    FilterReport {
        generation: plan.map_or(Generation::default(), |plan| plan.generation),
        listeners: listeners
            .iter()
            .map(|listener| ListenerCounts {
                id: listener.id,
                listener: listener.name.clone(),
                reasons: Vec::new(),
                entries: listener
                    .entries
                    .iter()
                    .map(|entry| EntryCount {
                        cidr: entry.cidr,
                        draining: entry.draining,
                        count: Count::default(),
                    })
                    .collect(),
            })
            .collect(),
        ..FilterReport::default()
    }
}

fn reasons(tables: &Tables, listener: u32) -> Result<Vec<ReasonCount>, MapError> {
    let mut counted = Vec::new();
    for reason in Reason::ALL {
        let count = sum(&tables.verdicts, verdict_index(listener, *reason))?;
        if count != Count::default() {
            let dropped = reason.action() == Action::Drop;
            counted.push(ReasonCount { reason: reason.name(), dropped, count });
        }
    }
    Ok(counted)
}

fn entries(tables: &Tables, listener: &FilterListener) -> Result<Vec<EntryCount>, MapError> {
    listener
        .entries
        .iter()
        .map(|entry| {
            let count = sum(&tables.entries, entry_index(u32::from(listener.id), entry.id))?;
            Ok(EntryCount { cidr: entry.cidr, draining: entry.draining, count })
        })
        .collect()
}

fn sum(counters: &PerCpuArray<MapData, Counter>, index: u32) -> Result<Count, MapError> {
    let mut total = Count::default();
    for counter in counters.get(&index, 0)?.iter() {
        total.packets += counter.packets;
        total.bytes += counter.bytes;
    }
    Ok(total)
}

/// Counters that begin a new life with a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fresh {
    verdicts: Vec<u32>,
    entries: Vec<u32>,
}

impl Fresh {
    /// The counters that `next` gives to somebody new: first those that belong to nobody in `current`, then those that
    /// change hands.
    pub(crate) fn of(current: &FilterPlan, next: &FilterPlan) -> (Self, Self) {
        let (mut unused, mut taken) = (Self::default(), Self::default());
        for listener in &next.listeners {
            let id = u32::from(listener.id);
            let known = current.listeners.iter().find(|known| known.id == listener.id);
            let same = known.filter(|known| known.name == listener.name);
            if same.is_none() {
                let begin = if known.is_some() { &mut taken } else { &mut unused };
                begin.verdicts.extend(Reason::ALL.iter().map(|reason| verdict_index(id, *reason)));
            }
            for entry in &listener.entries {
                let before = known.and_then(|known| known.entries.iter().find(|known| known.id == entry.id));
                let goes_on = same.is_some() && before.is_some_and(|before| before.cidr == entry.cidr);
                if !goes_on {
                    let begin = if before.is_some() { &mut taken } else { &mut unused };
                    begin.entries.push(entry_index(id, entry.id));
                }
            }
        }
        (unused, taken)
    }

    /// Zeroes them. Those that belong to nobody are zeroed before the plan is live, so no count is lost and an
    /// abandoned change has changed nothing; those that change hands right after.
    ///
    /// # Errors
    /// A table cannot be written.
    pub(crate) fn zero(&self, tables: &mut Tables) -> Result<(), MapError> {
        for index in &self.verdicts {
            zero(&mut tables.verdicts, *index)?;
        }
        for index in &self.entries {
            zero(&mut tables.entries, *index)?;
        }
        Ok(())
    }
}

fn zero(counters: &mut PerCpuArray<MapData, Counter>, index: u32) -> Result<(), MapError> {
    counters.set(index, per_cpu(Counter::default())?, 0)
}

fn per_cpu(value: Counter) -> Result<PerCpuValues<Counter>, MapError> {
    let cpus = nr_cpus().map_err(|(_, error)| MapError::IoError(error))?;
    Ok(PerCpuValues::try_from(vec![value; cpus])?)
}

#[cfg(test)]
mod tests {
    use gateway_common::{counters::entry_index, reason::Reason};

    use super::Fresh;
    use crate::{
        base::Name,
        snapshot::{
            FilterPlan,
            filter::{Echo, FilterEntry, FilterListener, ListenerOptions},
        },
    };

    /// Id, name, and entries with their positions.
    type Row<'a> = (u16, &'a str, &'a [(u8, &'a str)]);

    fn plan(listeners: &[Row<'_>]) -> FilterPlan {
        let listener = |(id, name, entries): &Row<'_>| FilterListener {
            large: None,
            id: *id,
            name: Name::new(name).unwrap(),
            interface: "eth0".to_owned(),
            addresses: Vec::new(),
            ports: Vec::new(),
            open: true,
            echo: Echo::Everybody,
            options: ListenerOptions::default(),
            entries: entries
                .iter()
                .map(|(id, cidr)| FilterEntry { cidr: cidr.parse().unwrap(), id: *id, draining: false })
                .collect(),
        };
        FilterPlan { listeners: listeners.iter().map(listener).collect(), ..FilterPlan::default() }
    }

    #[test]
    fn counters_go_on_where_their_owner_stays() {
        let all = Reason::ALL.len();
        let before =
            plan(&[(1, "a", &[(0, "10.0.0.0/8"), (1, "10.1.0.0/16")]), (2, "b", &[(0, "10.2.0.0/16")])]);
        for (next, unused, taken) in [
            // The same, and less.
            (plan(&[(1, "a", &[(0, "10.0.0.0/8")])]), (0, vec![]), (0, vec![])),
            // A new entry at a free position, and one at a position that was another's.
            (plan(&[(1, "a", &[(0, "10.0.0.0/8"), (2, "10.3.0.0/16")])]), (0, vec![(1, 2)]), (0, vec![])),
            (plan(&[(1, "a", &[(1, "10.3.0.0/16")])]), (0, vec![]), (0, vec![(1, 1)])),
            // A new listener at a free id, and one at an id that was another's.
            (plan(&[(3, "c", &[(0, "10.0.0.0/8")])]), (all, vec![(3, 0)]), (0, vec![])),
            (
                plan(&[(2, "c", &[(0, "10.2.0.0/16"), (1, "10.0.0.0/8")])]),
                (0, vec![(2, 1)]),
                (all, vec![(2, 0)]),
            ),
        ] {
            let (found_unused, found_taken) = Fresh::of(&before, &next);
            for (found, expected) in [(found_unused, unused), (found_taken, taken)] {
                assert_eq!(found.verdicts.len(), expected.0);
                let entries: Vec<u32> =
                    expected.1.iter().map(|(id, entry)| entry_index(*id, *entry)).collect();
                assert_eq!(found.entries, entries);
            }
        }
    }
}
