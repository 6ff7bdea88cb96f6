//! Pure: the corpus of hostile requests, `tests/corpus/*.http` and `*.h2`.
//!
//! A case begins with `== NAME`, then lines that say what must become of it, each after `> `, then the request. A line of
//! the request is sent without its line end; what ends a line is written out, as everything is that cannot be seen:
//! `\r`, `\n`, `\t`, `\0`, `\\`, `\xNN`, and `\s` for a space at the end of a line. `{…}` stands for
//!
//! - `{path}`: the path of this case at the service; `{host}`, `{token}`
//! - `{std}`: the fields `Host` and `Authorization`; `{get}`, `{post}`: a whole beginning, with those fields
//! - `{hidden}`: a complete request that nobody may ever see, because it is somebody's body, or nothing
//! - `{hidden_length}`, `{hidden_hex}`: how long that is
//! - `{N*TEXT}`: TEXT so many times
//!
//! What must become of it:
//!
//! - `refused REASON…`: by the gateway, with one of these reasons, and the instance sees nothing of it
//! - `broken REASON…`: it may be begun upstream, because the fault lies behind its head, but it is never complete
//! - `passed METHOD TARGET BODY`: exactly this; `-` for no body
//! - `with NAME VALUE`, `without NAME`: the instance sees this field, or none of this name
//! - `closed`: after what passed, the connection takes no other request

use crate::scene::{HOST, TOKEN};

/// One hostile request.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// File and name.
    pub(super) name: String,
    pub(super) outcome: Outcome,
    pub(super) fields: Vec<Field>,
    pub(super) closed: bool,
    lines: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Refused(Vec<String>),
    Broken(Vec<String>),
    Passed { method: String, target: String, body: String },
}

#[derive(Clone, Debug)]
pub(super) enum Field {
    With(String, String),
    Without(String),
}

/// Which run of a case: it is part of its paths, so that what is seen can be told apart.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) service: &'static str,
    pub(super) number: usize,
}

/// The cases of one file.
pub(super) fn read(file: &str, text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            cases.push(Case {
                name: format!("{file}: {name}"),
                outcome: Outcome::Refused(Vec::new()),
                fields: Vec::new(),
                closed: false,
                lines: Vec::new(),
            });
            continue;
        }
        let Some(case) = cases.last_mut() else {
            assert!(line.is_empty() || line.starts_with('#'), "{file}: before the first case: {line}");
            continue;
        };
        match line.strip_prefix("> ") {
            Some(words) => case.expect(words),
            None if line.is_empty() || line.starts_with("# ") => {}
            None => case.lines.push(line.to_owned()),
        }
    }
    for case in &cases {
        let empty = matches!(&case.outcome, Outcome::Refused(reasons) if reasons.is_empty());
        assert!(!empty && !case.lines.is_empty(), "{}: nothing is expected or sent", case.name);
    }
    cases
}

// === impl Case ===

impl Case {
    fn expect(&mut self, words: &str) {
        let mut words = words.split(' ');
        let verb = words.next().unwrap_or_default();
        let mut rest = words.map(str::to_owned);
        let mut next = || rest.next().unwrap_or_else(|| panic!("{}: `{verb}` wants more", self.name));
        match verb {
            "refused" => self.outcome = Outcome::Refused(rest.collect()),
            "broken" => self.outcome = Outcome::Broken(rest.collect()),
            "passed" => self.outcome = Outcome::Passed { method: next(), target: next(), body: next() },
            "with" => self.fields.push(Field::With(next(), next())),
            "without" => self.fields.push(Field::Without(next())),
            "closed" => self.closed = true,
            other => panic!("{}: what is `{other}`?", self.name),
        }
    }

    /// Whether it is said in frames (`frames.rs`) and not in bytes.
    pub(super) fn is_http2(&self) -> bool {
        self.name.contains(".h2: ")
    }

    /// The bytes to send.
    pub(super) fn bytes(&self, run: &Run) -> Vec<u8> {
        self.filled(run).concat()
    }

    /// The lines as they stand in the file, filled in.
    pub(super) fn filled(&self, run: &Run) -> Vec<Vec<u8>> {
        self.lines.iter().map(|line| unescape(&run.fill(line, &run.path("case")))).collect()
    }
}

// === impl Run ===

impl Run {
    /// A path at the gateway.
    pub(super) fn path(&self, what: &str) -> String {
        format!("/api/predict/{}/{what}-{}", self.service, self.number)
    }

    /// The same as the instance sees it.
    pub(super) fn seen(&self, what: &str) -> String {
        format!("/{what}-{}", self.number)
    }

    /// Text of an expectation.
    pub(super) fn expected(&self, text: &str) -> Vec<u8> {
        if text == "-" { Vec::new() } else { unescape(&self.fill(text, &self.seen("case"))) }
    }

    fn fill(&self, text: &str, path: &str) -> String {
        let std = format!("Host: {HOST}\\r\\nAuthorization: {TOKEN}\\r\\n");
        let hidden = format!("GET {} HTTP/1.1\\r\\n{std}\\r\\n", self.path("hidden"));
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let (name, after) = after.split_once('}').unwrap_or_else(|| panic!("no `}}` in {text}"));
            match name {
                "path" => filled.push_str(path),
                "host" => filled.push_str(HOST),
                "token" => filled.push_str(TOKEN),
                "std" => filled.push_str(&std),
                "get" => filled.push_str(&format!("GET {path} HTTP/1.1\\r\\n{std}")),
                "post" => filled.push_str(&format!("POST {path} HTTP/1.1\\r\\n{std}")),
                "hidden" => filled.push_str(&hidden),
                "hidden_hex" => filled.push_str(&format!("{:x}", unescape(&hidden).len())),
                "hidden_length" => filled.push_str(&unescape(&hidden).len().to_string()),
                other => {
                    let (times, what) =
                        other.split_once('*').unwrap_or_else(|| panic!("what is {{{other}}}?"));
                    filled.push_str(&what.repeat(times.parse().unwrap()));
                }
            }
            rest = after;
        }
        filled.push_str(rest);
        filled
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b's') => b' ',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let digit = |byte: Option<u8>| char::from(byte.unwrap()).to_digit(16).unwrap() as u8;
                let high = digit(rest.next());
                16 * high + digit(rest.next())
            }
            other => panic!("no such escape: {other:?} in {text}"),
        });
    }
    bytes
}

#[test]
fn what_cannot_be_seen_is_written_out() {
    let text = "# comment\n== one\n> passed POST {path}?q a\\x00b\n> with x-a b\n{post}A: \\t\\xff\\s\\r\\n\n\\r\\n{3*ab}\n";
    let cases = read("f", text);
    let run = Run { service: "s", number: 7 };
    assert_eq!(cases.len(), 1);
    assert!(cases[0].bytes(&run).starts_with(b"POST /api/predict/s/case-7 HTTP/1.1\r\nHost: live"));
    assert!(cases[0].bytes(&run).ends_with(b"A: \t\xff \r\n\r\nababab"));
    let Outcome::Passed { target, body, .. } = &cases[0].outcome else { panic!("{cases:?}") };
    assert_eq!((run.expected(target), run.expected(body)), (b"/case-7?q".to_vec(), b"a\0b".to_vec()));
}
