//! Pure: the borrowed view of a request head on which every pipeline stage works.
//!
//! The view is the same whatever parsed the head: hyper for HTTP/2, our own parser for HTTP/1.1. No stage may see the
//! parser's own types.

use std::borrow::Cow;

use super::framing::Version;
use crate::proxy::failure::Failure;

/// Longest host that is looked at: a DNS name (RFC 1035 §2.3.4) with brackets, a trailing dot and a port.
const HOST_MAX: usize = 264;

/// Longest request target: what common clients and servers agree on (RFC 9112 §3 asks for 8000 at least).
pub(crate) const TARGET_MAX: usize = 16 * 1024;
/// Longest method: as long as one that a route can name.
const METHOD_MAX: usize = 32;

/// Header fields by name, as some parser keeps them.
pub(crate) trait Fields {
    /// Every value of `name` (lower case), in order.
    fn all<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]>;
    /// Every value of a name that is not known at compile time.
    fn any<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]>;
}

/// A request head.
#[derive(Debug)]
pub(crate) struct Head<'a, F> {
    pub(crate) method: &'a str,
    /// Path without the query, `/` at least.
    pub(crate) path: &'a str,
    /// From the request target (absolute form, `:authority`), if it names one.
    pub(crate) authority: Option<&'a str>,
    /// HTTP/1.0 needs no Host.
    pub(crate) version: Version,
    pub(crate) fields: &'a F,
}

/// A host name in lower case without port and trailing dot. Nearly every client writes it in lower case already.
#[derive(Debug)]
pub(crate) struct Host<'a>(Cow<'a, str>);

/// Refuses what no request begins with, whatever it came over; `target` as it was sent, in any of its forms.
pub(crate) fn check_line(method: &str, target: &str) -> Result<(), Failure> {
    if method.len() > METHOD_MAX {
        return Err(Failure::BadMethod);
    }
    if target.len() > TARGET_MAX {
        return Err(Failure::TargetTooLong);
    }
    // No fragment is ever sent (RFC 9110 §7.1), and what is not ASCII is not a target (RFC 3986 §2).
    let allowed = |byte: u8| (b'!'..=b'~').contains(&byte) && byte != b'#';
    if !target.bytes().all(allowed) || (target == "*" && method != "OPTIONS") {
        return Err(Failure::BadPath);
    }
    Ok(())
}

// === impl Head ===

impl<'a, F: Fields> Head<'a, F> {
    /// The one Host of the request; `None` only for HTTP/1.0 without one.
    pub(crate) fn host(&self) -> Result<Option<Host<'a>>, Failure> {
        let mut hosts = self.fields.all("host");
        let field = match (hosts.next(), hosts.next()) {
            (first, None) => first.map(Host::parse).transpose()?,
            (_, Some(_)) => return Err(Failure::BadHost),
        };
        let authority = self.authority.map(|text| Host::parse(text.as_bytes())).transpose()?;
        match (authority, field) {
            // RFC 9112 §3.2.2 lets the target win over Host; a client that means two different things is refused.
            (Some(authority), Some(field)) if authority.as_str() != field.as_str() => Err(Failure::BadHost),
            (Some(host), _) | (None, Some(host)) => Ok(Some(host)),
            (None, None) if self.version == Version::Http10 => Ok(None),
            (None, None) => Err(Failure::BadHost),
        }
    }

    /// A gRPC call: errors are trailers-only then.
    pub(crate) fn grpc(&self) -> bool {
        self.fields.all("content-type").next().is_some_and(is_grpc)
    }

    /// Refuses paths that a service might read differently than the matcher: `.` and `..` segments, also encoded,
    /// backslashes and NUL. Clients normalise before they send (RFC 3986 §5.2.4).
    pub(crate) fn check_path(&self) -> Result<(), Failure> {
        let path = self.path.as_bytes();
        if !path.starts_with(b"/") && self.path != "*" {
            return Err(Failure::BadPath);
        }
        if !path.iter().any(|byte| matches!(byte, b'.' | b'%' | b'\\' | 0)) {
            return Ok(());
        }
        if path.iter().any(|byte| matches!(byte, b'\\' | 0)) || path.split(|byte| *byte == b'/').any(is_dots)
        {
            return Err(Failure::BadPath);
        }
        Ok(())
    }
}

fn is_grpc(value: &[u8]) -> bool {
    let kind = b"application/grpc";
    value.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind))
        && matches!(value.get(kind.len()), None | Some(b'+' | b';' | b' '))
}

/// `.` or `..`, each dot plain or as `%2e`.
fn is_dots(segment: &[u8]) -> bool {
    let mut rest = segment;
    let mut dots = 0;
    while !rest.is_empty() {
        rest = match rest {
            [b'.', tail @ ..] | [b'%', b'2', b'e' | b'E', tail @ ..] => tail,
            _ => return false,
        };
        dots += 1;
    }
    dots == 1 || dots == 2
}

// === impl Host ===

impl<'a> Host<'a> {
    /// Splits the port off and lowers the case.
    pub(crate) fn parse(value: &'a [u8]) -> Result<Self, Failure> {
        let name = match value {
            [b'[', ..] => {
                let end = value.iter().position(|byte| *byte == b']').ok_or(Failure::BadHost)?;
                let (inside, rest) = value.split_at(end);
                port(rest.get(1..).unwrap_or_default())?;
                let address = inside.get(1..).unwrap_or_default();
                if address.is_empty()
                    || !address.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
                {
                    return Err(Failure::BadHost);
                }
                address
            }
            _ => {
                let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
                let (name, rest) = value.split_at(end);
                port(rest)?;
                let name = name.strip_suffix(b".").unwrap_or(name);
                let allowed = |byte: &u8| byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_');
                // To the end, whatever is found: that is done sixteen bytes at a time.
                if name.is_empty() || !name.iter().fold(true, |all, byte| all & allowed(byte)) {
                    return Err(Failure::BadHost);
                }
                name
            }
        };
        if name.len() > HOST_MAX {
            return Err(Failure::BadHost);
        }
        // Only ASCII was let in.
        let name = std::str::from_utf8(name).map_err(|_| Failure::BadHost)?;
        let lower = !name.bytes().fold(false, |any, byte| any | byte.is_ascii_uppercase());
        Ok(Self(if lower { Cow::Borrowed(name) } else { Cow::Owned(name.to_ascii_lowercase()) }))
    }

    /// The name, lower case; an IPv6 literal without its brackets.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

fn port(rest: &[u8]) -> Result<(), Failure> {
    match rest {
        [] => Ok(()),
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => Ok(()),
        _ => Err(Failure::BadHost),
    }
}

/// Fields as a plain list, for tests.
#[cfg(test)]
pub(crate) struct List<'a>(pub(crate) &'a [(&'a str, &'a str)]);

#[cfg(test)]
impl Fields for List<'_> {
    fn all<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.any(name)
    }

    fn any<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let name = name.to_owned();
        self.0.iter().filter(move |(key, _)| *key == name).map(|(_, value)| value.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::{Head, Host, List, Version};
    use crate::proxy::failure::Failure;

    fn head<'a>(fields: &'a List<'a>, path: &'a str) -> Head<'a, List<'a>> {
        Head { method: "GET", path, authority: None, version: Version::Http11, fields }
    }

    #[test]
    fn hosts_lose_case_port_and_trailing_dot() {
        for (given, name) in [
            ("Example.ORG", "example.org"),
            ("example.org:8443", "example.org"),
            ("example.org.", "example.org"),
            ("[2001:DB8::1]:443", "2001:db8::1"),
            ("[::1]", "::1"),
            ("127.0.0.1:8080", "127.0.0.1"),
        ] {
            assert_eq!(Host::parse(given.as_bytes()).unwrap().as_str(), name);
        }
        for bad in
            ["", ":80", "a b", "a/b", "a:x", "a:123456", "[::1", "[::1]x", "a@b", "[g::]", &"a".repeat(300)]
        {
            assert_eq!(Host::parse(bad.as_bytes()).err(), Some(Failure::BadHost), "{bad}");
        }
    }

    #[test]
    fn exactly_one_host_is_needed() {
        assert!(head(&List(&[("host", "a")]), "/").host().is_ok());
        assert_eq!(head(&List(&[]), "/").host().err(), Some(Failure::BadHost));
        assert_eq!(head(&List(&[("host", "a"), ("host", "a")]), "/").host().err(), Some(Failure::BadHost));
        let fields = List(&[("host", "a")]);
        assert_eq!(Head { authority: Some("b"), ..head(&fields, "/") }.host().err(), Some(Failure::BadHost));
        assert!(Head { authority: Some("A:443"), ..head(&fields, "/") }.host().is_ok());
        assert!(Head { version: Version::Http10, ..head(&List(&[]), "/") }.host().unwrap().is_none());
    }

    #[test]
    fn dot_segments_are_refused_in_every_spelling() {
        let fields = List(&[]);
        for good in ["/", "/a.b/c", "/v1/...", "/a%20b", "/.well-known/x", "*"] {
            assert_eq!(head(&fields, good).check_path(), Ok(()), "{good}");
        }
        for bad in ["/a/../b", "/.", "/a/%2e%2E/b", "/a/.%2e", "/a\\..\\b", "a", ""] {
            assert_eq!(head(&fields, bad).check_path(), Err(Failure::BadPath), "{bad}");
        }
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (kind, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("text/plain", false),
        ] {
            assert_eq!(head(&List(&[("content-type", kind)]), "/").grpc(), grpc, "{kind}");
        }
    }
}
