//! PROXY protocol headers: whatever arrives in whatever pieces, there is one decision, and nothing behind it is taken.
#![no_main]

use gateway_user::proxy::fuzzing::proxy_protocol;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = proxy_protocol(bytes);
    if let Some(Ok(consumed)) = whole {
        assert!((1..=bytes.len()).contains(&consumed));
        // One byte less is not enough, and one more changes nothing.
        assert_eq!(proxy_protocol(bytes.get(..consumed - 1).unwrap_or_default()), None);
        assert_eq!(proxy_protocol(bytes.get(..consumed).unwrap_or_default()), whole);
    }
    if let Some(half) = proxy_protocol(bytes.get(..bytes.len() / 2).unwrap_or_default()) {
        assert_eq!(Some(half), whole);
    }
});
