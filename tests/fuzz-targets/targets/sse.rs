//! Event streams: where events end does not depend on how the stream is cut.
#![no_main]

use gateway_user::proxy::fuzzing::event_ends;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The first byte says how long the pieces are.
    let Some((length, stream)) = bytes.split_first() else { return };
    let whole = event_ends(&[stream]);
    let pieces: Vec<&[u8]> = stream.chunks(usize::from(*length % 16) + 1).collect();
    assert_eq!(event_ends(&pieces), whole);
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(event_ends(&bytes), whole);
});
