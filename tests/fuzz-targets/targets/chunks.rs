//! The chunked coding: whatever pieces it comes in, the body is as long as its sizes say, and is the same again when it is
//! read from the gateway's own chunks.
#![no_main]

use gateway_fuzz::wire;
use gateway_user::proxy::fuzzing::{Chunks, chunks};
use libfuzzer_sys::fuzz_target;

/// Trailers that would frame, route or authorise the message (RFC 9110 §6.5.1).
const FORBIDDEN: [&str; 5] =
    ["content-length", "transfer-encoding", "host", "authorization", "x-forwarded-for"];

fuzz_target!(|bytes: &[u8]| {
    // The first byte says how long the pieces are.
    let Some((first, bytes)) = bytes.split_first() else { return };
    let whole = chunks(&[bytes]);
    for length in [1, usize::from(*first) + 1] {
        let cut = chunks(&wire::pieces(bytes, length));
        assert_eq!(whole.as_ref().map(apart), cut.as_ref().map(apart));
        if let Some(Ok(cut)) = cut {
            judge(bytes, &cut);
        }
    }
    if let Some(Ok(whole)) = whole {
        judge(bytes, &whole);
    }
});

/// All but where the pieces ended, and with them the gateway's chunks.
fn apart<'s>(seen: &'s Result<Chunks, &'static str>) -> Result<(&'s [u8], usize), &'static str> {
    seen.as_ref().map(|seen| (&seen.body[..], seen.consumed)).map_err(|reason| *reason)
}

fn judge(bytes: &[u8], seen: &Chunks) {
    let came = wire::chunked(bytes);
    assert_eq!((&came.body, came.length), (&seen.body, seen.consumed));
    let written = wire::chunked(&seen.written);
    assert_eq!((&written.body, written.length), (&seen.body, seen.written.len()));
    let mut said = came.trailers.iter();
    for field in &written.trailers {
        assert!(!FORBIDDEN.contains(&&*field.0) && said.any(|one| one == field), "{field:?}");
    }
    // Read again it is the same, to the last byte of its trailers.
    let Some(Ok(again)) = chunks(&[&seen.written]) else { panic!("its own chunks are refused") };
    assert_eq!((&again.body, again.consumed), (&seen.body, seen.written.len()));
    assert_eq!(wire::chunked(&again.written).trailers, written.trailers);
}
