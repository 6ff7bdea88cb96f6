//! Compressed request bodies: any bytes are decoded or refused, within the limit, the same in one piece and in many; and
//! whatever is compressed comes back.
#![no_main]

use gateway_user::{proxy::fuzzing, snapshot::http::Encoding};
use libfuzzer_sys::fuzz_target;

const LIMIT: u64 = 64 * 1024;

fuzz_target!(|bytes: &[u8]| {
    // The first byte says which coding, how long the pieces are, and how much room there is for output.
    let Some((first, body)) = bytes.split_first() else { return };
    let encoding = match first % 3 {
        0 => Encoding::Gzip,
        1 => Encoding::Brotli,
        _ => Encoding::Zstd,
    };
    let whole = fuzzing::decode(encoding, LIMIT, &[body], 4096);
    let pieces: Vec<&[u8]> = body.chunks(usize::from(first / 16) + 1).collect();
    let cut = fuzzing::decode(encoding, LIMIT, &pieces, usize::from(first / 8) + 1);
    if let (Ok(whole), Ok(cut)) = (&whole, &cut) {
        assert_eq!(whole, cut);
        assert!(whole.len() as u64 <= LIMIT);
    }
    // libzstd checks a frame's declared length against an empty last block only where it has the frame whole.
    assert!(whole.is_ok() == cut.is_ok() || encoding == Encoding::Zstd);
    let coded = fuzzing::encode(encoding, &pieces, first % 2 == 0);
    assert_eq!(fuzzing::decode(encoding, u64::MAX, &[&coded], 4096).as_deref(), Ok(body));
});
