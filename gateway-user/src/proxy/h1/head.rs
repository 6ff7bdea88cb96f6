//! Pure: message heads as parsed from bytes. [`super::scan`] found their ends before; nothing is copied.

use std::{mem::MaybeUninit, ops::Range};

use httparse::{Error, Header, Status};

use super::scan::{Found, Scan};
use crate::proxy::{
    failure::Failure,
    http::{
        framing::Version,
        head::{Fields, Head, TARGET_MAX, check_line},
        hop::is_late,
    },
};

/// Fields of any head that is looked at; a listener's limit is below.
pub(crate) const FIELDS_MAX: usize = 256;

/// Room for the fields of a head, on the caller's stack.
pub(crate) type Room<'b> = [MaybeUninit<Header<'b>>; FIELDS_MAX];

/// Room that nothing is written into before the parser does.
pub(crate) fn room<'b>() -> Room<'b> {
    [const { MaybeUninit::uninit() }; FIELDS_MAX]
}

/// The fields of a head in their order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines<'h>(&'h [Header<'h>]);

/// The most that a client may say in one head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes: usize,
    pub(crate) fields: usize,
}

/// A request head.
#[derive(Debug)]
pub(crate) struct Request<'h> {
    pub(crate) method: &'h str,
    /// Path and query as they are passed on.
    pub(crate) target: &'h str,
    pub(crate) path: &'h str,
    pub(crate) authority: Option<&'h str>,
    pub(crate) version: Version,
    pub(crate) fields: Lines<'h>,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Response<'h> {
    pub(crate) status: u16,
    pub(crate) reason: &'h str,
    pub(crate) version: Version,
    pub(crate) fields: Lines<'h>,
}

// === impl Lines ===

impl<'h> Lines<'h> {
    /// Name and value of every field.
    pub(crate) fn iter(self) -> impl Iterator<Item = (&'h [u8], &'h [u8])> {
        self.0.iter().map(|field| (field.name.as_bytes(), field.value))
    }
}

impl Fields for Lines<'_> {
    fn all<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    fn any<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }
}

// === impl Request ===

impl<'h> Request<'h> {
    /// Where the head is in `bytes`, which begin with those of the call before; `None`: it has not ended yet.
    ///
    /// # Errors
    /// It will not become one that is taken, whatever follows.
    pub(crate) fn find(
        scan: &mut Scan,
        bytes: &[u8],
        bounds: Bounds,
    ) -> Result<Option<Range<usize>>, Failure> {
        match scan.look(bytes) {
            Found::Head { end, .. } if end > bounds.bytes => Err(Failure::HeadTooLarge),
            Found::Head { start, end } => Ok(Some(start..end)),
            Found::Bad => Err(Failure::BadHead),
            Found::Partial if scan.first_line().is_some_and(|line| line > TARGET_MAX + 64) => {
                Err(Failure::TargetTooLong)
            }
            Found::Partial if bytes.len() >= bounds.bytes || scan.lines() > bounds.fields + 1 => {
                Err(Failure::HeadTooLarge)
            }
            Found::Partial => Ok(None),
        }
    }

    /// Parses a complete head.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(crate) fn parse<'b: 'h>(
        bytes: &'b [u8],
        room: &'h mut Room<'b>,
        fields_max: usize,
    ) -> Result<Self, Failure> {
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(bytes, room).map_err(|error| refusal(error, bytes))?;
        let (Status::Complete(_), Some(method), Some(target), Some(minor)) =
            (parsed, request.method, request.path, request.version)
        else {
            return Err(Failure::BadHead);
        };
        check_line(method, target)?;
        let fields: &'h [Header<'h>] = request.headers;
        if fields.len() > fields_max {
            return Err(Failure::HeadTooLarge);
        }
        let (authority, target) = split(method, target)?;
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let version = version(minor);
        Ok(Self { method, target, path, authority, version, fields: Lines(fields) })
    }

    /// The view that the stages see.
    pub(crate) fn view(&self) -> Head<'_, Lines<'h>> {
        Head {
            method: self.method,
            path: self.path,
            authority: self.authority,
            version: self.version,
            fields: &self.fields,
        }
    }
}

/// Authority, and path with query, of a request target in any of its forms (RFC 9112 §3.2).
fn split<'t>(method: &str, target: &'t str) -> Result<(Option<&'t str>, &'t str), Failure> {
    if target.starts_with('/') || target == "*" {
        return Ok((None, target));
    }
    if method == "CONNECT" {
        // Refused by the stages, which want a path.
        return Ok((None, "/"));
    }
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let rest = scheme.and_then(|scheme| target.get(scheme.len()..)).ok_or(Failure::BadPath)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end).ok_or(Failure::BadPath)?;
    match rest.as_bytes().first() {
        None => Ok((Some(authority), "/")),
        Some(b'/') => Ok((Some(authority), rest)),
        // A query without a path would have to be moved behind one; no client sends that.
        Some(_) => Err(Failure::BadPath),
    }
}

// === impl Response ===

impl<'h> Response<'h> {
    /// Parses a complete head.
    ///
    /// # Errors
    /// [`Failure::BadAnswer`].
    pub(crate) fn parse<'b: 'h>(bytes: &'b [u8], room: &'h mut Room<'b>) -> Result<Self, Failure> {
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut response, bytes, room)
            .map_err(|_| Failure::BadAnswer)?;
        match (parsed, response.code, response.version) {
            (Status::Complete(_), Some(status @ 100..=999), Some(minor)) => {
                let fields: &'h [Header<'h>] = response.headers;
                let reason = response.reason.unwrap_or_default();
                Ok(Self { status, reason, version: version(minor), fields: Lines(fields) })
            }
            _ => Err(Failure::BadAnswer),
        }
    }
}

/// Trailer fields as [`super::chunked::Decoder`] kept them, without those that come too late. `None`: these are no
/// fields.
pub(crate) fn trailers(bytes: &[u8], mut put: impl FnMut(&[u8], &[u8])) -> Option<()> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    // The parser wants the empty line that ends a list of fields.
    let text = [bytes, b"\r\n"].concat();
    let Ok(Status::Complete((_, fields))) = httparse::parse_headers(&text, &mut fields) else { return None };
    for field in fields.iter().filter(|field| !is_late(field.name.as_bytes())) {
        put(field.name.as_bytes(), field.value);
    }
    Some(())
}

fn version(minor: u8) -> Version {
    if minor == 0 { Version::Http10 } else { Version::Http11 }
}

fn refusal(error: Error, bytes: &[u8]) -> Failure {
    match error {
        Error::TooManyHeaders => Failure::HeadTooLarge,
        Error::Version if names_version(bytes) => Failure::BadVersion,
        Error::Version => Failure::BadHead,
        Error::HeaderName | Error::HeaderValue | Error::NewLine | Error::Status | Error::Token => {
            Failure::BadHead
        }
    }
}

/// Whether the first line ends with a version of HTTP: then the rest may be well for whoever speaks it (RFC 9112 §2.3).
fn names_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let last = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    matches!(last, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{Request, Response, room, trailers};
    use crate::proxy::{failure::Failure, http::framing::Version};

    fn request(text: &str) -> Result<(String, String, Option<String>, Version), Failure> {
        let mut room = room();
        Request::parse(text.as_bytes(), &mut room, 100).map(|head| {
            (head.path.to_owned(), head.target.to_owned(), head.authority.map(str::to_owned), head.version)
        })
    }

    #[test]
    fn targets_come_in_three_forms() {
        let found = |line: &str| {
            request(&format!("{line} HTTP/1.1\r\nhost: a\r\n\r\n"))
                .map(|(path, target, authority, _)| (path, target, authority))
        };
        let expect = |path: &str, target: &str, authority: Option<&str>| {
            Ok((path.to_owned(), target.to_owned(), authority.map(str::to_owned)))
        };
        assert_eq!(found("GET /a?b=c?d"), expect("/a", "/a?b=c?d", None));
        assert_eq!(found("GET HTTP://a.example:80/x?y"), expect("/x", "/x?y", Some("a.example:80")));
        assert_eq!(found("GET https://a.example"), expect("/", "/", Some("a.example")));
        assert_eq!(found("OPTIONS *"), expect("*", "*", None));
        for bad in ["GET *", "GET a", "GET a/b", "GET ftp://a/", "GET /a#b", "GET http://a?b", "GET /\u{e9}"]
        {
            assert_eq!(found(bad), Err(Failure::BadPath), "{bad}");
        }
        assert_eq!(found(&format!("GET /{}", "a".repeat(17_000))), Err(Failure::TargetTooLong));
    }

    #[test]
    fn what_is_no_head_is_refused_by_its_kind() {
        for (text, failure) in [
            ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", Failure::BadHead),
            ("GET / HTTP/1.1\r\n: a\r\n\r\n", Failure::BadHead),
            ("GET / HTTP/1.1\r\nhost\r\n\r\n", Failure::BadHead),
            ("GET / HTTP/1.1\r\na: b\0c\r\n\r\n", Failure::BadHead),
            ("GET  / HTTP/1.1\r\n\r\n", Failure::BadHead),
            ("GET / HTTP/2.0\r\n\r\n", Failure::BadVersion),
            ("GET / HTTP/1.2\r\n\r\n", Failure::BadVersion),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n\r\n", Failure::BadHead),
            ("GET /\r\n\r\n", Failure::BadHead),
            ("G@T / HTTP/1.1\r\n\r\n", Failure::BadHead),
            (&format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(33)), Failure::BadMethod),
        ] {
            assert_eq!(request(text).unwrap_err(), failure, "{text:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));
        assert_eq!(request(&many), Err(Failure::HeadTooLarge));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(300));
        assert_eq!(request(&many), Err(Failure::HeadTooLarge));
        assert_eq!(request("GET / HTTP/1.0\r\n\r\n").unwrap().3, Version::Http10);
    }

    #[test]
    fn answers_are_parsed_as_strictly() {
        let status = |text: &str| {
            let mut room = room();
            Response::parse(text.as_bytes(), &mut room).map(|head| head.status)
        };
        assert_eq!(status("HTTP/1.1 200 OK\r\na: b\r\n\r\n"), Ok(200));
        assert_eq!(status("HTTP/1.0 404\r\n\r\n"), Ok(404));
        for bad in [
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
            "x\r\n\r\n",
        ] {
            assert_eq!(status(bad), Err(Failure::BadAnswer), "{bad}");
        }
    }

    #[test]
    fn trailers_that_come_too_late_are_left_out() {
        let mut seen = Vec::new();
        trailers(b"grpc-status: 0\r\nContent-Length: 5\r\nx-forwarded-for: 1\r\n", |name, value| {
            seen.push((name.to_vec(), value.to_vec()));
        })
        .unwrap();
        assert_eq!(seen, [(b"grpc-status".to_vec(), b"0".to_vec())]);
        assert!(trailers(b"a b: c\r\n", |_, _| {}).is_none());
    }
}
