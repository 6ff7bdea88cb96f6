//! Pure: a body as it is read, whatever frames it.

use super::chunked::{Decoder, Step};
use crate::proxy::{failure::Failure, http::framing::Body};

/// Reads one body.
#[derive(Debug)]
pub(crate) enum Reader {
    /// Bytes that are still to come.
    Length(u64),
    /// Boxed, because few bodies are chunked and every exchange has two readers.
    Chunked(Box<Decoder>),
    /// Until the connection ends.
    Close { ended: bool },
}

// === impl Reader ===

impl Reader {
    pub(crate) fn new(body: Body) -> Self {
        match body {
            Body::None => Self::Length(0),
            Body::Length(length) => Self::Length(length),
            Body::Chunked => Self::Chunked(Box::default()),
            Body::Close => Self::Close { ended: false },
        }
    }

    /// Whether the body is through.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(decoder) => decoder.is_done(),
            Self::Close { ended } => *ended,
        }
    }

    /// Takes what is the body's off `bytes`: it moves to the front.
    ///
    /// # Errors
    /// [`Failure::BadChunk`].
    pub(crate) fn take(&mut self, bytes: &mut [u8]) -> Result<Step, Failure> {
        match self {
            Self::Length(left) => {
                // At most the length of the slice.
                let count = (*left).min(bytes.len() as u64) as usize;
                *left -= count as u64;
                Ok(Step { data: count, used: count })
            }
            Self::Chunked(decoder) => decoder.decode(bytes),
            Self::Close { .. } => Ok(Step { data: bytes.len(), used: bytes.len() }),
        }
    }

    /// The connection ended. Whether the body is whole then.
    pub(crate) fn ends(&mut self) -> bool {
        if let Self::Close { ended } = self {
            *ended = true;
        }
        self.is_done()
    }

    /// Trailer lines, each with its CR LF.
    pub(crate) fn trailers(&self) -> &[u8] {
        match self {
            Self::Chunked(decoder) => decoder.trailers(),
            Self::Length(_) | Self::Close { .. } => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::chunked::Step, Reader};
    use crate::proxy::http::framing::Body;

    #[test]
    fn a_declared_length_takes_its_bytes_and_no_more() {
        let mut reader = Reader::new(Body::Length(5));
        assert_eq!(reader.take(&mut b"abc".to_vec()), Ok(Step { data: 3, used: 3 }));
        assert!(!reader.is_done() && !reader.ends());
        assert_eq!(reader.take(&mut b"deGET".to_vec()), Ok(Step { data: 2, used: 2 }));
        assert!(reader.is_done());
        assert!(Reader::new(Body::None).is_done());
    }

    #[test]
    fn a_body_without_a_length_ends_with_its_connection() {
        let mut reader = Reader::new(Body::Close);
        assert_eq!(reader.take(&mut b"abc".to_vec()), Ok(Step { data: 3, used: 3 }));
        assert!(!reader.is_done() && reader.ends() && reader.is_done());
        assert!(!Reader::new(Body::Chunked).ends(), "a chunked one does not");
    }
}
