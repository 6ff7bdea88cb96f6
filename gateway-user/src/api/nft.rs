//! Pure: the filter plan as an nftables ruleset (`gateway export --nft`), for hosts where the gateway does not run and
//! for firewalls in front of it.
//!
//! It says the same as the XDP filter about TCP to a listener: the listener's list decides, anything else to that
//! endpoint is dropped, also on another interface, and nothing else of the host is touched. What the filter does with
//! fragments is left to the kernel's reassembly, which comes before this hook.

use std::{fmt::Write as _, net::IpAddr};

use ipnet::IpNet;

use crate::snapshot::filter::{Echo, FilterEntry, FilterListener, FilterPlan, ListenAddress};

/// The ruleset, to be read by `nft -f`.
pub(super) fn ruleset(plan: &FilterPlan) -> String {
    let mut text = format!("# generation {}\n", plan.generation);
    // Made first, so that deleting it is never an error; both and the new table are one transaction (nft(8)).
    text.push_str("table inet gateway\ndelete table inet gateway\ntable inet gateway {\n");
    for listener in &plan.listeners {
        chain(&mut text, listener);
    }
    text.push_str("  chain input {\n    type filter hook input priority filter - 10; policy accept;\n");
    // As in the filter, an exact address beats a wildcard, so its rules come first; and networks may have the same
    // address, so each is led to its own chain before what came in elsewhere is dropped.
    for part in [Part::Exact, Part::Elsewhere, Part::Wildcard] {
        for listener in &plan.listeners {
            endpoints(&mut text, listener, part);
        }
    }
    text.push_str("  }\n}\n");
    text
}

/// Who may connect to one listener.
fn chain(text: &mut String, listener: &FilterListener) {
    line(text, 2, &format!("chain {} {{", name(listener)));
    if listener.open {
        for entry in &listener.entries {
            line(text, 4, &rule(entry));
        }
        if let Some(large) = &listener.large {
            for (family, v4) in [("ip", true), ("ip6", false)] {
                let cidrs = large.cidrs().iter().filter(|cidr| matches!(cidr, IpNet::V4(_)) == v4);
                let cidrs: Vec<String> = cidrs.map(ToString::to_string).collect();
                if !cidrs.is_empty() {
                    line(text, 4, &format!("{family} saddr {{ {} }} counter accept", cidrs.join(", ")));
                }
            }
        }
    }
    line(text, 4, "counter drop");
    line(text, 2, "}");
}

fn rule(entry: &FilterEntry) -> String {
    let family = match entry.cidr {
        IpNet::V4(_) => "ip",
        IpNet::V6(_) => "ip6",
    };
    let established = if entry.draining { "tcp flags & (syn | ack) != syn " } else { "" };
    format!("{family} saddr {} {established}counter accept", entry.cidr)
}

/// The rules of an endpoint, in the order in which they are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// What is for an exact address goes to its listener's chain.
    Exact,
    /// The same address on other interfaces is dropped.
    Elsewhere,
    /// The rest of an interface.
    Wildcard,
}

/// Leads what is for a listener to its chain, and drops it on other interfaces.
fn endpoints(text: &mut String, listener: &FilterListener, part: Part) {
    let ports: Vec<String> = listener.ports.iter().map(ToString::to_string).collect();
    let port = format!("tcp dport {{ {} }}", ports.join(", "));
    let (interface, chain) = (&listener.interface, name(listener));
    for address in &listener.addresses {
        let (exact, destination) = match address {
            ListenAddress::Any => (false, String::new()),
            ListenAddress::Ip(IpAddr::V4(ip)) if ip.is_unspecified() => {
                (false, "meta nfproto ipv4 ".to_owned())
            }
            ListenAddress::Ip(IpAddr::V6(ip)) if ip.is_unspecified() => {
                (false, "meta nfproto ipv6 ".to_owned())
            }
            ListenAddress::Ip(ip) => {
                (true, format!("{} daddr {ip} ", if ip.is_ipv4() { "ip" } else { "ip6" }))
            }
        };
        match (part, exact) {
            (Part::Exact, true) | (Part::Wildcard, false) => {
                line(text, 4, &format!("iifname \"{interface}\" {destination}{port} goto {chain}"));
            }
            (Part::Elsewhere, true) => line(text, 4, &format!("{destination}{port} counter drop")),
            (Part::Exact | Part::Elsewhere, false) | (Part::Wildcard, true) => {}
        }
    }
}

fn line(text: &mut String, indent: usize, content: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{:indent$}{content}", "");
}

/// A chain's name begins with a letter and has no colon (nft(8), LEXICAL CONVENTIONS). A deleted endpoint bears the name of
/// its network, which may be there again, or still; one chain for both would let in at the old address.
fn name(listener: &FilterListener) -> String {
    if listener.echo == Echo::Silent {
        return format!("silent-{}", listener.id);
    }
    format!("listener-{}", listener.name.replace(':', "."))
}

#[cfg(test)]
mod tests {
    use super::ruleset;
    use crate::{
        base::{Generation, Name},
        snapshot::filter::{Echo, FilterEntry, FilterListener, FilterPlan, ListenAddress, ListenerOptions},
    };

    fn listener(name: &str, addresses: &[ListenAddress], open: bool) -> FilterListener {
        let entry = |id: u8, cidr: &str, draining| FilterEntry { cidr: cidr.parse().unwrap(), id, draining };
        FilterListener {
            large: None,
            id: 1,
            name: Name::new(name).unwrap(),
            interface: "eth0".to_owned(),
            addresses: addresses.to_vec(),
            ports: vec![80, 443],
            open,
            echo: Echo::Everybody,
            options: ListenerOptions::default(),
            entries: vec![
                entry(0, "192.0.2.0/24", false),
                entry(1, "2001:db8::/32", false),
                entry(2, "10.0.0.0/8", true),
            ],
        }
    }

    #[test]
    fn the_ruleset_says_what_the_plan_says() {
        let exact = ListenAddress::Ip("198.51.100.1".parse().unwrap());
        let plan = FilterPlan {
            generation: Generation(7),
            listeners: vec![listener("all", &[ListenAddress::Any], false), listener("edge", &[exact], true)],
        };
        let text = ruleset(&plan);
        for expected in [
            "# generation 7\n",
            "  chain listener-edge {\n    ip saddr 192.0.2.0/24 counter accept\n",
            "    ip6 saddr 2001:db8::/32 counter accept\n",
            "    ip saddr 10.0.0.0/8 tcp flags & (syn | ack) != syn counter accept\n    counter drop\n",
            "    iifname \"eth0\" ip daddr 198.51.100.1 tcp dport { 80, 443 } goto listener-edge\n",
            "    ip daddr 198.51.100.1 tcp dport { 80, 443 } counter drop\n",
            "  chain listener-all {\n    counter drop\n  }\n",
        ] {
            assert!(text.contains(expected), "{expected} not in\n{text}");
        }
        let place = |what: &str| text.find(what).unwrap();
        assert!(
            place("daddr 198.51.100.1") < place("iifname \"eth0\" tcp dport { 80, 443 } goto listener-all")
        );
    }

    #[test]
    fn a_deleted_endpoint_is_not_led_to_the_chain_of_the_network_that_has_its_name() {
        let address = |text: &str| [ListenAddress::Ip(text.parse().unwrap())];
        let network = Name::of_vpc_listener(&Name::new("s1").unwrap());
        let live = FilterListener { name: network.clone(), ..listener("x", &address("10.0.0.11"), true) };
        let silent = FilterListener {
            id: 9,
            name: network,
            echo: Echo::Silent,
            entries: Vec::new(),
            ..listener("x", &address("10.0.0.10"), false)
        };
        let text = ruleset(&FilterPlan { generation: Generation(7), listeners: vec![live, silent] });
        let old = text.lines().find(|line| line.contains("10.0.0.10 ") && line.contains("goto")).unwrap();
        let chain = old.rsplit(' ').next().unwrap();
        let body = text.split(&format!("chain {chain} {{")).skip(1).collect::<Vec<_>>();
        assert_eq!(body.len(), 1, "{text}");
        assert!(!body[0].split('}').next().unwrap().contains("accept"), "{text}");
    }

    #[test]
    fn networks_with_the_same_address_are_each_led_to_their_own_chain() {
        let address = [ListenAddress::Ip("10.0.0.10".parse().unwrap())];
        let one = listener("one", &address, true);
        let two = FilterListener { id: 2, interface: "eth1".to_owned(), ..listener("two", &address, true) };
        let text = ruleset(&FilterPlan { generation: Generation(7), listeners: vec![one, two] });
        let place = |what: &str| text.find(what).unwrap();
        assert!(
            place("goto listener-two") < place("    ip daddr 10.0.0.10 tcp dport { 80, 443 } counter drop")
        );
    }
}
