//! A packet for a network's endpoint that comes in anywhere but by that network never reaches it: not by another
//! network, not by the public interface, not by an interface without a filter, not out of a tunnel; with the default
//! list and with any other, from whatever source it claims to be.

use std::{net::SocketAddr, time::Duration};

use harness::{
    NetNs, Reach, Segment,
    client::ping,
    frame,
    frame::{DOT1Q, Link, Tcp},
    private::lay_tunnel,
    proof::{Proof, Witness},
    reach,
    topology::{GATE, GHOST_V4, LAN_MAC, NIC, PUBLIC_V4},
    wire::Wire,
};

use super::{Private, add, call, sockets_at};

/// Frames for the endpoint of `red` that a neighbour of another wire makes: the sources it may claim, dressed up.
fn forged(link: &Link, own: [u8; 4], target: SocketAddr, base: u16) -> Vec<(String, Vec<u8>)> {
    let mut rows = Vec::new();
    let mut port = base;
    for (who, source) in [
        ("its own address", own),
        ("a host of the network", [10, 1, 0, 10]),
        ("the ghost of the network", [10, 1, 0, 99]),
        ("the endpoint itself", [10, 1, 0, 1]),
        ("loopback", [127, 0, 0, 1]),
    ] {
        port += 10;
        let from = |offset| SocketAddr::from((source, port + offset));
        rows.push((format!("a SYN from {who}"), frame::syn(link, from(0), target)));
        let ack = Tcp { flags: frame::ACK, acknowledgement: 1, ..Tcp::syn() }.segment(
            from(1),
            target,
            b"GET / HTTP/1.1\r\n",
        );
        rows.push((format!("an ACK with data from {who}"), link.around(from(1).ip(), target.ip(), 6, &ack)));
        let tagged = Link { tags: vec![(DOT1Q, 0)], ..link.clone() };
        rows.push((format!("a tagged SYN from {who}"), frame::syn(&tagged, from(2), target)));
    }
    rows
}

/// The lists that must make no difference: the default, one with everything that could be claimed, one with nobody.
fn with_every_list(private: &Private, mut check: impl FnMut(&str)) {
    check("the default list");
    let cli = |words: &[&str]| private.site.gateway.cli(words).ok();
    cli(&[
        "allow",
        "set",
        "vpc:red",
        "10.1.0.0/24,10.2.0.0/24,198.51.100.0/24,10.7.0.0/24,10.9.0.0/24,127.0.0.0/8,10.66.0.0/24",
    ]);
    check("a list that names them all");
    cli(&["allow", "set", "vpc:red", "10.1.0.10"]);
    check("a list of one host");
}

/// By filtered interfaces: another network's and the public one. XDP drops it, the listener counts it.
#[test]
fn pv_3_a_forged_packet_by_another_filtered_interface_is_dropped_in_the_kernel() {
    let private = Private::attached();
    let witness = Witness::with(&private.site.net, &["pub0", "blue0"]);
    let public = Wire::open(&private.site.net.wire, GATE);
    let blue = private.blue.attacker();
    let mut base = 10_000;
    with_every_list(&private, |list| {
        for port in [80, 443] {
            let target = SocketAddr::from((private.red.vip(), port));
            for (interface, hand, link, own) in [
                ("pub0", &public, Link::default(), GHOST_V4.octets()),
                ("blue0", &blue, private.blue.link(), private.blue.ghost().octets()),
            ] {
                base += 100;
                for (what, frame) in forged(&link, own, target, base) {
                    let case = format!("{what} to {target} by {interface}, {list}");
                    let before = private.site.drops("vpc:red", "wrong_interface");
                    let proof = witness.send_by(interface, hand, &[frame]);
                    assert_eq!(proof, Proof::dropped_in_kernel(), "{case}");
                    let after = private.site.drops("vpc:red", "wrong_interface");
                    assert!(after > before, "{case}: not counted");
                    assert_eq!(sockets_at(&private.site.net.gateway, target), [""; 0], "{case}");
                }
            }
        }
    });
    assert_eq!(reach(&private.red.i, (private.red.vip(), 443)), Reach::Open);
}

/// Also where a public listener takes every address of its interface: the endpoint's is not among them.
#[test]
fn pv_3_a_public_wildcard_listener_does_not_take_the_endpoints_address() {
    let private = Private::bare();
    let net = &private.site.net;
    let cli = |words: &[&str]| private.site.gateway.cli(words).ok();
    private.attach("red", &private.red);
    let add = ["listener", "add", "every", "--exposure", "public", "--interface", "pub0", "--open"];
    cli(&[&add[..], &["--address", "*"]].concat());
    cli(&["allow", "set", "every", "0.0.0.0/0"]);
    let vip = private.red.vip();
    private.route_to(&net.outsider, PUBLIC_V4.into(), &private.red);
    let before = ["wrong_interface", "silent"].map(|reason| private.site.drops("vpc:red", reason));
    for port in [80, 443] {
        assert_eq!(reach(&net.outsider, (vip, port)), Reach::Timeout, "{port}");
    }
    assert!(!ping(&net.outsider, vip.into()), "the endpoint answers a ping from outside");
    let after = ["wrong_interface", "silent"].map(|reason| private.site.drops("vpc:red", reason));
    assert!(after[0] > before[0] && after[1] > before[1], "{before:?}, {after:?}");
    // Each is served where it belongs.
    assert_eq!(reach(&private.red.i, (vip, 443)), Reach::Open);
    assert!(ping(&private.red.i, vip.into()));
    assert_eq!(reach(&net.outsider, (PUBLIC_V4, 443)), Reach::Open);
    assert!(ping(&net.outsider, PUBLIC_V4.into()));
}

/// By an interface that has no filter, and out of a tunnel: the packet gets into the host, and finds no socket, because
/// the endpoint's sockets belong to their interface.
#[test]
fn pv_3_a_packet_by_an_unfiltered_interface_or_a_tunnel_finds_no_socket() {
    let private = Private::attached();
    let service = private.serve("echo", &[]);
    let net = &private.site.net;
    lay_tunnel(net);
    let filtered = |interface| harness::xdp::attached(&net.gateway, interface).is_some();
    assert!(!filtered("lan0") && !filtered("tun0") && !filtered("up0"), "these must have no filter");
    private.route_to(&net.upstream, "10.9.0.1".parse().expect("an address"), &private.red);
    let requests = || service.upstream.requests();
    let lan = Link { destination: LAN_MAC, ..Link::default() };
    let tunnel = tunnel_link(&net.gateway);
    let mut base = 10_000;
    with_every_list(&private, |list| {
        for port in [80, 443] {
            let target = SocketAddr::from((private.red.vip(), port));
            // Stacks that play by the rules, with a route into each.
            for (who, from) in [("the office", &net.office), ("the upstream's host", &net.upstream)] {
                assert_closed(&format!("{target} from {who}, {list}"), from, target);
            }
            private.route_to(&net.office, "10.66.0.1".parse().expect("an address"), &private.red);
            assert_closed(&format!("{target} out of the tunnel, {list}"), &net.office, target);
            net.office.ip(&["route", "del", "10.1.0.0/24"]);
            // And one that does not.
            let by_lan = Wire::open(&net.office, NIC);
            let by_tunnel = Wire::open(&net.office, "tun0");
            for (way, hand, link, own) in
                [("lan0", &by_lan, &lan, [10, 7, 0, 99]), ("tun0", &by_tunnel, &tunnel, [10, 66, 0, 99])]
            {
                base += 100;
                let red = private.red.attacker();
                for (what, frame) in forged(link, own, target, base) {
                    let case = format!("{what} to {target} by {way}, {list}");
                    let eye = Wire::open(&net.gateway, way);
                    hand.send(&frame);
                    let arrived = eye.wait_for(Duration::from_secs(1), |seen| !seen.outgoing);
                    assert!(arrived.is_some(), "{case}: it never got to the gateway, which proves nothing");
                    // No handshake begins: neither back where it came from, nor towards the network's own host.
                    for (where_to, wire) in [("back", hand), ("into the network", &red)] {
                        let answer = wire
                            .wait_for(Duration::from_millis(15), |seen| !seen.outgoing && seen.is_syn_ack());
                        assert_eq!(answer, None, "{case}: a handshake {where_to}");
                    }
                    assert_eq!(sockets_at(&net.gateway, target), [""; 0], "{case}");
                }
            }
        }
    });
    assert_eq!(requests(), 0);
    let answer = call(&private.red.i, (private.red.vip(), 80), "echo", "/seed", &service.token).run();
    answer.expect(200);
}

#[track_caller]
fn assert_closed(case: &str, from: &NetNs, target: SocketAddr) {
    let seen = reach(from, target);
    assert!(matches!(seen, Reach::Refused | Reach::Timeout | Reach::Unreachable), "{case}: {seen:?}");
}

/// From the ghost to the gateway's end of the tunnel.
#[track_caller]
fn tunnel_link(gateway: &NetNs) -> Link {
    let text = gateway.ip(&["-j", "link", "show", "dev", "tun0"]);
    let links: serde_json::Value = serde_json::from_str(&text).expect("ip speaks JSON");
    let mac = links[0]["address"].as_str().expect("a MAC");
    let mut destination = [0; 6];
    for (byte, text) in destination.iter_mut().zip(mac.split(':')) {
        *byte = u8::from_str_radix(text, 16).expect("a MAC");
    }
    Link { destination, ..Link::default() }
}

/// Two networks with the same addresses, hosts and endpoint are two networks: each has its own list, its own services
/// and its own counters, and an edit of one is none of the other's business.
#[test]
fn pv_3_networks_with_overlapping_addresses_are_kept_apart() {
    let private = Private::bare();
    let net = &private.site.net;
    let green = Segment::lay(net, "green0", [10, 1, 0]);
    private.attach("red", &private.red);
    private.attach("green", &green);
    assert!(private.has_address("red0", private.red.vip().into()));
    assert!(private.has_address("green0", green.vip().into()));
    let red = private.serve("redonly", &["--exposure", "vpc:red"]);
    let grn = private.serve("greenonly", &["--exposure", "vpc:green"]);
    let status = |from: &NetNs, service: &str, token: &str| {
        call(from, (private.red.vip(), 80), service, "/seed", token).run().status
    };
    for (from, own, other) in [
        (&private.red.i, ("redonly", &red), ("greenonly", &grn)),
        (&green.i, ("greenonly", &grn), ("redonly", &red)),
    ] {
        assert_eq!(status(from, own.0, &own.1.token), 200, "{}", own.0);
        assert_eq!(status(from, other.0, &other.1.token), 404, "{}", other.0);
    }
    assert_eq!((red.upstream.requests(), grn.upstream.requests()), (1, 1));
    // The same host in each: allowed in one, not in the other.
    private.site.gateway.cli(&["allow", "set", "vpc:red", "10.1.0.20"]).ok();
    let target = (private.red.vip(), 443);
    assert_eq!((reach(&private.red.i, target), reach(&private.red.k, target)), (Reach::Timeout, Reach::Open));
    assert_eq!((reach(&green.i, target), reach(&green.k, target)), (Reach::Open, Reach::Open));
    assert!(private.site.drops("vpc:red", "not_allowed") >= 1);
    assert_eq!(private.site.drops("vpc:green", "not_allowed"), 0);
    // A third with the same addresses at the same interface is one too many.
    let address = green.address();
    private.site.gateway.cli(&add("third", "green0", &address, "i")).refused();
    // One goes silent, the other does not.
    private.site.gateway.cli(&["vpc", "delete", "green"]).ok();
    assert_eq!(reach(&private.red.k, target), Reach::Open);
    assert!(!matches!(reach(&green.k, target), Reach::Open | Reach::Cut | Reach::Refused));
    let witness = Witness::with(net, &["red0", "green0"]);
    let syn = frame::syn(&green.link(), (green.ghost(), 4000).into(), (green.vip(), 443).into());
    witness.assert_dropped_on("the deleted twin", &green, &[syn]);
}
