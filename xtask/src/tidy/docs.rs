//! Pure: every file says what it decides, every lint exception says why.
//!
//! Why: a reader who opens a file cold learns from its first line whether it is the right one; and an exception
//! without a reason cannot be questioned later, so it stays for ever.

use super::Finding;
use super::source::Source;

/// Every Rust file begins with `//!`.
pub(super) fn begins_with_doc(source: &Source) -> Vec<Finding> {
    if source.text.starts_with("//!") {
        return Vec::new();
    }
    vec![source.finding(1, "begin the file with `//!`: what it decides, and what it must not know", true)]
}

/// `allow(…)` has a reason. Prefer `expect`, which fails when the exception is no longer needed; `allow` is left for
/// what holds in some configurations only.
pub(super) fn allow_has_reason(source: &Source) -> Vec<Finding> {
    let bare = |offset: &usize| {
        let before = source.code.get(..*offset).unwrap_or_default().trim_end();
        let is_attribute = before.ends_with("#[") || before.ends_with("#![") || before.ends_with(',');
        let attribute = source.code.get(*offset..).unwrap_or_default();
        let Some(inside) = attribute.strip_prefix("allow(") else { return false };
        let inside = inside.split(')').next().unwrap_or_default();
        is_attribute && !inside.contains("reason")
    };
    let breach =
        |offset| source.breach_at(offset, "`allow` without a reason: use `expect(…, reason = \"…\")`");
    source.find_word("allow").filter(bare).map(breach).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_its_doc_fails() {
        assert_eq!(begins_with_doc(&Source::new("a.rs", "//! Says.\n")), []);
        assert_eq!(begins_with_doc(&Source::new("a.rs", "use std::fmt;\n//! Late.\n")).len(), 1);
    }

    #[test]
    fn an_exception_without_a_reason_fails() {
        let count = |text: &str| allow_has_reason(&Source::new("a.rs", text)).len();
        assert_eq!(count("#[allow(dead_code)] fn f() {}"), 1);
        assert_eq!(count("#![allow(dead_code)]"), 1);
        assert_eq!(count("#[cfg_attr(test, allow(dead_code))]"), 1);
        assert_eq!(count("#[allow(dead_code, reason = \"the other target uses it\")]"), 0);
        assert_eq!(count("list.allow(cidr); // #[allow(dead_code)]"), 0);
        assert_eq!(
            count("f(a, allow(b))"),
            1,
            "a call after a comma is taken for an attribute: name it otherwise"
        );
    }
}
