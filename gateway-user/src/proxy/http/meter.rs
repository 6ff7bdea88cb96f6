//! Pure: how much of a request body may still pass. A body has one limit; of a gRPC stream, which may be open for days,
//! each message has it (its prefix says how long it is), and the stream has none.

/// Length of a gRPC message's prefix: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Counts a request body against its limit.
#[derive(Debug)]
pub(crate) enum Meter {
    /// Bytes that may still pass.
    Body(u64),
    Messages(Messages),
}

/// Reads the prefixes of gRPC messages as their bytes pass.
#[derive(Debug)]
pub(crate) struct Messages {
    limit: u64,
    /// Bytes of the message that are still to come.
    skip: u64,
    length: [u8; PREFIX],
    have: usize,
}

/// The body, or a message of it, is longer than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

// === impl Meter ===

impl Meter {
    pub(crate) const fn new(limit: u64, grpc: bool) -> Self {
        if grpc {
            Self::Messages(Messages { limit, skip: 0, length: [0; PREFIX], have: 0 })
        } else {
            Self::Body(limit)
        }
    }

    /// These bytes are about to pass.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        match self {
            Self::Body(left) => {
                *left = left.checked_sub(bytes.len() as u64).ok_or(TooLong)?;
                Ok(())
            }
            Self::Messages(messages) => messages.pass(bytes),
        }
    }
}

// === impl Messages ===

impl Messages {
    fn pass(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip -= skipped as u64;
            let taken = (bytes.len() - skipped).min(PREFIX - self.have);
            let prefix = bytes.get(skipped..skipped + taken).unwrap_or_default();
            if let Some(place) = self.length.get_mut(self.have..self.have + taken) {
                place.copy_from_slice(prefix);
            }
            self.have += taken;
            bytes = bytes.get(skipped + taken..).unwrap_or_default();
            if self.have == PREFIX {
                let [_, length @ ..] = self.length;
                (self.skip, self.have) = (u64::from(u32::from_be_bytes(length)), 0);
                if self.skip > self.limit {
                    return Err(TooLong);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Meter, TooLong};

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.resize(5 + length as usize, 0xff);
        bytes
    }

    #[test]
    fn a_body_has_one_limit() {
        let mut meter = Meter::new(10, false);
        assert_eq!(meter.pass(&[0; 6]), Ok(()));
        assert_eq!(meter.pass(&[0; 4]), Ok(()));
        assert_eq!(meter.pass(&[0]), Err(TooLong));
    }

    #[test]
    fn each_message_has_the_limit_wherever_the_bytes_are_cut() {
        let good: Vec<u8> = [10, 0, 0, 3, 10, 10, 1].into_iter().flat_map(message).collect();
        let bad: Vec<u8> = [10, 0, 11].into_iter().flat_map(message).collect();
        for cut in 1..30 {
            let mut meter = Meter::new(10, true);
            assert!(good.chunks(cut).all(|piece| meter.pass(piece).is_ok()), "cut at {cut}");
            assert!(bad.chunks(cut).any(|piece| meter.pass(piece).is_err()), "cut at {cut}");
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_told_by_its_prefix() {
        let mut meter = Meter::new(1 << 20, true);
        assert_eq!(meter.pass(&[1, 0, 16, 0, 1]), Err(TooLong));
        let mut meter = Meter::new(1 << 20, true);
        assert_eq!(meter.pass(&[1, 0, 16, 0, 0]), Ok(()));
    }
}
