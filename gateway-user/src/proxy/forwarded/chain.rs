//! Pure: the grammar of `Forwarded` (RFC 7239 §4), `X-Forwarded-For` and their companions.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
};

use super::{address, quoted};
use crate::proxy::http::head::{Fields, Host};

/// The longest chain that is read: longer ones are loops.
const LONGEST: usize = 32;

/// Something is not what the grammar says, or contradicts itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What a forwarder tells.
#[derive(Debug)]
pub(crate) struct Chain<'a> {
    /// From the client's end to the forwarder's.
    pub(super) nodes: Vec<Node>,
    /// The right-most node that is no forwarder, and where it stands. `None`: nobody that has an address.
    pub(super) client: Option<IpAddr>,
    place: usize,
    /// Lines of `Forwarded`, passed on as they are with all they say; none if there was only `X-Forwarded-For`.
    lines: Vec<&'a [u8]>,
    /// Scheme, host and port that the client used.
    pub(super) proto: Option<&'static [u8]>,
    pub(super) host: Option<Cow<'a, [u8]>>,
    pub(super) port: Option<u16>,
}

/// Who made a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Address(IpAddr),
    /// `unknown`, an obfuscated identifier, or nothing said (RFC 7239 §6.2, §6.3).
    Hidden,
}

/// An element of `Forwarded`, as far as it concerns us.
#[derive(Default)]
struct Element<'a> {
    node: Option<Node>,
    proto: Option<&'static [u8]>,
    host: Option<Cow<'a, [u8]>>,
}

// === impl Chain ===

impl<'a> Chain<'a> {
    /// Reads the fields of a request that a forwarder made.
    pub(super) fn read<F: Fields>(
        fields: &'a F,
        trusted: impl Fn(IpAddr) -> bool,
    ) -> Result<Self, Malformed> {
        let mut nodes = Vec::new();
        for word in fields.all("x-forwarded-for").flat_map(|line| line.split(|byte| *byte == b',')) {
            // Empty elements of a list are ignored (RFC 9110 §5.6.1.2).
            let word = word.trim_ascii();
            if !word.is_empty() {
                nodes.push(Node::loose(word)?);
            }
        }
        let lines: Vec<&[u8]> =
            fields.all("forwarded").filter(|line| !line.trim_ascii().is_empty()).collect();
        let mut elements = Vec::new();
        for line in &lines {
            read_elements(line, &mut elements)?;
        }
        if elements.is_empty() && !lines.is_empty() {
            return Err(Malformed);
        }
        let named = elements.iter().map(|element| element.node.unwrap_or(Node::Hidden));
        if nodes.is_empty() {
            nodes.extend(named);
        } else if !lines.is_empty() && !named.eq(nodes.iter().copied()) {
            return Err(Malformed);
        }
        if nodes.len() > LONGEST {
            return Err(Malformed);
        }
        let (client, place) = client(&nodes, trusted);
        let element = elements.into_iter().nth(place).unwrap_or_default();
        let proto = one(fields.all("x-forwarded-proto"))?.map(scheme).transpose()?;
        let host = one(fields.all("x-forwarded-host"))?;
        if host.is_some_and(|host| Host::parse(host).is_err()) {
            return Err(Malformed);
        }
        Ok(Self {
            nodes,
            client,
            place,
            lines,
            proto: proto.or(element.proto),
            host: host.map(Cow::Borrowed).or(element.host),
            port: one(fields.all("x-forwarded-port"))?.map(port).transpose()?,
        })
    }

    /// Writes the chain as `Forwarded`, with a comma behind it if there is any.
    pub(super) fn forwarded(&self, out: &mut Vec<u8>) {
        if !self.lines.is_empty() {
            for line in &self.lines {
                out.extend_from_slice(line.trim_ascii());
                out.extend_from_slice(b", ");
            }
            return;
        }
        for (place, node) in self.nodes.iter().enumerate() {
            out.extend_from_slice(b"for=");
            node.write_forwarded(out);
            // What the client's own request was like is told where the client is.
            if place == self.place {
                if let Some(host) = &self.host {
                    out.extend_from_slice(b";host=");
                    quoted(out, host);
                }
                if let Some(proto) = self.proto {
                    out.extend_from_slice(b";proto=");
                    out.extend_from_slice(proto);
                }
            }
            out.extend_from_slice(b", ");
        }
    }
}

/// The client among the nodes, and the place of the node that was written with it.
fn client(nodes: &[Node], trusted: impl Fn(IpAddr) -> bool) -> (Option<IpAddr>, usize) {
    let mut client = (None, nodes.len().saturating_sub(1));
    for (place, node) in nodes.iter().enumerate().rev() {
        match node {
            Node::Address(address) => client = (Some(*address), place),
            // Its forwarder knows more than it says; nobody further left can be believed.
            Node::Hidden => return (client.0, place),
        }
        if client.0.is_some_and(|address| !trusted(address)) {
            break;
        }
    }
    client
}

/// The one line of a field that has no list; `None` without one.
fn one<'a>(mut lines: impl Iterator<Item = &'a [u8]>) -> Result<Option<&'a [u8]>, Malformed> {
    match (lines.next(), lines.next()) {
        (line, None) => Ok(line.map(<[u8]>::trim_ascii)),
        (_, Some(_)) => Err(Malformed),
    }
}

/// The schemes that HTTP can have.
fn scheme(word: &[u8]) -> Result<&'static [u8], Malformed> {
    let known: [&[u8]; 4] = [b"http", b"https", b"ws", b"wss"];
    known.into_iter().find(|known| known.eq_ignore_ascii_case(word)).ok_or(Malformed)
}

fn port(word: &[u8]) -> Result<u16, Malformed> {
    let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    text(word).filter(|_| digits).and_then(|word| word.parse().ok()).ok_or(Malformed)
}

fn text(word: &[u8]) -> Option<&str> {
    std::str::from_utf8(word).ok()
}

// === impl Node ===

impl Node {
    /// A word of `X-Forwarded-For`, which has no standard: addresses come with and without brackets and ports.
    fn loose(word: &[u8]) -> Result<Self, Malformed> {
        let bare = text(word).and_then(|word| word.parse::<IpAddr>().ok());
        bare.map_or_else(|| Self::strict(word), |address| Ok(Self::Address(address.to_canonical())))
    }

    /// A node of RFC 7239 §6: IPv6 in brackets, an optional port.
    fn strict(word: &[u8]) -> Result<Self, Malformed> {
        let word = text(word).ok_or(Malformed)?;
        let name = match word.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') && is_port(port) => name,
            _ => word,
        };
        let obfuscated = name.strip_prefix('_').is_some_and(|rest| rest.bytes().all(is_obfuscated));
        if name.eq_ignore_ascii_case("unknown") || (obfuscated && name.len() > 1) {
            return Ok(Self::Hidden);
        }
        // With some port the standard library knows both forms and nothing else.
        let address = format!("{name}:0").parse::<SocketAddr>().map_err(|_| Malformed)?;
        let scoped = matches!(address, SocketAddr::V6(address) if address.scope_id() != 0);
        if scoped { Err(Malformed) } else { Ok(Self::Address(address.ip().to_canonical())) }
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Address(node) => address(out, node),
            Self::Hidden => out.extend_from_slice(b"unknown"),
        }
    }

    pub(super) fn write_forwarded(self, out: &mut Vec<u8>) {
        let v6 = matches!(self, Self::Address(IpAddr::V6(_)));
        out.extend_from_slice(if v6 { b"\"[" } else { b"" });
        self.write(out);
        out.extend_from_slice(if v6 { b"]\"" } else { b"" });
    }
}

/// A port of RFC 7239 §6: five digits at most, or obfuscated.
fn is_port(word: &str) -> bool {
    match word.strip_prefix('_') {
        Some(rest) => !rest.is_empty() && rest.bytes().all(is_obfuscated),
        None => (1..=5).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn is_obfuscated(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// Whether the byte may stand in a token (RFC 9110 §5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    matches!(
        byte,
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~'
    )
}

// === `Forwarded` ===

/// Reads the elements of one line.
fn read_elements<'a>(line: &'a [u8], elements: &mut Vec<Element<'a>>) -> Result<(), Malformed> {
    let mut rest = line.trim_ascii();
    let mut element = Element::default();
    let mut empty = true;
    loop {
        rest = rest.trim_ascii_start();
        match rest.first() {
            None | Some(b',') => {
                if !std::mem::replace(&mut empty, true) {
                    elements.push(std::mem::take(&mut element));
                }
            }
            Some(b';') => {}
            Some(_) => {
                let (name, content) = pair(&mut rest)?;
                element.note(name, content)?;
                (rest, empty) = (rest.trim_ascii_start(), false);
                // A pair ends at a separator, which the next turn sees.
                if !matches!(rest.first(), None | Some(b',' | b';')) {
                    return Err(Malformed);
                }
                continue;
            }
        }
        let Some((_, tail)) = rest.split_first() else { return Ok(()) };
        rest = tail;
    }
}

/// A parameter's name and its value without quotes.
type Pair<'a> = (&'a [u8], Cow<'a, [u8]>);

/// Takes `name=value` off the front.
fn pair<'a>(line: &mut &'a [u8]) -> Result<Pair<'a>, Malformed> {
    let end = line.iter().position(|byte| !is_token(*byte)).ok_or(Malformed)?;
    let (name, rest) = line.split_at_checked(end).ok_or(Malformed)?;
    let rest = rest.strip_prefix(b"=").filter(|_| !name.is_empty()).ok_or(Malformed)?;
    let Some(quoted) = rest.strip_prefix(b"\"") else {
        let end = rest.iter().position(|byte| !is_token(*byte)).unwrap_or(rest.len());
        let (token, rest) = rest.split_at_checked(end).ok_or(Malformed)?;
        *line = rest;
        return if token.is_empty() { Err(Malformed) } else { Ok((name, Cow::Borrowed(token))) };
    };
    let mut content = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((place, byte)) = bytes.next() {
        match byte {
            b'"' => {
                *line = quoted.get(place + 1..).unwrap_or_default();
                return Ok((name, Cow::Owned(content)));
            }
            b'\\' => content.push(*bytes.next().ok_or(Malformed)?.1),
            _ => content.push(*byte),
        }
    }
    Err(Malformed)
}

impl<'a> Element<'a> {
    /// Takes a parameter in. None may come twice (RFC 7239 §4); the ones that we do not know are not our concern.
    fn note(&mut self, name: &[u8], content: Cow<'a, [u8]>) -> Result<(), Malformed> {
        let twice = if name.eq_ignore_ascii_case(b"for") {
            self.node.replace(Node::strict(&content)?).is_some()
        } else if name.eq_ignore_ascii_case(b"proto") {
            self.proto.replace(scheme(&content)?).is_some()
        } else if name.eq_ignore_ascii_case(b"host") {
            if Host::parse(&content).is_err() {
                return Err(Malformed);
            }
            self.host.replace(content).is_some()
        } else {
            false
        };
        if twice { Err(Malformed) } else { Ok(()) }
    }
}
