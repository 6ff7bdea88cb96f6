//! A listener belongs to one interface; everything else of the host is none of the filter's business.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use harness::{
    NetNs, Reach, client, frame,
    frame::Link,
    proof::{Side, Witness},
    reach, reach_from,
    topology::{CLIENT_V4, GHOST_V4, LAN_MAC, LAN_V4, PUBLIC_V4, PUBLIC_V6},
    wait, xdp,
};

use super::site::{HTTPS_V4, HTTPS_V6, Site};

/// The office may speak to the host, but the public endpoint is not to be had through the office's interface: neither
/// while that interface has no filter (the socket is bound to its own), nor when it has one (XDP drops it).
#[test]
fn the_endpoint_is_not_reachable_through_another_interface() {
    let site = Site::open();
    site.allow("0.0.0.0/0,::/0");
    let everywhere = |expected: &[Reach]| {
        for target in [HTTPS_V4, HTTPS_V6, (PUBLIC_V4, 80).into(), (PUBLIC_V6, 80).into()] {
            let seen = reach(&site.net.office, target);
            assert!(expected.contains(&seen), "{target} from the office: {seen:?}");
            assert_eq!(reach(&site.net.client, target), Reach::Open, "{target}");
        }
    };
    assert_eq!(xdp::attached(&site.net.gateway, "lan0"), None);
    everywhere(&[Reach::Refused, Reach::Timeout]);

    let words = ["listener", "add", "inside", "--exposure", "public", "--interface", "lan0", "--address"];
    site.gateway.cli(&[&words[..], &["10.7.0.1", "--open"]].concat()).ok();
    site.gateway.cli(&["allow", "add", "inside", "0.0.0.0/0"]).ok();
    assert!(xdp::attached(&site.net.gateway, "lan0").is_some());
    everywhere(&[Reach::Timeout]);
    assert_eq!(reach(&site.net.office, (LAN_V4, 443)), Reach::Open);
    // Nor the inside one from outside.
    assert_ne!(reach(&site.net.client, (LAN_V4, 443)), Reach::Open);

    let witness = Witness::new(&site.net);
    let link = Link { destination: LAN_MAC, ..Link::default() };
    let syn = frame::syn(&link, (GHOST_V4, 4000).into(), HTTPS_V4);
    witness.assert_dropped_in_kernel("by the other interface", Side::Lan, &[syn]);
    assert!(site.drops("public", "wrong_interface") >= 1);
}

/// SSH-like traffic, UDP and other addresses of a filtered interface live on while all of the listener is denied.
#[test]
fn other_ports_and_addresses_are_untouched() {
    let site = Site::open();
    site.net.gateway_address("pub0", "198.51.100.2/24");
    let greet = |address: SocketAddr| {
        let listener = site.net.gateway.within(|| TcpListener::bind(address).expect("a service of the host"));
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.write_all(b"SSH-2.0-test\r\n");
            }
        });
    };
    for address in ["0.0.0.0:22", "[::]:2222", "198.51.100.2:443", "198.51.100.2:80", "198.51.100.1:8443"] {
        greet(address.parse().expect("an address"));
    }
    let talk = |from: &NetNs, target: &str| {
        let target: SocketAddr = target.parse().expect("an address");
        let stream = from.within(|| TcpStream::connect_timeout(&target, Duration::from_secs(2)));
        let mut stream = stream.unwrap_or_else(|error| panic!("{target}: {error}"));
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap_or_else(|error| panic!("{target}: {error}"));
        assert_eq!(text, "SSH-2.0-test\r\n");
    };
    let targets = [
        "198.51.100.1:22",
        "[2001:db8:100::1]:2222",
        "198.51.100.2:443",
        "198.51.100.2:80",
        "198.51.100.1:8443",
    ];
    for target in targets {
        talk(&site.net.client, target);
        talk(&site.net.outsider, target);
    }
    // UDP to the listener's own port number.
    let server = site.net.gateway.within(|| UdpSocket::bind((PUBLIC_V4, 443)).expect("udp"));
    let probe = site.net.outsider.within(|| UdpSocket::bind("0.0.0.0:0").expect("udp"));
    server.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    probe.send_to(b"hello", (PUBLIC_V4, 443)).expect("sent");
    assert_eq!(server.recv_from(&mut [0; 16]).expect("udp passes").0, 5);
    assert_eq!(reach(&site.net.outsider, HTTPS_V4), Reach::Timeout);
    // And the host's own connections outwards, whose answers come in through the filter.
    let upstream = harness::Upstream::start(&site.net.client, CLIENT_V4.into(), 443, "out");
    let answer = harness::curl(&site.net.gateway, &format!("http://{}/seed", upstream.instance())).run();
    assert_eq!(answer.expect(200).body, "True");
    assert!(client::ping(&site.net.outsider, PUBLIC_V4.into()));
}

/// One, five and sixty-four listeners on port 443, each on an address of its own with a list of its own.
#[test]
fn many_listeners_share_a_port_and_keep_their_lists_apart() {
    let site = Site::bare();
    let address = |number: u8| IpAddr::from([198, 51, 100, 100 + number]);
    let source = |number: u8| IpAddr::from([198, 51, 100, 180 + number % 64]);
    for number in 0..64 {
        site.net.gateway_address("pub0", &format!("{}/24", address(number)));
        site.net.client_address(&format!("{}/24", source(number)));
    }
    let add = |number: u8| {
        let (name, address) = (format!("many-{number}"), address(number).to_string());
        let words = ["listener", "add", &name, "--exposure", "public", "--interface", "pub0", "--address"];
        site.gateway.cli(&[&words[..], &[address.as_str(), "--no-http", "--open"]].concat()).ok();
        site.gateway.cli(&["allow", "add", &name, &source(number).to_string()]).ok();
    };
    let check = |number: u8, count: u8| {
        let target = SocketAddr::new(address(number), 443);
        assert_eq!(reach_from(&site.net.client, source(number), target), Reach::Open, "{number} of {count}");
        if count > 1 {
            let other = source((number + 1) % count);
            assert_eq!(reach_from(&site.net.client, other, target), Reach::Timeout, "{number} of {count}");
        }
        assert_eq!(reach(&site.net.outsider, target), Reach::Timeout, "{number} of {count}");
    };
    let mut have = 0;
    for count in [1, 5, 64] {
        for number in have..count {
            add(number);
        }
        have = count;
        for number in [0, 1, 4, 31, 63].into_iter().filter(|number| *number < count) {
            check(number, count);
        }
    }
    let listed = site.gateway.cli(&["listener", "list"]).ok();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(64));
    // Two listeners cannot have the same endpoint.
    let words = ["listener", "add", "twice", "--exposure", "public", "--interface", "pub0", "--address"];
    let error = site.gateway.cli(&[&words[..], &["198.51.100.101"]].concat()).refused();
    assert!(error["value"].to_string().contains("198.51.100.101"), "{error}");
}

/// `*` is every address of the interface, and an exact listener is preferred to it.
#[test]
fn a_wildcard_covers_its_interface_and_yields_to_an_exact_address() {
    let site = Site::bare();
    site.net.gateway_address("pub0", "198.51.100.2/24");
    let add = |name: &str, address: &str, allow: &str| {
        let words = ["listener", "add", name, "--exposure", "public", "--interface", "pub0", "--open"];
        site.gateway.cli(&[&words[..], &["--address", address]].concat()).ok();
        site.gateway.cli(&["allow", "add", name, allow]).ok();
    };
    add("exact", "198.51.100.2", "198.51.100.66");
    add("every", "*", "198.51.100.10,2001:db8:100::10");
    for (target, client, outsider) in [
        ("198.51.100.1:443", Reach::Open, Reach::Timeout),
        ("[2001:db8:100::1]:443", Reach::Open, Reach::Timeout),
        ("198.51.100.2:443", Reach::Timeout, Reach::Open),
    ] {
        let target: SocketAddr = target.parse().expect("an address");
        assert_eq!(reach(&site.net.client, target), client, "{target}");
        assert_eq!(reach(&site.net.outsider, target), outsider, "{target}");
    }
    // The upstream's cable is another interface: the wildcard is not there.
    assert_ne!(reach(&site.net.upstream, (Ipv4Addr::new(10, 9, 0, 1), 443)), Reach::Open);
}

/// An address that comes later, and an interface that goes and comes back: the daemon follows without being told.
#[test]
fn a_listener_follows_its_address_and_its_interface() {
    let site = Site::bare();
    let state = |name: &str| {
        let status = site.gateway.cli(&["status"]).ok();
        let all = status["listeners"].as_array().cloned().unwrap_or_default();
        all.iter()
            .find(|one| one["listener"] == name)
            .map(|one| one["state"].as_str().unwrap_or_default().to_owned())
    };
    let words = ["listener", "add", "later", "--exposure", "public", "--interface", "pub0", "--open"];
    site.gateway.cli(&[&words[..], &["--address", "198.51.100.7"]].concat()).refused();
    site.gateway.cli(&[&words[..], &["--address", "198.51.100.7", "--wait-address"]].concat()).ok();
    site.gateway.cli(&["allow", "add", "later", "198.51.100.10"]).ok();
    assert_eq!(state("later").as_deref(), Some("waiting"));
    site.net.gateway_address("pub0", "198.51.100.7/24");
    let target = (Ipv4Addr::new(198, 51, 100, 7), 443);
    wait::until("the late address", || (reach(&site.net.client, target) == Reach::Open).then_some(()));
    assert_eq!(reach(&site.net.outsider, target), Reach::Timeout);

    let words = ["listener", "add", "inside", "--exposure", "public", "--interface", "lan0", "--open"];
    site.gateway.cli(&[&words[..], &["--address", "10.7.0.1"]].concat()).ok();
    site.gateway.cli(&["allow", "add", "inside", "10.7.0.10"]).ok();
    assert_eq!(reach(&site.net.office, (LAN_V4, 443)), Reach::Open);
    site.net.gateway.ip(&["link", "del", "lan0"]);
    // Everything else goes on, and can be changed.
    assert_eq!(reach(&site.net.client, target), Reach::Open);
    site.gateway.cli(&["allow", "add", "later", "198.51.100.66"]).ok();
    assert_eq!(reach(&site.net.outsider, target), Reach::Open);
    site.net.restore_lan();
    wait::until("the interface's listener", || {
        (reach(&site.net.office, (LAN_V4, 443)) == Reach::Open).then_some(())
    });
    assert!(xdp::attached(&site.net.gateway, "lan0").is_some_and(|link| link.mode == xdp::Mode::Native));
    site.gateway.cli(&["allow", "set", "inside", "10.7.0.11"]).ok();
    assert_eq!(reach(&site.net.office, (LAN_V4, 443)), Reach::Timeout);
}

/// Where native XDP cannot attach, the second tier guards the listener, and a required filter is content with it.
#[test]
fn a_device_without_native_xdp_is_guarded_at_ingress() {
    let site = Site::bare();
    let words =
        ["listener", "add", "local", "--exposure", "public", "--interface", "lo", "--address", "127.0.0.1"];
    site.gateway.cli(&[&words[..], &["--open"]].concat()).ok();
    let status = site.gateway.cli(&["status"]).ok();
    assert_eq!(status["filter"][0]["mode"], "tcx", "{status}");
    assert_eq!(reach(&site.net.gateway, (Ipv4Addr::LOCALHOST, 443)), Reach::Timeout);
    site.gateway.cli(&["allow", "add", "local", "127.0.0.0/8"]).ok();
    assert_eq!(reach(&site.net.gateway, (Ipv4Addr::LOCALHOST, 443)), Reach::Open);
    assert_eq!(xdp::attached(&site.net.gateway, "lo"), None);
}
