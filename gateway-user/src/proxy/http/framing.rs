//! Pure: how long a message's body is, decided in one place for every path (RFC 9112 §6.3, RFC 9113 §8.1.1).
//!
//! Whatever two parsers could read differently is no length but a refusal: a Content-Length that is not one run of
//! digits or is said twice, any Transfer-Encoding but one `chunked`, both at once.

use super::head::Fields;
use crate::proxy::failure::Failure;

/// The length of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Body {
    /// There is none, and nobody said how long it is.
    #[default]
    None,
    /// Declared; 0 is a body of nothing.
    Length(u64),
    /// Ends with its last chunk.
    Chunked,
    /// Answers only: ends with the connection.
    Close,
}

/// What a message is sent over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
    /// Frames say where a body ends; a declared length only has to agree.
    Http2,
}

// === impl Body ===

impl Body {
    /// The declared length.
    pub(crate) fn declared(self) -> Option<u64> {
        match self {
            Self::Length(length) => Some(length),
            Self::None | Self::Chunked | Self::Close => None,
        }
    }

    /// Whether not a byte will come.
    pub(crate) fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// The body of a request.
pub(crate) fn request(fields: &impl Fields, version: Version) -> Result<Body, Failure> {
    let length = length(fields)?;
    match (is_chunked(fields, version)?, length) {
        (true, Some(_)) => Err(Failure::BadFraming),
        (true, None) => Ok(Body::Chunked),
        (false, length) => Ok(length.map_or(Body::None, Body::Length)),
    }
}

/// The body of an answer with `status` to a request whose method was HEAD or not.
pub(crate) fn response(
    fields: &impl Fields,
    version: Version,
    status: u16,
    head: bool,
) -> Result<Body, Failure> {
    let length = length(fields).map_err(|_| Failure::BadAnswer)?;
    let chunked = is_chunked(fields, version).map_err(|_| Failure::BadAnswer)?;
    if chunked && length.is_some() {
        return Err(Failure::BadAnswer);
    }
    // A length beside these tells what a GET would have got; it frames nothing.
    if head || status < 200 || status == 204 || status == 304 {
        return Ok(Body::None);
    }
    Ok(match (chunked, length) {
        (true, _) => Body::Chunked,
        (false, Some(length)) => Body::Length(length),
        (false, None) => Body::Close,
    })
}

fn length(fields: &impl Fields) -> Result<Option<u64>, Failure> {
    let mut values = fields.all("content-length");
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Failure::BadLength);
    }
    let length = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
    length.map(Some).ok_or(Failure::BadLength)
}

fn is_chunked(fields: &impl Fields, version: Version) -> Result<bool, Failure> {
    let mut values = fields.all("transfer-encoding");
    let Some(value) = values.next() else { return Ok(false) };
    let once = values.next().is_none() && value.eq_ignore_ascii_case(b"chunked");
    if !once || version != Version::Http11 {
        return Err(Failure::BadFraming);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::{Body, Version, request, response};
    use crate::proxy::{failure::Failure, http::head::List};

    #[test]
    fn a_request_says_its_length_once_and_in_one_way() {
        let body = |fields: &[(&str, &str)]| request(&List(fields), Version::Http11);
        assert_eq!(body(&[]), Ok(Body::None));
        assert_eq!(body(&[("content-length", "0")]), Ok(Body::Length(0)));
        assert_eq!(body(&[("content-length", "007")]), Ok(Body::Length(7)));
        assert_eq!(body(&[("transfer-encoding", "Chunked")]), Ok(Body::Chunked));
        for bad in ["", "+1", "-1", "1 ", "0x1", "1,1", "99999999999999999999"] {
            assert_eq!(body(&[("content-length", bad)]), Err(Failure::BadLength), "{bad}");
        }
        assert_eq!(body(&[("content-length", "7"), ("content-length", "7")]), Err(Failure::BadLength));
        for bad in
            ["", "identity", "gzip, chunked", "chunked, chunked", "xchunked", "chunked;q=1", "chunked,"]
        {
            assert_eq!(body(&[("transfer-encoding", bad)]), Err(Failure::BadFraming), "{bad}");
        }
        let twice = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert_eq!(body(&twice), Err(Failure::BadFraming));
        let both = [("content-length", "3"), ("transfer-encoding", "chunked")];
        assert_eq!(body(&both), Err(Failure::BadFraming));
        let chunked = List(&[("transfer-encoding", "chunked")]);
        for version in [Version::Http10, Version::Http2] {
            assert_eq!(request(&chunked, version), Err(Failure::BadFraming), "{version:?}");
        }
    }

    #[test]
    fn an_answer_without_a_length_ends_with_its_connection_unless_it_has_no_body() {
        let body =
            |fields: &[(&str, &str)], status, head| response(&List(fields), Version::Http11, status, head);
        assert_eq!(body(&[], 200, false), Ok(Body::Close));
        assert_eq!(body(&[("content-length", "5")], 200, false), Ok(Body::Length(5)));
        assert_eq!(body(&[("transfer-encoding", "chunked")], 200, false), Ok(Body::Chunked));
        for (status, head) in [(200, true), (204, false), (304, false), (103, false)] {
            assert_eq!(body(&[("content-length", "5")], status, head), Ok(Body::None), "{status}");
        }
        let both = [("content-length", "3"), ("transfer-encoding", "chunked")];
        assert_eq!(body(&both, 200, false), Err(Failure::BadAnswer));
        assert_eq!(body(&[("content-length", "3, 3")], 200, false), Err(Failure::BadAnswer));
    }
}
