//! Pure: file names that say nothing are refused.
//!
//! Why: what lands in `utils.rs` has no owner and no subject, so everything lands there. Name a file by the one
//! thing that it decides.

use super::Finding;
use super::source::Source;

const BANNED: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc"];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let stem = source.path.strip_suffix(".rs").unwrap_or(&source.path);
    let banned = stem.split('/').filter(|part| BANNED.contains(part));
    banned
        .map(|part| source.finding(1, &format!("`{part}` says nothing: name what it decides"), true))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_names_fail() {
        let count = |path: &str| check(&Source::new(path, "")).len();
        assert_eq!(count("gateway-user/src/proxy/utils.rs"), 1);
        assert_eq!(count("gateway-user/src/common/mod.rs"), 1);
        assert_eq!(count("gateway-common/src/table.rs"), 0);
    }
}
