//! A second reader of HTTP/1.1, which shares nothing with the gateway's and takes only what everybody reads alike: what is
//! put before it was let through or written by the gateway, so whatever it does not take is a finding.

/// A head as lines.
#[derive(Debug)]
pub struct Head {
    /// The start line.
    pub line: String,
    /// Names in lower case, values without white space around them.
    pub fields: Vec<(String, Vec<u8>)>,
}

/// A chunked body.
#[derive(Debug)]
pub struct Chunked {
    pub body: Vec<u8>,
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Bytes of it in all.
    pub length: usize,
}

/// `bytes` in pieces of this length.
#[must_use]
pub fn pieces(bytes: &[u8], length: usize) -> Vec<&[u8]> {
    bytes.chunks(length.max(1)).collect()
}

/// Takes the head off the front.
///
/// # Panics
/// It has none, or one that can be read in two ways.
#[must_use]
pub fn head(bytes: &[u8]) -> (Head, &[u8]) {
    let (line, mut rest) = line(bytes).unwrap();
    let mut fields = Vec::new();
    loop {
        let (text, tail) = self::line(rest).unwrap();
        rest = tail;
        if text.is_empty() {
            return (Head { line: String::from_utf8_lossy(line).into_owned(), fields }, rest);
        }
        fields.push(field(text));
    }
}

/// Takes a chunked body off the front.
///
/// # Panics
/// There is none.
#[must_use]
pub fn chunked(bytes: &[u8]) -> Chunked {
    let (mut rest, mut body, mut trailers) = (bytes, Vec::new(), Vec::new());
    loop {
        let (text, tail) = line(rest).unwrap();
        let digits = text.split(|byte| *byte == b';').next().unwrap();
        assert!(!digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit));
        let size = u64::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        rest = tail;
        if size == 0 {
            break;
        }
        let (data, tail) = tail.split_at(usize::try_from(size).unwrap());
        body.extend_from_slice(data);
        rest = tail.strip_prefix(b"\r\n").unwrap();
    }
    loop {
        let (text, tail) = line(rest).unwrap();
        rest = tail;
        if text.is_empty() {
            return Chunked { body, trailers, length: bytes.len() - rest.len() };
        }
        trailers.push(field(text));
    }
}

/// A line without its CR LF, and what follows it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((bytes.get(..end)?, bytes.get(end + 2..)?))
}

fn field(line: &[u8]) -> (String, Vec<u8>) {
    let clean = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    assert!(line.iter().all(clean), "{}", line.escape_ascii());
    let colon = line.iter().position(|byte| *byte == b':').unwrap();
    let (name, value) = line.split_at(colon);
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    assert!(!name.is_empty() && name.iter().all(token), "{}", line.escape_ascii());
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    (String::from_utf8(name.to_ascii_lowercase()).unwrap(), value.to_vec())
}

// === impl Head ===

impl Head {
    /// Every value of a field.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(key, _)| key == name).map(|(_, value)| &value[..]).collect()
    }

    /// What `Connection` names, in lower case.
    #[must_use]
    pub fn named(&self) -> Vec<String> {
        let values = self.all("connection");
        let tokens = values.iter().flat_map(|value| value.split(|byte| *byte == b','));
        let text = |token: &[u8]| String::from_utf8_lossy(token.trim_ascii()).to_ascii_lowercase();
        tokens.map(text).filter(|token| !token.is_empty()).collect()
    }
}
