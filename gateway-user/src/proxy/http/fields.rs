//! Header fields across the proxy: what is stripped, what is set (RFC 9110 §7.6.1, RFC 7239).

use std::cell::Cell;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        ACCEPT_RANGES, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE,
        ETAG, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE, VARY,
    },
};

use ipnet::IpNet;

use super::head::Fields;
use crate::proxy::{
    encode::{self, Choice},
    forwarded::{self, Hop},
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
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
    /// The request asks for another protocol, which the instance may grant with a 101.
    pub(crate) upgrade: bool,
    /// The instance speaks HTTP/2.
    pub(crate) http2: bool,
}

/// Turns a client's fields into those for an instance.
pub(crate) fn to_instance(headers: &mut HeaderMap, forwarding: Forwarding<'_>) {
    let Forwarding { hop, forwarders, host, id, token, upgrade, http2 } = forwarding;
    let (way, believed) = Way::of(headers, &hop, forwarders, host.as_bytes());
    let upgrade = headers.get(UPGRADE).filter(|_| upgrade).cloned();
    // gRPC servers look for it; no other value of TE means anything to us.
    let trailers = headers.get_all(TE).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    strip_hop_by_hop(headers);
    remove(headers, |name| {
        *name == EXPECT
            || forwarded::replaces(name.as_str().as_bytes(), believed)
            || *name == HTTP2_SETTINGS
            || (*name == AUTHORIZATION && !token)
    });
    if trailers && http2 {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    join_cookies(headers);
    way.append(headers);
    headers.insert(X_REQUEST_ID, id);
    if http2 {
        headers.remove(HOST);
    } else {
        headers.insert(HOST, host);
    }
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

/// The fields of a 101: the switch itself is hop by hop, and passes.
pub(crate) fn switching(headers: &mut HeaderMap) {
    let upgrade = headers.get(UPGRADE).cloned();
    strip_hop_by_hop(headers);
    if let Some(protocol) = upgrade {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|token| HeaderName::from_bytes(token.trim().as_bytes()).ok())
            // Never by the client's say-so: these decide where the message ends and whom it is for.
            .filter(|name| *name != HOST && *name != CONTENT_LENGTH && *name != AUTHORIZATION)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    remove(headers, |name| {
        *name == CONNECTION
            || *name == TRANSFER_ENCODING
            || *name == TE
            || *name == UPGRADE
            || *name == KEEP_ALIVE
            || *name == PROXY_CONNECTION
    });
}

/// Removes by predicate: one pass, and nothing is hashed for a field that is not there.
fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = headers.keys().find(|name| unwanted(name)).cloned() {
        headers.remove(name);
    }
}

/// HTTP/2 clients may split Cookie; HTTP/1.1 wants one field (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_some() && cookies.next().is_some() {
        let parts: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
            headers.insert(COOKIE, joined);
        }
    }
}

/// Whether an HTTP/1.1 request asks for another protocol.
pub(crate) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
        && headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{Forwarding, Hop, to_client, to_instance, wants_upgrade};

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
            upgrade: false,
            http2: false,
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
            ("host", "a.example"),
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
    fn an_upgrade_passes_only_when_it_is_one() {
        let fields = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"), ("host", "a.example")];
        assert!(wants_upgrade(&map(&fields)));
        assert!(!wants_upgrade(&map(&[("upgrade", "websocket")])));
        let mut headers = map(&fields);
        to_instance(&mut headers, Forwarding { upgrade: true, ..forwarding() });
        assert_eq!(
            (&headers["connection"], &headers["upgrade"]),
            (&"upgrade".parse().unwrap(), &"websocket".parse().unwrap())
        );
    }

    #[test]
    fn split_cookies_are_joined_and_forwarded_tokens_stay() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2"), ("authorization", "t")]);
        to_instance(&mut headers, Forwarding { token: true, ..forwarding() });
        assert_eq!(headers["cookie"], "a=1; b=2");
        assert_eq!(headers["authorization"], "t");
    }
}
