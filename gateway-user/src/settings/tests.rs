//! What wins over what, every key, and every refusal.

use std::path::{Path, PathBuf};

use super::{
    AccessLog, ClosedMode, Environment, FilterMode, Flags, Settings, UnknownSni, file::parse, value,
};
use crate::{
    base::{Name, Refusal},
    proxy::Limits,
};

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
    assert_eq!((settings.memory, settings.limits), (None, Limits::default()));
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

#[test]
fn every_limit_is_read() {
    let settings = resolve(
        "memory = '2GiB'\nconnections = 9\n[limits]\nhandshake = '1s'\nheader = '2s'\nkeep_alive = '3s'\n\
         write_stall = '4s'\nanswer_rate = 5\nbody_idle = '6s'\nbody_rate = 0\nupstream_idle = '7s'\n\
         upstream_spare = 8\nhandshakes = 10\ndrain = '12s'\nhead_bytes = '16KiB'\nhead_fields = 11\n",
    )
    .unwrap();
    let seconds = std::time::Duration::from_secs;
    let limits = Limits {
        handshake: seconds(1),
        header: seconds(2),
        keep_alive: seconds(3),
        write_stall: seconds(4),
        answer_rate: 5,
        body_idle: seconds(6),
        body_rate: 0,
        upstream_idle: seconds(7),
        upstream_spare: 8,
        connections: 9,
        handshakes: 10,
        drain: seconds(12),
        head_bytes: 16 << 10,
        head_fields: 11,
    };
    assert_eq!((settings.memory, settings.limits), (Some(2 << 30), limits));
    assert_eq!(resolve("memory = 33554432").unwrap().memory, Some(32 << 20));
}

#[test]
fn limits_out_of_bounds_are_refused_by_their_field() {
    for (text, field, value, limit) in [
        ("memory = '1MiB'", "memory", "1MiB", "16MiB to "),
        ("memory = 5", "memory", "5", "16MiB to "),
        ("memory = 'much'", "memory", "much", "a whole number"),
        ("memory = -1", "memory", "-1", ""),
        ("memory = true", "memory", "true", ""),
        ("connections = 0", "connections", "0", "1 to 10000000"),
        ("connections = 10000001", "connections", "10000001", "1 to 10000000"),
        ("[limits]\nhandshake = '999ms'", "limits.handshake", "999ms", "1s to 300s"),
        ("[limits]\nheader = '6m'", "limits.header", "6m", "1s to 300s"),
        ("[limits]\nkeep_alive = '2h'", "limits.keep_alive", "2h", "1s to 3600s"),
        ("[limits]\nwrite_stall = '0s'", "limits.write_stall", "0s", "1s to 3600s"),
        ("[limits]\nbody_idle = 'soon'", "limits.body_idle", "soon", "a whole number"),
        ("[limits]\nupstream_idle = '2h'", "limits.upstream_idle", "2h", "1s to 3600s"),
        ("[limits]\nupstream_spare = 65537", "limits.upstream_spare", "65537", "0 to 65536"),
        ("[limits]\nanswer_rate = 1000001", "limits.answer_rate", "1000001", "0 to 1000000"),
        ("[limits]\nbody_rate = -1", "body_rate", "-1", ""),
        ("[limits]\nhandshakes = 0", "limits.handshakes", "0", "1 to 1000000"),
        ("[limits]\ndrain = '0s'", "limits.drain", "0s", "1s to 3600s"),
        ("[limits]\nhead_bytes = 8191", "limits.head_bytes", "8191", "8KiB to 1MiB"),
        ("[limits]\nhead_fields = 1001", "limits.head_fields", "1001", "10 to 1000"),
        ("[limits]\nconnections = 5", "key", "connections", ""),
    ] {
        let refusal = resolve(text).unwrap_err();
        let found = (refusal.field.as_deref(), refusal.value.as_deref());
        assert_eq!(found, (Some(field), Some(value)), "{text}: {refusal}");
        assert!(refusal.limit.as_deref().unwrap_or_default().starts_with(limit), "{text}: {refusal}");
        assert!(refusal.remedy.is_some(), "{text}: {refusal}");
    }
}
