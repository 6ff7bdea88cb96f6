//! Reads the network interfaces of this thread's namespace over rtnetlink.
//!
//! Not from `/sys/class/net`: that shows the namespace in which sysfs was mounted, which is another one for a thread
//! or a service that entered a namespace. One dump answers every question that the attach has: index, MTU, bond,
//! VLAN, and which XDP programs are there.

use std::io;

use super::{attributes, consistent, put, text, u16_at, u32_at};

/// One network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    pub(crate) loopback: bool,
    /// Its packets begin with an Ethernet header. Those of a tunnel (WireGuard, tun, GRE) begin with their IP header.
    pub(crate) ethernet: bool,
    /// Link kind: `vlan`, `bond`, `veth`; empty for hardware.
    pub(crate) kind: String,
    /// 802.1Q id of a VLAN interface.
    pub(crate) vlan: Option<u16>,
    /// What a stacked interface stands on; of another namespace if `parent_elsewhere`.
    pub(crate) parent: Option<u32>,
    pub(crate) parent_elsewhere: bool,
    /// The bond or bridge that it belongs to.
    pub(crate) master: Option<u32>,
    /// Ids of the XDP programs on it, native ones first.
    pub(crate) programs: Vec<u32>,
}

/// Every interface of this thread's network namespace.
///
/// # Errors
/// The kernel refused the dump.
pub(crate) fn links() -> io::Result<Vec<Link>> {
    let mut body = vec![0; IFINFO];
    put(&mut body, EXT_MASK, &SKIP_STATS.to_ne_bytes());
    let messages = consistent(GET_LINK, &body)?;
    Ok(messages.iter().filter(|(kind, _)| *kind == NEW_LINK).map(|(_, body)| parse(body)).collect())
}

// === the wire: linux/rtnetlink.h, linux/if_link.h ===

const IFINFO: usize = 16;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const IFNAME: u16 = 3;
const MTU: u16 = 4;
const LINK: u16 = 5;
const MASTER: u16 = 10;
const LINKINFO: u16 = 18;
const EXT_MASK: u16 = 29;
const LINK_NETNSID: u16 = 37;
const XDP: u16 = 43;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VLAN_ID: u16 = 1;
const XDP_PROG_ID: u16 = 4;
const XDP_DRV_PROG_ID: u16 = 5;
const XDP_SKB_PROG_ID: u16 = 6;
const XDP_HW_PROG_ID: u16 = 7;
/// Statistics are most of a dump and nobody here reads them.
const SKIP_STATS: u32 = 1 << 3;
const IFF_LOOPBACK: u32 = 8;
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;

/// One `RTM_NEWLINK` without its netlink header.
fn parse(message: &[u8]) -> Link {
    let mut link = Link {
        index: u32_at(message, 4),
        loopback: u32_at(message, 8) & IFF_LOOPBACK != 0,
        ethernet: matches!(u16_at(message, 2), ARPHRD_ETHER | ARPHRD_LOOPBACK),
        ..Link::default()
    };
    for (kind, value) in attributes(message.get(IFINFO..).unwrap_or_default()) {
        match kind {
            IFNAME => link.name = text(value),
            MTU => link.mtu = u32_at(value, 0),
            LINK => link.parent = Some(u32_at(value, 0)),
            LINK_NETNSID => link.parent_elsewhere = true,
            MASTER => link.master = Some(u32_at(value, 0)),
            LINKINFO => parse_info(&mut link, value),
            XDP => {
                for (kind, value) in attributes(value) {
                    let id = u32_at(value, 0);
                    let names_program =
                        matches!(kind, XDP_PROG_ID | XDP_DRV_PROG_ID | XDP_SKB_PROG_ID | XDP_HW_PROG_ID);
                    if names_program && id != 0 && !link.programs.contains(&id) {
                        link.programs.push(id);
                    }
                }
            }
            _ => {}
        }
    }
    link
}

fn parse_info(link: &mut Link, info: &[u8]) {
    let mut data = None;
    for (kind, value) in attributes(info) {
        match kind {
            INFO_KIND => link.kind = text(value),
            INFO_DATA => data = Some(value),
            _ => {}
        }
    }
    if link.kind == "vlan" {
        link.vlan = data
            .and_then(|data| attributes(data).find(|(kind, _)| *kind == VLAN_ID))
            .map(|(_, value)| u16_at(value, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::{links, parse};

    #[test]
    fn every_namespace_has_its_loopback() {
        let links = links().unwrap();
        let loopback = links.iter().find(|link| link.name == "lo").unwrap();
        assert!(loopback.loopback && loopback.ethernet && loopback.index == 1 && loopback.mtu > 0);
        assert!(loopback.kind.is_empty() && loopback.vlan.is_none() && loopback.programs.is_empty());
    }

    #[test]
    fn cut_messages_give_what_is_there() {
        assert_eq!(parse(&[]), super::Link::default());
        assert_eq!(parse(&[0; 19]), super::Link::default());
        // An attribute that claims more than there is ends the list.
        let mut message = vec![0_u8; 16];
        message.extend_from_slice(&[200, 0, 3, 0, b'x']);
        assert_eq!(parse(&message).name, "");
    }
}
