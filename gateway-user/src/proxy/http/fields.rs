//! Header fields across the proxy: what is stripped, what is set (RFC 9110 §7.6.1, RFC 7239).

use std::cell::Cell;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        ACCEPT_RANGES, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, EXPECT, HOST, TE,
        VARY,
    },
};

use hyper::body::Frame;
use ipnet::IpNet;

use super::{
    head::Fields,
    hop::{Connection, is_late},
};
use crate::proxy::{
    encode::{self, Choice},
    forwarded::{self, Hop},
};

/// The request's id, on requests to instances and on the gateway's own answers.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl Fields for HeaderMap {
    fn all<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        let name = match name {
            "host" => HOST,
            "authorization" => AUTHORIZATION,
            "content-length" => CONTENT_LENGTH,
            "content-type" => CONTENT_TYPE,
            other => HeaderName::from_static(other),
        };
        self.get_all(name).into_iter().map(HeaderValue::as_bytes)
    }

    fn any<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name).into_iter().map(HeaderValue::as_bytes)
    }
}

/// What the gateway tells the instance of the client.
pub(crate) struct Forwarding<'a> {
    pub(crate) hop: Hop<'a>,
    /// Those of the listener.
    pub(crate) forwarders: &'a [IpNet],
    pub(crate) host: HeaderValue,
    pub(crate) id: HeaderValue,
    /// Pass the client's token on.
    pub(crate) token: bool,
}

/// Turns a client's fields into those for an instance that speaks HTTP/2.
pub(crate) fn to_instance(headers: &mut HeaderMap, forwarding: Forwarding<'_>) {
    let Forwarding { hop, forwarders, host, id, token } = forwarding;
    let (way, believed) = Way::of(headers, &hop, forwarders, host.as_bytes());
    // gRPC servers look for it; no other value of TE means anything to us.
    let trailers = headers.get_all(TE).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    strip_hop_by_hop(headers);
    remove(headers, |name| {
        *name == EXPECT
            || forwarded::replaces(name.as_str().as_bytes(), believed)
            || (*name == AUTHORIZATION && !token)
    });
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    way.append(headers);
    headers.insert(X_REQUEST_ID, id);
    headers.remove(HOST);
}

/// Fields about the request's way, put together before those that they replace are gone. One buffer holds all values.
struct Way {
    values: Bytes,
    ends: [(&'static str, usize); forwarded::FIELDS],
}

impl Way {
    /// The fields, and whether those of the request are believed.
    fn of(headers: &HeaderMap, hop: &Hop<'_>, forwarders: &[IpNet], host: &[u8]) -> (Self, bool) {
        let told = forwarded::read(headers, hop.address, forwarders);
        let mut values = Vec::with_capacity(256);
        let mut ends = [("", 0); forwarded::FIELDS];
        let (mut places, last) = (ends.iter_mut(), Cell::new(""));
        let end = |values: &mut Vec<u8>| {
            if let Some(place) = places.next() {
                *place = (last.get(), values.len());
            }
        };
        told.write(hop, host, &mut values, |_, name| last.set(name), end);
        (Self { values: values.into(), ends }, told.believed())
    }

    fn append(self, headers: &mut HeaderMap) {
        let mut start = 0;
        for (name, end) in self.ends {
            // What was read were valid values, and so is what was made of them.
            if let Ok(value) = HeaderValue::from_maybe_shared(self.values.slice(start..end)) {
                headers.append(HeaderName::from_static(name), value);
            }
            start = end;
        }
    }
}

/// Turns an instance's fields into those for the client.
pub(crate) fn to_client(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
}

/// The fields of an answer whose body is compressed on the way, or would be for others.
pub(crate) fn coded(headers: &mut HeaderMap, choice: Choice) {
    if choice == Choice::Pass {
        return;
    }
    if !["*", "accept-encoding"].iter().any(|name| encode::lists(headers, "vary", name.as_bytes())) {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
    let Choice::Encode { encoding, .. } = choice else { return };
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encode::name(encoding)));
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    // The bytes differ, what they mean does not (RFC 9110 §8.8.1).
    if let Some(tag) = headers.get_mut(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"))
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        *tag = weak;
    }
}

/// A frame of a body; trailers without what comes too late (RFC 9110 §6.5.1).
pub(crate) fn in_time(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            remove(&mut trailers, |name| is_late(name.as_str().as_bytes()));
            Frame::trailers(trailers)
        }
        Err(data) => data,
    }
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let connection = Connection::read(headers);
    let ends = |name: &&HeaderName| connection.ends(headers, name.as_str().as_bytes());
    // All before any is removed: `Connection` itself is one of them. Mostly there is none, and nothing is allocated.
    let ended: Vec<HeaderName> = headers.keys().filter(ends).cloned().collect();
    for name in ended {
        headers.remove(name);
    }
}

/// Removes by predicate: one pass, and nothing is hashed for a field that is not there.
fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = headers.keys().find(|name| unwanted(name)).cloned() {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{Forwarding, Frame, Hop, in_time, to_client, to_instance};

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn forwarding() -> Forwarding<'static> {
        Forwarding {
            hop: Hop {
                address: [192, 0, 2, 1].into(),
                text: "192.0.2.1",
                https: true,
                port: 8443,
                version: "1.1",
            },
            forwarders: &[],
            host: HeaderValue::from_static("a.example"),
            id: HeaderValue::from_static("1"),
            token: false,
        }
    }

    #[test]
    fn what_the_client_says_of_itself_is_replaced() {
        let mut headers = map(&[
            ("host", "a.example"),
            ("authorization", "secret"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-port", "1"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x-request-id", "mine"),
            ("expect", "100-continue"),
            ("x-own", "stays"),
        ]);
        to_instance(&mut headers, forwarding());
        let expected = map(&[
            ("x-own", "stays"),
            ("forwarded", "for=192.0.2.1;host=a.example;proto=https"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-real-ip", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a.example"),
            ("x-forwarded-port", "8443"),
            ("via", "1.1 gateway"),
            ("x-request-id", "1"),
        ]);
        assert_eq!(headers, expected);
    }

    #[test]
    fn hop_by_hop_fields_end_here() {
        let fields = [
            ("connection", "close, X-Secret, content-length"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("content-length", "3"),
        ];
        let mut headers = map(&fields);
        to_client(&mut headers);
        assert_eq!(headers, map(&[("content-length", "3")]));
    }

    #[test]
    fn trailers_that_come_too_late_are_left_out() {
        let trailers =
            map(&[("grpc-status", "0"), ("content-length", "5"), ("x-forwarded-for", "1"), ("host", "a")]);
        let frame = in_time(Frame::trailers(trailers));
        assert_eq!(frame.into_trailers().unwrap(), map(&[("grpc-status", "0")]));
        assert!(in_time(Frame::data("host: a".into())).is_data());
    }

    #[test]
    fn tokens_stay_where_the_service_wants_them() {
        let mut headers = map(&[("te", "trailers"), ("authorization", "t")]);
        to_instance(&mut headers, Forwarding { token: true, ..forwarding() });
        assert_eq!(
            (&headers["authorization"], &headers["te"]),
            (&"t".parse().unwrap(), &"trailers".parse().unwrap())
        );
    }
}
