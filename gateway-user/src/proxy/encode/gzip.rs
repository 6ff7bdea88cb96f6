//! Pure: gzip (RFC 1952) around deflate (RFC 1951).

use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Broken, Flush, Step, decode::Bad};

/// Magic, deflate, no flags, no time, no hint, made on an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// Where most of the ratio is had for half of the time of the last levels.
const LEVEL: u32 = 5;

/// Makes one member.
pub(super) struct Compressor {
    deflate: Compress,
    crc: Crc,
    /// Header or trailer that was not written yet.
    pending: Pending,
    trailed: bool,
}

/// A few bytes on their way out.
struct Pending {
    bytes: [u8; 10],
    start: usize,
    end: usize,
}

// === impl Compressor ===

impl Compressor {
    pub(super) fn new() -> Self {
        Self {
            deflate: Compress::new(Compression::new(LEVEL), false),
            crc: Crc::new(),
            pending: Pending { bytes: HEADER, start: 0, end: HEADER.len() },
            trailed: false,
        }
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8], flush: Flush) -> Result<Step, Broken> {
        let head = self.pending.write(output);
        let rest = output.get_mut(head..).unwrap_or_default();
        if rest.is_empty() || self.trailed {
            let done = self.trailed && self.pending.is_empty();
            return Ok(Step { consumed: 0, produced: head, done });
        }
        let mode = match flush {
            Flush::Hold => FlushCompress::None,
            Flush::Now => FlushCompress::Sync,
            Flush::End => FlushCompress::Finish,
        };
        let (before_in, before_out) = (self.deflate.total_in(), self.deflate.total_out());
        let status = self.deflate.compress(input, rest, mode).map_err(|_| Broken)?;
        // Both are bounded by the slices.
        let consumed = (self.deflate.total_in() - before_in) as usize;
        let mut produced = head + (self.deflate.total_out() - before_out) as usize;
        self.crc.update(input.get(..consumed).unwrap_or_default());
        if status == Status::StreamEnd {
            self.trailed = true;
            self.pending = Pending::trailer(&self.crc);
            produced += self.pending.write(output.get_mut(produced..).unwrap_or_default());
            return Ok(Step { consumed, produced, done: self.pending.is_empty() });
        }
        // Room that is left means that nothing is.
        let done = flush != Flush::End && consumed == input.len() && produced < output.len();
        Ok(Step { consumed, produced, done })
    }
}

impl Pending {
    fn trailer(crc: &Crc) -> Self {
        let [a, b, c, d] = crc.sum().to_le_bytes();
        let [e, f, g, h] = crc.amount().to_le_bytes();
        Self { bytes: [a, b, c, d, e, f, g, h, 0, 0], start: 0, end: 8 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn write(&mut self, output: &mut [u8]) -> usize {
        let bytes = self.bytes.get(self.start..self.end).unwrap_or_default();
        let count = bytes.len().min(output.len());
        if let (Some(to), Some(from)) = (output.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        self.start += count;
        count
    }
}

/// Reads members, one behind the other.
pub(super) struct Decompressor {
    inflate: Decompress,
    crc: Crc,
    state: State,
    /// Optional parts of the header that are still to come.
    parts: u8,
}

/// What comes next, with how much of it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The ten bytes that every header has.
    Header(usize),
    /// FEXTRA: two bytes of length, then so many.
    ExtraLow,
    ExtraHigh(u8),
    Extra(u16),
    /// FNAME or FCOMMENT, up to a zero.
    Text,
    /// FHCRC, which nobody writes; it is not checked, because the header says nothing that we use.
    HeaderCrc(usize),
    Body,
    Trailer(usize),
    /// Behind a member: it may be the last.
    Between,
}

const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
/// What they would mean is not known.
const RESERVED: u8 = 0xe0;

// === impl Decompressor ===

impl Decompressor {
    pub(super) fn new() -> Self {
        Self { inflate: Decompress::new(false), crc: Crc::new(), state: State::Header(0), parts: 0 }
    }

    /// Whether the input may end here.
    pub(super) fn is_complete(&self) -> bool {
        self.state == State::Between
    }

    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Bad> {
        let mut step = Step::default();
        loop {
            if self.state == State::Body {
                let rest = input.get(step.consumed..).unwrap_or_default();
                let room = output.get_mut(step.produced..).unwrap_or_default();
                let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
                let status = self.inflate.decompress(rest, room, FlushDecompress::None).map_err(|_| Bad)?;
                let produced = (self.inflate.total_out() - before_out) as usize;
                self.crc.update(room.get(..produced).unwrap_or_default());
                step.consumed += (self.inflate.total_in() - before_in) as usize;
                step.produced += produced;
                if status != Status::StreamEnd {
                    // Room that is left means that nothing waits to be written.
                    step.done = step.consumed == input.len() && step.produced < output.len();
                    return Ok(step);
                }
                self.state = State::Trailer(0);
            }
            let Some(byte) = input.get(step.consumed) else {
                step.done = true;
                return Ok(step);
            };
            step.consumed += 1;
            self.state = self.after(*byte)?;
        }
    }

    /// What comes behind this byte of a header or a trailer.
    fn after(&mut self, byte: u8) -> Result<State, Bad> {
        Ok(match self.state {
            State::Header(place @ 0..=2) if HEADER.get(place) != Some(&byte) => return Err(Bad),
            State::Header(3) if byte & RESERVED != 0 => return Err(Bad),
            State::Header(3) => {
                self.parts = byte;
                State::Header(4)
            }
            State::Header(9) => self.part(),
            State::Header(read) => State::Header(read + 1),
            State::ExtraLow => State::ExtraHigh(byte),
            State::ExtraHigh(low) => match u16::from_le_bytes([low, byte]) {
                0 => self.part(),
                left => State::Extra(left),
            },
            State::Extra(1) => self.part(),
            State::Extra(left) => State::Extra(left - 1),
            State::Text if byte == 0 => self.part(),
            State::Text => State::Text,
            State::HeaderCrc(0) => State::HeaderCrc(1),
            State::HeaderCrc(_) | State::Body => State::Body,
            State::Trailer(read) => {
                let [sum, amount] = [self.crc.sum(), self.crc.amount()].map(u32::to_le_bytes);
                let place = if read < 4 { sum.get(read) } else { amount.get(read - 4) };
                match place {
                    Some(expected) if *expected != byte => return Err(Bad),
                    Some(_) if read < 7 => State::Trailer(read + 1),
                    Some(_) | None => State::Between,
                }
            }
            State::Between if Some(&byte) == HEADER.first() => {
                self.inflate.reset(false);
                self.crc.reset();
                State::Header(1)
            }
            State::Between => return Err(Bad),
        })
    }

    /// The next optional part of the header, in their order.
    fn part(&mut self) -> State {
        let order = [
            (FEXTRA, State::ExtraLow),
            (FNAME, State::Text),
            (FCOMMENT, State::Text),
            (FHCRC, State::HeaderCrc(0)),
        ];
        let next = order.into_iter().find(|(flag, _)| self.parts & flag != 0);
        let (flag, state) = next.unwrap_or((0, State::Body));
        self.parts &= !flag;
        state
    }
}
