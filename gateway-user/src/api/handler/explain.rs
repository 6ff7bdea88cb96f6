//! `/v1/explain`: what the filter in force decides about a packet.

use std::net::{IpAddr, SocketAddr};

use super::json;
use crate::{
    api::{Context, request::Request, route::Reply, wire::ExplainReply},
    base::Refusal,
    observe::filter::Mode,
    resource::clip,
    snapshot::filter::{self, FilterTables},
};

pub(in crate::api) fn explain(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let question = question(request)?;
    let snapshot = context.control.borrow().snapshot();
    // The same tables and the same decision as in the kernel, only with made-up interface numbers.
    let tables = FilterTables::unresolved(&snapshot.filter)?;
    let Question { source, destination, interface } = &question;
    let explained = filter::explain(&snapshot.filter, &tables, *source, *destination, interface.as_deref());
    json(&ExplainReply {
        verdict: if explained.dropped() { "drop" } else { "pass" }.to_owned(),
        reason: explained.reason.name().to_owned(),
        tier: tier(context, explained.interface.as_deref()).to_owned(),
        listener: explained.listener.map(|name| name.to_string()),
        entry: explained.entry.map(|entry| entry.to_string()),
        interface: explained.interface,
        generation: explained.generation,
    })
}

/// Who judges packets of an interface first; without one, whether the filter is in force anywhere.
fn tier(context: &Context, interface: Option<&str>) -> &'static str {
    let interfaces = context.sources.filter.as_ref().map(|filter| filter.status().interfaces);
    let native = interfaces.unwrap_or_default().iter().any(|status| {
        status.mode == Mode::Native && interface.is_none_or(|interface| status.interface == interface)
    });
    if native { "xdp" } else { "accept" }
}

/// What is asked.
struct Question {
    source: IpAddr,
    destination: SocketAddr,
    interface: Option<String>,
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
    Ok(Question { source, destination, interface: request.query.value("interface").map(str::to_owned) })
}
