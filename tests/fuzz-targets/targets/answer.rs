//! Answers of an instance: whatever pieces they come in, the client gets one message, whose end is said in one way and is
//! where the instance's was.
#![no_main]

use gateway_fuzz::wire;
use gateway_user::proxy::fuzzing::{Relayed, answer};
use libfuzzer_sys::fuzz_target;

const HOPS: [&str; 5] = ["te", "keep-alive", "proxy-connection", "http2-settings", "upgrade"];

fuzz_target!(|bytes: &[u8]| {
    // The first byte says how long the pieces are, and who asked for what.
    let Some((first, bytes)) = bytes.split_first() else { return };
    let (to_head, old) = (first % 2 == 1, first & 2 != 0);
    let whole = answer(&[bytes], to_head, old);
    for length in [1, usize::from(first / 4) + 1] {
        let cut = answer(&wire::pieces(bytes, length), to_head, old);
        match (&whole, &cut) {
            (Ok(whole), Ok(cut)) => {
                assert_eq!((&whole.heads, &whole.body, whole.done), (&cut.heads, &cut.body, cut.done));
                judge(bytes, cut, to_head, old);
            }
            // How much came through before the fault was seen is the pieces' to say.
            (Err((one, whole)), Err((other, cut))) => {
                assert_eq!(one, other);
                assert!(cut.heads.starts_with(&whole.heads) && cut.body.starts_with(&whole.body));
            }
            _ => panic!("{whole:?}\n{cut:?}"),
        }
    }
    if let Ok(whole) = whole {
        judge(bytes, &whole, to_head, old);
    }
});

fn judge(bytes: &[u8], seen: &Relayed, to_head: bool, old: bool) {
    assert!(seen.done);
    let mut rest = &seen.heads[..];
    let (mut came, mut status);
    let mut from = bytes;
    let head = loop {
        let mut room = [httparse::EMPTY_HEADER; 256];
        let mut other = httparse::Response::new(&mut room);
        let (head, tail) = wire::head(rest);
        let length = rest.len() - tail.len();
        assert_eq!(other.parse(rest), Ok(httparse::Status::Complete(length)));
        status = other.code.unwrap_or_default();
        // Empty lines before a head are passed over, and interim answers to clients of HTTP/1.0.
        loop {
            while let Some(tail) = from.strip_prefix(b"\r\n") {
                from = tail;
            }
            (came, from) = wire::head(from);
            if !old || status_of(&came) >= 200 {
                break;
            }
        }
        assert_eq!(status_of(&came), status);
        assert!(head.line.starts_with("HTTP/1.1 "));
        rest = tail;
        if status >= 200 {
            break head;
        }
        assert!(head.all("content-length").is_empty() && head.all("transfer-encoding").is_empty());
    };
    assert!(rest.is_empty());
    assert!(HOPS.iter().all(|name| head.all(name).is_empty()));
    let (lengths, codings) = (head.all("content-length"), head.all("transfer-encoding"));
    let closes = head.named() == ["close"];
    assert!(closes || head.named().is_empty() || (old && head.named() == ["keep-alive"]));
    let bodiless = to_head || status == 204 || status == 304;
    match (&lengths[..], &codings[..]) {
        ([], []) => {
            assert!(if bodiless { seen.framed.is_empty() } else { closes && seen.framed == seen.body })
        }
        ([_], []) if bodiless => assert!(seen.framed.is_empty() && status != 204),
        ([length], []) => {
            assert_eq!(*length, seen.body.len().to_string().as_bytes());
            assert_eq!(seen.framed, seen.body);
        }
        ([], [b"chunked"]) => {
            assert!(!old && !bodiless);
            let framed = wire::chunked(&seen.framed);
            assert_eq!((&framed.body, framed.length), (&seen.body, seen.framed.len()));
        }
        _ => panic!("its length is said twice: {head:?}"),
    }
    // A gateway behind this one reads it as it was meant. In pieces that a block has room for: chunks of a byte each are
    // six times as long as what they carry.
    let pieces = [wire::pieces(&seen.heads, 4096), wire::pieces(&seen.framed, 4096)].concat();
    let again = answer(&pieces, to_head, false);
    assert_eq!(again.map(|again| again.body).as_ref().ok(), Some(&seen.body));
}

fn status_of(head: &wire::Head) -> u16 {
    head.line.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or_default()
}
