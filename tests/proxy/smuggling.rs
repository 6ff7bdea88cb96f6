//! Requests that two parsers could read differently: refused, and the instance never sees a second request in them.

use crate::call::Call;

/// Sends a request with `lines` in its head and `body` after it; asserts that it was refused and nothing went upstream.
#[track_caller]
fn refused(call: &Call, what: &str, lines: &str, body: &str) {
    let before = call.upstream.requests();
    let token = &call.token;
    let request = format!("POST /api/predict/echo/x HTTP/1.1\r\nAuthorization: {token}\r\n{lines}\r\n{body}");
    let answer = call.raw(request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400"), "{what}: {answer:?}");
    // A request without a body that was refused for what it asks ends where it ends; the next one is another's.
    if !what.contains("host") {
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{what}: {answer:?}");
    }
    assert_eq!(call.upstream.requests(), before, "{what}: the instance saw it");
}

const SECOND: &str = "GET /api/predict/echo/smuggled HTTP/1.1\r\nHost: 127.0.0.2\r\n\r\n";

#[test]
fn ambiguous_heads_are_refused() {
    let call = Call::new();
    let host = "Host: 127.0.0.2\r\n";
    for (what, lines, body) in [
        ("no host", String::new(), ""),
        ("two hosts", format!("{host}Host: other.example.org\r\n"), ""),
        ("two lengths", format!("{host}Content-Length: 3\r\nContent-Length: 5\r\n"), "abcde"),
        ("a list of lengths", format!("{host}Content-Length: 3, 5\r\n"), "abcde"),
        ("a negative length", format!("{host}Content-Length: -1\r\n"), ""),
        ("a length with a plus", format!("{host}Content-Length: +3\r\n"), "abc"),
        ("a length in hexadecimal", format!("{host}Content-Length: 0x3\r\n"), "abc"),
        ("an unknown coding", format!("{host}Transfer-Encoding: xchunked\r\n"), "0\r\n\r\n"),
        ("chunked is not last", format!("{host}Transfer-Encoding: chunked, gzip\r\n"), "0\r\n\r\n"),
        ("a folded line", format!("{host}X-Folded: a\r\n b\r\n"), ""),
        ("a space before the colon", format!("{host}Content-Length : 3\r\n"), "abc"),
        ("a bare CR", format!("{host}X-Odd: a\rb\r\n"), ""),
        ("a NUL", format!("{host}X-Odd: a\0b\r\n"), ""),
    ] {
        refused(&call, what, &lines, &format!("{body}{SECOND}"));
    }
}

/// A length beside `Transfer-Encoding`: refused, or at the very least read one way and closed; never two requests.
#[test]
fn a_length_beside_an_encoding_smuggles_nothing() {
    let call = Call::new();
    let request = format!(
        "POST /api/predict/echo/x HTTP/1.1\r\nHost: 127.0.0.2\r\nAuthorization: {}\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SECOND}",
        call.token
    );
    let _ = call.raw(request.as_bytes());
    assert!(call.upstream.requests() <= 1);
    assert_ne!(call.upstream.last().pointer("/target"), Some(&"/smuggled".into()));
}

/// Headers that belong to one hop stay there; what names the client is the gateway's to say.
#[test]
fn hop_by_hop_headers_are_stripped() {
    let call = Call::new();
    let answer = call
        .echo("/x")
        .header("Connection: keep-alive, X-Private")
        .header("X-Private: 1")
        .header("Keep-Alive: timeout=5")
        .header("TE: gzip")
        .header("Proxy-Connection: keep-alive")
        .header("Upgrade: h2c")
        .header("X-Kept: 1")
        .run();
    let seen = answer.expect(200).json();
    let has = |name: &str| seen.pointer(&format!("/headers/{name}")).is_some();
    for name in ["x-private", "keep-alive", "te", "proxy-connection", "upgrade", "authorization"] {
        assert!(!has(name), "{name} went upstream: {seen}");
    }
    assert!(has("x-kept") && has("host"), "{seen}");
}
