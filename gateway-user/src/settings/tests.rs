//! What wins over what, every key, and every refusal.

use std::path::{Path, PathBuf};

use super::{
    AccessLog, ClosedMode, Environment, FilterMode, Flags, Settings, UnknownSni, file::parse, value,
};
use crate::base::{Name, Refusal};

fn root() -> Environment {
    Environment { root: true, ..Environment::default() }
}

fn resolve(text: &str) -> Result<Settings, Refusal> {
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
    let flags =
        Flags { socket: Some(PathBuf::from("/flag")), admin: Some("[::1]:1".to_owned()), ..Flags::default() };
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
    assert_ne!(value::pin_dir(Path::new("/a")), value::pin_dir(Path::new("/b")));
    assert_eq!(value::pin_dir(Path::new("/a")), value::pin_dir(Path::new("/a")));
}
