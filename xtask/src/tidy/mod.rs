//! The repository's rules that no compiler knows, as tests: `cargo test -p xtask` and `cargo xtask lint` run them.
//!
//! A rule is a pure function from a source file to findings, in a file of its own: the reason stands above it and a
//! test below proves that it can fail.

mod docs;
mod layers;
mod manifest;
mod names;
mod purity;
mod rows;
mod size;
mod source;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::run;
use rows::Index;
use source::Source;

/// What a rule found.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// `path:line: text`, as editors jump to it.
    text: String,
    /// A warning is printed and does not fail.
    fatal: bool,
}

/// A rule over one Rust file.
type Rule = fn(&Source) -> Vec<Finding>;

const RULES: &[Rule] =
    &[layers::check, purity::check, size::check, docs::begins_with_doc, docs::allow_has_reason, names::check];

#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Write the index of access rows and their tests first
    #[arg(long)]
    index: bool,
}

/// Checks the whole repository.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.index {
        let mut index = Index::default();
        walk(run::root(), run::root(), &mut Vec::new(), &mut index)?;
        fs::write(run::root().join(rows::INDEX), index.text())?;
    }
    let findings = findings(run::root())?;
    for finding in &findings {
        eprintln!("{}: {}", if finding.fatal { "error" } else { "warning" }, finding.text);
    }
    match findings.iter().filter(|finding| finding.fatal).count() {
        0 => Ok(()),
        count => bail!("{count} breaches of the repository's rules; each rule's reason is in xtask/src/tidy"),
    }
}

fn findings(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut index = Index::default();
    walk(root, root, &mut findings, &mut index)?;
    findings.extend(index.check(&fs::read_to_string(root.join(rows::INDEX)).unwrap_or_default()));
    Ok(findings)
}

fn walk(root: &Path, dir: &Path, findings: &mut Vec<Finding>, index: &mut Index) -> anyhow::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(dir)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            // Hidden directories and build output are not ours; `target` only at the top, a room may be called so.
            if !name.starts_with('.') && path != root.join("target") {
                walk(root, &path, findings, index)?;
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let source = Source::new(&path.strip_prefix(root)?.to_string_lossy(), &text);
            findings.extend(RULES.iter().flat_map(|rule| rule(&source)));
            index.note(&source);
        } else if name == "Cargo.toml" && dir != root {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            findings.extend(manifest::check(&path.strip_prefix(root)?.to_string_lossy(), &text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_keeps_its_rules() {
        let breaches: Vec<_> =
            findings(run::root()).unwrap().into_iter().filter(|f| f.fatal).map(|f| f.text).collect();
        assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
    }
}
