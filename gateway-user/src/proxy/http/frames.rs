//! Pure: reads the headers of HTTP/2 frames as their bytes pass, and keeps the account of what a client's frames cost.
//!
//! hyper bounds what one stream and one frame may cost. What it does not bound is how often a client may send what costs
//! the client nothing: requests that it cancels at once, and frames that only keep us busy. Both are paid here from
//! buckets that answers fill again, so that a client that is served never meets their bottom.

/// Length of a frame header (RFC 9113 §4.1).
const HEADER: usize = 9;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const PRIORITY: u8 = 32;

/// Cancelled requests. A client may cancel all its streams at once (at most 256 are open), and 20 a second besides;
/// each request that was answered allows one more. A token is what a request to an instance costs us.
const RESETS: Rate = Rate { burst: 300, per_tick: 2 };
/// Frames that carry nothing of a request. 100 a second besides the burst; each frame of an answer allows for the
/// updates of two windows and a PING that measures the path, and one to spare.
const OVERHEAD: Rate = Rate { burst: 2000, per_tick: 10 };
const PER_ANSWER_FRAME: u32 = 4;

/// What a client did too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flood {
    /// Requests that were cancelled (CVE-2023-44487).
    Resets,
    /// Frames that carry nothing: SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA, unknown ones.
    Overhead,
    /// hyper's own limits: CONTINUATION, streams that it had to reset (CVE-2025-8671), small and empty DATA.
    Frames,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

/// What some bytes of a direction are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Part of a header.
    Partial,
    /// The end of a header.
    Header(Frame),
    /// Part of a payload, at most all of it.
    Payload,
}

/// Finds frame headers in a direction's bytes.
pub(crate) struct Frames {
    /// Bytes to pass before the next header.
    skip: u32,
    header: [u8; HEADER],
    have: usize,
}

/// What a client's frames have cost.
pub(crate) struct Account {
    resets: Bucket,
    overhead: Bucket,
    /// The highest stream that the client opened.
    last: u32,
}

struct Rate {
    burst: u32,
    /// Tokens that come back in a tick of the worker's clock (100 ms).
    per_tick: u32,
}

struct Bucket {
    rate: Rate,
    left: u32,
    tick: u32,
}

// === impl Flood ===

impl Flood {
    /// The index of its counter, in the order of `observe::traffic::FLOODS`.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Resets => 0,
            Self::Overhead => 1,
            Self::Frames => 2,
        }
    }
}

// === impl Frames ===

impl Frames {
    /// Frames that come after so many other bytes.
    pub(crate) const fn after(skip: u32) -> Self {
        Self { skip, header: [0; HEADER], have: 0 }
    }

    /// What the first of `bytes` are, and how many of them; there must be one.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> (usize, Piece) {
        if self.skip > 0 {
            let skipped = bytes.len().min(self.skip as usize);
            self.skip -= skipped as u32;
            return (skipped, Piece::Payload);
        }
        let taken = bytes.len().min(HEADER - self.have);
        let place = self.header.iter_mut().skip(self.have);
        place.zip(bytes).for_each(|(place, byte)| *place = *byte);
        self.have += taken;
        if self.have < HEADER {
            return (taken, Piece::Partial);
        }
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        (self.skip, self.have) = (length, 0);
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        (taken, Piece::Header(Frame { length, kind, flags, stream }))
    }

    /// Reads on, and tells of each frame whose header is complete.
    pub(crate) fn pass(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let (count, piece) = self.next(bytes);
            if let Piece::Header(frame) = piece {
                seen(frame);
            }
            bytes = bytes.get(count..).unwrap_or_default();
        }
    }

    /// Whether the next byte begins a frame.
    pub(crate) const fn between(&self) -> bool {
        self.skip == 0 && self.have == 0
    }
}

// === impl Account ===

impl Account {
    pub(crate) const fn open(tick: u32) -> Self {
        Self { resets: Bucket::full(RESETS, tick), overhead: Bucket::full(OVERHEAD, tick), last: 0 }
    }

    /// The client sent this frame.
    pub(crate) fn received(&mut self, frame: Frame, tick: u32) -> Result<(), Flood> {
        if frame.kind == HEADERS {
            self.last = self.last.max(frame.stream);
        }
        if frame.kind == RST_STREAM {
            return self.resets.spend(1, tick).ok_or(Flood::Resets);
        }
        match frame.overhead() {
            0 => Ok(()),
            cost => self.overhead.spend(cost, tick).ok_or(Flood::Overhead),
        }
    }

    /// We sent this frame.
    pub(crate) fn sent(&mut self, frame: Frame) {
        if matches!(frame.kind, DATA | HEADERS) {
            self.overhead.earn(PER_ANSWER_FRAME);
            if frame.flags & END_STREAM != 0 {
                self.resets.earn(1);
            }
        }
    }

    /// The highest stream that the client opened, as GOAWAY names it.
    pub(crate) const fn last(&self) -> u32 {
        self.last
    }
}

impl Frame {
    /// What it costs us besides the request or answer that it carries a part of.
    const fn overhead(self) -> u32 {
        match self.kind {
            DATA if self.length == 0 && self.flags & END_STREAM == 0 => 1,
            // hyper counts CONTINUATION frames within a header block.
            DATA | HEADERS | RST_STREAM | CONTINUATION => 0,
            // Answered, and it may move the window of every stream.
            SETTINGS => 20,
            // Answered.
            PING => 2,
            _ => 1,
        }
    }
}

// === impl Bucket ===

impl Bucket {
    const fn full(rate: Rate, tick: u32) -> Self {
        let left = rate.burst;
        Self { rate, left, tick }
    }

    fn earn(&mut self, tokens: u32) {
        self.left = self.left.saturating_add(tokens).min(self.rate.burst);
    }

    fn spend(&mut self, tokens: u32, tick: u32) -> Option<()> {
        self.earn(tick.saturating_sub(self.tick).saturating_mul(self.rate.per_tick));
        self.tick = tick;
        self.left = self.left.checked_sub(tokens)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, Flood, Frame, Frames, OVERHEAD, RESETS};

    fn frame(kind: u8, flags: u8, stream: u32, payload: usize) -> Vec<u8> {
        let mut bytes = u32::try_from(payload).unwrap().to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.resize(9 + payload, 0xff);
        bytes
    }

    const fn head(kind: u8, flags: u8, length: u32) -> Frame {
        Frame { length, kind, flags, stream: 1 }
    }

    #[test]
    fn headers_are_found_wherever_the_bytes_are_cut() {
        let mut bytes = b"preface".to_vec();
        for (kind, stream, payload) in [(4, 0, 12), (1, 1 | 1 << 31, 40), (0, 1, 0), (0, 1, 300), (6, 0, 8)] {
            bytes.extend(frame(kind, 1, stream, payload));
        }
        for cut in 1..40 {
            let mut frames = Frames::after(7);
            let mut seen = Vec::new();
            for piece in bytes.chunks(cut) {
                frames.pass(piece, |frame| seen.push((frame.kind, frame.stream, frame.length)));
            }
            assert_eq!(seen, [(4, 0, 12), (1, 1, 40), (0, 1, 0), (0, 1, 300), (6, 0, 8)], "cut at {cut}");
            assert!(frames.between());
            frames.pass(&[0], |_| unreachable!());
            assert!(!frames.between());
        }
    }

    #[test]
    fn cancelling_is_free_for_whoever_is_answered_and_bounded_for_others() {
        let mut account = Account::open(1);
        for _ in 0..10 * RESETS.burst {
            account.received(head(1, 4, 20), 1).unwrap();
            account.sent(head(0, 1, 100));
            account.received(head(3, 0, 4), 1).unwrap();
        }
        for _ in 1..RESETS.burst {
            account.received(head(3, 0, 4), 1).unwrap();
        }
        assert_eq!(account.received(head(3, 0, 4), 1), Err(Flood::Resets));
        // A tick later a few more are free.
        assert_eq!(account.received(head(3, 0, 4), 2), Ok(()));
    }

    #[test]
    fn every_kind_of_empty_frame_meets_the_bound() {
        for (kind, flags, length, cost) in [
            (0, 0, 0, 1),
            (2, 0, 5, 1),
            (4, 0, 6, 20),
            (4, 1, 0, 20),
            (6, 0, 8, 2),
            (8, 0, 4, 1),
            (0x16, 0, 0, 1),
        ] {
            let mut account = Account::open(1);
            let mut count = 0;
            while account.received(head(kind, flags, length), 1).is_ok() {
                count += 1;
            }
            assert_eq!(count, OVERHEAD.burst / cost, "kind {kind}");
        }
    }

    #[test]
    fn requests_and_what_a_download_needs_cost_nothing() {
        let mut account = Account::open(1);
        for _ in 0..100_000 {
            account.received(head(1, 5, 30), 1).unwrap();
            account.received(head(0, 0, 1), 1).unwrap();
            account.received(head(0, 1, 0), 1).unwrap();
            account.sent(head(0, 0, 16_384));
            // Two windows and a PING for each frame of the answer.
            account.received(head(8, 0, 4), 1).unwrap();
            account.received(head(8, 0, 4), 1).unwrap();
            account.received(head(6, 0, 8), 1).unwrap();
        }
    }
}
