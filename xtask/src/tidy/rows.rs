//! Which test shows which row of the product's access rules: the list of rows, and the index `tests/rows.md` that is
//! written from it and from the names of the tests.
//!
//! Why: a row that no test is named after is a promise that nobody checks, and a list kept by hand says what was true
//! once. A test shows a row when its name begins with the row's id: `pv_3_…` shows PV-3.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Finding;
use super::source::Source;

/// Where the index lies, relative to the root.
pub(super) const INDEX: &str = "tests/rows.md";

/// Every row with what it says.
const ROWS: &[(&str, &str)] = &[
    ("PA-1", "the portal's switch opens and closes the public channel"),
    ("PA-2", "nobody is allowed before somebody is named, also with the portal open"),
    (
        "PA-3",
        "entries come by comma and by newline; a bare address is a host; host bits are refused with the cure",
    ),
    ("PA-4", "the sixteenth entry refuses the whole request and names the limit"),
    ("PA-5", "`0.0.0.0/0` is every IPv4 source, `::/0` every IPv6 one"),
    ("PA-6", "a gateway shows its public name, and the DNS answers it"),
    ("PA-7", "ping answers an allowed source"),
    ("PA-8", "with the portal closed ping may answer, TCP does not"),
    ("PA-9", "a removed source loses its next packet and its open streams; `--drain` lets them finish"),
    ("PA-10", "a thousand replaced lists lose no request of a source that all of them allow"),
    ("PA-11", "firewalls have no say: the allowlist alone decides"),
    ("PV-1", "a VPC has a private endpoint of its own, reachable only there"),
    ("PV-2", "a vswitch in an unsupported zone is refused with the list of supported ones; nothing is made"),
    (
        "PV-3",
        "the default list is everybody within the VPC; it is edited like any other and never widens beyond it",
    ),
    ("PV-4", "the private endpoint's name is answered inside the VPC and nowhere else"),
    ("PV-5", "the endpoint is served to every zone of the VPC"),
    ("PV-6", "a deleted VPC is silent: no reset, no ICMP; what was in flight is closed"),
    ("PV-7", "a private service is not to be had by the public listener"),
    ("PV-8", "both channels are off at first and independent"),
    ("XA-1", "another account's VPC can be attached"),
    ("XA-2", "the owner's grants are needed, each missing one is named, a revoked one tears down"),
    ("XA-3", "the site has to turn the feature on"),
    ("XA-4", "across accounts only within the region"),
    ("XR-1", "across regions: association and reachability, else the state is `unreachable`"),
    ("XR-2", "connectivity alone is not enough, nor association alone"),
    ("XR-3", "remote traffic is metered under a label of its own"),
    ("AD-1", "authoritative DNS answers outsiders for the VPC that has it on"),
    ("AD-2", "one VPC at most has it on; the second is refused naming the first"),
    ("AD-3", "answers follow changes: serial, TTL, transfer refused, truncation, EDNS"),
    ("PL-1", "an endpoint gives private access to a platform service"),
    (
        "PL-2",
        "endpoint services have names and DNS templates by region; an unsupported region is refused with the list",
    ),
    ("PL-3", "an endpoint's fields are checked; one zone is a warning; its security group is enforced"),
    ("PL-4", "creating an endpoint is idempotent"),
    ("PL-5", "ping and `curl -sI https://NAME` work against the endpoint"),
    ("PL-6", "a caller in another VPC meets silence"),
    ("PL-7", "one zone's failure leaves the other serving"),
];

/// The tests found so far, by row.
#[derive(Default)]
pub(super) struct Index {
    found: BTreeMap<&'static str, Vec<String>>,
}

// === impl Index ===

impl Index {
    /// Takes the tests of one file.
    pub(super) fn note(&mut self, source: &Source) {
        for offset in source.find_word("fn") {
            let rest = source.code.get(offset + 2..).unwrap_or_default().trim_start();
            let name =
                rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or_default();
            let Some(row) = row_of(name) else { continue };
            if is_test(source.code.get(..offset).unwrap_or_default()) {
                self.found.entry(row).or_default().push(format!("`{name}` ({})", source.path));
            }
        }
    }

    /// The index as it should lie in the repository.
    pub(super) fn text(&self) -> String {
        let mut text = String::from(
            "# Which test shows which row\n\n\
             Written by `cargo xtask tidy --index`; a test belongs to the row that its name begins with.\n\n\
             | row | says | shown by |\n|---|---|---|\n",
        );
        for (row, says) in ROWS {
            let mut tests = self.found.get(row).cloned().unwrap_or_default();
            tests.sort();
            let shown = if tests.is_empty() { "**nothing yet**".to_owned() } else { tests.join("<br>") };
            // Writing to a String does not fail.
            let _ = writeln!(text, "| {row} | {says} | {shown} |");
        }
        text
    }

    /// What is missing, which fails, and whether `index` is what it should be, which warns: it is one command away.
    pub(super) fn check(&self, index: &str) -> Vec<Finding> {
        let mut findings: Vec<Finding> = ROWS
            .iter()
            .filter(|(row, _)| !self.found.contains_key(row))
            .map(|(row, says)| Finding {
                text: format!("{INDEX}: no test shows {row} ({says}): name one `{}…`", prefix(row)),
                fatal: true,
            })
            .collect();
        if index != self.text() {
            let text = format!("{INDEX}:1: not what the tests are named: cargo xtask tidy --index");
            findings.push(Finding { text, fatal: false });
        }
        findings
    }
}

/// How the names of a row's tests begin.
fn prefix(row: &str) -> String {
    format!("{}_", row.to_ascii_lowercase().replace('-', "_"))
}

fn row_of(name: &str) -> Option<&'static str> {
    ROWS.iter().map(|(row, _)| *row).find(|row| name.starts_with(&prefix(row)))
}

/// Whether the code before `fn` ends with a test's attributes.
fn is_test(before: &str) -> bool {
    let attributes = before.rsplit(['}', ';']).next().unwrap_or_default();
    attributes.contains("test]") || attributes.contains("test(")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(text: &str) -> Index {
        let mut index = Index::default();
        index.note(&Source::new("tests/net/a.rs", text));
        index
    }

    #[test]
    fn a_test_belongs_to_the_row_that_its_name_begins_with() {
        let index = index(
            "#[test]\nfn pa_1_opens() {}\n#[tokio::test]\nasync fn pa_10_churns() {}\nfn pa_2_is_no_test() {}\n\
             #[test]\nfn pa_3x() {}\n// #[test] fn pa_4_comment() {}\n",
        );
        assert_eq!(index.found.keys().copied().collect::<Vec<_>>(), ["PA-1", "PA-10"]);
        assert!(index.text().contains("| `pa_1_opens` (tests/net/a.rs) |"), "{}", index.text());
    }

    #[test]
    fn a_row_without_a_test_and_a_stale_index_are_found() {
        let index = index("#[test]\nfn pa_1_opens() {}\n");
        let findings = index.check(&index.text());
        assert_eq!(findings.len(), ROWS.len() - 1);
        assert!(findings.iter().any(|finding| finding.text.contains("no test shows PV-3")));
        assert_eq!(index.check("old").len(), ROWS.len());
    }
}
