//! Where whoever runs this command comes from: the remote shell, so that the daemon can refuse what would cut it off.

use std::{fs, net::IpAddr};

/// Generations of processes that are asked: a shell, sudo, and some scripts in between.
const ANCESTORS: usize = 32;

/// `$SSH_CONNECTION` of this process, or of the nearest ancestor that has one: sudo takes it away.
pub(super) fn connection() -> Option<String> {
    std::env::var("SSH_CONNECTION").ok().or_else(inherited).filter(|text| plausible(text))
}

fn inherited() -> Option<String> {
    let mut process = std::process::id();
    for _ in 0..ANCESTORS {
        process = parent(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)?;
        // Only root, or the same user, may read it; for others there is nothing to find.
        let variables = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let found =
            variables.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(b"SSH_CONNECTION="));
        if let Some(found) = found {
            return String::from_utf8(found.to_vec()).ok();
        }
    }
    None
}

/// The parent in `/proc/PID/stat`: the second word behind the name, which stands in parentheses (proc(5)).
fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok().filter(|parent| *parent != 0)
}

/// Something else of that name must not make the daemon refuse every change.
fn plausible(text: &str) -> bool {
    let address = |word: &str| word.split('%').next().is_some_and(|word| word.parse::<IpAddr>().is_ok());
    let words: Vec<&str> = text.split_whitespace().collect();
    matches!(words.as_slice(), [client, client_port, server, server_port]
        if address(client) && address(server) && client_port.parse::<u16>().is_ok() && server_port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::{parent, plausible};

    #[test]
    fn parents_and_connections_are_read() {
        assert_eq!(parent("12 (a) b) S 7 12 12"), Some(7));
        assert_eq!(parent("1 (init) S 0 1 1"), None);
        assert!(plausible("192.0.2.1 50000 192.0.2.2 22") && plausible("fe80::1%eth0 50000 fe80::2%eth0 22"));
        for other in ["", "UNKNOWN", "a 1 b 2", "192.0.2.1 50000 192.0.2.2", "192.0.2.1 x 192.0.2.2 22"] {
            assert!(!plausible(other), "{other}");
        }
    }
}
