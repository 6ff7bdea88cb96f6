//! The parser on bytes that nobody meant: it neither panics nor reads past the end, and cutting a frame never makes it
//! find something else. What it finds in good frames is tested by the suite `kernel`, against an oracle.

use std::cell::Cell;

use gateway_common::{
    packet::{Kind, MAX_TAGS_READ},
    parse::{Bytes, Upper, parse},
};

/// A slice that counts how often it is asked.
struct Counting<'b> {
    bytes: &'b [u8],
    reads: Cell<usize>,
}

impl Bytes for Counting<'_> {
    fn byte(&self, offset: usize) -> Option<u8> {
        self.reads.set(self.reads.get() + 1);
        self.bytes.byte(offset)
    }

    fn half(&self, offset: usize) -> Option<u16> {
        assert!(offset.is_multiple_of(2), "the program reads halves at even offsets only");
        self.reads.set(self.reads.get() + 1);
        self.bytes.half(offset)
    }

    fn word(&self, offset: usize) -> Option<u32> {
        self.reads.set(self.reads.get() + 1);
        self.bytes.word(offset)
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ word >> 31
    }

    /// Bytes that often look like headers.
    fn frame(&mut self) -> Vec<u8> {
        let mut frame: Vec<u8> = (0..self.next() % 200).map(|_| self.next() as u8).collect();
        let tags = (self.next() % 7) as usize;
        let mut at = 12;
        for _ in 0..tags {
            self.put(&mut frame, at, &[0x81, 0x00]);
            at += 4;
        }
        if self.next().is_multiple_of(2) {
            self.put(&mut frame, at, &[0x08, 0x00, 0x45]);
            self.put(&mut frame, at + 8, &[0, 0, 64, 6]);
        } else {
            self.put(&mut frame, at, &[0x86, 0xdd, 0x60]);
            let chain = [0, 43, 44, 51, 60, 6, 58];
            for step in 0..12 {
                let next = chain.get((self.next() % 7) as usize).copied().unwrap_or(6);
                let place = if step == 0 { at + 8 } else { at + 42 + 8 * (step - 1) };
                self.put(&mut frame, place, &[next, 0]);
            }
        }
        frame
    }

    fn put(&mut self, frame: &mut [u8], at: usize, bytes: &[u8]) {
        for (place, byte) in frame.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
    }
}

#[test]
fn arbitrary_bytes_are_read_in_few_steps_and_within_the_frame() {
    let mut random = Random(1);
    for _ in 0..200_000 {
        let frame = random.frame();
        let counting = Counting { bytes: &frame, reads: Cell::new(0) };
        let packet = parse(&counting);
        assert!(counting.reads.get() < 64, "{frame:02x?}");
        assert_eq!(packet, parse(&frame[..]));
        if let Some(packet) = packet {
            assert!(packet.tags <= MAX_TAGS_READ && packet.vlan < 4096);
            let has_ports = matches!(packet.kind, Kind::Tcp | Kind::TcpFragment);
            assert!(has_ports || (packet.port, packet.source_port, packet.syn) == (0, 0, false));
        }
    }
}

#[test]
fn a_frame_that_is_cut_is_truncated_or_the_same() {
    let mut random = Random(2);
    for _ in 0..3_000 {
        let frame = random.frame();
        let whole = parse(&frame[..]);
        for length in 0..frame.len() {
            let Some(cut) = parse(&frame[..length]) else { continue };
            assert!(cut.kind == Kind::Truncated || Some(cut) == whole, "{length} of {frame:02x?}");
        }
    }
}

#[test]
fn what_is_above_ip_fits_a_word() {
    let word = Upper::TRUNCATED.word();
    assert_eq!(Upper::from_word(word), Upper::TRUNCATED);
}
