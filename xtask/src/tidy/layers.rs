//! Pure: which room of gateway-user may use which.
//!
//! Why: one package keeps private things private and search simple, but without a wall its rooms grow cycles until
//! nothing can be understood, tested or moved alone. Data flows down by value; `app` is the only place that knows
//! both ends. A new edge is a decision: it is made here, in its own commit, with its reason.

use super::Finding;
use super::source::Source;

/// A room, and the paths below `crate::` (or names of other packages) that it may use.
const TABLE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("resource", &["base"]),
    // The plain types of the filter's plan and its one decision.
    ("snapshot", &["base", "gateway_common"]),
    ("observe", &["base", "snapshot"]),
    // Who misbehaves and what follows; the proxy reports, the kernel and the proxy enforce, the API lists.
    ("defence", &["base"]),
    ("control", &["resource", "snapshot", "observe", "base"]),
    ("kernel", &["snapshot", "observe", "defence", "base", "gateway_common", "aya"]),
    ("proxy", &["snapshot", "observe", "defence", "base"]),
    // Answers names from the snapshot and withdraws what observe says is dead.
    ("dns", &["snapshot", "observe", "base"]),
    ("api", &["control", "resource", "snapshot", "observe", "defence", "base"]),
    ("cli", &["api::wire", "api::client", "base"]),
    // A room's own settings are the room's type, and sizes and durations have one form everywhere.
    ("settings", &["base", "defence", "proxy::Limits", "resource::duration", "resource::size"]),
];

/// The composition root and the program: they see all rooms.
const EVERYTHING: &[&str] = &["app", "main", "lib"];

/// Other packages that only the rooms naming them in [`TABLE`] may use.
const WALLED_PACKAGES: &[&str] = &["gateway_common", "aya"];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let Some(inside) = source.path.strip_prefix("gateway-user/src/") else { return Vec::new() };
    let module = inside.strip_suffix(".rs").unwrap_or(inside);
    let module = module.strip_suffix("/mod").unwrap_or(module);
    let room = module.split('/').next().unwrap_or(module);
    if EVERYTHING.contains(&room) {
        return Vec::new();
    }
    let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == room) else {
        return vec![source.finding(
            1,
            &format!("room `{room}` is not in the table of xtask/src/tidy/layers.rs"),
            true,
        )];
    };
    let is_allowed = |path: &str| {
        let below =
            |part: &str| path == part || path.strip_prefix(part).is_some_and(|rest| rest.starts_with("::"));
        below(room) || allowed.iter().any(|part| below(part))
    };
    let mut findings = Vec::new();
    for offset in source.find_word("crate") {
        let rest = source.code.get(offset + "crate".len()..).unwrap_or_default();
        let Some(rest) = rest.trim_start().strip_prefix("::") else { continue };
        for path in paths(rest).into_iter().filter(|path| !is_allowed(path)) {
            findings.push(source.breach_at(offset, &format!("room `{room}` may not use `crate::{path}`")));
        }
    }
    for package in WALLED_PACKAGES.iter().filter(|package| !is_allowed(package)) {
        for offset in source.find_word(package) {
            if source
                .code
                .get(offset + package.len()..)
                .is_some_and(|rest| rest.starts_with("::") || rest.starts_with(';'))
            {
                findings.push(source.breach_at(offset, &format!("room `{room}` may not use `{package}`")));
            }
        }
    }
    findings.extend(climbs(source, module.split('/').count()));
    findings
}

/// `super::super::…` that climbs out of the room would go round the table.
fn climbs(source: &Source, depth: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut next = 0;
    for offset in source.find_word("super") {
        if offset < next {
            continue;
        }
        let chain = source.code.get(offset..).unwrap_or_default();
        let mut count = 0;
        let mut rest = chain;
        while let Some(after) = rest.strip_prefix("super::") {
            count += 1;
            rest = after;
        }
        next = offset + chain.len() - rest.len();
        // `mod tests` inside the file is one level deeper.
        let depth = if offset > source.tests_begin() { depth + 1 } else { depth };
        if count >= depth {
            findings
                .push(source.breach_at(offset, "`super` leaves the room: name the other room by `crate::`"));
        }
    }
    findings
}

/// The paths that follow `crate::`: one, or each of a group, cut to two segments; `api::wire::Reply` is `api::wire`.
fn paths(rest: &str) -> Vec<String> {
    let rest = rest.trim_start();
    if !rest.starts_with('{') {
        return heads("", rest, 2);
    }
    group(rest).into_iter().flat_map(|item| heads("", item, 2)).collect()
}

/// The first `levels` segments of a path; groups within them are unfolded.
fn heads(prefix: &str, path: &str, levels: usize) -> Vec<String> {
    let path = path.trim_start();
    if path.starts_with('{') {
        return group(path).into_iter().flat_map(|item| heads(prefix, item, levels)).collect();
    }
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
    let (segment, rest) = path.split_at(end);
    let whole = if prefix.is_empty() { segment.to_owned() } else { format!("{prefix}::{segment}") };
    match rest.trim_start().strip_prefix("::") {
        Some(rest) if levels > 1 => heads(&whole, rest, levels - 1),
        _ => vec![whole],
    }
}

/// The items of a `{a, b::{c, d}}` group, at its own level.
fn group(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let mut depth = 0_usize;
    let mut start = 1;
    for (offset, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' | ',' if depth == 1 => {
                items.push(text.get(start..offset).unwrap_or_default());
                start = offset + 1;
                if character == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    items.into_iter().filter(|item| !item.trim().is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(&format!("gateway-user/src/{path}"), text)).into_iter().map(|f| f.text).collect()
    }

    #[test]
    fn edges_of_the_table_pass() {
        for (path, text) in [
            ("control/compile/mod.rs", "use crate::{base::Name, resource::{Listener, Service}, snapshot};"),
            ("cli/listener.rs", "use crate::api::{client::Client, wire::{self, Reply}};"),
            ("kernel/load.rs", "use aya::maps; use gateway_common::table::Slot; use super::attach;"),
            ("proxy/http/mod.rs", "// like crate::control does\nuse super::tls; use crate::proxy::route;"),
            ("app.rs", "use crate::{control, kernel, proxy};"),
            (
                "snapshot/filter/mod.rs",
                "use super::super::http; #[cfg(test)] mod tests { use super::super::super::http; }",
            ),
        ] {
            let found = breaches(path, text);
            let climbs = path.starts_with("snapshot");
            assert_eq!(found.is_empty(), !climbs, "{path}: {found:?}");
        }
    }

    #[test]
    fn upward_and_sideways_edges_fail() {
        for (path, text, names) in [
            ("base/name.rs", "use crate::snapshot::Snapshot;", "crate::snapshot::Snapshot"),
            ("proxy/mod.rs", "use crate::{base::Name, kernel};", "crate::kernel"),
            ("proxy/mod.rs", "fn f(s: crate::control::Store) {}", "crate::control::Store"),
            ("cli/mod.rs", "use crate::api::{wire, handler::serve};", "crate::api::handler"),
            ("proxy/mod.rs", "use gateway_common::decide;", "gateway_common"),
            ("control/mod.rs", "use aya::maps::Array;", "aya"),
            ("proxy/mod.rs", "use super::kernel;", "super"),
            ("proxy/http/mod.rs", "use super::super::kernel;", "super"),
            ("attic/mod.rs", "", "attic"),
        ] {
            let found = breaches(path, text);
            assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
            assert!(found[0].contains(names), "{found:?}");
        }
    }
}
