//! The second tier: devices whose driver has no native XDP, and packets without an Ethernet header.

#![expect(unsafe_code, reason = "a tun device is made by an ioctl")]

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr},
    os::fd::AsRawFd as _,
    time::Duration,
};

use gateway_user::{
    kernel::{Filter, FilterMode, detach},
    observe::filter::{FilterSource as _, Mode},
    snapshot::filter::{FilterListener, ListenAddress},
};
use harness::{
    Net, Reach,
    client::reach_from,
    frame,
    frame::Link,
    netns::NetNs,
    scratch::Scratch,
    topology::{LAN, NIC},
    wait, xdp,
};

use crate::policy::{config, listener, open, pins, publish};

const ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 10);
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 66);

/// A listener at the endpoint's port 443 that admits the guest.
fn guarded(interface: &str) -> Vec<FilterListener> {
    let addresses = vec![ListenAddress::Ip(ENDPOINT.into())];
    vec![FilterListener { addresses, ..listener(1, interface, &["10.99.0.10/32"]) }]
}

/// A bridge in the gateway's namespace with the office behind it.
fn bridge(net: &Net) {
    net.gateway.ip_batch(&format!(
        "link add over0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
         link set {LAN} master over0\naddr add 10.99.0.1/24 dev over0\nlink set over0 up\n"
    ));
    guests(&net.office, NIC);
}

/// A VXLAN between gateway and office, over the LAN.
fn vxlan(net: &Net) {
    let end = |local: &str, remote: &str, device: &str| {
        format!(
            "link add over0 type vxlan id 9 local {local} remote {remote} dstport 4789 dev {device}\nlink set over0 up\n"
        )
    };
    net.gateway.ip_batch(&end("10.7.0.1", "10.7.0.10", LAN));
    net.office.ip_batch(&end("10.7.0.10", "10.7.0.1", NIC));
    net.gateway.ip(&["addr", "add", "10.99.0.1/24", "dev", "over0"]);
    guests(&net.office, "over0");
}

fn guests(office: &NetNs, device: &str) {
    office.ip_batch(&format!("addr add 10.99.0.10/24 dev {device}\naddr add 10.99.0.66/24 dev {device}\n"));
}

fn reached(net: &Net, source: Ipv4Addr) -> Reach {
    reach_from(&net.office, source.into(), (ENDPOINT, 443))
}

/// A passed SYN is answered by a RST: nothing listens there in these tests.
#[track_caller]
fn assert_judged(net: &Net) {
    assert_eq!(reached(net, GUEST), Reach::Refused);
    assert_eq!(reached(net, STRANGER), Reach::Timeout);
}

fn drops(filter: &Filter) -> u64 {
    let report = filter.report();
    let reasons = report.listeners.iter().flat_map(|listener| &listener.reasons);
    reasons.filter(|counted| counted.reason == "not_allowed").map(|counted| counted.count.packets).sum()
}

/// The whole life of the tier on a device that `plug` makes.
fn life(plug: impl Fn(&Net) + Sync) {
    let (net, scratch) = (Net::new(), Scratch::new());
    plug(&net);
    net.gateway.within(|| {
        wait::until("the way to the endpoint", || (reached(&net, STRANGER) == Reach::Refused).then_some(()));
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, guarded("over0"));
        let status = filter.status().interfaces.first().unwrap().clone();
        assert_eq!(status.mode, Mode::Tcx);
        assert!(status.detail.as_ref().unwrap().contains("no native XDP"), "{status:?}");
        assert_eq!(filter.status().warnings, [""; 0]);
        assert_eq!(xdp::attached(&net.gateway, "over0"), None, "generic XDP is never taken");
        assert_judged(&net);
        assert!(drops(&filter) > 0);
        assert!(!filter.refresh(), "nothing changed");
        // An edit, a stop, and the next daemon, which replaces the program in place.
        publish(&mut filter, 2, Vec::new());
        assert_eq!(reached(&net, STRANGER), Reach::Refused, "off where nobody needs it");
        publish(&mut filter, 3, guarded("over0"));
        drop(filter);
        assert_judged(&net);
        let mut filter = open(&scratch, "a");
        assert_judged(&net);
        publish(&mut filter, 3, guarded("over0"));
        assert_eq!(filter.status().interfaces.first().unwrap().mode, Mode::Tcx);
        assert_judged(&net);
        // Taken off by force: it is noticed and put back.
        let pin = std::fs::read_dir(pins(&scratch, "a").join("links")).unwrap().next().unwrap().unwrap();
        net.gateway.check("bpftool", &["link", "detach", "pinned", &pin.path().to_string_lossy()]);
        assert_eq!(reached(&net, STRANGER), Reach::Refused, "the theft worked");
        assert!(filter.refresh());
        assert_eq!(filter.status().interfaces.first().unwrap().mode, Mode::Tcx);
        assert_judged(&net);
        assert!(!filter.refresh(), "settled");
        drop(filter);
        assert_eq!(detach(&pins(&scratch, "a"), None).unwrap().devices, ["over0"]);
        assert_eq!(reached(&net, STRANGER), Reach::Refused);
    });
}

#[test]
fn a_bridge_is_guarded_at_ingress() {
    life(bridge);
}

#[test]
fn a_vxlan_is_guarded_at_ingress() {
    life(vxlan);
}

/// Programs of others stay, and run behind ours; one that comes before ours is named.
#[test]
fn other_programs_at_ingress_stay() {
    let (net, scratch) = (Net::new(), Scratch::new());
    bridge(&net);
    net.gateway.within(|| {
        let mut theirs = open(&scratch, "theirs");
        publish(&mut theirs, 1, guarded("over0"));
        let mut ours = Filter::open(config(&scratch, "ours", FilterMode::Required)).unwrap();
        publish(&mut ours, 1, guarded("over0"));
        assert_eq!(ours.status().warnings, [""; 0], "first in the order");
        assert!(theirs.status().warnings[0].contains("runs before the filter"), "{:?}", theirs.status());
        let before = drops(&theirs);
        assert_judged(&net);
        assert!(drops(&ours) > 0);
        assert_eq!(drops(&theirs), before, "ours dropped it first");
        publish(&mut ours, 2, Vec::new());
        assert_eq!(theirs.status().warnings, [""; 0]);
        assert_judged(&net);
        assert!(drops(&theirs) > before);
    });
}

/// Packets of a tun device begin with their IP header, as those of WireGuard do.
#[test]
fn packets_without_an_ethernet_header_are_judged() {
    let (net, scratch) = (Net::new(), Scratch::new());
    net.gateway.within(|| {
        let mut tun = tun("over0");
        net.gateway.ip_batch("addr add 10.99.0.1/24 dev over0\nlink set over0 up\n");
        let answer = |tun: &mut File, source: Ipv4Addr| {
            let syn = frame::syn(&Link::default(), (IpAddr::V4(source), 4000).into(), (ENDPOINT, 443).into());
            // The frame's Ethernet header has no place here.
            tun.write_all(&syn[14..]).unwrap();
            let mut packet = [0; 2048];
            wait::whether(Duration::from_millis(500), || {
                // Byte 9: TCP; the kernel's own router solicitations pass here too.
                tun.read(&mut packet)
                    .is_ok_and(|length| length >= 40 && packet[0] >> 4 == 4 && packet[9] == 6)
            })
        };
        assert!(answer(&mut tun, STRANGER), "without a filter it is answered");
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, guarded("over0"));
        let status = filter.status().interfaces.first().unwrap().clone();
        assert_eq!(status.mode, Mode::Tcx);
        assert!(status.detail.as_ref().unwrap().contains("no Ethernet header"), "{status:?}");
        assert!(answer(&mut tun, GUEST));
        assert!(!answer(&mut tun, STRANGER));
        assert_eq!(drops(&filter), 1);
    });
}

/// A tun device; reads do not wait.
fn tun(name: &str) -> File {
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    const IFF_TUN_NO_PI: u16 = 0x1001;
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    // `struct ifreq`: the name, then the flags.
    let mut request = [0_u8; 40];
    request.get_mut(..name.len()).unwrap().copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&IFF_TUN_NO_PI.to_ne_bytes());
    // SAFETY: the request is a whole `struct ifreq`, which the kernel may write to.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    file
}
