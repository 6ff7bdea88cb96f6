//! Private networks beside the small internet of [`crate::topology`]: segments of a cable each into the gateway host,
//! plain tunnels, and a remote site behind a tunnel.
//!
//! ```text
//!   i .10 (zone i) ─┐
//!   k .20 (zone k) ─┤ wire (bridge br0) ── gate ═ IF ┐
//!                                                    ├ gateway host
//!   remote: far 10.5.0.10 ═ vxlan 7 over 192.168.77.0/30 ═ far0 ┘
//! ```
//!
//! The gateway's end of a segment has no address: the private endpoint is the gateway's own to add.

use std::net::Ipv4Addr;

use crate::{
    Net,
    frame::Link,
    netns::{self, NetNs},
    topology::{GATE, GHOST_MAC, Mac, NIC},
    wire::Wire,
};

/// The host of a segment that no stack owns: source of frames made by hand.
const GHOST: u8 = 99;

/// A private network of two zones on one cable into the gateway.
#[derive(Debug)]
pub struct Segment {
    /// The gateway's interface.
    pub interface: &'static str,
    /// Hosts in two zones of the network.
    pub i: NetNs,
    pub k: NetNs,
    pub wire: NetNs,
    network: [u8; 3],
    mac: Mac,
}

// === impl Segment ===

impl Segment {
    /// Lays the cable `interface` and puts two hosts of `network`/24 on its far end, .10 in zone i and .20 in zone k.
    /// Everything that they do not know they send to .1, the private endpoint's place.
    #[must_use]
    #[track_caller]
    pub fn lay(net: &Net, interface: &'static str, network: [u8; 3]) -> Self {
        let role = |end: &str| NetNs::new(&format!("{interface}{end}"));
        // The network's numbers and the interface's length keep the MACs of overlapping networks apart.
        let last = interface.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        let mac = [2, 1, network[1], network[2], last, 1];
        let segment = Self { interface, i: role("i"), k: role("k"), wire: role("w"), network, mac };
        let cables = [
            (&net.gateway, interface, format!("address {}", text(mac)), GATE),
            (&segment.i, NIC, String::new(), "toi"),
            (&segment.k, NIC, String::new(), "tok"),
        ];
        for (namespace, name, more, peer) in cables {
            netns::batch(
                None,
                &format!(
                    "link add {name} netns {} {more} type veth peer name {peer} netns {}\n",
                    namespace.name(),
                    segment.wire.name()
                ),
            );
        }
        segment.wire.ip_batch(
            "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set gate master br0\nlink set toi master br0\nlink set tok master br0\n\
             link set gate up\nlink set toi up\nlink set tok up\nlink set br0 up\n",
        );
        for (namespace, host) in [(&segment.i, 10), (&segment.k, 20)] {
            namespace.ip_batch(&format!(
                "addr add {}/24 dev eth0\nlink set eth0 up\nroute add default via {}\n",
                segment.host(host),
                segment.host(1)
            ));
        }
        net.gateway.ip_batch(&format!(
            "link set {interface} up\n\
             neigh replace {} lladdr {} dev {interface} nud permanent\n",
            segment.host(GHOST),
            text(GHOST_MAC)
        ));
        segment
    }

    /// A host's address.
    #[must_use]
    pub const fn host(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.network;
        Ipv4Addr::new(a, b, c, last)
    }

    /// Where the private endpoint belongs: .1.
    #[must_use]
    pub const fn vip(&self) -> Ipv4Addr {
        self.host(1)
    }

    /// The endpoint as `vpc add --address` takes it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}/24", self.vip())
    }

    /// Source of frames made by hand in this network.
    #[must_use]
    pub const fn ghost(&self) -> Ipv4Addr {
        self.host(GHOST)
    }

    /// From the ghost to the gateway's interface, untagged.
    #[must_use]
    pub fn link(&self) -> Link {
        Link { destination: self.mac, ..Link::default() }
    }

    /// The attacker's end of this cable.
    #[must_use]
    #[track_caller]
    pub fn attacker(&self) -> Wire {
        Wire::open(&self.wire, GATE)
    }

    /// Makes both hosts send to the endpoint without asking who has it: a deleted endpoint answers no ARP, and what
    /// is never sent proves nothing.
    #[track_caller]
    pub fn pin_neighbours(&self) {
        for namespace in [&self.i, &self.k] {
            let (vip, mac) = (self.vip().to_string(), text(self.mac));
            namespace.ip(&["neigh", "replace", &vip, "lladdr", &mac, "dev", NIC, "nud", "permanent"]);
        }
    }
}

/// A site of another region behind a tunnel.
#[derive(Debug)]
pub struct Remote {
    /// The remote host: 10.5.0.10 on the tunnel.
    pub site: NetNs,
}

/// The gateway's end of the tunnel.
pub const FAR: &str = "far0";
pub const FAR_VIP: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 1);
pub const FAR_HOST: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 10);

// === impl Remote ===

impl Remote {
    /// Lays a cable between two networks that know nothing of each other, and a tunnel over it.
    #[must_use]
    #[track_caller]
    pub fn lay(net: &Net) -> Self {
        let remote = Self { site: NetNs::new("remote") };
        netns::batch(
            None,
            &format!(
                "link add under0 netns {} type veth peer name under0 netns {}\n",
                net.gateway.name(),
                remote.site.name()
            ),
        );
        for (namespace, own, other) in [(&net.gateway, 1, 2), (&remote.site, 2, 1)] {
            namespace.ip_batch(&format!(
                "addr add 192.168.77.{own}/30 dev under0\nlink set under0 up\n\
                 link add {FAR} type vxlan id 7 local 192.168.77.{own} remote 192.168.77.{other} dstport 4789 dev under0\n\
                 link set {FAR} up\n"
            ));
        }
        remote.site.ip_batch(&format!("addr add {FAR_HOST}/24 dev {FAR}\n"));
        remote
    }

    /// Cuts or mends what the tunnel runs over.
    #[track_caller]
    pub fn connect(&self, connected: bool) {
        self.site.ip(&["link", "set", "under0", if connected { "up" } else { "down" }]);
    }
}

/// A tunnel between the gateway and the office that no listener stands on: `tun0` at both ends, 10.66.0.1 and .2.
#[track_caller]
pub fn lay_tunnel(net: &Net) {
    for (namespace, own, other) in
        [(&net.gateway, "10.7.0.1", "10.7.0.10"), (&net.office, "10.7.0.10", "10.7.0.1")]
    {
        let device = if own == "10.7.0.1" { crate::topology::LAN } else { NIC };
        let last = if own == "10.7.0.1" { 1 } else { 2 };
        namespace.ip_batch(&format!(
            "link add tun0 type vxlan id 9 local {own} remote {other} dstport 4790 dev {device}\n\
             addr add 10.66.0.{last}/24 dev tun0\nlink set tun0 up\n"
        ));
    }
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
