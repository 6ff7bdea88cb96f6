//! `/v1/explain`: what the filter in force decides about a packet.

use std::net::{IpAddr, SocketAddr};

use super::json;
use crate::{
    api::{Context, context::Question, request::Request, route::Reply},
    base::Refusal,
    resource::clip,
};

pub(in crate::api) fn explain(context: &Context, request: &Request) -> Result<Reply, Refusal> {
    let question = question(request)?;
    let Some(explain) = &context.sources.explain else {
        return Err(Refusal::new("unavailable", "the data plane is not there yet")
            .remedy("ask again in a moment, or look at `gateway status`"));
    };
    json(&explain(&question)?)
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
