//! The settings file: its keys, and what is refused while it is read.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::Deserialize;

use super::{BanMode, ClosedMode, FilterMode, LogFormat, UnknownSni, limits};
use crate::base::{Name, Refusal};

/// The settings file, key for key.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) state: Option<PathBuf>,
    pub(super) socket: Option<PathBuf>,
    pub(super) socket_mode: Option<String>,
    pub(super) control_group: Option<String>,
    pub(super) pin_dir: Option<PathBuf>,
    pub(super) admin: Option<String>,
    pub(super) user: Option<String>,
    pub(super) filter: Option<FilterMode>,
    pub(super) closed_mode: Option<ClosedMode>,
    pub(super) region: Option<Name>,
    #[serde(default)]
    pub(super) zones: Vec<Name>,
    #[serde(default)]
    pub(super) cross_account: bool,
    pub(super) dns_zone: Option<String>,
    #[serde(default)]
    pub(super) dns: Vec<String>,
    pub(super) dns_ttl: Option<u32>,
    pub(super) dns_rate: Option<u32>,
    pub(super) ban: Option<BanMode>,
    #[serde(default)]
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) workers: Option<usize>,
    pub(super) memory: Option<limits::Size>,
    pub(super) connections: Option<usize>,
    #[serde(default)]
    pub(super) limits: limits::Table,
    pub(super) access_log: Option<String>,
    pub(super) log: Option<String>,
    pub(super) log_format: Option<LogFormat>,
    #[serde(default)]
    pub(super) tls: Tls,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) unknown_sni: Option<UnknownSni>,
}

/// Keys of resources, which people put into the settings file by mistake.
const RESOURCE_KEYS: [&str; 7] = ["gateway", "listener", "service", "certificate", "domain", "route", "vpc"];

pub(super) fn read(path: &Path) -> Result<File, Refusal> {
    let text = fs::read_to_string(path).map_err(|error| {
        Refusal::new("settings_unreadable", format!("cannot read the settings file: {error}"))
            .field("config", path.display())
            .remedy("check the path and its permissions")
    })?;
    parse(&text)
        .map_err(|refusal| Refusal { message: format!("{}: {}", path.display(), refusal.message), ..refusal })
}

pub(super) fn parse(text: &str) -> Result<File, Refusal> {
    let table: toml::Table = toml::from_str(text)
        .map_err(|error| Refusal::new("invalid_setting", format!("not TOML: {}", one_line(&error))))?;
    if let Some(key) = table.keys().find(|key| RESOURCE_KEYS.contains(&key.as_str())) {
        return Err(Refusal::new("unknown_setting", "resources are not settings")
            .field("key", key)
            .remedy("put resources into a file of their own and run `gateway apply -f FILE`"));
    }
    toml::from_str(text).map_err(|error| {
        let message = one_line(&error);
        match message.split('`').nth(1).filter(|_| message.starts_with("unknown field")) {
            Some(key) => Refusal::new("unknown_setting", format!("unknown key `{key}`"))
                .field("key", key)
                .remedy(message.split_once(", ").map_or("remove it", |(_, known)| known)),
            None => {
                let refusal = Refusal::new("invalid_setting", message)
                    .remedy("docs/configuration.md says what each key takes");
                match line(text, &error) {
                    Some((key, value)) => refusal.field(key, value),
                    None => refusal,
                }
            }
        }
    })
}

/// The key and the value that the parser stopped at.
fn line<'a>(text: &'a str, error: &toml::de::Error) -> Option<(&'a str, &'a str)> {
    let before = text.get(..error.span()?.start)?;
    let line = text.lines().nth(before.matches('\n').count())?;
    line.split_once('=').map(|(key, value)| (key.trim(), value.trim()))
}

/// The parser's message without its picture of the source, with the line number.
fn one_line(error: &toml::de::Error) -> String {
    error.message().replace('\n', " ")
}
