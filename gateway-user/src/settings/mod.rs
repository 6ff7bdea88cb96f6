//! Process settings: flags over environment over `--config FILE` over defaults, resolved once at start.
//!
//! Resources (listeners, services …) are never settings: they live in the store and change over the control socket.
//! Nothing below `app` reads the environment or a settings file.

mod environment;
mod file;
mod limits;
mod value;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;

pub use environment::{Environment, Flags};
use file::File;

use crate::{
    base::{Refusal, Site},
    defence,
    proxy::Limits,
};

/// What the daemon needs to know before it reads its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Directory of the store, keys and generated certificates (0700).
    pub state: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Permission bits of the control socket. Writes are judged by peer credentials in any case.
    pub socket_mode: u32,
    /// Members of this group may write over the control socket.
    pub control_group: Option<String>,
    /// Where links and maps of the filter are pinned.
    pub pin_dir: PathBuf,
    /// Metrics and health; `None` when `admin = "off"`.
    pub admin: Option<SocketAddr>,
    /// Drop to this user after start, keeping the capabilities that the data path needs.
    pub user: Option<String>,
    /// What a failed attach means.
    pub filter: FilterMode,
    /// What a client of a closed listener sees.
    pub closed_mode: ClosedMode,
    /// Region, zones and features of this site (`region`, `zones`, `cross_account`, `dns_zone`, `dns`, `dns_ttl`).
    pub site: Site,
    /// What follows when an allowed source misbehaves, and who is never banned for it (`ban`, `trusted_proxies`).
    pub defence: defence::Settings,
    /// Answers of the name server per second and network of askers; 0: no limit.
    pub dns_rate: u32,
    /// Data-plane threads; `None`: one per core.
    pub workers: Option<usize>,
    /// Bytes that connections and requests may hold; `None`: half of what this process may use.
    pub memory: Option<u64>,
    /// Deadlines towards clients, and bounds (`connections` and the table `limits`).
    pub limits: Limits,
    /// Where the access log goes.
    pub access_log: AccessLog,
    /// What a TLS client without a known server name gets.
    pub unknown_sni: UnknownSni,
    /// Level filter of the log, in `tracing` syntax.
    pub log: String,
    /// Form of the log on stderr.
    pub log_format: LogFormat,
    /// Another XDP object than the embedded one (`GATEWAY_FILTER_OBJECT`): for tests of an upgrade to another layout.
    pub filter_object: Option<PathBuf>,
    /// The process was started by root. Decides defaults, and whether an empty state gets a `local` listener.
    pub root: bool,
}

/// Whether the kernel filter must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterMode {
    /// A listener whose interface cannot be filtered is refused.
    Required,
    /// Filter where it is possible; elsewhere the check at accept stands alone.
    Auto,
    /// Only the check at accept.
    Off,
}

/// What a client of a closed listener sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClosedMode {
    /// Silence.
    Drop,
    /// A reset, only where the check at accept is the tier in force.
    Reset,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    Stderr,
    File(PathBuf),
    Off,
}

/// What a TLS client without a known server name gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownSni {
    /// The self-signed default certificate.
    Default,
    /// A TLS alert.
    Reject,
}

/// Form of the log on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// What follows when an allowed source misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BanMode {
    Off,
    Observe,
    Enforce,
}

/// Answers of the name server per second and network of askers, far above what a caching resolver asks.
const DNS_RATE: u32 = 200;

/// Largest number of data-plane threads.
const MAX_WORKERS: usize = 1024;

impl Settings {
    /// Resolves every setting once.
    ///
    /// # Errors
    /// The settings file cannot be read or has an unknown key or a bad value; the refusal names it.
    pub fn resolve(flags: Flags, environment: &Environment) -> Result<Self, Refusal> {
        let config = flags.config.clone().or_else(|| environment.config.clone());
        let file = match &config {
            Some(path) => file::read(path)?,
            None => File::default(),
        };
        Self::combine(flags, file, environment)
    }

    fn combine(flags: Flags, file: File, environment: &Environment) -> Result<Self, Refusal> {
        let state = flags
            .state
            .or_else(|| environment.state.clone())
            .or(file.state)
            .unwrap_or_else(|| environment.default_state());
        let state = value::absolute("state", &state)?;
        let socket = flags
            .socket
            .or_else(|| environment.socket.clone())
            .or(file.socket)
            .unwrap_or_else(|| environment.default_socket(&state));
        let pin_dir = flags.pin_dir.or(file.pin_dir).unwrap_or_else(|| value::pin_dir(&state));
        if let Some(workers) = file.workers
            && !(1..=MAX_WORKERS).contains(&workers)
        {
            return Err(Refusal::new("invalid_setting", "the number of workers is out of range")
                .field("workers", workers)
                .limit(format!("1 to {MAX_WORKERS}"))
                .remedy("leave it out to have one per core"));
        }
        let filter =
            file.filter.unwrap_or(if environment.root { FilterMode::Required } else { FilterMode::Auto });
        let closed_mode = file.closed_mode.unwrap_or(ClosedMode::Drop);
        if (filter, closed_mode) == (FilterMode::Required, ClosedMode::Reset) {
            return Err(Refusal::new(
                "invalid_setting",
                "a filter in the kernel never answers, so no reset would be sent",
            )
            .field("closed_mode", "reset")
            .limit("drop, with filter = \"required\"")
            .remedy("leave it out, or set filter = \"auto\" or \"off\""));
        }
        Ok(Self {
            socket: value::absolute("socket", &socket)?,
            socket_mode: file.socket_mode.as_deref().map_or(Ok(0o666), value::mode)?,
            control_group: file.control_group,
            pin_dir: value::absolute("pin_dir", &pin_dir)?,
            admin: value::admin(flags.admin.or(file.admin).as_deref())?,
            user: flags.user.or(file.user),
            filter,
            closed_mode,
            site: Site {
                region: file.region,
                zones: file.zones,
                cross_account: file.cross_account,
                dns: value::dns(&file.dns, file.dns_zone.as_deref())?,
                dns_zone: file.dns_zone.as_deref().map(value::dns_zone).transpose()?,
                dns_ttl: value::dns_ttl(file.dns_ttl)?,
            },
            defence: defence::Settings {
                mode: match file.ban.unwrap_or(BanMode::Observe) {
                    BanMode::Off => defence::Mode::Off,
                    BanMode::Observe => defence::Mode::Observe,
                    BanMode::Enforce => defence::Mode::Enforce,
                },
                trusted: file.trusted_proxies,
            },
            dns_rate: file.dns_rate.unwrap_or(DNS_RATE),
            workers: file.workers,
            memory: limits::memory(file.memory.as_ref())?,
            limits: file.limits.resolve(file.connections)?,
            access_log: match file.access_log.as_deref() {
                None | Some("stderr") => AccessLog::Stderr,
                Some("off") => AccessLog::Off,
                Some(path) => AccessLog::File(value::absolute("access_log", Path::new(path))?),
            },
            unknown_sni: file.tls.unknown_sni.unwrap_or(UnknownSni::Default),
            log: environment.log.clone().or(file.log).unwrap_or_else(|| "info".to_owned()),
            log_format: file.log_format.unwrap_or(LogFormat::Text),
            filter_object: environment.filter_object.clone(),
            root: environment.root,
            state,
        })
    }
}

#[cfg(test)]
mod tests;
