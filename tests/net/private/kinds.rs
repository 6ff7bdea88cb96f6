//! Networks on interfaces whose drivers have no native XDP. Their endpoints are guarded by the second tier, and the
//! gateway's own address is there, through the daemon's end, the next start, the deletion and a detach.

use std::net::Ipv4Addr;

use harness::{
    Gateway, Net, Reach, reach_from,
    topology::{LAN, NIC},
    wait,
};

use super::{SETTINGS, add};
use crate::site::Site;

const ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const ADDRESS: &str = "10.99.0.1/24";

/// A bridge on the gateway host, with the office behind it.
fn bridge(net: &Net) {
    net.gateway.ip_batch(&format!(
        "link add over0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
         link set {LAN} master over0\nlink set over0 up\n"
    ));
    guests(net, NIC);
}

/// A VXLAN between the gateway host and the office.
fn vxlan(net: &Net) {
    for (namespace, local, remote, device) in
        [(&net.gateway, "10.7.0.1", "10.7.0.10", LAN), (&net.office, "10.7.0.10", "10.7.0.1", NIC)]
    {
        namespace.ip_batch(&format!(
            "link add over0 type vxlan id 9 local {local} remote {remote} dstport 4789 dev {device}\n\
             link set over0 up\n"
        ));
    }
    guests(net, "over0");
}

fn guests(net: &Net, device: &str) {
    let lines = format!("addr add 10.99.0.10/24 dev {device}\naddr add 10.99.0.66/24 dev {device}\n");
    net.office.ip_batch(&lines);
}

fn life(plug: impl Fn(&Net)) {
    let net = Net::new();
    plug(&net);
    let mut gateway = Gateway::prepare(Some(&net.gateway));
    gateway.set_config(SETTINGS);
    gateway.run();
    let mut site = Site { gateway, net };
    let from = |site: &Site, last| {
        reach_from(&site.net.office, Ipv4Addr::new(10, 99, 0, last).into(), (ENDPOINT, 443))
    };
    let has_address =
        |site: &Site| site.net.gateway.ip(&["-o", "addr", "show", "dev", "over0"]).contains(ADDRESS);
    let attach = |site: &Site| {
        site.gateway.cli(&add("over", "over0", ADDRESS, "i")).ok();
        assert!(has_address(site));
        let status = site.gateway.cli(&["status"]).ok();
        let row = |table: &str| {
            let rows = status[table].as_array().cloned().unwrap_or_default();
            rows.into_iter().find(|row| row["interface"] == "over0").unwrap_or_default()
        };
        assert_eq!(row("filter")["mode"], "tcx", "{status}");
        assert_eq!(row("addresses")["state"], "held", "{status}");
        wait::until("the way to the endpoint", || (from(site, 66) == Reach::Open).then_some(()));
        site.gateway.cli(&["allow", "set", "vpc:over", "10.99.0.10"]).ok();
        assert_eq!((from(site, 10), from(site, 66)), (Reach::Open, Reach::Timeout));
    };

    attach(&site);
    assert!(site.drops("vpc:over", "not_allowed") > 0, "dropped in the kernel");
    site.gateway.kill();
    assert!(has_address(&site), "it stays, as the filter does");
    assert_eq!((from(&site, 10), from(&site, 66)), (Reach::Refused, Reach::Timeout));
    site.gateway.run();
    assert_eq!((from(&site, 10), from(&site, 66)), (Reach::Open, Reach::Timeout));

    site.gateway.cli(&["vpc", "delete", "over"]).ok();
    assert!(!has_address(&site));
    assert_ne!(from(&site, 10), Reach::Open);

    attach(&site);
    site.gateway.stop();
    let said = site.gateway.detach().success();
    assert!(said.contains("Removed 10.99.0.1/24 on over0"), "{said}");
    assert!(!has_address(&site));
}

#[test]
fn a_network_on_a_bridge_is_guarded_all_its_life() {
    life(bridge);
}

#[test]
fn a_network_on_a_vxlan_is_guarded_all_its_life() {
    life(vxlan);
}
