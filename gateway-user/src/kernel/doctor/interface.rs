//! Asks each interface and its driver, for the checks of `driver`.

use std::thread;

use super::{
    Check,
    driver::{Facts, judge},
};
use crate::kernel::{
    capabilities, ethtool,
    netlink::{self, Link},
};

/// The checks of every interface that a listener may name, but loopback and VLANs, which stand on others.
pub(super) fn checks() -> Vec<Check> {
    let links = match netlink::links() {
        Ok(links) => links,
        Err(error) => {
            let cure = "check the network namespace and seccomp: rtnetlink must answer";
            return vec![Check::must("interfaces", false, error.to_string(), cure)];
        }
    };
    let kernel = capabilities::version();
    let named = links.iter().filter(|link| !link.loopback && link.vlan.is_none());
    named.flat_map(|link| judge(&facts(link, &links), kernel)).collect()
}

fn facts(link: &Link, links: &[Link]) -> Facts {
    let name = &link.name;
    let on_top = links.iter().any(|upper| upper.vlan.is_some() && upper.parent == Some(link.index));
    let master = links.iter().find(|master| Some(master.index) == link.master);
    Facts {
        name: name.clone(),
        driver: ethtool::driver(name).unwrap_or_else(|| link.kind.clone()),
        mtu: link.mtu,
        ethernet: link.ethernet,
        cpus: thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32),
        queues: ethtool::queues(name),
        ring: ethtool::ring(name),
        lro: ethtool::lro(name),
        gro_hw: ethtool::feature(name, "rx-gro-hw"),
        strips_vlan: on_top.then(|| ethtool::strips_vlan(name)).flatten(),
        bond: master
            .filter(|master| matches!(master.kind.as_str(), "bond" | "team"))
            .map(|master| master.name.clone()),
    }
}
