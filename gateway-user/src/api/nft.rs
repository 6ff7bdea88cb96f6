//! Pure: the filter plan as an nftables ruleset (`gateway export --nft`), for hosts where the gateway does not run and
//! for firewalls in front of it.
//!
//! It gives the filter's verdicts to what can be said in nftables: TCP to a listener and its fragments, the same endpoint
//! on another interface, echo requests to a listener's addresses, deleted endpoints. Nothing else of the host is touched.
//! What it does not say: too many VLAN tags or extension headers, and headers that break off.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use crate::snapshot::filter::{Echo, FilterListener, FilterPlan, ListenAddress};

/// The ruleset, to be read by `nft -f`.
pub(super) fn ruleset(plan: &FilterPlan) -> String {
    let mut text = format!("# generation {}\n", plan.generation);
    // Made first, so that deleting it is never an error; both and the new table are one transaction (nft(8)).
    text.push_str("table inet gateway\ndelete table inet gateway\ntable inet gateway {\n");
    // Where a live listener and a deleted endpoint have the same place, the live one is asked.
    let mut listeners: Vec<&FilterListener> = plan.listeners.iter().collect();
    listeners.sort_by_key(|listener| listener.echo == Echo::Silent);
    for listener in &listeners {
        Lists::of(listener).sets(&mut text, listener);
        chain(&mut text, listener);
        echo_chain(&mut text, listener);
    }
    // Before the kernel puts fragments together (nf_defrag is at -400), or there would be none.
    text.push_str("  chain fragments {\n    type filter hook prerouting priority -450; policy accept;\n");
    for listener in &listeners {
        fragments(&mut text, listener);
    }
    text.push_str("  }\n  chain input {\n    type filter hook input priority filter - 10; policy accept;\n");
    // The filter's order: an exact address of this interface, a wildcard of it, and then whoever has the address
    // elsewhere.
    for wanted in [Rank::Exact, Rank::Wildcard, Rank::Elsewhere] {
        for listener in &listeners {
            if wanted == Rank::Wildcard {
                barred(&mut text, listener, &plan.listeners);
            }
            endpoints(&mut text, listener, wanted);
        }
    }
    text.push_str("  }\n}\n");
    text
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    Exact,
    Wildcard,
    Elsewhere,
}

/// An address of a listener as a match.
struct Match {
    text: String,
    exact: bool,
    v4: bool,
    v6: bool,
}

impl Match {
    fn of(address: ListenAddress) -> Self {
        let (text, exact, v4, v6) = match address {
            ListenAddress::Any => (String::new(), false, true, true),
            ListenAddress::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => {
                ("meta nfproto ipv4 ".to_owned(), false, true, false)
            }
            ListenAddress::Ip(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => {
                ("meta nfproto ipv6 ".to_owned(), false, false, true)
            }
            ListenAddress::Ip(IpAddr::V4(ip)) => (format!("ip daddr {ip} "), true, true, false),
            ListenAddress::Ip(IpAddr::V6(ip)) => (format!("ip6 daddr {ip} "), true, false, true),
        };
        Self { text, exact, v4, v6 }
    }

    /// An echo request of these families.
    fn echoes(&self) -> impl Iterator<Item = &'static str> {
        let v4 = self.v4.then_some("icmp type echo-request");
        v4.into_iter().chain(self.v6.then_some("icmpv6 type echo-request"))
    }
}

/// A listener's entries by family: those that let in, and those that only let go on.
#[derive(Default)]
struct Lists {
    /// Name of the set, keyword of the family, CIDRs.
    allowed: [Vec<String>; 2],
    draining: [Vec<String>; 2],
}

/// Keyword and type of an element, by family.
const FAMILIES: [(&str, &str, &str); 2] = [("ip", "ipv4_addr", "4"), ("ip6", "ipv6_addr", "6")];

impl Lists {
    fn of(listener: &FilterListener) -> Self {
        let mut lists = Self::default();
        let mut put = |cidr: &IpNet, draining: bool| {
            let [v4, v6] = if draining { &mut lists.draining } else { &mut lists.allowed };
            match cidr {
                IpNet::V4(_) => v4.push(cidr.to_string()),
                IpNet::V6(_) => v6.push(cidr.to_string()),
            }
        };
        listener.entries.iter().for_each(|entry| put(&entry.cidr, entry.draining));
        listener.large.iter().flat_map(|large| large.cidrs()).for_each(|cidr| put(cidr, false));
        lists
    }

    fn sets(&self, text: &mut String, listener: &FilterListener) {
        for (word, lists) in [("allow", &self.allowed), ("drain", &self.draining)] {
            for ((_, kind, family), cidrs) in FAMILIES.iter().zip(lists) {
                if cidrs.is_empty() {
                    continue;
                }
                line(text, 2, &format!("set {word}{family}-{} {{", plain(listener)));
                // Entries may overlap, as on the gateway.
                line(text, 4, &format!("type {kind}; flags interval; auto-merge;"));
                line(text, 4, "elements = {");
                for some in cidrs.chunks(8) {
                    line(text, 6, &format!("{},", some.join(", ")));
                }
                line(text, 4, "}");
                line(text, 2, "}");
            }
        }
    }

    /// A rule per list that has entries.
    fn rules(lists: &[Vec<String>; 2], text: &mut String, word: &str, listener: &FilterListener, rest: &str) {
        for ((keyword, _, family), cidrs) in FAMILIES.iter().zip(lists) {
            if !cidrs.is_empty() {
                line(text, 4, &format!("{keyword} saddr @{word}{family}-{} {rest}", plain(listener)));
            }
        }
    }
}

/// Who may connect to one listener.
fn chain(text: &mut String, listener: &FilterListener) {
    line(text, 2, &format!("chain listener-{} {{", plain(listener)));
    let open = listener.open && listener.echo != Echo::Silent;
    if open {
        let lists = Lists::of(listener);
        Lists::rules(&lists.allowed, text, "allow", listener, "counter accept");
        let established = "tcp flags & (syn | ack) != syn counter accept";
        Lists::rules(&lists.draining, text, "drain", listener, established);
        if listener.options.monitor && !lists.draining.iter().all(Vec::is_empty) {
            Lists::rules(&lists.draining, text, "drain", listener, "counter drop");
        }
    }
    // A listener that is only watched counts what it would drop.
    line(text, 4, if open && listener.options.monitor { "counter accept" } else { "counter drop" });
    line(text, 2, "}");
}

/// Who gets an answer to a ping.
fn echo_chain(text: &mut String, listener: &FilterListener) {
    line(text, 2, &format!("chain echo-{} {{", plain(listener)));
    match listener.echo {
        Echo::Everybody => line(text, 4, "accept"),
        Echo::Silent => line(text, 4, "counter drop"),
        Echo::Allowlist => {
            Lists::rules(&Lists::of(listener).allowed, text, "allow", listener, "accept");
            line(text, 4, if listener.options.monitor { "counter accept" } else { "counter drop" });
        }
    }
    line(text, 2, "}");
}

/// Leads what is for a listener to its chains, and drops it on other interfaces.
fn endpoints(text: &mut String, listener: &FilterListener, wanted: Rank) {
    let (name, ports) = (plain(listener), ports(listener));
    let here = format!("iifname \"{}\" ", listener.interface);
    for address in &listener.addresses {
        let address = Match::of(*address);
        let place = &address.text;
        if wanted == if address.exact { Rank::Exact } else { Rank::Wildcard } {
            line(text, 4, &format!("{here}{place}{ports} goto listener-{name}"));
            for echo in address.echoes() {
                line(text, 4, &format!("{here}{place}{echo} goto echo-{name}"));
            }
        } else if wanted == Rank::Elsewhere && address.exact {
            line(text, 4, &format!("{place}{ports} counter drop"));
            for echo in address.echoes() {
                line(text, 4, &format!("{place}{echo} counter drop"));
            }
        }
    }
}

/// Keeps the private addresses of other interfaces from a listener that takes every address of its own.
fn barred(text: &mut String, listener: &FilterListener, all: &[FilterListener]) {
    let here = format!("iifname \"{}\" ", listener.interface);
    let wildcards: Vec<Match> = listener.addresses.iter().map(|it| Match::of(*it)).collect();
    for private in all.iter().filter(|other| other.echo != Echo::Everybody) {
        for address in &private.addresses {
            let named =
                |it: &FilterListener| it.interface == listener.interface && it.addresses.contains(address);
            let Match { text: place, exact, v4, v6 } = Match::of(*address);
            let taken = wildcards.iter().any(|it| !it.exact && (it.v4 && v4 || it.v6 && v6));
            if exact && taken && !all.iter().any(named) {
                line(text, 4, &format!("{here}{place}{} counter drop", ports(listener)));
                for echo in Match::of(*address).echoes() {
                    line(text, 4, &format!("{here}{place}{echo} counter drop"));
                }
            }
        }
    }
}

/// Fragments of TCP: the first, which has the port, and the later ones, to an address that a listener names.
fn fragments(text: &mut String, listener: &FilterListener) {
    let ports = ports(listener);
    for address in &listener.addresses {
        let Match { text: place, exact, v4, v6 } = Match::of(*address);
        let place = if exact { place } else { format!("iifname \"{}\" {place}", listener.interface) };
        if v4 {
            line(text, 4, &format!("{place}{ports} ip frag-off & 0x2000 != 0 counter drop"));
        }
        if v4 && exact {
            line(text, 4, &format!("{place}ip protocol tcp ip frag-off & 0x1fff != 0 counter drop"));
        }
        if v6 {
            line(text, 4, &format!("{place}{ports} frag more-fragments 1 counter drop"));
        }
        if v6 && exact {
            line(text, 4, &format!("{place}meta l4proto tcp frag frag-off != 0 counter drop"));
        }
    }
}

fn ports(listener: &FilterListener) -> String {
    let ports: Vec<String> = listener.ports.iter().map(ToString::to_string).collect();
    format!("tcp dport {{ {} }}", ports.join(", "))
}

fn line(text: &mut String, indent: usize, content: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{:indent$}{content}", "");
}

/// A name of nftables has no colon (nft(8), LEXICAL CONVENTIONS). A deleted endpoint bears the name of its network, which
/// may be there again.
fn plain(listener: &FilterListener) -> String {
    if listener.echo == Echo::Silent {
        return format!("silent.{}", listener.id);
    }
    listener.name.replace(':', ".")
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
            "  set allow4-edge {\n    type ipv4_addr; flags interval; auto-merge;\n    elements = {\n      192.0.2.0/24,\n",
            "  chain listener-edge {\n    ip saddr @allow4-edge counter accept\n",
            "    ip6 saddr @allow6-edge counter accept\n",
            "    ip saddr @drain4-edge tcp flags & (syn | ack) != syn counter accept\n    counter drop\n",
            "    iifname \"eth0\" ip daddr 198.51.100.1 tcp dport { 80, 443 } goto listener-edge\n",
            "    ip daddr 198.51.100.1 tcp dport { 80, 443 } counter drop\n",
            "  chain listener-all {\n    counter drop\n  }\n",
        ] {
            assert!(text.contains(expected), "{expected} not in\n{text}");
        }
        let place = |what: &str| text.find(what).unwrap();
        // The filter asks a wildcard of the interface before it looks for the address elsewhere.
        let wildcard = place("iifname \"eth0\" tcp dport { 80, 443 } goto listener-all");
        assert!(place("iifname \"eth0\" ip daddr 198.51.100.1") < wildcard);
        assert!(wildcard < place("    ip daddr 198.51.100.1 tcp dport { 80, 443 } counter drop"));
    }

    #[test]
    fn a_wildcard_is_not_led_what_is_for_a_private_address_elsewhere() {
        let address = [ListenAddress::Ip("10.0.0.10".parse().unwrap())];
        let every = listener("every", &[ListenAddress::Any], true);
        let private = FilterListener {
            id: 2,
            interface: "eth1".to_owned(),
            echo: Echo::Allowlist,
            ..listener("red", &address, true)
        };
        let text = ruleset(&FilterPlan { generation: Generation(7), listeners: vec![every, private] });
        let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} not in\n{text}"));
        let (tcp, ping) = ("tcp dport { 80, 443 }", "icmp type echo-request");
        for (what, wildcard) in [(tcp, "listener-every"), (ping, "echo-every")] {
            let drop = format!("iifname \"eth0\" ip daddr 10.0.0.10 {what} counter drop");
            assert!(place(&drop) < place(&format!("iifname \"eth0\" {what} goto {wildcard}")));
            place(&format!("iifname \"eth1\" ip daddr 10.0.0.10 {what} goto"));
        }
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
