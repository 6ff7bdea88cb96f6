//! Pure: version 1 of the PROXY protocol, a line of text.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use super::{Declared, Header, Reason};

/// What a line begins with.
pub(super) const BEGIN: &[u8] = b"PROXY ";
/// The longest line, its end included.
const LONGEST: usize = 107;

/// Reads a line; `None`: it goes on.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, Reason> {
    let head = bytes.get(..LONGEST).unwrap_or(bytes);
    let Some(end) = memchr::memchr2(b'\r', b'\n', head) else {
        return if head.len() < LONGEST { Ok(None) } else { Err(Reason::TooLong) };
    };
    let (line, rest) = head.split_at(end);
    match rest {
        [b'\r'] if head.len() < LONGEST => Ok(None),
        [b'\r'] => Err(Reason::TooLong),
        [b'\r', b'\n', ..] => {
            let declared = line.get(BEGIN.len()..).and_then(words).ok_or(Reason::Words)?;
            Ok(Some(Header { declared, consumed: end + 2 }))
        }
        _ => Err(Reason::Words),
    }
}

/// What the words after `PROXY ` declare; `None`: they are not the protocol's.
fn words(line: &[u8]) -> Option<Option<Declared>> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    let declared = match words.next()? {
        "TCP4" => ends::<Ipv4Addr>(&mut words)?,
        "TCP6" => ends::<Ipv6Addr>(&mut words)?,
        // Whatever follows is to be ignored.
        "UNKNOWN" => return Some(None),
        _ => return None,
    };
    words.next().is_none().then_some(Some(declared))
}

fn ends<'a, A: FromStr + Into<IpAddr>>(words: &mut impl Iterator<Item = &'a str>) -> Option<Declared> {
    let mut address = || Some(words.next()?.parse::<A>().ok()?.into());
    let (source, destination) = (address()?, address()?);
    let mut port = || port(words.next()?);
    let (from, to) = (port()?, port()?);
    Some(Declared { source: SocketAddr::new(source, from), destination: SocketAddr::new(destination, to) })
}

/// Decimal digits without a sign or a leading zero.
fn port(word: &str) -> Option<u16> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    (digits && (word == "0" || !word.starts_with('0'))).then(|| word.parse().ok())?
}
