//! Pure: how long a file may be.
//!
//! Why: in every proxy we read, the file everybody has to touch is the one that nobody can read. Aim at 200 lines,
//! argue past 500, split at 800: by the state that is owned, not by helpers.

use super::Finding;
use super::source::Source;

const WARN: usize = 500;
const FAIL: usize = 800;

/// Files that may be longer, each with its reason.
const LONGER: &[(&str, &str)] = &[];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    if lines <= WARN || LONGER.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    vec![source.finding(
        lines,
        &format!("{lines} lines (aim at 200, argue past {WARN}, split at {FAIL})"),
        lines > FAIL,
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_warn_and_then_fail() {
        let fatal = |lines: usize| {
            let findings = check(&Source::new("a/b.rs", &"x\n".repeat(lines)));
            findings.first().map(|finding| finding.fatal)
        };
        assert_eq!(fatal(500), None);
        assert_eq!(fatal(501), Some(false));
        assert_eq!(fatal(801), Some(true));
    }
}
