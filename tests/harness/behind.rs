//! Counters of the host's own packet filter, which stand behind XDP: what they count, XDP has let through.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;

use crate::{
    netns::{self, NetNs},
    process,
    topology::{LAN, PUBLIC},
};

/// The counters of one gateway host.
///
/// - `ghost_INTERFACE`: every frame with the ghost's MAC, at the earliest hook of the network stack.
/// - `ghost_ip`, `outsider_syn`, `client_syn`, `office_syn`: packets in front of connection tracking, both families.
#[derive(Debug)]
pub struct Behind {
    namespace: PathBuf,
}

/// What is counted in front of connection tracking.
const PREROUTING: &str = r"
table inet behind {
    counter ghost_ip { }
    counter outsider_syn { }
    counter client_syn { }
    counter office_syn { }
    chain prerouting {
        type filter hook prerouting priority -400; policy accept;
        ip saddr 198.51.100.99 counter name ghost_ip
        ip6 saddr 2001:db8:100::99 counter name ghost_ip
        ip saddr 198.51.100.66 tcp flags & (syn|ack) == syn counter name outsider_syn
        ip6 saddr 2001:db8:100::66 tcp flags & (syn|ack) == syn counter name outsider_syn
        ip saddr 198.51.100.10 tcp flags & (syn|ack) == syn counter name client_syn
        ip6 saddr 2001:db8:100::10 tcp flags & (syn|ack) == syn counter name client_syn
        ip saddr 10.7.0.10 tcp flags & (syn|ack) == syn counter name office_syn
        ip6 saddr 2001:db8:7::10 tcp flags & (syn|ack) == syn counter name office_syn
    }
}
";

/// The name of the counter of the ghost's frames on `interface`.
#[must_use]
pub fn ghost(interface: &str) -> String {
    format!("ghost_{interface}")
}

/// What is counted at the earliest hook of `interfaces`.
fn ingress(interfaces: &[&str]) -> String {
    let one = |interface: &&str| {
        let counter = ghost(interface);
        format!(
            "counter {counter} {{ }}\nchain {interface} {{\ntype filter hook ingress device \"{interface}\" priority -500; \
             policy accept;\nether saddr 02:00:00:00:00:99 counter name {counter}\n}}\n"
        )
    };
    format!("table netdev behind {{\n{}}}\n", interfaces.iter().map(one).collect::<String>())
}

// === impl Behind ===

impl Behind {
    /// Installs the counters on the interfaces that every gateway host has.
    #[must_use]
    #[track_caller]
    pub fn install(namespace: &NetNs) -> Self {
        Self::watch(namespace, &[PUBLIC, LAN])
    }

    /// Installs the counters on these interfaces.
    #[must_use]
    #[track_caller]
    pub fn watch(namespace: &NetNs, interfaces: &[&str]) -> Self {
        let mut command = namespace.command("nft");
        command.args(["-f", "-"]);
        let rules = format!("{}{PREROUTING}", ingress(interfaces));
        process::run_with_input(&mut command, Some(rules.as_bytes()), Duration::from_secs(10)).success();
        Self { namespace: namespace.path() }
    }

    /// Packets counted under `name` so far.
    #[must_use]
    #[track_caller]
    pub fn packets(&self, name: &str) -> u64 {
        let mut command = netns::command_in(&self.namespace, "nft");
        command.args(["-j", "list", "counters"]);
        let text = process::run(&mut command, Duration::from_secs(10)).success();
        let all: Value = serde_json::from_str(&text).expect("nft speaks JSON");
        all["nftables"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| &item["counter"])
            .find(|counter| counter["name"] == name)
            .and_then(|counter| counter["packets"].as_u64())
            .unwrap_or_else(|| panic!("no counter {name} in {text}"))
    }
}
