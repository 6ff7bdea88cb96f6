//! Pure: every package inherits the workspace's lints.
//!
//! Why: a lint table that no package names is decoration; we have seen `unwrap_used = "deny"` in a root manifest and
//! `unwrap` in the code beside it.

use super::Finding;

pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut lines = text.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    if !text.contains("[package]") || lines.find(|line| !line.is_empty()) == Some("workspace = true") {
        return Vec::new();
    }
    vec![Finding { text: format!("{path}:1: add `[lints]` with `workspace = true`"), fatal: true }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_the_lints_fails() {
        assert_eq!(check("a/Cargo.toml", "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"), []);
        assert_eq!(check("a/Cargo.toml", "[package]\nname = \"a\"\n").len(), 1);
        assert_eq!(check("a/Cargo.toml", "[package]\n[lints]\n[features]\nworkspace = true\n").len(), 1);
    }
}
