//! `/v1/stats` and `/v1/drops`: counters of the filter and the proxy, and sampled drops.

use std::time::Duration;

use serde_json::Value;

use super::json;
use crate::{
    api::{
        Context,
        request::Request,
        route::Reply,
        wire::{DropLine, DropsReply, DropsTopItem, DropsTopReply, VerdictCount},
    },
    base::{Name, Refusal},
    observe::{
        filter::{DropRecord, FilterReport, ReasonCount},
        top::{TopRow, WINDOW},
        traffic::{REFUSALS, Report},
    },
    resource::{clip, duration},
    snapshot::filter::Reason,
};

/// Samples shown by `drops` without `follow`.
const RECENT: usize = 20;

pub(in crate::api) fn stats(context: &Context, _: &Request) -> Result<Reply, Refusal> {
    let filter = context.sources.filter.as_ref().map(|filter| filter.report()).unwrap_or_default();
    let mut reply = json(&traffic(context))?;
    if let Reply::Json(Value::Object(map)) = &mut reply {
        map.insert("generation".to_owned(), context.control.borrow().generation().0.into());
        if let Reply::Json(filter) = json(&verdicts(context, &filter))? {
            map.insert("filter".to_owned(), filter);
        }
    }
    Ok(reply)
}

/// The proxy's figures.
fn traffic(context: &Context) -> Report {
    context.sources.traffic.as_ref().map(|traffic| traffic.report()).unwrap_or_default()
}

/// Connections that the check at accept refused, by listener and reason. Where the filter is in force there are hardly
/// any; without it they are all that is dropped.
fn refused(context: &Context) -> Vec<VerdictCount> {
    let mut counts = Vec::new();
    for listener in traffic(context).listeners {
        for (reason, connections) in listener.refused.into_iter().filter(|(_, count)| *count > 0) {
            counts.push(VerdictCount {
                listener: listener.name.clone(),
                channel: listener.channel.word().to_owned(),
                reason: reason.to_owned(),
                verdict: "drop".to_owned(),
                tier: "accept".to_owned(),
                packets: connections,
                bytes: 0,
            });
        }
    }
    counts
}

/// Which drops are asked for.
#[derive(Debug, Default)]
pub(in crate::api) struct Wanted {
    listener: Option<String>,
    reason: Option<String>,
}

impl Wanted {
    fn of(request: &Request) -> Result<Self, Refusal> {
        let text = |key| request.query.value(key).map(str::to_owned);
        let (listener, reason) = (text("listener"), text("reason"));
        // A misspelt reason would look like silence.
        let known = || Reason::ALL.iter().map(|reason| reason.name()).chain(REFUSALS);
        if let Some(reason) = reason.as_ref().filter(|reason| !known().any(|known| known == *reason)) {
            return Err(Refusal::new("invalid", "there is no such reason")
                .field("reason", clip(reason))
                .limit(known().collect::<Vec<_>>().join(", ")));
        }
        Ok(Self { listener, reason })
    }

    fn takes_record(&self, record: &DropRecord) -> bool {
        self.takes(record.listener.as_ref().map(Name::as_str), record.reason)
    }

    fn takes_count(&self, count: &VerdictCount) -> bool {
        self.takes(Some(&count.listener), &count.reason)
    }

    fn takes(&self, listener: Option<&str>, reason: &str) -> bool {
        self.listener.as_ref().is_none_or(|wanted| Some(wanted.as_str()) == listener)
            && self.reason.as_ref().is_none_or(|wanted| wanted == reason)
    }
}

/// Rows of `drops/top` if nothing else is said, and at most.
const TOP: (u64, u64) = (10, 100);

pub(in crate::api) fn top(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let wanted = Wanted::of(request)?;
    let window = request.query.value("window").map(duration::parse).transpose()?;
    let window = window.unwrap_or(Duration::from_secs(60));
    let limit = request.query.number("limit")?.unwrap_or(TOP.0);
    if !(Duration::from_secs(1)..=WINDOW).contains(&window) {
        return Err(Refusal::new("limit", "the window is out of range")
            .field("window", duration::text(window))
            .limit(format!("1s to {}", duration::text(WINDOW))));
    }
    if !(1..=TOP.1).contains(&limit) {
        return Err(Refusal::new("limit", "so many rows are not told")
            .field("limit", limit)
            .limit(format!("1 to {}", TOP.1)));
    }
    let takes = |listener: Option<&Name>, reason: &str| wanted.takes(listener.map(Name::as_str), reason);
    let filter = context.sources.filter.as_ref();
    let rows = filter.map(|filter| filter.top(window, usize::try_from(limit).unwrap_or(usize::MAX), &takes));
    let item = |row: TopRow| DropsTopItem {
        source: if row.source.prefix_len() == row.source.max_prefix_len() {
            row.source.addr().to_string()
        } else {
            row.source.to_string()
        },
        listener: row.listener.map(|name| name.to_string()),
        reason: row.reason.to_owned(),
        packets: row.packets,
        last_seen: row.last.as_secs(),
    };
    json(&DropsTopReply {
        generation: context.control.borrow().generation(),
        window_seconds: window.as_secs(),
        items: rows.unwrap_or_default().into_iter().map(item).collect(),
        lost: filter.map_or(0, |filter| filter.report().drops_lost),
    })
}

pub(in crate::api) fn drops(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let after = request.query.number("after")?;
    let wanted = Wanted::of(request)?;
    let filter = context.sources.filter.as_ref();
    if request.query.flag("follow")? {
        // Without a number the stream begins with what comes next.
        let next = || filter?.drops(0).last().map(|record| record.sequence + 1);
        return Ok(Reply::Drops { after: after.or_else(next).unwrap_or(0), wanted });
    }
    let generation = context.control.borrow().generation();
    let Some(filter) = filter else {
        let items = refused(context).into_iter().filter(|count| wanted.takes_count(count)).collect();
        return json(&DropsReply { generation, items, ..DropsReply::default() });
    };
    let report = filter.report();
    let mut records = filter.drops(after.unwrap_or(0));
    records.retain(|record| wanted.takes_record(record));
    let recent = records.get(records.len().saturating_sub(RECENT)..).unwrap_or_default();
    json(&DropsReply {
        generation,
        items: verdicts(context, &report)
            .into_iter()
            .filter(|count| count.verdict == "drop")
            .chain(refused(context))
            .filter(|count| wanted.takes_count(count))
            .collect(),
        events: recent.iter().map(|record| line(record, report.drops_lost)).collect(),
        lost: report.drops_lost,
    })
}

/// The samples numbered `after` and later as lines of JSON, and the number to ask for next.
pub(in crate::api) fn lines(context: &Context, after: u64, wanted: &Wanted) -> (u64, String) {
    let Some(filter) = &context.sources.filter else { return (after, String::new()) };
    let records = filter.drops(after);
    let next = records.last().map_or(after, |record| record.sequence + 1);
    let mut records = records.iter().filter(|record| wanted.takes_record(record)).peekable();
    let mut text = String::new();
    if records.peek().is_none() {
        return (next, text);
    }
    let lost = filter.report().drops_lost;
    for record in records {
        if let Ok(line) = serde_json::to_string(&line(record, lost)) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    (next, text)
}

fn line(record: &DropRecord, lost: u64) -> DropLine {
    DropLine {
        sequence: record.sequence,
        time: record.at.as_secs_f64(),
        listener: record.listener.as_ref().map(ToString::to_string),
        reason: record.reason.to_owned(),
        source: record.source.map(|ip| ip.to_string()),
        source_port: record.source_port,
        destination: record.destination.map(|ip| ip.to_string()),
        destination_port: record.destination_port,
        interface: record.interface.clone(),
        vlan: record.vlan,
        length: record.length,
        generation: record.generation,
        weight: record.weight,
        lost,
    }
}

fn verdicts(context: &Context, report: &FilterReport) -> Vec<VerdictCount> {
    let snapshot = context.control.borrow().snapshot();
    let count = |listener: &str, channel: &str, row: &ReasonCount| VerdictCount {
        listener: listener.to_owned(),
        channel: channel.to_owned(),
        reason: row.reason.to_owned(),
        verdict: if row.dropped { "drop" } else { "pass" }.to_owned(),
        tier: "filter".to_owned(),
        packets: row.count.packets,
        bytes: row.count.bytes,
    };
    let listed = report.listeners.iter().flat_map(|listener| {
        let channel = snapshot.channel(&listener.listener).word();
        listener.reasons.iter().map(move |row| (listener, channel, row))
    });
    let listed = listed.map(|(listener, channel, row)| count(&listener.listener, channel, row));
    listed.chain(report.unlisted.iter().map(|row| count("", "", row))).collect()
}
