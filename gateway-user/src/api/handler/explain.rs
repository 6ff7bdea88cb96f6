//! `/v1/explain`: what the filter in force decides about a packet: the program in the kernel over its live tables, and
//! the same decision here, which stands behind it at accept.

use std::net::{IpAddr, SocketAddr};

use super::json;
use crate::{
    api::{
        Context,
        request::Request,
        route::Reply,
        wire::{ExplainCount, ExplainReply, ExplainVerdict},
    },
    base::{Name, Refusal},
    defence::{Ban, Source},
    observe::filter::{Count, Mode},
    resource::clip,
    snapshot::filter::{self, Explanation, FilterTables, Reason},
};

pub(in crate::api) fn explain(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let question = question(request)?;
    let Question { source, destination, .. } = question;
    let snapshot = context.control.borrow().snapshot();
    // The same tables and the same decision as in the kernel, only with made-up interface numbers.
    let tables = FilterTables::unresolved(&snapshot.filter)?;
    let place = place(context, &question);
    let host = filter::explain(&snapshot.filter, &tables, source, destination, place.as_deref());
    let kernel = host.interface.as_deref().and_then(|interface| {
        context.sources.filter.as_ref()?.judge(interface, question.vlan, source, destination)
    });
    // The kernel comes first, and what it lets through is judged again at accept.
    let first = kernel.as_ref().filter(|kernel| kernel.dropped() || !host.dropped());
    let mut decided = first.unwrap_or(&host).clone();
    let mut warnings = warnings(context, kernel.as_ref(), &host);
    if let Some(ban) = ban(context, source).filter(|_| decided.reason == Reason::Allowed) {
        warnings.push(told_of(&ban));
        if ban.enforced {
            // As the program says it: the entry did not let it in.
            decided = Explanation { reason: Reason::Banned, entry: None, ..decided };
        }
    }
    let tier = if first.is_some() { tier(context, host.interface.as_deref()) } else { "accept" };
    let (last_seen, connections) = last_seen(context, &question);
    json(&ExplainReply {
        verdict: word(&decided).to_owned(),
        reason: decided.reason.name().to_owned(),
        tier: tier.to_owned(),
        listener: decided.listener.as_ref().map(ToString::to_string),
        entry: decided.entry.map(|entry| entry.to_string()),
        interface: host.interface.clone(),
        generation: decided.generation,
        last_seen,
        connections,
        count: count(context, &decided, tier),
        warnings,
        kernel: kernel.as_ref().map(verdict),
        host: verdict(&host),
    })
}

/// The ban of a source, which follows a verdict that lets it in. The entry point that judges here asks none.
fn ban(context: &Context, source: IpAddr) -> Option<Ban> {
    let source = Source::of(source);
    context.sources.bans.as_ref()?.overview().items.into_iter().find(|ban| ban.source == source)
}

fn told_of(ban: &Ban) -> String {
    let (source, until) = (ban.source, ban.until.as_secs());
    if ban.enforced {
        format!("{source} is banned until {until} (Unix time); `gateway ban lift {source}` ends it")
    } else {
        format!("{source} would be banned until {until} (Unix time), but bans are only observed")
    }
}

/// The interface whose listeners see the packet: a VLAN of a device may be an interface of its own.
fn place(context: &Context, question: &Question) -> Option<String> {
    let (interface, vlan) = (question.interface.as_ref()?, question.vlan.unwrap_or(0));
    let status = context.sources.filter.as_ref().map(|filter| filter.status()).unwrap_or_default();
    let own = status.interfaces.iter().find(|one| vlan != 0 && one.device == *interface && one.vlan == vlan);
    Some(own.map_or(interface, |own| &own.interface).clone())
}

/// Who judges an interface's packets first.
pub(super) fn tier(context: &Context, interface: Option<&str>) -> &'static str {
    let interfaces = context.sources.filter.as_ref().map(|filter| filter.status().interfaces);
    let mode = interfaces
        .unwrap_or_default()
        .into_iter()
        .find_map(|status| (interface == Some(status.interface.as_str())).then_some(status.mode));
    match mode {
        Some(Mode::Native) => "xdp",
        Some(Mode::Tcx) => "tcx",
        // Whatever is not attached leaves it to the check at accept.
        Some(Mode::Accept | Mode::Detached | Mode::Off) | None => "accept",
    }
}

fn word(explained: &Explanation) -> &'static str {
    if explained.dropped() { "drop" } else { "pass" }
}

fn verdict(explained: &Explanation) -> ExplainVerdict {
    ExplainVerdict {
        verdict: word(explained).to_owned(),
        reason: explained.reason.name().to_owned(),
        listener: explained.listener.as_ref().map(ToString::to_string),
        entry: explained.entry.map(|entry| entry.to_string()),
        generation: explained.generation,
    }
}

/// How often that happened: to the entry that matched, else to the listener for that reason.
fn count(context: &Context, decided: &Explanation, tier: &str) -> Option<ExplainCount> {
    let listener = decided.listener.as_ref()?;
    if tier == "accept" {
        let report = context.sources.traffic.as_ref()?.report();
        let row = report.listeners.into_iter().find(|row| row.name == listener.as_str())?;
        let refused = |(reason, count): (&str, u64)| (reason == decided.reason.name()).then_some(count);
        let packets =
            if decided.dropped() { row.refused.into_iter().find_map(refused)? } else { row.accepted };
        return Some(ExplainCount { of: "connections".to_owned(), packets, bytes: 0 });
    }
    let report = context.sources.filter.as_ref()?.report();
    let counts = report.listeners.into_iter().find(|counts| counts.listener == *listener)?;
    let entry = decided.entry.and_then(|entry| counts.entries.iter().find(|row| row.cidr == entry));
    let (of, Count { packets, bytes }) = match entry {
        Some(row) => ("entry", row.count),
        None => {
            let mut rows = counts.reasons.iter();
            let row = rows.find(|row| row.reason == decided.reason.name());
            ("reason", row.map(|row| row.count).unwrap_or_default())
        }
    };
    Some(ExplainCount { of: of.to_owned(), packets, bytes })
}

/// When this source was seen at this destination last (let in, or among the sampled drops), and its open connections.
fn last_seen(context: &Context, question: &Question) -> (Option<u64>, u32) {
    let Question { source, destination, .. } = question;
    let dropped = context.sources.filter.as_ref().map(|filter| filter.drops(0)).unwrap_or_default();
    let dropped = dropped.iter().rev().find(|drop| {
        drop.source == Some(*source)
            && drop.destination == Some(destination.ip())
            && drop.destination_port == destination.port()
    });
    let seen = context.sources.seen.as_ref().map(|seen| seen.seen()).unwrap_or_default();
    let here = |local: SocketAddr| {
        local.ip().to_canonical() == destination.ip() && local.port() == destination.port()
    };
    let seen = seen.iter().find(|seen| seen.source == *source && here(seen.local));
    let last = seen.map(|seen| seen.last).max(dropped.map(|drop| drop.at));
    (last.map(|last| last.as_secs()), seen.map_or(0, |seen| seen.connections))
}

fn warnings(context: &Context, kernel: Option<&Explanation>, host: &Explanation) -> Vec<String> {
    let mut warnings = Vec::new();
    let told = |explained: &Explanation| {
        let entry = explained.entry.map_or_else(String::new, |entry| format!(", entry {entry}"));
        let listener = explained.listener.as_ref().map_or("no listener", Name::as_str);
        format!(
            "{} ({}, {listener}{entry}, generation {})",
            word(explained),
            explained.reason.name(),
            explained.generation
        )
    };
    match kernel {
        Some(kernel) if kernel != host => warnings.push(format!(
            "the program in the kernel and the check at accept do not agree: {} against {}; the stricter one holds, \
             please report it",
            told(kernel),
            told(host)
        )),
        Some(_) => {}
        None => {
            let interfaces = context.sources.filter.as_ref().map(|filter| filter.status().interfaces);
            let status = interfaces.unwrap_or_default().into_iter();
            let mut status = status.filter(|status| host.interface.as_deref() == Some(&status.interface));
            warnings.push(match (status.next(), &host.interface) {
                (Some(status), Some(interface)) => {
                    let detail = status.detail.map_or_else(String::new, |detail| format!(": {detail}"));
                    format!("no program in the kernel judges {interface} ({}{detail})", status.mode.name())
                }
                (None, Some(interface)) => format!(
                    "no listener stands on {interface}, so it has no filter; the listeners' sockets are bound to their \
                     own interfaces and hear nothing of it"
                ),
                (_, None) => "no listener has this destination".to_owned(),
            });
        }
    }
    warnings
}

/// What is asked.
struct Question {
    source: IpAddr,
    destination: SocketAddr,
    interface: Option<String>,
    vlan: Option<u16>,
}

fn question(request: &Request) -> Result<Question, Refusal> {
    let source = request.query.required("source")?;
    let destination = request.query.required("destination")?;
    let source: IpAddr = source.parse().map_err(|_| {
        Refusal::new("invalid_address", "this is not an IP address")
            .field("source", clip(source))
            .remedy("give an address like 192.0.2.1 or 2001:db8::1")
    })?;
    let destination: SocketAddr = destination.parse().map_err(|_| {
        Refusal::new("invalid_address", "this is not an address with a port")
            .field("destination", clip(destination))
            .remedy("give it like 198.51.100.1:443 or [2001:db8::1]:443")
    })?;
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(Refusal::new("invalid_address", "source and destination are of different families")
            .field("source", source)
            .limit(if destination.is_ipv4() { "an IPv4 address" } else { "an IPv6 address" }));
    }
    let interface = request.query.value("interface").map(str::to_owned);
    let vlan = request.query.number("vlan")?.map(|vlan| {
        u16::try_from(vlan).ok().filter(|vlan| *vlan < 4095).ok_or_else(|| {
            Refusal::new("invalid", "this is not a VLAN id").field("vlan", vlan).limit("0 to 4094")
        })
    });
    let vlan = vlan.transpose()?;
    if vlan.is_some() && interface.is_none() {
        return Err(Refusal::new("missing_field", "a VLAN is one of a device")
            .field("interface", "")
            .remedy("name the device that the tagged frame comes in through with --interface"));
    }
    Ok(Question { source, destination, interface, vlan })
}
