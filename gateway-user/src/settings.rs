//! Process settings: flags over environment over `--config FILE` over defaults, resolved once at start.
//!
//! Resources (listeners, services …) are never settings: they live in the store and change over the control socket.
//! Nothing below `app` reads the environment or a settings file.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::Deserialize;

use crate::{
    base::{Name, Refusal, Site, site::DNS_TTL},
    defence,
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

/// What the command line said.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub config: Option<PathBuf>,
    pub state: Option<PathBuf>,
    pub socket: Option<PathBuf>,
    pub pin_dir: Option<PathBuf>,
    pub admin: Option<String>,
    pub user: Option<String>,
}

/// Facts of the process that defaults depend on; a value, so that tests can choose them.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub root: bool,
    /// Used where the XDG variables are unset and there is no home.
    pub uid: u32,
    pub home: Option<PathBuf>,
    pub xdg_state_home: Option<PathBuf>,
    pub xdg_runtime_dir: Option<PathBuf>,
    pub config: Option<PathBuf>,
    pub state: Option<PathBuf>,
    pub socket: Option<PathBuf>,
    pub log: Option<String>,
    pub filter_object: Option<PathBuf>,
}

impl Environment {
    /// Reads the environment of this process. The only place that does.
    #[must_use]
    pub fn of_process() -> Self {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let uid = nix::unistd::geteuid();
        Self {
            root: uid.is_root(),
            uid: uid.as_raw(),
            home: path("HOME"),
            xdg_state_home: path("XDG_STATE_HOME"),
            xdg_runtime_dir: path("XDG_RUNTIME_DIR"),
            config: path("GATEWAY_CONFIG"),
            state: path("GATEWAY_STATE"),
            socket: path("GATEWAY_SOCKET"),
            log: std::env::var("GATEWAY_LOG").ok().filter(|value| !value.is_empty()),
            filter_object: path("GATEWAY_FILTER_OBJECT"),
        }
    }

    fn default_state(&self) -> PathBuf {
        if self.root {
            return PathBuf::from("/var/lib/gateway");
        }
        match (&self.xdg_state_home, &self.home) {
            (Some(base), _) => base.join("gateway"),
            (None, Some(home)) => home.join(".local/state/gateway"),
            (None, None) => std::env::temp_dir().join(format!("gateway-{}", self.uid)),
        }
    }

    fn default_socket(&self, state: &Path) -> PathBuf {
        match (&self.xdg_runtime_dir, self.root) {
            (_, true) => PathBuf::from("/run/gateway/control.sock"),
            (Some(base), false) => base.join("gateway/control.sock"),
            // Without a runtime directory the state directory is the one place known to be private to the user.
            (None, false) => state.join("control.sock"),
        }
    }
}

/// The settings file, key for key.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    state: Option<PathBuf>,
    socket: Option<PathBuf>,
    socket_mode: Option<String>,
    control_group: Option<String>,
    pin_dir: Option<PathBuf>,
    admin: Option<String>,
    user: Option<String>,
    filter: Option<FilterMode>,
    closed_mode: Option<ClosedMode>,
    region: Option<Name>,
    #[serde(default)]
    zones: Vec<Name>,
    #[serde(default)]
    cross_account: bool,
    dns_zone: Option<String>,
    #[serde(default)]
    dns: Vec<String>,
    dns_ttl: Option<u32>,
    dns_rate: Option<u32>,
    ban: Option<BanMode>,
    #[serde(default)]
    trusted_proxies: Vec<IpNet>,
    workers: Option<usize>,
    access_log: Option<String>,
    log: Option<String>,
    log_format: Option<LogFormat>,
    #[serde(default)]
    tls: Tls,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    unknown_sni: Option<UnknownSni>,
}

/// Keys of resources, which people put into the settings file by mistake.
const RESOURCE_KEYS: [&str; 7] = ["gateway", "listener", "service", "certificate", "domain", "route", "vpc"];

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
            Some(path) => read(path)?,
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
        let state = absolute("state", &state)?;
        let socket = flags
            .socket
            .or_else(|| environment.socket.clone())
            .or(file.socket)
            .unwrap_or_else(|| environment.default_socket(&state));
        let pin_dir = flags.pin_dir.or(file.pin_dir).unwrap_or_else(|| default_pin_dir(&state));
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
            socket: absolute("socket", &socket)?,
            socket_mode: file.socket_mode.as_deref().map_or(Ok(0o666), parse_mode)?,
            control_group: file.control_group,
            pin_dir: absolute("pin_dir", &pin_dir)?,
            admin: parse_admin(flags.admin.or(file.admin).as_deref())?,
            user: flags.user.or(file.user),
            filter,
            closed_mode,
            site: Site {
                region: file.region,
                zones: file.zones,
                cross_account: file.cross_account,
                dns: parse_dns(&file.dns, file.dns_zone.as_deref())?,
                dns_zone: file.dns_zone.as_deref().map(parse_dns_zone).transpose()?,
                dns_ttl: parse_dns_ttl(file.dns_ttl)?,
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
            access_log: match file.access_log.as_deref() {
                None | Some("stderr") => AccessLog::Stderr,
                Some("off") => AccessLog::Off,
                Some(path) => AccessLog::File(absolute("access_log", Path::new(path))?),
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

/// Pins of two daemons on one host must not meet, so the directory is named after the state directory.
fn default_pin_dir(state: &Path) -> PathBuf {
    use std::{fmt::Write as _, os::unix::ffi::OsStrExt as _};

    let path = state.canonicalize().unwrap_or_else(|_| state.to_owned());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, path.as_os_str().as_bytes());
    let mut name = String::new();
    for byte in digest.as_ref().iter().take(8) {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    Path::new("/sys/fs/bpf/gateway").join(name)
}

fn read(path: &Path) -> Result<File, Refusal> {
    let text = fs::read_to_string(path).map_err(|error| {
        Refusal::new("settings_unreadable", format!("cannot read the settings file: {error}"))
            .field("config", path.display())
            .remedy("check the path and its permissions")
    })?;
    parse(&text)
        .map_err(|refusal| Refusal { message: format!("{}: {}", path.display(), refusal.message), ..refusal })
}

fn parse(text: &str) -> Result<File, Refusal> {
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
            None => Refusal::new("invalid_setting", message),
        }
    })
}

/// The parser's message without its picture of the source, with the line number.
fn one_line(error: &toml::de::Error) -> String {
    error.message().replace('\n', " ")
}

fn absolute(field: &str, path: &Path) -> Result<PathBuf, Refusal> {
    std::path::absolute(path).map_err(|error| {
        Refusal::new("invalid_setting", format!("not a path: {error}")).field(field, path.display())
    })
}

fn parse_mode(text: &str) -> Result<u32, Refusal> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777 && mode & 0o600 == 0o600).ok_or_else(
        || {
            Refusal::new("invalid_setting", "not a file mode that lets the owner in")
                .field("socket_mode", text)
                .remedy("write octal digits, for example \"0660\"")
        },
    )
}

/// A domain below which names are made: labels of letters, digits and `-` (RFC 1035 §2.3.1).
fn parse_dns_zone(text: &str) -> Result<String, Refusal> {
    let zone = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    // The longest name that the gateway makes below it must stay within 253 characters.
    if zone.len() <= 120 && zone.split('.').all(label) {
        return Ok(zone);
    }
    Err(Refusal::new("invalid_setting", "not a domain name")
        .field("dns_zone", text)
        .limit("labels of 1 to 63 letters, digits and `-`, 120 characters in all")
        .remedy("write for example \"gw.example.org\""))
}

/// Where outsiders ask for names. An unspecified address would also hear the private networks' clients.
fn parse_dns(texts: &[String], zone: Option<&str>) -> Result<Vec<SocketAddr>, Refusal> {
    let refused = |text: &str, why: &str| Refusal::new("invalid_setting", why).field("dns", text);
    if let (Some(text), None) = (texts.first(), zone) {
        return Err(refused(text, "there are no public names without a zone")
            .remedy("set `dns_zone` to the domain that is delegated to this gateway"));
    }
    let parse = |text: &String| match text.parse::<SocketAddr>() {
        Ok(address) if !address.ip().is_unspecified() && address.port() != 0 => Ok(address),
        Ok(_) => Err(refused(text, "names are answered on addresses of the host's own, one by one")
            .remedy("write for example \"198.51.100.1:53\"")),
        Err(_) => Err(refused(text, "not an address with a port")
            .remedy("write for example \"198.51.100.1:53\" or \"[2001:db8::1]:53\"")),
    };
    texts.iter().map(parse).collect()
}

fn parse_dns_ttl(seconds: Option<u32>) -> Result<u32, Refusal> {
    /// Nothing that moves with an edit may be remembered for longer than a day.
    const DAY: u32 = 86_400;
    match seconds {
        Some(seconds) if seconds > DAY => {
            Err(Refusal::new("invalid_setting", "names would be remembered for too long")
                .field("dns_ttl", seconds)
                .limit(format!("0 to {DAY} seconds")))
        }
        seconds => Ok(seconds.unwrap_or(DNS_TTL)),
    }
}

fn parse_admin(text: Option<&str>) -> Result<Option<SocketAddr>, Refusal> {
    match text {
        None => Ok(Some(SocketAddr::from(([127, 0, 0, 1], 9145)))),
        Some("off") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            Refusal::new("invalid_setting", "not an address with a port")
                .field("admin", text)
                .remedy("write for example 127.0.0.1:9145, or \"off\"")
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{AccessLog, ClosedMode, Environment, FilterMode, Flags, Name, Settings, UnknownSni, parse};

    fn root() -> Environment {
        Environment { root: true, ..Environment::default() }
    }

    fn resolve(text: &str) -> Result<Settings, crate::base::Refusal> {
        Settings::combine(Flags::default(), parse(text)?, &root())
    }

    #[test]
    fn root_gets_the_system_paths_and_a_required_filter() {
        let settings = Settings::resolve(Flags::default(), &root()).unwrap();
        assert_eq!(settings.state, Path::new("/var/lib/gateway"));
        assert_eq!(settings.socket, Path::new("/run/gateway/control.sock"));
        assert_eq!(settings.filter, FilterMode::Required);
        assert_eq!(settings.closed_mode, ClosedMode::Drop);
        assert_eq!(settings.unknown_sni, UnknownSni::Default);
        assert_eq!(settings.admin, Some("127.0.0.1:9145".parse().unwrap()));
        assert_eq!(settings.pin_dir.parent(), Some(Path::new("/sys/fs/bpf/gateway")));
    }

    #[test]
    fn a_reset_that_would_never_be_sent_is_refused() {
        for text in ["closed_mode = 'reset'", "filter = 'required'\nclosed_mode = 'reset'"] {
            let refusal = resolve(text).unwrap_err();
            assert_eq!(
                (refusal.code.as_str(), refusal.field.as_deref()),
                ("invalid_setting", Some("closed_mode"))
            );
        }
        for text in ["closed_mode = 'drop'", "filter = 'off'\nclosed_mode = 'reset'"] {
            resolve(text).unwrap();
        }
    }

    #[test]
    fn a_user_gets_the_xdg_paths_and_an_optional_filter() {
        let environment = Environment {
            xdg_state_home: Some(PathBuf::from("/h/state")),
            xdg_runtime_dir: Some(PathBuf::from("/run/user/7")),
            ..Environment::default()
        };
        let settings = Settings::resolve(Flags::default(), &environment).unwrap();
        assert_eq!(settings.state, Path::new("/h/state/gateway"));
        assert_eq!(settings.socket, Path::new("/run/user/7/gateway/control.sock"));
        assert_eq!(settings.filter, FilterMode::Auto);

        let bare = Environment { home: Some(PathBuf::from("/h")), ..Environment::default() };
        let settings = Settings::resolve(Flags::default(), &bare).unwrap();
        assert_eq!(settings.state, Path::new("/h/.local/state/gateway"));
        assert_eq!(settings.socket, Path::new("/h/.local/state/gateway/control.sock"));
    }

    #[test]
    fn flags_beat_the_environment_which_beats_the_file() {
        let file = "socket = '/file'\nstate = '/file-state'\nadmin = 'off'\n";
        let environment = Environment { socket: Some(PathBuf::from("/env")), ..root() };
        let from_env = Settings::combine(Flags::default(), parse(file).unwrap(), &environment).unwrap();
        assert_eq!(from_env.socket, Path::new("/env"));
        assert_eq!(from_env.state, Path::new("/file-state"));
        assert_eq!(from_env.admin, None);
        let flags = Flags {
            socket: Some(PathBuf::from("/flag")),
            admin: Some("[::1]:1".to_owned()),
            ..Flags::default()
        };
        let from_flag = Settings::combine(flags, parse(file).unwrap(), &environment).unwrap();
        assert_eq!(from_flag.socket, Path::new("/flag"));
        assert_eq!(from_flag.admin, Some("[::1]:1".parse().unwrap()));
    }

    #[test]
    fn every_key_is_read() {
        let settings = resolve(
            "filter = 'auto'\nclosed_mode = 'reset'\npin_dir = '/p'\nuser = 'gw'\nzones = ['a', 'b']\n\
             region = 'eu-1'\ncross_account = true\ndns_zone = 'GW.example.'\n\
             dns = ['198.51.100.1:53', '[2001:db8::1]:53']\ndns_ttl = 5\ndns_rate = 9\n\
             workers = 3\naccess_log = '/var/log/a'\ncontrol_group = 'ops'\nsocket_mode = '0660'\n\
             log = 'debug'\nlog_format = 'json'\n[tls]\nunknown_sni = 'reject'\n",
        )
        .unwrap();
        assert_eq!(settings.filter, FilterMode::Auto);
        assert_eq!(settings.closed_mode, ClosedMode::Reset);
        assert_eq!(settings.workers, Some(3));
        assert_eq!(settings.site.zones.len(), 2);
        assert_eq!(settings.site.region.as_ref().map(Name::as_str), Some("eu-1"));
        assert!(settings.site.cross_account);
        assert_eq!(settings.site.dns_zone.as_deref(), Some("gw.example"));
        assert_eq!((settings.site.dns.len(), settings.site.dns_ttl, settings.dns_rate), (2, 5, 9));
        assert_eq!(settings.access_log, AccessLog::File(PathBuf::from("/var/log/a")));
        assert_eq!(settings.unknown_sni, UnknownSni::Reject);
        assert_eq!(settings.socket_mode, 0o660);
        assert_eq!(settings.control_group.as_deref(), Some("ops"));
    }

    #[test]
    fn unknown_keys_and_bad_values_are_named() {
        let unknown = resolve("filtre = 'auto'\n").unwrap_err();
        assert_eq!((unknown.code.as_str(), unknown.value.as_deref()), ("unknown_setting", Some("filtre")));
        let nested = resolve("[tls]\nsni = 'x'\n").unwrap_err();
        assert_eq!(nested.value.as_deref(), Some("sni"));
        let resource = resolve("[[listener]]\nname = 'x'\n").unwrap_err();
        assert_eq!(resource.value.as_deref(), Some("listener"));
        assert!(resource.remedy.unwrap().contains("gateway apply"));
        for bad in [
            "workers = 0",
            "workers = 5000",
            "admin = 'x'",
            "socket_mode = '0066'",
            "filter = 'on'",
            "=",
            "dns = ['198.51.100.1:53']",
            "dns_zone = 'a.b'\ndns = ['0.0.0.0:53']",
            "dns_zone = 'a.b'\ndns = ['198.51.100.1']",
            "dns_ttl = 86401",
        ] {
            assert!(resolve(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_state_directory_has_pins_of_its_own() {
        assert_ne!(super::default_pin_dir(Path::new("/a")), super::default_pin_dir(Path::new("/b")));
        assert_eq!(super::default_pin_dir(Path::new("/a")), super::default_pin_dir(Path::new("/a")));
    }
}
