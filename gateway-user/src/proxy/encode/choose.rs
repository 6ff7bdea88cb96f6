//! Pure: which coding an answer gets (RFC 9110 §12.5.3), and which one a request has.

use crate::{
    proxy::{failure::Failure, http::head::Fields},
    snapshot::http::Encoding,
};

/// An answer of fewer bytes gains nothing: it leaves in one packet either way.
const SMALLEST: u64 = 1024;

/// Media types besides `text/*` and those that end in `+json`, `+xml` or `+text` whose bytes repeat themselves. What is
/// compressed already (images, video, archives) is not among them, and gRPC compresses its messages itself.
const TYPES: [&str; 16] = [
    "application/ecmascript",
    "application/javascript",
    "application/json",
    "application/json-seq",
    "application/jsonl",
    "application/jsonlines",
    "application/ndjson",
    "application/toml",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/xml",
    "application/yaml",
    "font/otf",
    "font/ttf",
];

/// Fields that a changed body would belie: digests of it (RFC 9530, RFC 3230, RFC 1864) and parts of it.
const BELIED: [&str; 5] = ["content-digest", "repr-digest", "digest", "content-md5", "content-range"];

/// What a client takes, in thousandths by [`Encoding`]; kept from the request's head to the answer's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    gzip: u16,
    brotli: u16,
    zstd: u16,
    /// Said of `identity` by name; 0: nothing, or that it is not wanted.
    identity: u16,
}

/// The head of an answer.
pub(crate) struct Answer<'a, F> {
    /// The request was a HEAD.
    pub(crate) head: bool,
    pub(crate) status: u16,
    /// Of the body, if it is known before it comes.
    pub(crate) length: Option<u64>,
    pub(crate) fields: &'a F,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// It passes as it is.
    Pass,
    /// It passes as it is, but would not for another client: `Vary` gets `accept-encoding`.
    Vary,
    /// It is compressed. `Content-Encoding` is set, `Vary` gets `accept-encoding`, a strong `ETag` becomes weak
    /// (RFC 9110 §8.8.1), `Content-Length` and `Accept-Ranges` go.
    Encode { encoding: Encoding, events: bool },
}

// === impl Accepted ===

impl Accepted {
    /// Reads `Accept-Encoding`. Without the field a client may be sent anything, but those that say nothing mostly
    /// cannot decode: they get nothing. Elements that are none are passed over.
    pub(crate) fn read(fields: &impl Fields) -> Self {
        let mut accepted = Self::default();
        let mut named = [false; 3];
        let mut rest = 0;
        for element in fields.all("accept-encoding").flat_map(|line| line.split(|byte| *byte == b',')) {
            let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let coding = parts.next().unwrap_or_default();
            let Some(weight) = weight(parts) else { continue };
            let is = |name: &str| coding.eq_ignore_ascii_case(name.as_bytes());
            let (place, name) = if is("gzip") || is("x-gzip") {
                (&mut accepted.gzip, Some(0))
            } else if is("br") {
                (&mut accepted.brotli, Some(1))
            } else if is("zstd") {
                (&mut accepted.zstd, Some(2))
            } else if is("identity") {
                (&mut accepted.identity, None)
            } else if is("*") {
                (&mut rest, None)
            } else {
                continue;
            };
            *place = weight;
            if let Some(named) = name.and_then(|name: usize| named.get_mut(name)) {
                *named = true;
            }
        }
        let places = [&mut accepted.gzip, &mut accepted.brotli, &mut accepted.zstd];
        places.into_iter().zip(named).filter(|(_, named)| !named).for_each(|(place, _)| *place = rest);
        accepted
    }

    fn weight(self, encoding: Encoding) -> u16 {
        match encoding {
            Encoding::Gzip => self.gzip,
            Encoding::Brotli => self.brotli,
            Encoding::Zstd => self.zstd,
        }
    }

    /// The one of `offered` that the client likes best, in the service's order where it does not mind; `None` if it
    /// takes none, or likes better what is not compressed. A client that takes nothing at all gets it plain, too.
    fn best(self, offered: &[Encoding]) -> Option<Encoding> {
        // The first of equals stands: `max_by_key` would take the last.
        let best = offered.iter().copied().rev().max_by_key(|encoding| self.weight(*encoding))?;
        (self.weight(best) > 0 && self.weight(best) >= self.identity).then_some(best)
    }
}

/// The weight in thousandths (RFC 9110 §12.4.2); `None`: it is not one.
fn weight<'a>(mut parameters: impl Iterator<Item = &'a [u8]>) -> Option<u16> {
    let Some(parameter) = parameters.next() else { return Some(1000) };
    let (b"q=" | b"Q=", value) = parameter.split_at_checked(2)? else { return None };
    let (whole, digits) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        _ => return None,
    };
    if parameters.next().is_some() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let thousandths = (0..3).fold(0, |sum, place| {
        let digit = digits.get(place).map_or(0, |digit| u16::from(digit - b'0'));
        sum * 10 + digit
    });
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// Decides what becomes of an answer; `offered` is what the service may compress with, the preferred first.
pub(crate) fn choose<F: Fields>(accepted: Accepted, answer: &Answer<'_, F>, offered: &[Encoding]) -> Choice {
    if offered.is_empty() || answer.head || matches!(answer.status, 100..200 | 204 | 205 | 206 | 304) {
        return Choice::Pass;
    }
    let has = |name| answer.fields.all(name).next().is_some();
    let Some(kind) = answer.fields.all("content-type").next().map(essence) else { return Choice::Pass };
    let events = kind.eq_ignore_ascii_case(b"text/event-stream");
    let small = answer.length.is_some_and(|length| length < SMALLEST);
    // Encoded already, or not to be changed on the way (RFC 9110 §7.7).
    if !is_worth(kind)
        || (small && !events)
        || has("content-encoding")
        || BELIED.into_iter().any(has)
        || lists(answer.fields, "cache-control", b"no-transform")
    {
        return Choice::Pass;
    }
    match accepted.best(offered) {
        Some(encoding) => Choice::Encode { encoding, events },
        None => Choice::Vary,
    }
}

/// A media type without its parameters.
fn essence(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

fn is_worth(kind: &[u8]) -> bool {
    let begins = |text: &[u8]| kind.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text));
    let ends = |text: &[u8]| {
        let start = kind.len().checked_sub(text.len());
        start.and_then(|start| kind.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(text))
    };
    begins(b"text/")
        || ends(b"+json")
        || ends(b"+xml")
        || ends(b"+text")
        || TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether a field that is a list has this element.
pub(crate) fn lists(fields: &impl Fields, name: &'static str, element: &[u8]) -> bool {
    let elements = fields.all(name).flat_map(|line| line.split(|byte| *byte == b','));
    elements.map(<[u8]>::trim_ascii).any(|found| found.eq_ignore_ascii_case(element))
}

/// The coding of a request's body, for a service whose instances shall get it decompressed.
///
/// # Errors
/// [`Failure::BadEncoding`]: more than one, or one that we do not know. The answer names those that we do in
/// `Accept-Encoding` (RFC 9110 §12.5.3).
pub(crate) fn requested(fields: &impl Fields) -> Result<Option<Encoding>, Failure> {
    let lines = fields.all("content-encoding");
    let elements = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let mut codings =
        elements.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
    let Some(coding) = codings.next() else { return Ok(None) };
    let is = |name: &str| coding.eq_ignore_ascii_case(name.as_bytes());
    let encoding = if is("gzip") || is("x-gzip") {
        Encoding::Gzip
    } else if is("br") {
        Encoding::Brotli
    } else if is("zstd") {
        Encoding::Zstd
    } else {
        return Err(Failure::BadEncoding);
    };
    // A second coding is a second bomb in the first.
    if codings.next().is_some() { Err(Failure::BadEncoding) } else { Ok(Some(encoding)) }
}

#[cfg(test)]
mod tests {
    use super::{Accepted, Answer, Choice, choose, requested};
    use crate::{
        proxy::{failure::Failure, http::head::List},
        snapshot::http::Encoding::{self, Brotli, Gzip, Zstd},
    };

    const OFFERED: [Encoding; 3] = [Zstd, Brotli, Gzip];

    fn accepted(lines: &[&str]) -> Accepted {
        let fields: Vec<_> = lines.iter().map(|line| ("accept-encoding", *line)).collect();
        Accepted::read(&List(&fields))
    }

    #[test]
    fn the_client_chooses_and_the_service_breaks_ties() {
        for (lines, best) in [
            (&["gzip"][..], Some(Gzip)),
            (&["x-gzip"], Some(Gzip)),
            (&["GZIP;Q=1.0"], Some(Gzip)),
            (&["gzip, deflate, br, zstd"], Some(Zstd)),
            (&["gzip, deflate, br"], Some(Brotli)),
            (&["gzip", "zstd;q=0.9"], Some(Gzip)),
            (&["gzip;q=0.5, br ; q=0.501"], Some(Brotli)),
            (&["*"], Some(Zstd)),
            (&["*, zstd;q=0"], Some(Brotli)),
            (&["*;q=0, gzip"], Some(Gzip)),
            (&["identity;q=0, gzip;q=0.001"], Some(Gzip)),
            (&["identity, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip;q=0.5"], Some(Gzip)),
            (&["identity"], None),
            // Nothing is acceptable: it is sent as it is (RFC 9110 §12.5.3).
            (&["identity;q=0"], None),
            (&["*;q=0"], None),
            (&[""], None),
            (&[], None),
            (&["deflate, compress"], None),
            // What is no element is passed over.
            (&["gzip;q=2"], None),
            (&["gzip;q=1.001"], None),
            (&["gzip;q=0.1234"], None),
            (&["gzip;q="], None),
            (&["gzip;q=-1"], None),
            (&["gzip;level=1"], None),
            (&["gzip;q=1;x=1, br"], Some(Brotli)),
            (&[",,gzip,"], Some(Gzip)),
        ] {
            assert_eq!(accepted(lines).best(&OFFERED), best, "{lines:?}");
        }
        assert_eq!(accepted(&["gzip, br, zstd"]).best(&[Gzip, Zstd]), Some(Gzip));
    }

    fn chosen(answer: &Answer<'_, List<'_>>) -> Choice {
        choose(accepted(&["gzip"]), answer, &OFFERED)
    }

    #[test]
    fn what_repeats_itself_is_compressed() {
        for (kind, encoded) in [
            ("text/html; charset=utf-8", true),
            ("TEXT/plain", true),
            ("application/json", true),
            ("application/json;charset=utf-8", true),
            ("application/problem+json", true),
            ("image/svg+xml", true),
            ("application/x-ndjson", true),
            ("application/wasm", true),
            ("application/grpc", false),
            ("application/grpc+json-x", false),
            ("application/octet-stream", false),
            ("image/png", false),
            ("video/mp4", false),
            ("application/zip", false),
            ("", false),
        ] {
            let fields = List(&[("content-type", kind)]);
            let choice = chosen(&Answer { head: false, status: 200, length: None, fields: &fields });
            let encode = Choice::Encode { encoding: Gzip, events: false };
            assert_eq!(choice, if encoded { encode } else { Choice::Pass }, "{kind}");
        }
    }

    #[test]
    fn some_answers_pass_as_they_are() {
        let json = ("content-type", "application/json");
        let fields = List(&[json]);
        let usual = || Answer { head: false, status: 200, length: Some(1024), fields: &fields };
        let encode = Choice::Encode { encoding: Gzip, events: false };
        assert_eq!(chosen(&usual()), encode);
        assert_eq!(chosen(&Answer { length: Some(1023), ..usual() }), Choice::Pass);
        assert_eq!(chosen(&Answer { head: true, ..usual() }), Choice::Pass);
        for status in [101, 204, 205, 206, 304] {
            assert_eq!(chosen(&Answer { status, ..usual() }), Choice::Pass, "{status}");
        }
        assert_eq!(chosen(&Answer { status: 404, ..usual() }), encode);
        assert_eq!(choose(accepted(&["gzip"]), &usual(), &[]), Choice::Pass);
        assert_eq!(choose(accepted(&["br"]), &usual(), &[Gzip]), Choice::Vary);
        for (name, value) in [
            ("content-encoding", "br"),
            ("content-encoding", "identity"),
            ("cache-control", "max-age=1, No-Transform"),
            ("content-range", "bytes 0-1/2"),
            ("content-digest", "sha-256=:x:"),
            ("repr-digest", "sha-256=:x:"),
            ("content-md5", "x"),
        ] {
            let fields = List(&[json, (name, value)]);
            let choice = chosen(&Answer { head: false, status: 200, length: None, fields: &fields });
            assert_eq!(choice, Choice::Pass, "{name}");
        }
        // An event stream is never too small.
        let events = List(&[("content-type", "text/event-stream")]);
        let choice = chosen(&Answer { head: false, status: 200, length: Some(10), fields: &events });
        assert_eq!(choice, Choice::Encode { encoding: Gzip, events: true });
    }

    #[test]
    fn requests_have_one_coding_at_most() {
        let read = |lines: &[&str]| {
            let fields: Vec<_> = lines.iter().map(|line| ("content-encoding", *line)).collect();
            requested(&List(&fields))
        };
        for (lines, coding) in [
            (&[][..], Ok(None)),
            (&["identity"], Ok(None)),
            (&["gzip"], Ok(Some(Gzip))),
            (&["X-GZIP"], Ok(Some(Gzip))),
            (&["br"], Ok(Some(Brotli))),
            (&["identity, zstd"], Ok(Some(Zstd))),
            (&["deflate"], Err(Failure::BadEncoding)),
            (&["gzip, gzip"], Err(Failure::BadEncoding)),
            (&["gzip", "br"], Err(Failure::BadEncoding)),
            (&["gzip;q=1"], Err(Failure::BadEncoding)),
        ] {
            assert_eq!(read(lines), coding, "{lines:?}");
        }
    }
}
