//! HTTP/1.1 request heads: whatever pieces they come in, there is one verdict; and what is let through means one thing, to
//! us, to two other readers, and to the instance that gets what is written of it.
#![no_main]

use gateway_fuzz::wire;
use gateway_user::proxy::fuzzing::{Length, Taken, head};
use libfuzzer_sys::fuzz_target;

/// Small, so that they are reached.
const BOUNDS: (usize, usize) = (2048, 16);
const WIDE: (usize, usize) = (1 << 16, 256);

/// What the gateway says itself of every request, once each.
const WAY: [&str; 8] = [
    "host",
    "x-request-id",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];
/// What it says itself where there is something to say.
const OWN: [&str; 6] = ["connection", "upgrade", "expect", "content-length", "transfer-encoding", "via"];
/// What ends here.
const HOPS: [&str; 4] = ["te", "keep-alive", "proxy-connection", "http2-settings"];
/// What a client cannot have removed by naming it in `Connection`.
const KEPT: [&str; 4] = ["authorization", "content-type", "content-encoding", "host"];

fuzz_target!(|bytes: &[u8]| {
    // The first byte says how long the pieces are, and whether a forwarder sends them.
    let Some((first, bytes)) = bytes.split_first() else { return };
    let believed = first % 2 == 1;
    let whole = head(&[bytes], BOUNDS, believed);
    for length in [1, usize::from(first / 2) + 1] {
        let cut = head(&wire::pieces(bytes, length), BOUNDS, believed);
        match (&whole, &cut) {
            // Both are refused; which of two faults is seen first is the pieces' to say where one is a bound.
            (Some(Err(one)), Some(Err(other))) => assert!(one == other || is_bound(one) || is_bound(other)),
            _ => assert_eq!(whole, cut),
        }
    }
    let Some(Ok(taken)) = whole else { return };
    let (start, end) = taken.place;
    assert!(bytes.get(..start).is_some_and(|empty| empty.chunks(2).all(|line| line == b"\r\n")));
    assert_eq!(head(&[bytes.get(..end - 1).unwrap_or_default()], BOUNDS, believed), None);
    let (asked, rest) = wire::head(bytes.get(start..end).unwrap_or_default());
    let (told, behind) = wire::head(&taken.written);
    assert!(rest.is_empty() && behind.is_empty());
    same_request(&taken, &asked, &told);
    framed_once(&taken, &asked, &told);
    nothing_invented(&asked, &told, believed);
    // What it writes it would let through itself, and read the same.
    let again = head(&[&taken.written], WIDE, believed);
    let Some(Ok(again)) = again else { panic!("{again:?}") };
    assert_eq!((&again.method, &again.target, &again.host), (&taken.method, &taken.target, &taken.host));
    assert!(
        again.length == taken.length || (again.length, taken.length) == (Length::Declared(0), Length::None)
    );
});

fn is_bound(reason: &str) -> bool {
    matches!(reason, "head_too_large" | "target_too_long")
}

fn same_request(taken: &Taken, asked: &wire::Head, told: &wire::Head) {
    let mut words = asked.line.split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    assert_eq!((method, words.next()), (Some(&*taken.method), None));
    assert!(matches!(version, Some("HTTP/1.1" | "HTTP/1.0")));
    // Of an absolute form the authority goes into Host.
    let target = target.unwrap_or_default();
    match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            assert_eq!(
                rest.strip_prefix(std::str::from_utf8(&taken.host).unwrap_or("?")),
                Some(if rest.contains('/') { &*taken.target } else { "" },)
            );
        }
        _ => assert_eq!(target, taken.target),
    }
    assert_eq!(told.line, format!("{} {} HTTP/1.1", taken.method, taken.target));
    assert_eq!(told.all("host"), [&taken.host[..]]);
    let mut room = [httparse::EMPTY_HEADER; 256];
    let mut other = httparse::Request::new(&mut room);
    assert_eq!(other.parse(&taken.written), Ok(httparse::Status::Complete(taken.written.len())));
    assert_eq!((other.method, other.path), (Some(&*taken.method), Some(&*taken.target)));
    assert_eq!(other.headers.len(), told.fields.len());
}

fn framed_once(taken: &Taken, asked: &wire::Head, told: &wire::Head) {
    assert!(asked.all("content-length").len() + asked.all("transfer-encoding").len() <= 1);
    let (lengths, codings) = (told.all("content-length"), told.all("transfer-encoding"));
    match taken.length {
        Length::None => assert!(codings.is_empty() && (lengths.is_empty() || lengths == [b"0"])),
        Length::Declared(length) => {
            assert!(codings.is_empty());
            assert_eq!(lengths, [length.to_string().as_bytes()]);
        }
        Length::Chunked => assert!(lengths.is_empty() && codings == [b"chunked"]),
        Length::Close => panic!("a request does not end with its connection"),
    }
}

/// Whatever the gateway does not say itself, the client said, in this order; and what ends here is not passed on.
fn nothing_invented(asked: &wire::Head, told: &wire::Head, believed: bool) {
    for name in WAY {
        assert_eq!(told.all(name).len(), 1, "{name}");
    }
    let ours = |name: &str| WAY.contains(&name) || OWN.contains(&name);
    let mut said = asked.fields.iter();
    for field in &told.fields {
        let name = &*field.0;
        assert!(!HOPS.contains(&name), "{name}");
        // A CGI program takes one for the other.
        let plain = name.replace('_', "-");
        assert!(plain == name || !WAY[2..].contains(&&*plain), "{name}");
        assert!(believed || ours(name) || !plain.starts_with("x-forwarded-"), "{name}");
        // Several become one; they are compared below.
        if !ours(name) && name != "cookie" {
            assert!(said.any(|one| one == field), "{name}: {}", field.1.escape_ascii());
        }
    }
    let cookies = |head: &wire::Head| {
        let joined = head.all("cookie").join(&b"; "[..]);
        // Behind an empty one there is white space that no reader sees.
        joined.into_iter().filter(|byte| *byte != b' ').collect::<Vec<u8>>()
    };
    assert!(cookies(asked) == cookies(told) || asked.named().contains(&"cookie".into()));
    assert!(told.all("authorization").is_empty() || believed);
    for name in asked.named().iter().filter(|name| !ours(name) && !KEPT.contains(&&***name)) {
        assert!(told.all(name).is_empty(), "{name}");
    }
    let upgrade = told.all("upgrade");
    assert!(upgrade.is_empty() || (asked.named().contains(&"upgrade".into()) && upgrade.len() == 1));
    assert_eq!(told.named().len(), upgrade.len());
}
