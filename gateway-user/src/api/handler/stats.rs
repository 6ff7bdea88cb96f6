//! `/v1/stats` and `/v1/drops`: counters of the filter and the proxy, and sampled drops.

use serde_json::Value;

use super::json;
use crate::{
    api::{
        Context,
        request::Request,
        route::Reply,
        wire::{DropLine, DropsReply, VerdictCount},
    },
    base::Refusal,
    observe::{
        filter::{DropRecord, FilterReport, ReasonCount},
        traffic::Report,
    },
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

pub(in crate::api) fn drops(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let after = request.query.number("after")?;
    let filter = context.sources.filter.as_ref();
    if request.query.flag("follow")? {
        // Without a number the stream begins with what comes next.
        let next = || filter?.drops(0).last().map(|record| record.sequence + 1);
        return Ok(Reply::Drops { after: after.or_else(next).unwrap_or(0) });
    }
    let generation = context.control.borrow().generation();
    let Some(filter) = filter else {
        return json(&DropsReply { generation, items: refused(context), ..DropsReply::default() });
    };
    let report = filter.report();
    let records = filter.drops(after.unwrap_or(0));
    let recent = records.get(records.len().saturating_sub(RECENT)..).unwrap_or_default();
    json(&DropsReply {
        generation,
        items: verdicts(context, &report)
            .into_iter()
            .filter(|count| count.verdict == "drop")
            .chain(refused(context))
            .collect(),
        events: recent.iter().map(line).collect(),
        lost: report.drops_lost,
    })
}

/// The samples numbered `after` and later as lines of JSON, and the number to ask for next.
pub(in crate::api) fn lines(context: &Context, after: u64) -> (u64, String) {
    let Some(filter) = &context.sources.filter else { return (after, String::new()) };
    let mut text = String::new();
    let mut next = after;
    for record in filter.drops(after) {
        next = record.sequence + 1;
        if let Ok(line) = serde_json::to_string(&line(&record)) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    (next, text)
}

fn line(record: &DropRecord) -> DropLine {
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
