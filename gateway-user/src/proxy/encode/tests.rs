//! The transformers against the libraries' own readers and writers, cut anywhere; the bounds of decoders.

use std::io::{Read, Write};

use proptest::prelude::*;

use super::{Decoder, Encoder, Flush, ROOM};
use crate::{proxy::failure::Failure, snapshot::http::Encoding};

const ALL: [Encoding; 3] = [Encoding::Gzip, Encoding::Brotli, Encoding::Zstd];

/// Reads a whole coded body as any client would.
fn reference(encoding: Encoding, coded: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    match encoding {
        Encoding::Gzip => flate2::read::GzDecoder::new(coded).read_to_end(&mut plain)?,
        Encoding::Brotli => brotli::Decompressor::new(coded, 4096).read_to_end(&mut plain)?,
        Encoding::Zstd => zstd::stream::read::Decoder::new(coded)?.read_to_end(&mut plain)?,
    };
    Ok(plain)
}

/// What a client sends: coded by another program's habits, with large windows.
fn coded(encoding: Encoding, plain: &[u8]) -> Vec<u8> {
    match encoding {
        Encoding::Gzip => {
            let builder =
                flate2::GzBuilder::new().filename("a.json").comment("b").extra(b"cd".to_vec()).mtime(7);
            let mut writer = builder.write(Vec::new(), flate2::Compression::best());
            writer.write_all(plain).unwrap();
            writer.finish().unwrap()
        }
        Encoding::Brotli => {
            let mut coded = Vec::new();
            let mut writer = brotli::CompressorWriter::new(&mut coded, 4096, 9, 22);
            writer.write_all(plain).unwrap();
            drop(writer);
            coded
        }
        Encoding::Zstd => zstd::stream::encode_all(plain, 9).unwrap(),
    }
}

/// Decodes pieces with an output of `room` bytes.
fn decode(encoding: Encoding, limit: u64, pieces: &[&[u8]], room: usize) -> Result<Vec<u8>, Failure> {
    let mut decoder = Decoder::new(encoding, limit).unwrap();
    let (mut plain, mut output) = (Vec::new(), vec![0; room]);
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let step = decoder.step(rest, &mut output)?;
            assert!(step.done || step.produced > 0 || step.consumed > 0, "it goes on");
            plain.extend(&output[..step.produced]);
            rest = &rest[step.consumed..];
            if step.done {
                assert!(rest.is_empty());
                break;
            }
        }
    }
    decoder.end().map(|()| plain)
}

fn text(length: usize) -> Vec<u8> {
    let mut seed = 7_u64;
    let mut words = Vec::new();
    while words.len() < length {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        writeln!(words, "{{\"id\":{},\"text\":\"the word {}\"}}", seed >> 44, (seed >> 33) % 50).unwrap();
    }
    words.truncate(length);
    words
}

#[test]
fn text_becomes_small_and_comes_back() {
    let plain = text(200_000);
    for encoding in ALL {
        let mut encoder = Encoder::new(encoding, false).unwrap();
        let mut out = Vec::new();
        for piece in plain.chunks(16 * 1024) {
            encoder.write(piece, &mut out, Flush::Hold).unwrap();
        }
        encoder.write(b"", &mut out, Flush::End).unwrap();
        assert!(out.len() < plain.len() / 4, "{encoding:?}: {}", out.len());
        assert_eq!(reference(encoding, &out).unwrap(), plain, "{encoding:?}");
        assert_eq!(decode(encoding, 1 << 20, &[&out], 4096), Ok(plain.clone()), "{encoding:?}");
        // Nothing at all is a stream, too.
        let mut empty = Vec::new();
        Encoder::new(encoding, false).unwrap().write(b"", &mut empty, Flush::End).unwrap();
        assert_eq!(reference(encoding, &empty).unwrap(), b"", "{encoding:?}");
    }
}

/// What a client can read after a flush is everything that was written before it.
#[test]
fn a_flushed_event_is_whole_at_the_client() {
    for encoding in ALL {
        let mut encoder = Encoder::new(encoding, true).unwrap();
        let mut decoder = Decoder::new(encoding, u64::MAX).unwrap();
        for number in 0..50 {
            let event = format!("id: {number}\ndata: {{\"token\":\"{}\"}}\n\n", "x".repeat(number));
            let flush = encoder.flush(event.as_bytes(), true);
            assert_eq!(flush, Flush::Now, "an event ends in it");
            let mut coded = Vec::new();
            encoder.write(event.as_bytes(), &mut coded, flush).unwrap();
            let mut plain = vec![0; 4096];
            let step = decoder.step(&coded, &mut plain).unwrap();
            assert_eq!(&plain[..step.produced], event.as_bytes(), "{encoding:?} {number}");
        }
    }
}

#[test]
fn pieces_are_held_only_while_more_is_at_hand() {
    let mut plain = Encoder::new(Encoding::Gzip, false).unwrap();
    assert_eq!((plain.flush(b"a\n\n", true), plain.flush(b"b", false)), (Flush::Hold, Flush::Now));
    let mut events = Encoder::new(Encoding::Gzip, true).unwrap();
    let flushes =
        [&b"data: a"[..], b"bc\n", b"\ndata", b": x\r\n\r", b"\n"].map(|piece| events.flush(piece, true));
    assert_eq!(flushes, [Flush::Hold, Flush::Hold, Flush::Now, Flush::Now, Flush::Now]);
}

#[test]
fn what_is_cut_or_followed_by_something_else_is_refused() {
    let plain = text(3000);
    for encoding in ALL {
        let coded = coded(encoding, &plain);
        assert_eq!(decode(encoding, 1 << 20, &[&coded], 512), Ok(plain.clone()), "{encoding:?}");
        for end in 0..coded.len() {
            let cut = decode(encoding, 1 << 20, &[&coded[..end]], 512);
            assert_eq!(cut, Err(Failure::BadEncoding), "{encoding:?} cut at {end}");
        }
        for garbage in [&b"x"[..], b"\0", b"\r\n"] {
            let whole = decode(encoding, 1 << 20, &[&[&coded[..], garbage].concat()], 512);
            assert_eq!(whole, Err(Failure::BadEncoding), "{encoding:?}");
            let pieces = decode(encoding, 1 << 20, &[&coded, garbage], 512);
            assert_eq!(pieces, Err(Failure::BadEncoding), "{encoding:?}");
        }
        assert_eq!(decode(encoding, 1 << 20, &[b"plain text"], 512), Err(Failure::BadEncoding));
    }
    // gzip carries a checksum and a length.
    let coded = coded(Encoding::Gzip, &plain);
    for place in coded.len() - 8..coded.len() {
        let mut wrong = coded.clone();
        wrong[place] ^= 1;
        assert_eq!(decode(Encoding::Gzip, 1 << 20, &[&wrong], 512), Err(Failure::BadEncoding));
    }
}

#[test]
fn members_and_frames_may_follow_one_another() {
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        let twice = [coded(encoding, b"one "), coded(encoding, b""), coded(encoding, b"two")].concat();
        assert_eq!(decode(encoding, 1000, &[&twice], 512).as_deref(), Ok(&b"one two"[..]), "{encoding:?}");
        let bytes: Vec<&[u8]> = twice.chunks(1).collect();
        assert_eq!(decode(encoding, 1000, &bytes, 1).as_deref(), Ok(&b"one two"[..]), "{encoding:?}");
    }
}

/// 64 MiB of zeros in a few bytes to 64 KiB.
fn bomb(encoding: Encoding) -> Vec<u8> {
    let mut encoder = Encoder::new(encoding, false).unwrap();
    let (zeros, mut coded) = (vec![0; 1 << 20], Vec::new());
    for _ in 0..64 {
        encoder.write(&zeros, &mut coded, Flush::Hold).unwrap();
    }
    encoder.write(b"", &mut coded, Flush::End).unwrap();
    coded
}

#[test]
fn a_bomb_stops_at_the_bounds() {
    for encoding in ALL {
        let bomb = bomb(encoding);
        for (limit, most) in [(64 * 1024, 64 * 1024), (u64::MAX, 1 << 20)] {
            let mut decoder = Decoder::new(encoding, limit).unwrap();
            let mut output = vec![0; 16 * 1024];
            let (mut rest, mut written) = (&bomb[..], 0);
            let failure = loop {
                match decoder.step(rest, &mut output) {
                    Ok(step) => {
                        written += step.produced as u64;
                        rest = &rest[step.consumed..];
                        assert!(!step.done, "{encoding:?}: it went off");
                    }
                    Err(failure) => break failure,
                }
            };
            assert_eq!(failure, Failure::BodyTooLarge, "{encoding:?}");
            // Input that was taken in before its output came out earns it a little more.
            let earned = 200 * bomb.len() as u64;
            assert!(written <= most.max(limit.min(earned)), "{encoding:?}: {written} bytes");
        }
    }
}

#[test]
fn both_sizes_count() {
    let noise: Vec<u8> =
        (0..50_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for encoding in ALL {
        let coded = coded(encoding, &noise);
        let longer = coded.len().max(noise.len()) as u64;
        assert!(decode(encoding, longer, &[&coded], 4096).is_ok(), "{encoding:?}");
        assert_eq!(decode(encoding, longer - 1, &[&coded], 4096), Err(Failure::BodyTooLarge), "{encoding:?}");
    }
}

#[test]
fn headers_of_gzip_are_read_in_every_shape() {
    let mut body = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    body.write_all(b"hello").unwrap();
    let body = body.finish().unwrap();
    let trailer = [0x86, 0xa6, 0x10, 0x36, 5, 0, 0, 0];
    let member = |flags: u8, parts: &[u8]| {
        [&[0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 2, 3][..], parts, &body, &trailer].concat()
    };
    for (flags, parts) in [
        (0, &b""[..]),
        (1, b""),
        (4, b"\0\0"),
        (4, b"\x02\0ab"),
        (8, b"name\0"),
        (16, b"\0"),
        (2, b"\xab\xcd"),
        (31, b"\x01\0zname\0comment\0\xab\xcd"),
    ] {
        let member = member(flags, parts);
        let bytes: Vec<&[u8]> = member.chunks(1).collect();
        for pieces in [&[&member[..]][..], &bytes] {
            assert_eq!(decode(Encoding::Gzip, 100, pieces, 16).as_deref(), Ok(&b"hello"[..]), "{flags}");
        }
    }
    for flags in [0x20, 0x40, 0x80] {
        assert_eq!(decode(Encoding::Gzip, 100, &[&member(flags, b"")], 16), Err(Failure::BadEncoding));
    }
}

fn encodings() -> impl Strategy<Value = Encoding> {
    prop_oneof![Just(Encoding::Gzip), Just(Encoding::Brotli), Just(Encoding::Zstd)]
}

/// Bytes that repeat themselves, and some that do not.
fn plain() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..400),
        (any::<u8>(), 0..3000_usize).prop_map(|(byte, length)| vec![byte; length]),
        (0..3000_usize).prop_map(text),
    ];
    proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

/// Cuts `bytes` at these places.
fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    /// Whatever the pieces, the flushes and the room for output: what comes out is what went in.
    #[test]
    fn answers_come_back_however_they_are_cut(
        encoding in encodings(),
        plain in plain(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        flushes in proptest::collection::vec(any::<bool>(), 9),
        room in ROOM..600,
    ) {
        let mut encoder = Encoder::new(encoding, false).unwrap();
        let (mut coded, mut output) = (Vec::new(), vec![0; room]);
        let pieces = pieces(&plain, &cuts);
        let flush = |now: &bool| if *now { Flush::Now } else { Flush::Hold };
        let all = pieces.into_iter().zip(flushes.iter().map(flush)).chain([(&b""[..], Flush::End)]);
        for (piece, flush) in all {
            let mut rest = piece;
            loop {
                let step = encoder.step(rest, &mut output, flush).unwrap();
                coded.extend(&output[..step.produced]);
                rest = &rest[step.consumed..];
                if step.done {
                    prop_assert!(rest.is_empty());
                    break;
                }
                prop_assert!(step.produced > 0 || step.consumed > 0, "it goes on");
            }
        }
        prop_assert_eq!(reference(encoding, &coded).unwrap(), plain);
    }

    /// The same for requests; and whatever was damaged on the way is read as something else or refused, never more.
    #[test]
    fn requests_come_back_however_they_are_cut(
        encoding in encodings(),
        plain in plain(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        room in 1..600_usize,
        damage in proptest::option::of((any::<prop::sample::Index>(), 1..=255_u8)),
    ) {
        let mut coded = coded(encoding, &plain);
        if let Some((place, bits)) = &damage {
            let place = place.index(coded.len());
            coded[place] ^= bits;
        }
        let whole = decode(encoding, 1 << 20, &[&coded], 4096);
        let cut = decode(encoding, 1 << 20, &pieces(&coded, &cuts), room);
        // libzstd checks a frame's declared length against an empty last block only where it has the frame whole.
        if encoding != Encoding::Zstd || damage.is_none() || (cut.is_ok() && whole.is_ok()) {
            prop_assert_eq!(&cut, &whole);
        }
        if damage.is_none() {
            prop_assert_eq!(whole, Ok(plain));
        }
    }
}
