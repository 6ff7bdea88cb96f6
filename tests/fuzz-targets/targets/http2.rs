//! HTTP/2: a real listener gets the preface, empty settings, and these bytes as frames.
//!
//! The lengths in frame headers are written anew, so that what the fuzzer changes inside a frame does not make garbage of all that follows.
#![no_main]

const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut sent = BEGIN.to_vec();
    let mut rest = bytes;
    // One byte of length, then type, flags, stream and payload; what is left over goes as it is.
    while let Some((length, [kind, flags, stream, tail @ ..])) = rest.split_first() {
        let (payload, tail) = tail.split_at_checked(usize::from(*length)).unwrap_or((tail, &[]));
        sent.extend([0, 0, payload.len() as u8, *kind, *flags, 0, 0, 0, *stream]);
        sent.extend(payload);
        rest = tail;
    }
    sent.extend(rest);
    gateway_fuzz::talk(&sent);
});
