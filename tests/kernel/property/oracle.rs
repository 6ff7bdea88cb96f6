//! Pure: the filter once more, slowly, from DESIGN §4 alone. It shares no code with the program: it reads byte by byte,
//! knows no tables, and walks the plan for every packet. Where the prose leaves a choice open (which of two listeners
//! is charged), it follows the documentation of the tables.

use std::{
    cmp::Reverse,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use gateway_common::reason::Reason;
use gateway_user::snapshot::filter::{Attachment, Echo, FilterListener, FilterPlan, ListenAddress};

/// Reason, listener, entry.
pub(crate) type Opinion = (Reason, u32, Option<u8>);

const NOBODY: Opinion = (Reason::NotListener, 0, None);

/// What a frame is.
enum Frame {
    /// Nothing that the filter has a say about.
    Foreign,
    /// Too many tags to see what it is.
    Buried,
    Ip(Datagram),
}

struct Datagram {
    source: IpAddr,
    destination: IpAddr,
    vlan: u16,
    tags: usize,
    shape: Shape,
}

enum Shape {
    Segment { port: u16, opens: bool },
    FirstFragment { port: u16 },
    LaterFragment,
    EchoRequest,
    CutShort,
    ChainTooLong,
    OtherProtocol,
}

/// The verdict about `frame` on the interface numbered `interface`.
pub(crate) fn judge(
    plan: &FilterPlan,
    resolve: impl Fn(&str) -> Option<Attachment>,
    interface: u32,
    frame: &[u8],
) -> Opinion {
    let datagram = match classify(frame) {
        Frame::Foreign => return NOBODY,
        Frame::Buried => return (Reason::VlanDepth, 0, None),
        Frame::Ip(datagram) => datagram,
    };
    let (port, unreachable) = match datagram.shape {
        Shape::OtherProtocol => return NOBODY,
        Shape::Segment { port, .. } | Shape::FirstFragment { port } => (Some(port), Reason::WrongInterface),
        Shape::EchoRequest => (None, Reason::WrongInterface),
        Shape::LaterFragment => (None, Reason::Fragment),
        Shape::CutShort => (None, Reason::Truncated),
        Shape::ChainTooLong => (None, Reason::ExtChain),
    };

    // Every listener that names the destination, or takes all of its interface.
    let mut candidates = Vec::new();
    for (order, listener) in plan.listeners.iter().enumerate() {
        if port.is_some_and(|port| !listener.ports.contains(&port)) {
            continue;
        }
        let at = resolve(&listener.interface);
        let exact = !datagram.destination.is_unspecified()
            && listener.addresses.contains(&ListenAddress::Ip(datagram.destination));
        let any = at.is_some()
            && listener.addresses.iter().any(|address| match address {
                ListenAddress::Any => true,
                ListenAddress::Ip(IpAddr::V4(ip)) => ip.octets() == [0; 4] && datagram.destination.is_ipv4(),
                ListenAddress::Ip(IpAddr::V6(ip)) => ip.octets() == [0; 16] && datagram.destination.is_ipv6(),
            });
        let here = at.is_some_and(|at| at.ifindex == interface && (at.vlan == 0 || at.vlan == datagram.vlan));
        let tagged = at.is_some_and(|at| at.vlan != 0);
        // With a port, a deleted network's endpoint only gives way to a live one. Without, whoever is most generous
        // about echo speaks for the address.
        let rank = match (port, listener.echo) {
            (Some(_), Echo::Everybody | Echo::Allowlist) | (None, Echo::Everybody) => 0,
            (Some(_), Echo::Silent) | (None, Echo::Allowlist) => 1,
            (None, Echo::Silent) => 2,
        };
        candidates.push((listener, exact, any, here, tagged, rank, order));
    }

    // Exact before wildcard, with the VLAN before without.
    let local = candidates
        .iter()
        .filter(|(_, exact, any, here, ..)| *here && (*exact || *any))
        .min_by_key(|(_, exact, _, _, tagged, rank, order)| (!*exact, !*tagged, *rank, *order));
    let named =
        candidates.iter().filter(|(_, exact, ..)| *exact).min_by_key(|(_, _, _, _, tagged, rank, order)| {
            // The address table is filled by rank, the others by VLAN first.
            if port.is_some() { (0, !*tagged, *rank, *order) } else { (*rank, !*tagged, 0, *order) }
        });

    // A later fragment is dropped for an address that a listener names, wherever; for a wildcard it passes.
    if matches!(datagram.shape, Shape::LaterFragment) {
        return named.map_or(NOBODY, |(listener, ..)| (Reason::Fragment, u32::from(listener.id), None));
    }
    if let Some(listener) = forbidden(plan, &resolve, interface, &datagram, port)
        && local.is_none_or(|(_, exact, ..)| !*exact)
    {
        let reason = if datagram.tags > 2 {
            Reason::VlanDepth
        } else if matches!(datagram.shape, Shape::FirstFragment { .. }) {
            Reason::Fragment
        } else if matches!(datagram.shape, Shape::EchoRequest) {
            Reason::Silent
        } else {
            unreachable
        };
        return (reason, listener, None);
    }
    let Some((listener, ..)) = local else {
        return named.map_or(NOBODY, |(listener, ..)| (unreachable, u32::from(listener.id), None));
    };
    let id = u32::from(listener.id);
    if datagram.tags > 2 {
        return (Reason::VlanDepth, id, None);
    }
    let (reason, entry) = match datagram.shape {
        Shape::FirstFragment { .. } => (Reason::Fragment, None),
        Shape::CutShort => (Reason::Truncated, None),
        Shape::ChainTooLong => (Reason::ExtChain, None),
        Shape::EchoRequest => echo(listener, datagram.source),
        Shape::Segment { opens, .. } => segment(listener, datagram.source, opens),
        Shape::LaterFragment | Shape::OtherProtocol => unreachable!("judged above"),
    };
    (reason, id, entry)
}

/// The private listener whose address a wildcard of this interface would take, though nobody names it where the
/// wildcard is.
fn forbidden(
    plan: &FilterPlan,
    resolve: impl Fn(&str) -> Option<Attachment>,
    interface: u32,
    datagram: &Datagram,
    port: Option<u16>,
) -> Option<u32> {
    let names = |listener: &FilterListener| {
        let named = listener.addresses.contains(&ListenAddress::Ip(datagram.destination));
        named && !datagram.destination.is_unspecified()
    };
    let takes_all = |listener: &FilterListener| {
        let all = if datagram.destination.is_ipv4() { "0.0.0.0" } else { "::" };
        listener.addresses.contains(&ListenAddress::Any)
            || listener.addresses.contains(&ListenAddress::Ip(all.parse().unwrap()))
    };
    // Where the wildcards are that would take it.
    let mut vlans = Vec::new();
    for listener in plan.listeners.iter().filter(|listener| takes_all(listener)) {
        let listens = port.is_none_or(|port| listener.ports.contains(&port));
        if let Some(at) = resolve(&listener.interface)
            && listens
            && at.ifindex == interface
            && [0, datagram.vlan].contains(&at.vlan)
        {
            vlans.push(at.vlan);
        }
    }
    let foreign = |vlan: u16| {
        !plan.listeners.iter().filter(|listener| names(listener)).any(|listener| {
            resolve(&listener.interface)
                .is_some_and(|at| at.ifindex == interface && [0, vlan].contains(&at.vlan))
        })
    };
    vlans.into_iter().find(|vlan| foreign(*vlan))?;
    // A deleted network's address is charged to it only when no live one has it.
    let owner = |echo| plan.listeners.iter().find(|listener| names(listener) && listener.echo == echo);
    owner(Echo::Allowlist).or_else(|| owner(Echo::Silent)).map(|listener| u32::from(listener.id))
}

fn segment(listener: &FilterListener, source: IpAddr, opens: bool) -> (Reason, Option<u8>) {
    if listener.echo == Echo::Silent {
        return (Reason::Silent, None);
    }
    if !listener.open {
        return (Reason::Closed, None);
    }
    if let Some(id) = longest(listener, source, false) {
        return (Reason::Allowed, Some(id));
    }
    if on_large_list(listener, source) {
        return (Reason::Allowed, Some(LIST));
    }
    match longest(listener, source, true) {
        Some(id) if opens => (Reason::DrainingNew, Some(id)),
        Some(id) => (Reason::Draining, Some(id)),
        None => (missed(listener), None),
    }
}

fn missed(listener: &FilterListener) -> Reason {
    if listener.options.monitor { Reason::Monitored } else { Reason::NotAllowed }
}

fn echo(listener: &FilterListener, source: IpAddr) -> (Reason, Option<u8>) {
    match listener.echo {
        Echo::Silent => (Reason::Silent, None),
        Echo::Everybody => (Reason::Echo, None),
        Echo::Allowlist => match longest(listener, source, false) {
            Some(id) => (Reason::Echo, Some(id)),
            None if on_large_list(listener, source) => (Reason::Echo, Some(LIST)),
            None => (missed(listener), None),
        },
    }
}

/// Where a large list is counted.
const LIST: u8 = 31;

fn on_large_list(listener: &FilterListener, source: IpAddr) -> bool {
    let cidrs = listener.large.iter().flat_map(|list| list.cidrs());
    cidrs.into_iter().any(|cidr| cidr.contains(&source))
}

/// The entry with the longest prefix that holds `source`.
fn longest(listener: &FilterListener, source: IpAddr, draining: bool) -> Option<u8> {
    let entries = listener.entries.iter().filter(|entry| entry.draining == draining);
    let entries = entries.filter(|entry| entry.cidr.contains(&source));
    entries.min_by_key(|entry| Reverse(entry.cidr.prefix_len())).map(|entry| entry.id)
}

// === Reading ===

fn classify(frame: &[u8]) -> Frame {
    let mut rest = match frame.get(12..) {
        Some(rest) => rest,
        None => return Frame::Foreign,
    };
    let mut ids = Vec::new();
    loop {
        match rest {
            [0x81, 0x00, ..] | [0x88, 0xa8, ..] if ids.len() == 4 => return Frame::Buried,
            [0x81, 0x00, high, low, after @ ..] | [0x88, 0xa8, high, low, after @ ..] => {
                ids.push(u16::from(high & 0x0f) * 256 + u16::from(*low));
                rest = after;
            }
            _ => break,
        }
    }
    let vlan = ids.iter().copied().find(|id| *id != 0).unwrap_or(0);
    let found = match rest {
        [0x08, 0x00, packet @ ..] if packet.len() >= 20 => version4(packet),
        [0x86, 0xdd, packet @ ..] if packet.len() >= 40 => version6(packet),
        _ => return Frame::Foreign,
    };
    let (source, destination, shape) = found;
    Frame::Ip(Datagram { source, destination, vlan, tags: ids.len(), shape })
}

fn version4(packet: &[u8]) -> (IpAddr, IpAddr, Shape) {
    let address =
        |at: usize| IpAddr::V4(Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]));
    let words = usize::from(packet[0] % 16);
    let more = packet[6] / 32 % 2 == 1;
    let offset = usize::from(packet[6] % 32) * 256 + usize::from(packet[7]);
    let payload = packet.get(words * 4..).unwrap_or_default();
    let shape = if packet[0] / 16 != 4 || words < 5 {
        Shape::OtherProtocol
    } else {
        match (packet[9], offset) {
            (6, 0) => tcp(payload, more),
            (6, _) => Shape::LaterFragment,
            (1, 0) => icmp(payload, 8),
            _ => Shape::OtherProtocol,
        }
    };
    (address(12), address(16), shape)
}

fn version6(packet: &[u8]) -> (IpAddr, IpAddr, Shape) {
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&packet[at..at + 16]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let shape =
        if packet[0] / 16 == 6 { chain(packet[6], &packet[40..], 0, false) } else { Shape::OtherProtocol };
    (address(8), address(24), shape)
}

fn chain(header: u8, bytes: &[u8], seen: usize, fragmented: bool) -> Shape {
    match header {
        6 => tcp(bytes, fragmented),
        58 => icmp(bytes, 128),
        0 | 43 | 44 | 51 | 60 if seen == 8 => Shape::ChainTooLong,
        0 | 43 | 44 | 51 | 60 => {
            let [next, second, third, fourth, ..] = bytes else { return Shape::CutShort };
            let length = match header {
                44 => 8,
                51 => usize::from(*second) * 4 + 8,
                _ => usize::from(*second) * 8 + 8,
            };
            let mut fragmented = fragmented;
            if header == 44 {
                let offset = usize::from(*third) * 32 + usize::from(*fourth) / 8;
                if offset != 0 {
                    return match *next {
                        // TCP, or a header behind which TCP may be.
                        0 | 6 | 43 | 44 | 51 | 60 => Shape::LaterFragment,
                        _ => Shape::OtherProtocol,
                    };
                }
                fragmented |= fourth % 2 == 1;
            }
            chain(*next, bytes.get(length..).unwrap_or_default(), seen + 1, fragmented)
        }
        _ => Shape::OtherProtocol,
    }
}

fn tcp(bytes: &[u8], fragmented: bool) -> Shape {
    let port = |high: u8, low: u8| u16::from(high) * 256 + u16::from(low);
    match bytes {
        [_, _, high, low, ..] if fragmented => Shape::FirstFragment { port: port(*high, *low) },
        [_, _, high, low, _, _, _, _, _, _, _, _, _, flags, ..] => {
            let (syn, ack) = (flags / 2 % 2 == 1, flags / 16 % 2 == 1);
            Shape::Segment { port: port(*high, *low), opens: syn && !ack }
        }
        _ => Shape::CutShort,
    }
}

fn icmp(bytes: &[u8], request: u8) -> Shape {
    match bytes.first() {
        None => Shape::CutShort,
        Some(kind) if *kind == request => Shape::EchoRequest,
        Some(_) => Shape::OtherProtocol,
    }
}
