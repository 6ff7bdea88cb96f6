//! `gateway doctor`: what the filter needs of the host, checked one by one, each with its cure. Needs no daemon and
//! changes nothing.

mod driver;
mod host;
mod interface;

use serde::Serialize;

pub(crate) use driver::single_buffer_mtu;

use super::{Config, FilterMode};

/// One check of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable word; for an interface followed by a space and its name.
    pub check: String,
    /// False only where something does not work.
    pub ok: bool,
    pub level: Level,
    pub detail: String,
    /// What to do where it is not `ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    /// It works, and could work better or costs something.
    Note,
    /// It does not work.
    Fail,
}

impl Check {
    fn new(
        check: impl Into<String>,
        level: Level,
        detail: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        let cure = (level != Level::Ok).then(|| cure.into());
        Self { check: check.into(), ok: level != Level::Fail, level, detail: detail.into(), cure }
    }

    /// A check that is right or does not work.
    fn must(
        check: impl Into<String>,
        right: bool,
        detail: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self::new(check, if right { Level::Ok } else { Level::Fail }, detail, cure)
    }

    /// A check that is right or worth a word.
    fn should(
        check: impl Into<String>,
        right: bool,
        detail: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self::new(check, if right { Level::Ok } else { Level::Note }, detail, cure)
    }
}

/// Looks at the kernel, its features (by trying them), capabilities, the BPF file system, and each interface. Programs
/// and tables that are loaded to try them are gone when this returns.
#[must_use]
pub fn probe(config: &Config) -> Vec<Check> {
    if config.mode == FilterMode::Off {
        return vec![Check::must("filter", true, "off by the settings", "")];
    }
    let mut checks = host::checks(config);
    checks.extend(interface::checks());
    checks
}
