//! Pure: from the name in a listener to the device that carries the program.
//!
//! XDP sits below VLANs, so a VLAN interface means its parent and a tag; a bond carries the program for its members.
//! A name that cannot be guarded exactly is refused with the cure, because a near miss would be a hole.

use super::netlink::Link;
use crate::base::Refusal;

/// Where a listener's packets can be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The name that the listener uses.
    pub(crate) interface: String,
    /// The device that carries the program.
    pub(crate) device: String,
    pub(crate) ifindex: u32,
    /// 0: untagged, or any tags.
    pub(crate) vlan: u16,
    pub(crate) mtu: u32,
    pub(crate) loopback: bool,
    /// Its packets begin with an Ethernet header.
    pub(crate) ethernet: bool,
    /// Devices whose hardware sees the frames: the members of a bond, else the device.
    pub(crate) hardware: Vec<String>,
    /// XDP programs that are on the device now.
    pub(crate) programs: Vec<u32>,
}

/// Looks up `interface` among `links`. `None`: there is no such interface now.
///
/// # Errors
/// It is there, but its packets cannot be told apart at the device below it.
pub(crate) fn resolve(interface: &str, links: &[Link]) -> Result<Option<Target>, Refusal> {
    let Some(named) = links.iter().find(|link| link.name == interface) else {
        return Ok(None);
    };
    if let Some(bond) = master_of(named, links).filter(|master| aggregates(master)) {
        return Err(Refusal::new(
            "interface_in_bond",
            format_args!("{interface} is a member of {}, and packets belong to that", bond.name),
        )
        .field("interface", interface)
        .remedy(format_args!("name the interface {}", bond.name)));
    }
    let device = match named.vlan {
        None => named,
        Some(_) => below(named, links)?,
    };
    let members: Vec<String> = links
        .iter()
        .filter(|link| link.master == Some(device.index) && aggregates(device))
        .map(|link| link.name.clone())
        .collect();
    Ok(Some(Target {
        interface: interface.to_owned(),
        device: device.name.clone(),
        ifindex: device.index,
        vlan: named.vlan.unwrap_or(0),
        mtu: device.mtu,
        loopback: device.loopback,
        ethernet: device.ethernet,
        hardware: if members.is_empty() { vec![device.name.clone()] } else { members },
        programs: device.programs.clone(),
    }))
}

/// The device that a VLAN interface stands on.
fn below<'a>(vlan: &Link, links: &'a [Link]) -> Result<&'a Link, Refusal> {
    let parent = links
        .iter()
        .find(|link| Some(link.index) == vlan.parent)
        .filter(|_| !vlan.parent_elsewhere)
        .ok_or_else(|| {
            Refusal::new(
                "vlan_parent_elsewhere",
                format_args!(
                    "the device below the VLAN interface {} is not in this network namespace",
                    vlan.name
                ),
            )
            .field("interface", &vlan.name)
            .remedy("run the gateway in the namespace of the parent device, or set filter = \"auto\"")
        })?;
    if parent.vlan.is_some() {
        return Err(Refusal::new(
            "vlan_stacked",
            format_args!("{} is a VLAN on top of the VLAN interface {}", vlan.name, parent.name),
        )
        .field("interface", &vlan.name)
        .limit("one tag per listener")
        .remedy("use an interface with a single tag, or set filter = \"auto\""));
    }
    Ok(parent)
}

fn master_of<'a>(link: &Link, links: &'a [Link]) -> Option<&'a Link> {
    links.iter().find(|master| Some(master.index) == link.master)
}

/// A bridge has ports too, but a port of a bridge is an interface of its own to XDP; members of these are not.
fn aggregates(master: &Link) -> bool {
    matches!(master.kind.as_str(), "bond" | "team")
}

#[cfg(test)]
mod tests {
    use super::{Link, resolve};

    fn link(index: u32, name: &str) -> Link {
        Link { index, name: name.to_owned(), mtu: 1500, ..Link::default() }
    }

    fn host() -> Vec<Link> {
        let kind = |link: Link, kind: &str| Link { kind: kind.to_owned(), ..link };
        let on =
            |link: Link, parent, vlan| Link { parent: Some(parent), vlan: Some(vlan), ..kind(link, "vlan") };
        vec![
            Link { loopback: true, ..link(1, "lo") },
            link(2, "eth0"),
            Link { master: Some(9), ..link(3, "eth1") },
            Link { master: Some(9), ..link(4, "eth2") },
            Link { master: Some(10), ..link(5, "eth3") },
            on(link(6, "eth0.7"), 2, 7),
            on(link(7, "eth0.7.8"), 6, 8),
            on(link(8, "bond0.9"), 9, 9),
            kind(link(9, "bond0"), "bond"),
            kind(link(10, "br0"), "bridge"),
            Link { parent_elsewhere: true, ..on(link(11, "far.5"), 2, 5) },
        ]
    }

    #[test]
    fn names_lead_to_the_device_below_and_its_tag() {
        for (name, ifindex, vlan, hardware) in [
            ("eth0", 2, 0, &["eth0"][..]),
            ("eth0.7", 2, 7, &["eth0"]),
            ("bond0", 9, 0, &["eth1", "eth2"]),
            ("bond0.9", 9, 9, &["eth1", "eth2"]),
            ("eth3", 5, 0, &["eth3"]),
            ("lo", 1, 0, &["lo"]),
        ] {
            let target = resolve(name, &host()).unwrap().unwrap();
            assert_eq!((target.ifindex, target.vlan), (ifindex, vlan), "{name}");
            assert_eq!(target.hardware, hardware, "{name}");
        }
        assert_eq!(resolve("eth9", &host()), Ok(None));
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused_by_name() {
        for (name, code) in
            [("eth1", "interface_in_bond"), ("eth0.7.8", "vlan_stacked"), ("far.5", "vlan_parent_elsewhere")]
        {
            let refusal = resolve(name, &host()).unwrap_err();
            assert_eq!((refusal.code.as_str(), refusal.value.as_deref()), (code, Some(name)));
            assert!(refusal.remedy.is_some());
        }
    }
}
