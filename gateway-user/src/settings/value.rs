//! Single values of settings: their forms and their defaults.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::base::{Refusal, site::DNS_TTL};

/// Pins of two daemons on one host must not meet, so the directory is named after the state directory.
pub(super) fn pin_dir(state: &Path) -> PathBuf {
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

pub(super) fn absolute(field: &str, path: &Path) -> Result<PathBuf, Refusal> {
    std::path::absolute(path).map_err(|error| {
        Refusal::new("invalid_setting", format!("not a path: {error}")).field(field, path.display())
    })
}

pub(super) fn mode(text: &str) -> Result<u32, Refusal> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777 && mode & 0o600 == 0o600).ok_or_else(
        || {
            Refusal::new("invalid_setting", "not a file mode that lets the owner in")
                .field("socket_mode", text)
                .remedy("write octal digits, for example \"0660\"")
        },
    )
}

/// A domain below which names are made: labels of letters, digits and `-` (RFC 1035 §2.3.1).
pub(super) fn dns_zone(text: &str) -> Result<String, Refusal> {
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
pub(super) fn dns(texts: &[String], zone: Option<&str>) -> Result<Vec<SocketAddr>, Refusal> {
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

pub(super) fn dns_ttl(seconds: Option<u32>) -> Result<u32, Refusal> {
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

pub(super) fn admin(text: Option<&str>) -> Result<Option<SocketAddr>, Refusal> {
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
