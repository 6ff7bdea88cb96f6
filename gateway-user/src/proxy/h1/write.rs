//! Pure: the heads that are sent: a request to an instance, an answer to a client, both written anew from what was
//! parsed, so that the next reader sees the one message that we judged.

use super::head::Response;
use crate::proxy::{
    encode::{self, Choice},
    failure::Failure,
    forwarded,
    http::{
        framing::{Body, Version},
        head::Fields,
        hop::{Connection, is_hop_by_hop},
    },
};

/// What an instance is told besides the client's own fields.
pub(crate) struct ForInstance<'a> {
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
    /// Bytes to take off the front of the path.
    pub(crate) strip: usize,
    pub(crate) host: &'a [u8],
    pub(crate) body: Body,
    /// The protocol that the client wants to change to, with its body-less request.
    pub(crate) upgrade: Option<&'a [u8]>,
    /// The client waits for a 100 before it sends its body.
    pub(crate) expect: bool,
    pub(crate) id: &'a [u8],
    /// Pass the client's token on.
    pub(crate) token: bool,
    /// What forwarders told of the way is believed and continued.
    pub(crate) believed: bool,
    /// The body is decompressed on the way.
    pub(crate) decoded: bool,
}

/// Writes a request head. `forwarding` writes the fields about the request's way.
pub(crate) fn request<'f, F: Fields>(
    out: &mut Vec<u8>,
    asked: &ForInstance<'_>,
    fields: &F,
    each: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    connection: Connection,
    forwarding: impl Fn(&mut Vec<u8>),
) {
    out.extend_from_slice(asked.method.as_bytes());
    out.push(b' ');
    let target = asked.target.get(asked.strip..).unwrap_or_default();
    if !target.starts_with('/') && target != "*" {
        out.push(b'/');
    }
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    field(out, b"host", asked.host);
    let mut cookie = None;
    for (name, value) in each {
        if is_replaced(name, asked) || connection.ends(fields, name) {
            continue;
        }
        if name == b"cookie" {
            // HTTP/2 clients may split it, HTTP/1.1 wants one field (RFC 9113 §8.2.3). They lie side by side mostly.
            if let Some(end) = cookie.filter(|end| *end == out.len()) {
                out.truncate(end - 2);
                out.extend_from_slice(b"; ");
                out.extend_from_slice(value);
                out.extend_from_slice(b"\r\n");
                cookie = Some(out.len());
                continue;
            }
            field(out, name, value);
            cookie = Some(out.len());
            continue;
        }
        field(out, name, value);
    }
    forwarding(out);
    field(out, b"x-request-id", asked.id);
    if let Some(protocol) = asked.upgrade {
        field(out, b"connection", b"upgrade");
        field(out, b"upgrade", protocol);
    }
    if asked.expect {
        field(out, b"expect", b"100-continue");
    }
    match asked.body {
        // Methods with a meaning for a body say that there is none (RFC 9110 §8.6).
        Body::None if matches!(asked.method, "POST" | "PUT" | "PATCH") => {
            field(out, b"content-length", b"0");
        }
        Body::None => {}
        Body::Length(length) => length_field(out, length),
        Body::Chunked | Body::Close => field(out, b"transfer-encoding", b"chunked"),
    }
    out.extend_from_slice(b"\r\n");
}

/// Fields that are written anew or not passed on, whatever `Connection` says.
fn is_replaced(name: &[u8], asked: &ForInstance<'_>) -> bool {
    let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
    forwarded::replaces(name, asked.believed)
        || match name.len() {
            4 => is(b"host"),
            6 => is(b"expect"),
            12 => is(b"x-request-id"),
            13 => is(b"authorization") && !asked.token,
            14 => is(b"content-length"),
            16 => is(b"content-encoding") && asked.decoded,
            _ => false,
        }
}

/// How an answer is passed on.
pub(crate) struct ForClient<'a> {
    pub(crate) body: Body,
    pub(crate) version: Version,
    pub(crate) keep_alive: bool,
    /// `Date`, where the instance gave none (RFC 9110 §6.6.1).
    pub(crate) date: &'a [u8],
    /// What becomes of the body on the way.
    pub(crate) coding: Choice,
    /// The answer is a 101.
    pub(crate) switching: bool,
}

/// Writes the head of an answer.
///
/// # Errors
/// [`Failure::BadAnswer`]: a 101 without a protocol.
pub(crate) fn response(
    out: &mut Vec<u8>,
    head: &Response<'_>,
    connection: Connection,
    answer: &ForClient<'_>,
) -> Result<(), Failure> {
    status_line(out, head.status, head.reason);
    let encoding = encoding(answer.coding);
    let anew = is_length_anew(head.status, answer.body);
    let mut dated = false;
    for (name, value) in head.fields.iter() {
        if connection.ends(&head.fields, name) {
            continue;
        }
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is(b"date") => dated = true,
            4 if encoding.is_some() && is(b"etag") && !value.starts_with(b"W/") => {
                // Other bytes, the same meaning (RFC 9110 §8.8.1).
                out.extend_from_slice(b"etag: W/");
                out.extend_from_slice(value);
                out.extend_from_slice(b"\r\n");
                continue;
            }
            13 if encoding.is_some() && is(b"accept-ranges") => continue,
            14 if anew && is(b"content-length") => continue,
            _ => {}
        }
        field(out, name, value);
    }
    if !dated && head.status >= 200 {
        field(out, b"date", answer.date);
    }
    coded(out, &head.fields, answer.coding);
    if answer.switching {
        let protocol = head.fields.all("upgrade").next().ok_or(Failure::BadAnswer)?;
        field(out, b"connection", b"upgrade");
        field(out, b"upgrade", protocol);
    } else if head.status >= 200 {
        framing(out, answer.body, answer.version, answer.keep_alive);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Whether what the instance says of a length is not passed on: it frames the body and is written anew with the rest of
/// the framing, or the answer never has a body, and none may be said (RFC 9110 §8.6). Some client would wait for it.
fn is_length_anew(status: u16, body: Body) -> bool {
    status < 200 || status == 204 || body != Body::None
}

/// Says that the body is compressed on the way, or would be for others.
fn coded(out: &mut Vec<u8>, fields: &impl Fields, coding: Choice) {
    let varies = |name: &str| encode::lists(fields, "vary", name.as_bytes());
    if coding != Choice::Pass && !varies("*") && !varies("accept-encoding") {
        field(out, b"vary", b"accept-encoding");
    }
    if let Some(encoding) = encoding(coding) {
        field(out, b"content-encoding", encoding.as_bytes());
    }
}

fn encoding(coding: Choice) -> Option<&'static str> {
    match coding {
        Choice::Encode { encoding, .. } => Some(encode::name(encoding)),
        Choice::Pass | Choice::Vary => None,
    }
}

/// What the connection does next, and how the body ends.
fn framing(out: &mut Vec<u8>, body: Body, version: Version, keep_alive: bool) {
    match body {
        Body::Chunked => field(out, b"transfer-encoding", b"chunked"),
        Body::Length(length) => length_field(out, length),
        Body::None | Body::Close => {}
    }
    match (keep_alive, version) {
        (false, _) => field(out, b"connection", b"close"),
        (true, Version::Http10) => field(out, b"connection", b"keep-alive"),
        (true, Version::Http11 | Version::Http2) => {}
    }
}

/// Writes an answer of the gateway's own, with its text.
pub(crate) fn own<'f>(
    out: &mut Vec<u8>,
    status: u16,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    text: &[u8],
    answer: &ForClient<'_>,
    head: bool,
) {
    status_line(out, status, reason(status));
    for (name, value) in fields {
        field(out, name, value);
    }
    field(out, b"date", answer.date);
    framing(out, Body::Length(text.len() as u64), answer.version, answer.keep_alive);
    out.extend_from_slice(b"\r\n");
    if !head {
        out.extend_from_slice(text);
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        450 => "Queue Full",
        _ => http::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()).unwrap_or(""),
    }
}

fn status_line(out: &mut Vec<u8>, status: u16, reason: &str) {
    out.extend_from_slice(b"HTTP/1.1 ");
    number(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn length_field(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    number(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of an answer that came in frames.
pub(super) fn converted(out: &mut Vec<u8>, status: u16, fields: &http::HeaderMap, answer: &ForClient<'_>) {
    status_line(out, status, reason(status));
    let anew = is_length_anew(status, answer.body);
    let encoded = encoding(answer.coding).is_some();
    for (name, value) in fields {
        let name = name.as_str().as_bytes();
        let gone = (anew && name == b"content-length") || (encoded && name == b"accept-ranges");
        if encoded && name == b"etag" && !value.as_bytes().starts_with(b"W/") {
            field(out, name, &[b"W/", value.as_bytes()].concat());
        } else if !(is_hop_by_hop(name) || gone) {
            field(out, name, value.as_bytes());
        }
    }
    coded(out, fields, answer.coding);
    if !fields.contains_key(http::header::DATE) {
        field(out, b"date", answer.date);
    }
    framing(out, answer.body, answer.version, answer.keep_alive);
    out.extend_from_slice(b"\r\n");
}

/// Begins a field line.
pub(crate) fn begin_field(out: &mut Vec<u8>, name: &'static str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
}

/// Ends a field line.
pub(crate) fn end_field(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends one field line.
pub(crate) fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn number(out: &mut Vec<u8>, value: u64) {
    crate::observe::access::number(out, value);
}

#[cfg(test)]
mod tests {
    use super::{super::head, Choice, ForClient, ForInstance, request, response};
    use crate::{
        proxy::http::{
            framing::{Body, Version},
            hop::Connection,
        },
        snapshot::http::Encoding,
    };

    fn sent(text: &str, change: impl FnOnce(&mut ForInstance<'_>)) -> String {
        let mut room = head::room();
        let head = head::Request::parse(text.as_bytes(), &mut room, 100).unwrap();
        let mut asked = ForInstance {
            method: head.method,
            target: head.target,
            strip: 0,
            host: b"a.example",
            body: Body::None,
            upgrade: None,
            expect: false,
            id: b"7",
            token: false,
            believed: false,
            decoded: false,
        };
        change(&mut asked);
        let mut out = Vec::new();
        let connection = Connection::read(&head.fields);
        request(&mut out, &asked, &head.fields, head.fields.iter(), connection, |out| {
            super::field(out, b"x-forwarded-for", b"192.0.2.1");
        });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_instance_gets_the_request_that_was_judged() {
        let text = "GET /api/predict/s/v1?q HTTP/1.1\r\nHost: A.example\r\nAuthorization: secret\r\nX-Own: 1\r\n\
            Connection: x-gone\r\nX-Gone: 1\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6\r\nX-Real-IP: 6\r\n\
            TE: trailers\r\nExpect: 100-continue\r\nX-Request-Id: mine\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(
            sent(text, |asked| (asked.strip, asked.body) = (14, Body::Length(3))),
            "GET /v1?q HTTP/1.1\r\nhost: a.example\r\nX-Own: 1\r\nx-forwarded-for: 192.0.2.1\r\nx-request-id: 7\r\n\
             content-length: 3\r\n\r\n"
        );
        let bare = "POST /api/predict/s HTTP/1.1\r\nhost: a\r\n\r\n";
        assert!(sent(bare, |asked| asked.strip = 14).starts_with("POST / HTTP/1.1\r\n"));
        assert!(sent(bare, |_| {}).ends_with("content-length: 0\r\n\r\n"));
        let query = "GET /api/predict/s?a=b HTTP/1.1\r\nhost: a\r\n\r\n";
        assert!(sent(query, |asked| asked.strip = 14).starts_with("GET /?a=b HTTP/1.1\r\n"));
        assert!(sent("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", |_| {}).starts_with("OPTIONS * HTTP/1.1\r\n"));
    }

    #[test]
    fn split_cookies_become_one() {
        let text = "GET / HTTP/1.1\r\nhost: a\r\ncookie: a=1\r\ncookie: b=2\r\nx: y\r\n\r\n";
        assert!(sent(text, |_| {}).contains("\r\ncookie: a=1; b=2\r\nx: y\r\n"));
    }

    #[test]
    fn an_answer_that_never_has_a_body_says_no_length() {
        for (status, said) in [(103, false), (204, false), (304, true)] {
            let text = format!("HTTP/1.1 {status} x\r\nContent-Length: 3\r\n\r\n");
            let mut room = head::room();
            let head = head::Response::parse(text.as_bytes(), &mut room).unwrap();
            let mut out = Vec::new();
            let answer = ForClient {
                body: Body::None,
                version: Version::Http11,
                keep_alive: true,
                date: b"now",
                coding: Choice::Pass,
                switching: false,
            };
            response(&mut out, &head, Connection::default(), &answer).unwrap();
            assert_eq!(String::from_utf8(out).unwrap().contains("Content-Length: 3"), said, "{status}");
        }
    }

    #[test]
    fn a_client_gets_the_answer_without_what_belongs_to_the_hop() {
        let text = "HTTP/1.1 200 Fine\r\nConnection: close, x-gone\r\nX-Gone: 1\r\nTransfer-Encoding: chunked\r\n\
            ETag: \"a\"\r\nDate: then\r\n\r\n";
        let mut room = head::room();
        let head = head::Response::parse(text.as_bytes(), &mut room).unwrap();
        let mut out = Vec::new();
        let mut answer = ForClient {
            body: Body::Chunked,
            version: Version::Http11,
            keep_alive: true,
            date: b"now",
            coding: Choice::Pass,
            switching: false,
        };
        response(&mut out, &head, Connection::read(&head.fields), &answer).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 Fine\r\nETag: \"a\"\r\nDate: then\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        answer.coding = Choice::Encode { encoding: Encoding::Gzip, events: false };
        answer.keep_alive = false;
        let mut out = Vec::new();
        response(&mut out, &head, Connection::read(&head.fields), &answer).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 Fine\r\netag: W/\"a\"\r\nDate: then\r\nvary: accept-encoding\r\ncontent-encoding: gzip\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        );
    }
}
