//! Pure: what is known of network drivers and native XDP, and what it means for one interface.
//!
//! From the drivers' sources and ebpf-docs; docs/install.md has the same table, and a test compares the names.

use super::Check;

/// One driver.
pub(super) struct Driver {
    pub(super) name: &'static str,
    /// Whether it has native XDP at all.
    pub(super) native: bool,
    /// Largest MTU with one buffer per packet.
    pub(super) single: u32,
    /// Since which kernel it hands over packets in several buffers.
    pub(super) frags: Option<(u32, u32)>,
    pub(super) queues: Queues,
    /// It refuses native XDP while LRO is on.
    pub(super) lro: bool,
    /// What else to know.
    pub(super) cure: &'static str,
}

/// What native XDP takes of a driver's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queues {
    Any,
    /// At most half of the maximum may be in use.
    Half,
    /// One more per CPU, else they are shared under a lock.
    SparePerCpu,
}

const fn driver(name: &'static str, single: u32, frags: Option<(u32, u32)>, queues: Queues) -> Driver {
    Driver { name, native: true, single, frags, queues, lro: false, cure: "" }
}

const fn none(name: &'static str) -> Driver {
    Driver { name, native: false, single: u32::MAX, frags: None, queues: Queues::Any, lro: false, cure: "" }
}

/// Every driver that something is known of.
pub(super) const DRIVERS: [Driver; 27] = [
    Driver {
        lro: true,
        cure: "the hypervisor must let the guest switch offloads off (QEMU: guest_tso4=off,guest_tso6=off,\
               guest_ecn=off,guest_ufo=off), and should offer twice as many queues as CPUs",
        ..driver("virtio_net", 3506, Some((6, 3)), Queues::SparePerCpu)
    },
    Driver {
        lro: true,
        cure: "attaching restarts the queues: the link is gone for a moment",
        ..driver("mlx5_core", 3498, Some((5, 19)), Queues::Any)
    },
    Driver {
        cure: "SR-IOV and DCB must be off; more than 64 CPUs share queues",
        ..driver("ixgbe", 3050, None, Queues::Any)
    },
    driver("ixgbevf", 3050, None, Queues::Any),
    Driver {
        cure: "attaching restarts the queues: the link is gone for a moment",
        ..driver("i40e", 3046, Some((6, 4)), Queues::Any)
    },
    driver("ice", 3046, Some((6, 3)), Queues::Any),
    driver("igb", 2048, None, Queues::Any),
    driver("igc", 2048, None, Queues::Any),
    driver("ena", 3498, None, Queues::Half),
    driver("gve", 2032, None, Queues::Half),
    driver("mana", 3506, None, Queues::Any),
    Driver { lro: true, ..driver("hv_netvsc", 3506, None, Queues::Any) },
    driver("bnxt_en", 3500, Some((5, 19)), Queues::Any),
    driver("vmxnet3", 3506, None, Queues::Any),
    driver("nfp", 3800, None, Queues::Any),
    driver("qede", 3498, None, Queues::Any),
    driver("veth", 3520, Some((5, 18)), Queues::Any),
    driver("tun", 1500, None, Queues::Any),
    Driver {
        cure: "native where every member has it (Linux 5.15), in the modes balance-rr, active-backup, balance-xor \
               and 802.3ad, not with xmit_hash_policy vlan+srcmac",
        ..driver("bonding", u32::MAX, None, Queues::Any)
    },
    none("bridge"),
    none("vxlan"),
    none("macvlan"),
    none("wireguard"),
    none("e1000e"),
    none("r8169"),
    none("tg3"),
    none("team"),
];

/// The name, as far as it is known.
pub(super) fn known(name: &str) -> Option<&'static Driver> {
    DRIVERS.iter().find(|driver| driver.name == name)
}

/// Largest MTU with one buffer per packet; of an unknown driver the usual one.
pub(crate) fn single_buffer_mtu(name: &str) -> u32 {
    known(name).filter(|driver| driver.native).map_or(1500, |driver| driver.single)
}

/// An interface, as the kernel describes it. What a driver does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) driver: String,
    pub(super) mtu: u32,
    pub(super) ethernet: bool,
    pub(super) cpus: u32,
    /// Combined and receive queues: in use, and at most.
    pub(super) queues: Option<(u32, u32)>,
    /// Entries of a receive ring: in use, and at most.
    pub(super) ring: Option<(u32, u32)>,
    pub(super) lro: Option<bool>,
    pub(super) gro_hw: Option<bool>,
    /// Whether tags are taken off; asked where VLANs stand on the interface.
    pub(super) strips_vlan: Option<bool>,
    /// The bond that it belongs to.
    pub(super) bond: Option<String>,
}

/// What is to be said of an interface on this kernel.
pub(super) fn judge(facts: &Facts, kernel: (u32, u32)) -> Vec<Check> {
    let Facts { name, mtu, .. } = facts;
    let named = |check: &str| format!("{check} {name}");
    if let Some(bond) = &facts.bond {
        let cure = format!("name {bond} in listeners: packets belong to the bond");
        return vec![Check::should(named("bond"), false, format!("{name}: member of {bond}"), cure)];
    }
    let known = known(&facts.driver);
    let mut checks = vec![tier(facts, known, kernel)];
    let Some(driver) = known.filter(|driver| driver.native && facts.ethernet) else { return checks };
    let frags = driver.frags.is_some_and(|since| kernel >= since);
    let limit = driver.single;
    let cure = match driver.frags {
        Some((major, minor)) => {
            format!("use Linux {major}.{minor} or newer, or `ip link set dev {name} mtu {limit}`")
        }
        None => format!("`ip link set dev {name} mtu {limit}`; TCX takes the place of native XDP meanwhile"),
    };
    let detail = format!("{name}: MTU {mtu}, driver {}", driver.name);
    checks.push(Check::should(named("mtu"), frags || *mtu <= limit, detail, cure));
    checks.extend(queues(facts, driver.queues));
    if let Some((now, most)) = facts.ring.filter(|(now, most)| *now < 1024 && most > now) {
        let cure =
            format!("`ethtool -G {name} rx {}`: a small ring loses packets in a burst", most.min(4096));
        checks.push(Check::should(named("ring"), false, format!("{name}: {now} of {most} entries"), cure));
    }
    let off = |feature: &str, word: &str, on: Option<bool>, refused: bool| {
        on.filter(|on| *on).map(|_| {
            let cure = format!("`ethtool -K {name} {word} off`");
            let (detail, check) = (format!("{name}: {feature} is on"), named(word));
            if refused {
                Check::should(
                    check,
                    false,
                    detail,
                    format!("{cure}, else native XDP is refused and TCX takes its place"),
                )
            } else {
                Check::should(
                    check,
                    false,
                    detail,
                    format!("{cure}: packets are judged before they are merged"),
                )
            }
        })
    };
    checks.extend(off("large receive offload", "lro", facts.lro, driver.lro));
    checks.extend(off("hardware GRO", "rx-gro-hw", facts.gro_hw, driver.lro));
    if let Some(stripped) = facts.strips_vlan {
        checks.push(Check::must(
            named("vlan"),
            !stripped,
            format!("{name}: VLAN tags {} the filter", if stripped { "do not reach" } else { "reach" }),
            format!("for listeners on its VLANs: `ethtool -K {name} rxvlan off`"),
        ));
    }
    checks
}

/// Which tier the interface will get.
fn tier(facts: &Facts, known: Option<&Driver>, kernel: (u32, u32)) -> Check {
    let Facts { name, driver, .. } = facts;
    let check = format!("driver {name}");
    let without = |why: &str| {
        let (detail, cure) =
            (format!("{name}: {why}"), "use Linux 6.6 or newer (TCX), or set filter = \"auto\"");
        if kernel >= (6, 6) {
            let detail = format!("{detail}; TCX at ingress takes its place");
            return Check::should(
                &check,
                false,
                detail,
                "nothing to do: it is filtered, later than in a driver",
            );
        }
        Check::must(&check, false, detail, cure)
    };
    match known {
        _ if !facts.ethernet => without("packets have no Ethernet header, which native XDP needs"),
        Some(known) if !known.native => without(&format!("{driver} has no native XDP")),
        Some(known) if known.cure.is_empty() => {
            Check::must(&check, true, format!("{name}: {driver}, native XDP"), "")
        }
        Some(known) => Check::must(&check, true, format!("{name}: {driver}, native XDP; {}", known.cure), ""),
        None => {
            let detail = format!("{name}: driver {driver} is not in the list; native XDP is tried, then TCX");
            Check::must(&check, true, detail, "")
        }
    }
}

fn queues(facts: &Facts, rule: Queues) -> Option<Check> {
    let (Facts { name, cpus, .. }, (now, most)) = (facts, facts.queues?);
    let check = format!("queues {name}");
    let detail = format!("{name}: {now} of {most} queues, {cpus} CPUs");
    let half = (most / 2).max(1);
    Some(match rule {
        Queues::Half if now > half => {
            let cure = format!(
                "`ethtool -L {name} combined {half}`, else native XDP is refused and TCX takes its place"
            );
            Check::should(check, false, detail, cure)
        }
        Queues::SparePerCpu if now + cpus > most => {
            let cure = format!(
                "give the guest {} queues, or nothing: the filter sends no packets, and only those would share a queue \
                 (before Linux 5.13 native XDP is refused)",
                now + cpus
            );
            Check::should(check, false, detail, cure)
        }
        Queues::Any if now < most && now < *cpus => {
            let cure =
                format!("`ethtool -L {name} combined {}` spreads a flood over the CPUs", most.min(*cpus));
            Check::should(check, false, detail, cure)
        }
        Queues::Any | Queues::Half | Queues::SparePerCpu => Check::must(check, true, detail, ""),
    })
}

#[cfg(test)]
mod tests {
    use super::{DRIVERS, Facts, judge, single_buffer_mtu};
    use crate::kernel::doctor::{Check, Level};

    fn facts(driver: &str) -> Facts {
        Facts {
            name: "eth0".to_owned(),
            driver: driver.to_owned(),
            mtu: 1500,
            ethernet: true,
            cpus: 8,
            ..Facts::default()
        }
    }

    fn check(facts: &Facts, kernel: (u32, u32), name: &str) -> Check {
        let checks = judge(facts, kernel);
        checks
            .iter()
            .find(|check| check.check == name)
            .unwrap_or_else(|| panic!("{name}: {checks:?}"))
            .clone()
    }

    #[test]
    fn every_driver_is_in_the_manual() {
        let manual = include_str!("../../../../docs/install.md");
        for driver in &DRIVERS {
            assert!(
                manual.contains(&format!("`{}`", driver.name)),
                "{} is not in docs/install.md",
                driver.name
            );
        }
    }

    #[test]
    fn every_limit_has_its_cure() {
        for (facts, kernel, name, cure) in [
            (Facts { mtu: 9000, ..facts("ena") }, (6, 18), "mtu eth0", "mtu 3498"),
            (Facts { mtu: 9000, ..facts("virtio_net") }, (6, 1), "mtu eth0", "Linux 6.3"),
            (Facts { queues: Some((8, 8)), ..facts("ena") }, (6, 18), "queues eth0", "combined 4"),
            (Facts { queues: Some((8, 8)), ..facts("virtio_net") }, (6, 18), "queues eth0", "16 queues"),
            (Facts { queues: Some((1, 16)), ..facts("ixgbe") }, (6, 18), "queues eth0", "combined 8"),
            (Facts { lro: Some(true), ..facts("mlx5_core") }, (6, 18), "lro eth0", "lro off"),
            (Facts { gro_hw: Some(true), ..facts("bnxt_en") }, (6, 18), "rx-gro-hw eth0", "rx-gro-hw off"),
            (Facts { strips_vlan: Some(true), ..facts("i40e") }, (6, 18), "vlan eth0", "rxvlan off"),
            (Facts { ring: Some((256, 4096)), ..facts("i40e") }, (6, 18), "ring eth0", "rx 4096"),
            (Facts { bond: Some("bond0".to_owned()), ..facts("ice") }, (6, 18), "bond eth0", "bond0"),
            (facts("bridge"), (5, 15), "driver eth0", "6.6"),
            (Facts { ethernet: false, ..facts("tun") }, (6, 1), "driver eth0", "6.6"),
        ] {
            let found = check(&facts, kernel, name);
            assert_ne!(found.level, Level::Ok, "{found:?}");
            assert!(found.cure.as_ref().unwrap().contains(cure), "{found:?}");
        }
    }

    #[test]
    fn what_is_right_is_said_to_be() {
        for (facts, name) in [
            (Facts { mtu: 9000, ..facts("veth") }, "mtu eth0"),
            (Facts { mtu: 3498, ..facts("ena") }, "mtu eth0"),
            (Facts { queues: Some((4, 8)), ..facts("ena") }, "queues eth0"),
            (Facts { strips_vlan: Some(false), ..facts("i40e") }, "vlan eth0"),
            (facts("something_new"), "driver eth0"),
        ] {
            assert_eq!(check(&facts, (6, 18), name).level, Level::Ok);
        }
        assert_eq!(check(&facts("vxlan"), (6, 18), "driver eth0").level, Level::Note);
        assert_eq!((single_buffer_mtu("veth"), single_buffer_mtu("bridge")), (3520, 1500));
    }
}
