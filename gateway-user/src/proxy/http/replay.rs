//! A request head kept for the case that it must be sent once more, as plain bytes: far cheaper than a second header
//! map, which would take a reference on every value.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, request::Parts};

use super::body::Upload;

/// A head without a body, ready to be sent again.
pub(crate) struct Replay {
    method: Method,
    uri: Uri,
    version: Version,
    /// `(length u32, bytes)` of name and value in turn.
    fields: Vec<u8>,
}

impl Replay {
    /// Keeps `parts`, in a buffer that is used again.
    pub(crate) fn keep(parts: &Parts, mut buffer: Vec<u8>) -> Self {
        for (name, value) in &parts.headers {
            for bytes in [name.as_str().as_bytes(), value.as_bytes()] {
                // A head is bounded far below 4 GiB.
                buffer.extend_from_slice(&(bytes.len() as u32).to_ne_bytes());
                buffer.extend_from_slice(bytes);
            }
        }
        Self { method: parts.method.clone(), uri: parts.uri.clone(), version: parts.version, fields: buffer }
    }

    /// The request again, with this body.
    pub(crate) fn request(&self, body: Upload) -> Request<Upload> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers();
        request
    }

    /// The buffer, to be used again.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.fields
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut rest = self.fields.as_slice();
        while let (Some(name), Some(value)) = (next(&mut rest), next(&mut rest)) {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        headers
    }
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let (bytes, tail) = tail.split_at_checked(u32::from_ne_bytes(*length) as usize)?;
    *rest = tail;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::{Replay, Upload};

    #[test]
    fn what_is_kept_is_what_is_sent_again() {
        let request = Request::get("/a?b").header("x-one", "1").header("x-two", "").header("x-one", "3");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let again = Replay::keep(&parts, Vec::new()).request(Upload::none());
        assert_eq!(
            (again.method(), again.uri(), again.headers()),
            (&parts.method, &parts.uri, &parts.headers)
        );
    }
}
