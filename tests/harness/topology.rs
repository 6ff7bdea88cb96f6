//! A small internet of namespaces around one gateway host.
//!
//! ```text
//!   client   198.51.100.10  2001:db8:100::10 ─┐
//!   outsider 198.51.100.66  2001:db8:100::66 ─┤ wire (bridge) ── gate ═ pub0 ┐
//!                                                                            ├ gateway host ── up0 10.9.0.1 ── upstream 10.9.0.2
//!   office   10.7.0.10      2001:db8:7::10  ──────────────────────── lan0 ═──┘
//! ```
//!
//! `pub0` (198.51.100.1, 2001:db8:100::1) is where public listeners stand; `lan0` (10.7.0.1) is a second interface.
//! Frames made by hand are sent from `gate` in the wire's namespace, the far end of `pub0`'s cable: a bridge would
//! take a VLAN tag out of the frame and carry it beside it, where an XDP program on veth cannot see it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    netns::{self, NetNs},
    wait, wire,
};

pub const PUBLIC_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub const PUBLIC_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 1);
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0x10);
pub const OUTSIDER_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 66);
pub const OUTSIDER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0x66);
/// The source of frames made by hand: no stack owns it, so nothing but the test answers for it.
pub const GHOST_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 99);
pub const GHOST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0x99);
pub const LAN_V4: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
pub const LAN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 1);
pub const OFFICE_V4: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 10);
pub const OFFICE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 0x10);
pub const UPSTREAM_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

pub type Mac = [u8; 6];
pub const PUBLIC_MAC: Mac = [2, 0, 0, 0, 0, 1];
pub const LAN_MAC: Mac = [2, 0, 0, 0, 7, 1];
pub const GHOST_MAC: Mac = [2, 0, 0, 0, 0, 0x99];

/// Interface of public listeners, in the gateway's namespace.
pub const PUBLIC: &str = "pub0";
/// The gateway's second interface.
pub const LAN: &str = "lan0";
/// The far end of the public cable, in the wire's namespace: where frames made by hand are sent.
pub const GATE: &str = "gate";
/// The only interface of a client, the outsider, the office and the upstream.
pub const NIC: &str = "eth0";

/// The namespaces of one test.
#[derive(Debug)]
pub struct Net {
    pub gateway: NetNs,
    pub client: NetNs,
    pub outsider: NetNs,
    pub office: NetNs,
    pub upstream: NetNs,
    pub wire: NetNs,
}

// === impl Net ===

impl Net {
    /// Builds the picture above and waits until both families answer.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        let net = Self {
            gateway: NetNs::new("gateway"),
            client: NetNs::new("client"),
            outsider: NetNs::new("outsider"),
            office: NetNs::new("office"),
            upstream: NetNs::new("upstream"),
            wire: NetNs::new("wire"),
        };
        net.cables();
        net.gateway.ip_batch(
            "addr add 198.51.100.1/24 dev pub0\n\
             addr add 2001:db8:100::1/64 dev pub0 nodad\n\
             addr add 10.7.0.1/24 dev lan0\n\
             addr add 2001:db8:7::1/64 dev lan0 nodad\n\
             addr add 10.9.0.1/24 dev up0\n\
             link set pub0 up\nlink set lan0 up\nlink set up0 up\n\
             neigh replace 198.51.100.99 lladdr 02:00:00:00:00:99 dev pub0 nud permanent\n\
             neigh replace 2001:db8:100::99 lladdr 02:00:00:00:00:99 dev pub0 nud permanent\n",
        );
        net.wire.ip_batch(
            "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set gate master br0\nlink set toclient master br0\nlink set tooutsider master br0\n\
             link set gate up\nlink set toclient up\nlink set tooutsider up\nlink set br0 up\n",
        );
        net.client.ip_batch(&end("10"));
        net.outsider.ip_batch(&end("66"));
        net.office();
        net.upstream.ip_batch("addr add 10.9.0.2/24 dev eth0\nlink set eth0 up\n");
        for (namespace, target) in [
            (&net.client, IpAddr::V4(PUBLIC_V4)),
            (&net.client, IpAddr::V6(PUBLIC_V6)),
            (&net.outsider, IpAddr::V4(PUBLIC_V4)),
            (&net.outsider, IpAddr::V6(PUBLIC_V6)),
            (&net.office, IpAddr::V4(LAN_V4)),
            (&net.upstream, IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1))),
        ] {
            wait::until("the cables to carry packets", || {
                crate::client::ping(namespace, target).then_some(())
            });
        }
        net
    }

    fn cables(&self) {
        let pair = |a: &NetNs, name: &str, mac: &str, b: &NetNs, peer: &str| {
            format!(
                "link add {name} netns {} {mac} type veth peer name {peer} netns {}\n",
                a.name(),
                b.name()
            )
        };
        let lines = [
            pair(&self.gateway, PUBLIC, "address 02:00:00:00:00:01", &self.wire, GATE),
            pair(&self.gateway, LAN, "address 02:00:00:00:07:01", &self.office, NIC),
            pair(&self.gateway, "up0", "", &self.upstream, NIC),
            pair(&self.client, NIC, "", &self.wire, "toclient"),
            pair(&self.outsider, NIC, "", &self.wire, "tooutsider"),
        ];
        netns::batch(None, &lines.concat());
    }

    /// Lays the cable between office and gateway again after `lan0` was deleted.
    #[track_caller]
    pub fn restore_lan(&self) {
        let (gateway, office) = (self.gateway.name(), self.office.name());
        netns::batch(
            None,
            &format!(
                "link add lan0 netns {gateway} address 02:00:00:00:07:01 type veth peer name eth0 netns {office}\n"
            ),
        );
        self.office();
        self.gateway.ip_batch(
            "addr add 10.7.0.1/24 dev lan0\naddr add 2001:db8:7::1/64 dev lan0 nodad\nlink set lan0 up\n",
        );
    }

    fn office(&self) {
        self.office.ip_batch(
            "addr add 10.7.0.10/24 dev eth0\naddr add 2001:db8:7::10/64 dev eth0 nodad\nlink set eth0 up\n\
             route add default via 10.7.0.1\nroute add default via 2001:db8:7::1\n",
        );
    }

    /// Gives the client a further address; used as the source of probes.
    #[track_caller]
    pub fn client_address(&self, cidr: &str) {
        let mut words = vec!["addr", "add", cidr, "dev", NIC];
        if cidr.contains(':') {
            words.push("nodad");
        }
        self.client.ip(&words);
    }

    /// Gives the gateway a further address on `interface`.
    #[track_caller]
    pub fn gateway_address(&self, interface: &str, cidr: &str) {
        let mut words = vec!["addr", "add", cidr, "dev", interface];
        if cidr.contains(':') {
            words.push("nodad");
        }
        self.gateway.ip(&words);
    }

    /// The attacker's end of the public cable.
    #[must_use]
    #[track_caller]
    pub fn attacker(&self) -> wire::Wire {
        wire::Wire::open(&self.wire, GATE)
    }
}

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}

/// The set-up of a host on the public wire; `last` ends its MAC and both addresses, read as hexadecimal or decimal.
fn end(last: &str) -> String {
    format!(
        "link set eth0 address 02:00:00:00:00:{last}\n\
         addr add 198.51.100.{last}/24 dev eth0\naddr add 2001:db8:100::{last}/64 dev eth0 nodad\n\
         link set eth0 up\nroute add default via 198.51.100.1\nroute add default via 2001:db8:100::1\n"
    )
}
