//! Reads the per-CPU counters, summed, and zeroes those of ids that begin a new life.

use aya::{
    maps::{MapData, MapError, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use gateway_common::{
    counters::{Counter, ENTRY_COUNTERS, entry_index, verdict_index},
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
        .collect::<Result<_, MapError>>()?;
    let (mut drops_seen, mut drops_lost) = (0, 0);
    for sampling in tables.sampling.get(&0, 0)?.iter() {
        drops_seen += sampling.seen;
        drops_lost += sampling.lost;
    }
    Ok(FilterReport {
        generation: plan.generation,
        listeners,
        unlisted: reasons(tables, 0)?,
        drops_seen,
        drops_lost,
    })
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

/// Zeroes the counters of ids that `next` uses and `current` does not. They belong to nobody while they are zeroed,
/// so no count is lost, and a change that is abandoned afterwards has changed nothing.
///
/// # Errors
/// A table cannot be written.
pub(crate) fn zero_new(tables: &mut Tables, current: &FilterPlan, next: &FilterPlan) -> Result<(), MapError> {
    for listener in &next.listeners {
        let id = u32::from(listener.id);
        let known = current.listeners.iter().find(|known| known.id == listener.id);
        if known.is_none() {
            for reason in Reason::ALL {
                zero(&mut tables.verdicts, verdict_index(id, *reason))?;
            }
        }
        for entry in 0..ENTRY_COUNTERS as u8 {
            let used = |listener: &FilterListener| listener.entries.iter().any(|used| used.id == entry);
            if used(listener) && !known.is_some_and(used) {
                zero(&mut tables.entries, entry_index(id, entry))?;
            }
        }
    }
    Ok(())
}

fn zero(counters: &mut PerCpuArray<MapData, Counter>, index: u32) -> Result<(), MapError> {
    counters.set(index, per_cpu(Counter::default())?, 0)
}

fn per_cpu(value: Counter) -> Result<PerCpuValues<Counter>, MapError> {
    let cpus = nr_cpus().map_err(|(_, error)| MapError::IoError(error))?;
    Ok(PerCpuValues::try_from(vec![value; cpus])?)
}
