//! Pure: finds the header blocks in a client's frames (RFC 9113 §4.3, §6.2, §6.10), and has them read.

use super::{
    frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PADDED, PRIORITY, RST_STREAM},
    hpack::{self, Reader},
};

/// Why a client's frames cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The frames, or the fields in them, break the protocol.
    Protocol,
    /// Nobody knows what the fields are.
    Compression,
}

/// Follows the header blocks of a connection.
#[derive(Debug)]
pub(super) struct Blocks {
    reader: Reader,
    /// Streams that the client has not ended: a block on one of them is trailers. One on another either opens it, or h2
    /// refuses it.
    unended: Vec<u32>,
    /// The stream whose block has not ended.
    open: Option<u32>,
    part: Part,
}

/// What there is of a block in the current frame, in the order of its bytes. All is zero for frames without.
#[derive(Debug, Default)]
struct Part {
    /// The padding's length is still to come.
    padded: bool,
    /// Bytes of the priority that are still to come, and what came of the stream that it depends on.
    priority: u8,
    dependency: u32,
    stream: u32,
    /// Bytes of the block; those of the padding among them, until its length is known.
    left: u32,
    /// The block ends with them.
    last: bool,
}

// === impl Blocks ===

impl Blocks {
    /// For a client that may keep so many bytes in its table.
    pub(super) fn new(table: u16) -> Self {
        Self { reader: Reader::new(table), unended: Vec::new(), open: None, part: Part::default() }
    }

    /// The client sends a frame.
    pub(super) fn begin(&mut self, frame: Frame) -> Result<(), Fault> {
        self.part = Part::default();
        let (stream, flag) = (frame.stream, |flag| frame.flags & flag != 0);
        match (frame.kind, self.open) {
            (HEADERS, None) => {
                self.open = Some(stream);
                self.reader.begin(self.unended.contains(&stream));
                if flag(END_STREAM) {
                    self.forget(stream);
                } else if !self.unended.contains(&stream) {
                    self.unended.push(stream);
                }
            }
            (CONTINUATION, Some(open)) if open == stream => {}
            // Nothing may come between the frames of a block, and none of them without the first.
            (CONTINUATION, _) | (_, Some(_)) => return Err(Fault::Protocol),
            (kind, None) => {
                if kind == RST_STREAM || (kind == DATA && flag(END_STREAM)) {
                    self.forget(stream);
                }
                return Ok(());
            }
        }
        let padded = frame.kind == HEADERS && flag(PADDED);
        let priority = if frame.kind == HEADERS && flag(PRIORITY) { 5 } else { 0 };
        let left = frame.length.checked_sub(u32::from(padded) + u32::from(priority));
        let left = left.ok_or(Fault::Protocol)?;
        self.part = Part { padded, priority, dependency: 0, stream, left, last: flag(END_HEADERS) };
        self.settle()
    }

    /// We send a frame.
    pub(super) fn sent(&mut self, frame: Frame) {
        if frame.kind == RST_STREAM {
            self.forget(frame.stream);
        }
    }

    fn forget(&mut self, stream: u32) {
        if let Some(place) = self.unended.iter().position(|other| *other == stream) {
            self.unended.swap_remove(place);
        }
    }

    /// Reads bytes of the current frame; see [`Reader::read`] for what may change in them.
    pub(super) fn read(&mut self, mut bytes: &mut [u8]) -> Result<(), Fault> {
        let part = &mut self.part;
        while (part.padded || part.priority > 0)
            && let [first, rest @ ..] = bytes
        {
            part.take(*first)?;
            bytes = rest;
        }
        if let Some(fields) = bytes.get_mut(..bytes.len().min(part.left as usize)) {
            part.left -= fields.len() as u32;
            self.reader.read(fields)?;
        }
        self.settle()
    }

    /// Ends the block if its last byte is through. What is left of the frame is padding.
    fn settle(&mut self) -> Result<(), Fault> {
        if self.part.is_through() && std::mem::take(&mut self.part.last) {
            self.open = None;
            self.reader.end()?;
        }
        Ok(())
    }
}

// === impl Part ===

impl Part {
    /// A byte in front of the fields.
    fn take(&mut self, byte: u8) -> Result<(), Fault> {
        if std::mem::take(&mut self.padded) {
            self.left = self.left.checked_sub(byte.into()).ok_or(Fault::Protocol)?;
            return Ok(());
        }
        self.priority -= 1;
        match self.priority {
            // Weight.
            0 => {}
            // h2 resets the stream of one that depends on itself, and does not read its fields (RFC 7540 §5.3.1): what
            // they say of the table would be lost. A stream error may be one of the connection (RFC 9113 §5.4.1).
            1 if (self.dependency << 8 | u32::from(byte)) & (u32::MAX >> 1) == self.stream => {
                return Err(Fault::Protocol);
            }
            _ => self.dependency = self.dependency << 8 | u32::from(byte),
        }
        Ok(())
    }

    fn is_through(&self) -> bool {
        !self.padded && self.priority == 0 && self.left == 0
    }
}

// === impl Fault ===

impl From<hpack::Fault> for Fault {
    fn from(fault: hpack::Fault) -> Self {
        match fault {
            hpack::Fault::Compression => Self::Compression,
            hpack::Fault::Pseudo => Self::Protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::frames::{
            CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PADDED, PRIORITY, RST_STREAM,
        },
        Blocks, Fault,
    };

    /// Index 2: a method. Index 19: `accept`.
    const PSEUDO: &[u8] = b"\x82";
    const FIELD: &[u8] = b"\x93";

    struct Sent(u8, u8, u32, &'static [u8]);

    fn head(stream: u32) -> Sent {
        Sent(HEADERS, END_HEADERS, stream, PSEUDO)
    }

    fn trailers(fields: &'static [u8]) -> Sent {
        Sent(HEADERS, END_HEADERS | END_STREAM, 1, fields)
    }

    /// What becomes of the last frame; those before it are well.
    fn last(frames: &[Sent]) -> Result<(), Fault> {
        for step in [1, 3, 100] {
            let mut blocks = Blocks::new(4096);
            let mut results = frames.iter().map(|Sent(kind, flags, stream, payload)| {
                let length = payload.len() as u32;
                blocks.begin(Frame { length, kind: *kind, flags: *flags, stream: *stream })?;
                payload.to_vec().chunks_mut(step).try_for_each(|piece| blocks.read(piece))
            });
            for _ in 1..frames.len() {
                assert_eq!(results.next(), Some(Ok(())));
            }
            let last = results.next().unwrap();
            if step == 100 {
                return last;
            }
        }
        unreachable!()
    }

    #[test]
    fn a_block_on_a_stream_that_the_client_has_not_ended_is_trailers() {
        assert_eq!(last(&[head(1), trailers(FIELD)]), Ok(()));
        assert_eq!(last(&[head(1), trailers(PSEUDO)]), Err(Fault::Protocol));
        assert_eq!(last(&[head(1), head(3), Sent(DATA, 0, 1, b"x"), trailers(PSEUDO)]), Err(Fault::Protocol));
        // A new stream, or one of which h2 knows what it is.
        assert_eq!(last(&[head(1), head(3)]), Ok(()));
        assert_eq!(last(&[head(1), Sent(DATA, END_STREAM, 1, b""), trailers(PSEUDO)]), Ok(()));
        assert_eq!(last(&[head(1), Sent(RST_STREAM, 0, 1, b"\0\0\0\0"), trailers(PSEUDO)]), Ok(()));
        assert_eq!(last(&[head(1), trailers(FIELD), trailers(PSEUDO)]), Ok(()));
        assert_eq!(last(&[trailers(PSEUDO), trailers(PSEUDO)]), Ok(()));
    }

    #[test]
    fn streams_that_we_reset_are_forgotten() {
        let mut blocks = Blocks::new(4096);
        for stream in 0..1000 {
            let frame = Frame { length: 0, kind: HEADERS, flags: END_HEADERS, stream };
            blocks.begin(frame).unwrap();
            blocks.sent(Frame { kind: RST_STREAM, ..frame });
        }
        assert!(blocks.unended.is_empty());
    }

    #[test]
    fn fields_are_found_between_priority_and_padding() {
        const ALL: u8 = END_HEADERS | END_STREAM | PADDED | PRIORITY;
        let of = |flags, payload| last(&[head(1), Sent(HEADERS, flags, 1, payload)]);
        for (flags, well, bad) in [
            (ALL, &b"\x02\0\0\0\x03\x10\x93\x82\x82"[..], &b"\x01\0\0\0\x03\x10\x93\x82\x82"[..]),
            (ALL & !PADDED, b"\0\0\0\x03\x82\x93", b"\0\0\0\x03\x82\x93\x82"),
            (ALL & !PRIORITY, b"\x01\x93\x82", b"\x00\x93\x82"),
        ] {
            assert_eq!(of(flags, well), Ok(()), "{well:x?}");
            assert_eq!(of(flags, bad), Err(Fault::Protocol), "{bad:x?}");
        }
        for (payload, what) in [
            (&b"\x04\0\0\0\x03\x10\x93\x82\x82"[..], "more padding than there is"),
            (b"\x00\0\0\0", "no room for the priority"),
            (b"\x00\0\0\0\x01\x10\x93", "a stream that depends on itself"),
            (b"\x00\x80\0\0\x01\x10\x93", "the same, exclusively"),
        ] {
            assert_eq!(of(ALL, payload), Err(Fault::Protocol), "{what}");
        }
    }

    #[test]
    fn a_block_may_go_on_in_frames_of_the_same_stream_and_no_others() {
        let begin = || Sent(HEADERS, END_STREAM, 1, b"\x93\x00\x03");
        let end = |payload| Sent(CONTINUATION, END_HEADERS, 1, payload);
        assert_eq!(last(&[head(1), begin(), end(b"x-a\x01b")]), Ok(()));
        assert_eq!(last(&[head(1), begin(), end(b"x-a\x01b\x82")]), Err(Fault::Protocol));
        assert_eq!(last(&[head(1), begin(), end(b"x-a\x01")]), Err(Fault::Compression));
        assert_eq!(last(&[head(1), begin(), Sent(CONTINUATION, 0, 1, b"x-a\x01b"), end(b"")]), Ok(()));
        for frame in [head(3), head(1), Sent(DATA, 0, 1, b""), Sent(CONTINUATION, END_HEADERS, 3, FIELD)] {
            assert_eq!(last(&[head(1), begin(), frame]), Err(Fault::Protocol));
        }
        assert_eq!(last(&[head(1), end(FIELD)]), Err(Fault::Protocol));
    }
}
