//! PA-11: who may speak to an instance, by the firewalls of its network, is no concern of the gateway's clients: the
//! allowlist alone decides about them.

use std::time::Duration;

use harness::{
    NetNs, Reach, frame,
    frame::Link,
    process,
    proof::{Side, Witness},
    reach,
    topology::{GHOST_V4, UPSTREAM_V4},
};

use super::site::{HTTPS_V4, Site};

/// Loads a rule set of nftables.
#[track_caller]
fn load(namespace: &NetNs, rules: &str) {
    let mut command = namespace.command("nft");
    command.args(["-f", "-"]);
    process::run_with_input(&mut command, Some(rules.as_bytes()), Duration::from_secs(10)).success();
}

/// A host firewall shuts the service's own port to everybody but the gateway; the client is served all the same. And
/// a firewall that lets everybody through on the gateway does not let in whom the list does not name.
#[test]
fn pa_11_the_allowlist_alone_decides_not_the_host_firewalls() {
    let site = Site::open();
    let served = site.serve();
    site.allow("198.51.100.10");
    // The client has a way to the instance beside the gateway, and uses it, until the firewall shuts the port.
    site.net.gateway.check("sysctl", &["-q", "-w", "net.ipv4.ip_forward=1"]);
    site.net.upstream.ip(&["route", "add", "default", "via", "10.9.0.1"]);
    let port: u16 =
        served.upstream.instance().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    assert_eq!(reach(&site.net.client, (UPSTREAM_V4, port)), Reach::Open);
    load(
        &site.net.upstream,
        &format!(
            "table inet instance {{\n chain input {{\n type filter hook input priority 0; policy accept;\n \
             ip saddr != 10.9.0.1 tcp dport {port} drop\n }}\n}}\n"
        ),
    );
    load(
        &site.net.gateway,
        &format!(
            "table inet host {{\n chain input {{\n type filter hook input priority 0; policy accept;\n \
             tcp dport {port} drop\n ip saddr 198.51.100.66 accept\n ip saddr 198.51.100.99 accept\n }}\n}}\n"
        ),
    );
    assert_eq!(reach(&site.net.client, (UPSTREAM_V4, port)), Reach::Timeout);
    assert_eq!(served.call(&site, "/seed").run().expect(200).body, "True");

    // Accepted by the firewall, not on the list: dropped before the firewall is asked.
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Timeout);
    let witness = Witness::new(&site.net);
    let syn = frame::syn(&Link::default(), (GHOST_V4, 4000).into(), HTTPS_V4);
    witness.assert_dropped_in_kernel("accepted by the firewall", Side::Public, &[syn]);
    assert_eq!(witness.behind().packets("outsider_syn"), 0);
    // On the list: in, whatever the instance's firewall thinks of that source.
    site.allow("198.51.100.66");
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Open);
    assert_eq!(reach(&site.net.outsider, (UPSTREAM_V4, port)), Reach::Timeout);
}
