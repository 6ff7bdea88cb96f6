//! Pure: who would lose access by a change, judged by the filter's own decision under the policy before and after.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{
    base::{Name, Refusal},
    observe::seen::Seen,
    resource::clip,
    snapshot::filter::{Action, FilterTables, Reason, address},
};

/// Sources that are told by name; the rest is a number.
const LISTED: usize = 100;

/// The remote shell that a change is asked for from, as `$SSH_CONNECTION` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub client: SocketAddr,
    pub server: SocketAddr,
}

/// A source that a change keeps out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    pub source: IpAddr,
    pub listener: Name,
    /// Open connections.
    pub connections: u32,
    /// Whether those are cut; otherwise (a drain) they may finish, and only new ones are refused.
    pub cut: bool,
    /// When it was let in last, seconds since the Unix epoch.
    pub last_seen: u64,
    /// Why it is refused then.
    pub reason: String,
}

/// Everybody whom a change keeps out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Those with the most connections first, then those who were seen last; at most 100.
    #[serde(rename = "would_cut")]
    pub sources: Vec<Lost>,
    /// How many there are.
    #[serde(rename = "would_cut_total")]
    pub total: usize,
}

/// The policy before and after a change.
pub(super) struct Judge<'a> {
    pub(super) before: &'a FilterTables,
    pub(super) after: &'a FilterTables,
}

// === impl Caller ===

impl Caller {
    /// Reads `$SSH_CONNECTION`: client address and port, server address and port (ssh(1)).
    ///
    /// # Errors
    /// It is not that.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let socket = |address: &str, port: &str| {
            // A link-local address has its scope behind `%`.
            let ip: IpAddr = address.split('%').next().unwrap_or_default().parse().ok()?;
            Some(SocketAddr::new(ip.to_canonical(), port.parse().ok()?))
        };
        let read = match words.as_slice() {
            [client, client_port, server, server_port] => {
                socket(client, client_port).zip(socket(server, server_port))
            }
            _ => None,
        };
        read.map(|(client, server)| Self { client, server }).ok_or_else(|| {
            Refusal::new("invalid", "this is not how SSH_CONNECTION looks")
                .field("caller", clip(text))
                .limit("client address and port, server address and port, separated by spaces")
        })
    }
}

// === impl Judge ===

impl Judge<'_> {
    /// Who of `seen` is let in now and not after the change.
    pub(super) fn lost(&self, seen: &[Seen]) -> Loss {
        let mut sources: Vec<Lost> = seen.iter().filter_map(|seen| self.one(seen)).collect();
        sources.sort_by_key(|lost| {
            (std::cmp::Reverse((lost.connections, lost.last_seen)), lost.source, lost.listener.clone())
        });
        let total = sources.len();
        sources.truncate(LISTED);
        Loss { sources, total }
    }

    fn one(&self, seen: &Seen) -> Option<Lost> {
        let judge = |tables, new| judge(tables, &seen.interface, seen.source, seen.local, new);
        // A connection that a drain lets finish is admitted as an old one only.
        let had = admitted(judge(self.before, true))
            || (seen.connections > 0 && admitted(judge(self.before, false)));
        let (new, old) = (judge(self.after, true), judge(self.after, false));
        if !had || (admitted(new) && (admitted(old) || seen.connections == 0)) {
            return None;
        }
        Some(Lost {
            source: seen.source,
            listener: seen.listener.clone(),
            connections: seen.connections,
            cut: seen.connections > 0 && !admitted(old),
            last_seen: seen.last.as_secs(),
            reason: told(new).to_owned(),
        })
    }

    /// What of the caller's own way in the change would cut, a sentence each. `interface` is where the shell's
    /// connection comes in, if that is known.
    pub(super) fn caller(&self, caller: &Caller, interface: Option<&str>, seen: &[Seen]) -> Vec<String> {
        let mut cut = Vec::new();
        if let Some(interface) = interface {
            let judge = |tables| judge(tables, interface, caller.client.ip(), caller.server, false);
            let (before, after) = (judge(self.before), judge(self.after));
            // Not a listener's business before and refused after counts too: a new listener takes the port over.
            if before.action() == Action::Pass && after.action() == Action::Drop {
                let Caller { client, server } = caller;
                cut.push(format!("your SSH connection from {} to {server} ({})", client.ip(), told(after)));
            }
        }
        for seen in seen.iter().filter(|seen| seen.source == caller.client.ip() && seen.connections > 0) {
            if let Some(lost) = self.one(seen) {
                cut.push(format!(
                    "{} connection{} of your address {} to listener {} ({})",
                    lost.connections,
                    if lost.connections == 1 { "" } else { "s" },
                    lost.source,
                    lost.listener,
                    lost.reason,
                ));
            }
        }
        cut
    }
}

fn judge(
    tables: &FilterTables,
    interface: &str,
    source: IpAddr,
    destination: SocketAddr,
    new: bool,
) -> Reason {
    let destination = SocketAddr::new(destination.ip().to_canonical(), destination.port());
    let vlan = tables.attachment(interface).map_or(0, |attachment| attachment.vlan);
    let mut packet = address::connection(source.to_canonical(), destination, vlan);
    packet.syn = new;
    tables.judge(interface, &packet).reason
}

/// Whether the proxy takes a connection that gets this verdict: where there is no listener, nobody does.
fn admitted(reason: Reason) -> bool {
    reason.action() == Action::Pass && reason != Reason::NotListener
}

fn told(reason: Reason) -> &'static str {
    if reason == Reason::NotListener { "the listener is gone" } else { reason.name() }
}

/// The refusal of a change that cuts its caller off.
pub(super) fn would_cut_caller(cut: &[String]) -> Refusal {
    Refusal::new("would_cut_caller", format!("this would cut {}", cut.join(", and ")))
        .field("caller", "SSH_CONNECTION")
        .remedy("if you mean it, say --force, best with --confirm 60s, which undoes it unless you confirm")
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use super::{Caller, Judge};
    use crate::{
        base::{Generation, Name},
        observe::seen::Seen,
        snapshot::filter::{
            Echo, FilterEntry, FilterListener, FilterPlan, FilterTables, ListenAddress, ListenerOptions,
        },
    };

    fn tables(address: &str, ports: &[u16], open: bool, entries: &[(&str, bool)]) -> FilterTables {
        let entries = entries.iter().zip(0..);
        let listener = FilterListener {
            id: 1,
            name: Name::new("edge").unwrap(),
            interface: "eth0".to_owned(),
            addresses: vec![ListenAddress::Ip(address.parse().unwrap())],
            ports: ports.to_vec(),
            open,
            echo: Echo::Everybody,
            options: ListenerOptions::default(),
            large: None,
            entries: entries
                .map(|((cidr, draining), id)| FilterEntry {
                    cidr: cidr.parse().unwrap(),
                    id,
                    draining: *draining,
                })
                .collect(),
        };
        FilterTables::unresolved(&FilterPlan { generation: Generation(1), listeners: vec![listener] })
            .unwrap()
    }

    fn seen(source: &str, connections: u32) -> Seen {
        Seen {
            listener: Name::new("edge").unwrap(),
            interface: "eth0".to_owned(),
            source: source.parse().unwrap(),
            local: "192.0.2.1:443".parse().unwrap(),
            connections,
            admitted: 1,
            last: Duration::from_secs(9),
        }
    }

    const MINE: &str = "198.51.100.7";

    #[test]
    fn who_is_kept_out_and_whose_connections_are_cut() {
        let before = tables("192.0.2.1", &[443], true, &[("198.51.100.0/24", false), ("10.0.0.0/8", false)]);
        let all = [seen(MINE, 2), seen("10.0.0.1", 0), seen("203.0.113.1", 0), seen("10.0.0.2", 1)];
        let told = |after: &FilterTables| -> Vec<(String, u32, bool, String)> {
            let loss = Judge { before: &before, after }.lost(&all);
            assert_eq!(loss.total, loss.sources.len());
            loss.sources
                .into_iter()
                .map(|lost| (lost.source.to_string(), lost.connections, lost.cut, lost.reason))
                .collect()
        };
        let row = |source: &str, connections, cut, reason: &str| {
            (source.to_owned(), connections, cut, reason.to_owned())
        };
        assert_eq!(told(&before), []);
        let shorter = tables("192.0.2.1", &[443], true, &[("10.0.0.0/8", false)]);
        assert_eq!(told(&shorter), [row(MINE, 2, true, "not_allowed")]);
        let drained = tables("192.0.2.1", &[443], true, &[("198.51.100.0/24", true), ("10.0.0.0/8", false)]);
        assert_eq!(told(&drained), [row(MINE, 2, false, "draining_new")]);
        let closed = tables("192.0.2.1", &[443], false, &[("198.51.100.0/24", false), ("10.0.0.0/8", false)]);
        let everybody = |reason| {
            [row(MINE, 2, true, reason), row("10.0.0.2", 1, true, reason), row("10.0.0.1", 0, false, reason)]
        };
        assert_eq!(told(&closed), everybody("closed"));
        let gone = FilterTables::default();
        assert_eq!(told(&gone), everybody("the listener is gone"));
    }

    #[test]
    fn the_callers_own_way_in() {
        let caller = Caller::parse(&format!("{MINE} 51000 192.0.2.1 22")).unwrap();
        let allowed = tables("192.0.2.1", &[443], true, &[("198.51.100.0/24", false)]);
        let nobody: [Seen; 0] = [];
        let cut = |before: &FilterTables, after: &FilterTables, seen: &[Seen]| {
            Judge { before, after }.caller(&caller, Some("eth0"), seen)
        };
        // A listener beside the shell: its allowlist is no matter, unless the caller is connected to it as well.
        let empty = tables("192.0.2.1", &[443], true, &[]);
        assert_eq!(cut(&allowed, &empty, &nobody), Vec::<String>::new());
        let told = cut(&allowed, &empty, &[seen(MINE, 2), seen("198.51.100.8", 1)]);
        assert_eq!(told, ["2 connections of your address 198.51.100.7 to listener edge (not_allowed)"]);
        // A listener on the shell's own port.
        let over_ssh = |entries: &[(&str, bool)]| tables("192.0.2.1", &[22], true, entries);
        let told = cut(&allowed, &over_ssh(&[]), &nobody);
        assert_eq!(told, ["your SSH connection from 198.51.100.7 to 192.0.2.1:22 (not_allowed)"]);
        assert!(cut(&allowed, &over_ssh(&[("198.51.100.7/32", false)]), &nobody).is_empty());
        assert!(cut(&over_ssh(&[]), &over_ssh(&[]), &nobody).is_empty(), "cut off before already");
    }

    #[test]
    fn ssh_connections_are_read_strictly() {
        let caller = Caller::parse("fe80::1%eth0 40000 ::ffff:192.0.2.1 22").unwrap();
        assert_eq!(caller.client.ip(), "fe80::1".parse::<IpAddr>().unwrap());
        assert_eq!(caller.server.to_string(), "192.0.2.1:22");
        for bad in [
            "",
            "1.2.3.4",
            "1.2.3.4 1 5.6.7.8",
            "a 1 b 2",
            "1.2.3.4 1 5.6.7.8 99999",
            "1.2.3.4 1 5.6.7.8 2 3",
        ] {
            assert_eq!(Caller::parse(bad).unwrap_err().code, "invalid", "{bad}");
        }
    }
}
