//! Pure: a file that begins `//! Pure:` names no runtime, no sockets, no files, no clock and no chance.
//!
//! Why: decisions (verdicts, matching, compile, limits) are the part that must be right, and they can be tested by
//! the million and replayed only as long as the same input gives the same output. The header is a promise to the
//! reader; this keeps it. Time and seeds come in as arguments.

use super::Finding;
use super::source::Source;

/// What may not be named, as whole words; the file's own tests may.
const FORBIDDEN: &[&str] = &[
    "tokio",
    "hyper",
    "hyper_util",
    "aya",
    "std::fs",
    "std::process",
    "std::env::var",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "Instant::now",
    "SystemTime::now",
    "rand",
    "getrandom",
];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    if !source.text.starts_with("//! Pure:") {
        return Vec::new();
    }
    let tests = source.tests_begin();
    let named =
        |word: &&'static str| source.find_word(word).find(|offset| *offset < tests).map(|at| (*word, at));
    let breach =
        |(word, at)| source.breach_at(at, &format!("a file that begins `//! Pure:` may not name `{word}`"));
    FORBIDDEN.iter().filter_map(named).map(breach).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(text: &str) -> usize {
        check(&Source::new("gateway-user/src/x.rs", text)).len()
    }

    #[test]
    fn a_promise_that_is_kept_passes() {
        assert_eq!(breaches("//! Pure: x\n// tokio would be wrong\nuse std::net::IpAddr; fn brand() {}"), 0);
        assert_eq!(breaches("//! Pure: x\n#[cfg(test)]\nmod tests { use std::fs; }"), 0);
        assert_eq!(breaches("//! Reads a file.\nuse std::fs;"), 0);
    }

    #[test]
    fn each_forbidden_name_fails() {
        for word in FORBIDDEN {
            assert_eq!(breaches(&format!("//! Pure: x\nuse {word};")), 1, "{word}");
        }
    }
}
