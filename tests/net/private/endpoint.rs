//! The private endpoint: where it is reached from, by whom, and what is left of it.

use std::{
    io::Read,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use harness::{
    Reach, client, curl,
    frame::{self, Tcp},
    proof::Witness,
    reach, wait,
    wire::Wire,
    xdp,
};

use super::{Private, add, call, ports};
use crate::site::HTTPS_V4;

/// PV-1: the endpoint appears in its network, on both ports, with an address that the gateway itself added; nobody
/// else has a way to it.
#[test]
fn pv_1_the_endpoint_appears_in_its_network_only() {
    let mut private = Private::bare();
    let service = private.serve("echo", &[]);
    let reply = private.attach("red", &private.red);
    assert_eq!(reply["changed"], true, "{reply}");
    assert!(private.has_address("red0", private.red.vip().into()), "the gateway did not add the address");
    let listener = private.site.gateway.cli(&["listener", "show", "vpc:red"]).ok();
    assert_eq!(listener["open"], true, "{listener}");
    assert_eq!(
        xdp::attached(&private.site.net.gateway, "red0").map(|link| link.mode),
        Some(xdp::Mode::Native),
        "the network is not filtered"
    );
    for target in ports(&private.red) {
        assert_eq!(reach(&private.red.i, target), Reach::Open, "{target}");
    }
    let answer = call(&private.red.i, (private.red.vip(), 80), "echo", "/seed", &service.token).run();
    assert_eq!(answer.expect(200).body, "True");

    // Whoever has a route to it from elsewhere, gets nowhere.
    let net = &private.site.net;
    private.route_to(&net.client, harness::topology::PUBLIC_V4.into(), &private.red);
    private.route_to(&net.upstream, "10.9.0.1".parse().expect("an address"), &private.red);
    for (who, from) in [
        ("public", &net.client),
        ("the office", &net.office),
        ("the upstream", &net.upstream),
        ("another network", &private.blue.i),
    ] {
        for target in ports(&private.red) {
            let seen = reach(from, target);
            assert!(!matches!(seen, Reach::Open | Reach::Cut), "{target} from {who}: {seen:?}");
        }
    }
    // What the daemon's end leaves is there after the next start.
    let export = private.site.gateway.export();
    private.site.gateway.stop();
    private.site.gateway.run();
    assert_eq!(private.site.gateway.export(), export);
    assert!(private.has_address("red0", private.red.vip().into()));
    assert_eq!(reach(&private.red.i, (private.red.vip(), 443)), Reach::Open);
    // An address that somebody takes away comes back.
    private.site.net.gateway.ip(&["addr", "del", &private.red.address(), "dev", "red0"]);
    wait::until("the address to come back", || {
        private.has_address("red0", private.red.vip().into()).then_some(())
    });
    wait::until("the endpoint to come back", || {
        (reach(&private.red.i, (private.red.vip(), 443)) == Reach::Open).then_some(())
    });
}

/// PV-2: a vswitch in a zone that the gateway does not support is refused with everything one has to know; nothing is
/// created.
#[test]
fn pv_2_an_unsupported_zone_is_refused_with_the_supported_ones() {
    let private = Private::bare();
    let address = private.red.address();
    let mut words = add("red", "red0", &address, "g");
    words.extend(["--vswitch", "vsw-4711"]);
    let before = (private.site.gateway.generation(), private.site.gateway.export());
    let error = private.site.gateway.cli(&words).refused();
    let text = error.to_string();
    for wanted in ["vsw-4711", "\"g\"", "i", "l", "k"] {
        let plain = wanted.trim_matches('"');
        assert!(text.contains(plain), "`{plain}` is missing in {error}");
    }
    let all = format!("{} {}", error["message"], error["limit"]);
    assert!(all.contains("supported"), "{error}");
    assert_eq!((private.site.gateway.generation(), private.site.gateway.export()), before);
    assert!(!private.has_address("red0", private.red.vip().into()));
    assert_eq!(xdp::attached(&private.site.net.gateway, "red0"), None);
    private.site.gateway.cli(&["listener", "show", "vpc:red"]).refused();
    assert_ne!(reach(&private.red.i, (private.red.vip(), 443)), Reach::Open);
    // The same in a supported zone.
    private.site.gateway.cli(&add("red", "red0", &address, "l")).ok();
    assert_eq!(reach(&private.red.i, (private.red.vip(), 443)), Reach::Open);
}

/// PV-3: at first everybody within the network; then whoever the list names; and no entry reaches beyond the network.
#[test]
fn pv_3_the_default_list_is_the_network_and_is_edited() {
    let private = Private::attached();
    assert_eq!(private.site.list("vpc:red"), ["0.0.0.0/0"]);
    let target = SocketAddr::from((private.red.vip(), 443));
    for from in [&private.red.i, &private.red.k] {
        assert_eq!(reach(from, target), Reach::Open);
        assert!(client::ping(from, private.red.vip().into()));
    }
    let cli = |words: &[&str]| private.site.gateway.cli(words).ok();
    cli(&["allow", "set", "vpc:red", "10.1.0.10"]);
    assert_eq!(private.site.list("vpc:red"), ["10.1.0.10/32"]);
    assert_eq!(reach(&private.red.i, target), Reach::Open);
    assert_eq!(reach(&private.red.k, target), Reach::Timeout);
    // A private endpoint answers echo by its list.
    assert!(client::ping(&private.red.i, private.red.vip().into()));
    assert!(!client::ping(&private.red.k, private.red.vip().into()));
    assert!(private.site.drops("vpc:red", "not_allowed") >= 2);
    let witness = Witness::with(&private.site.net, &["red0"]);
    let syn = frame::syn(&private.red.link(), (private.red.ghost(), 4000).into(), target);
    witness.assert_dropped_on("not on the list", &private.red, &[syn]);
    // The neighbour's list is another one.
    assert_eq!(private.site.list("vpc:blue"), ["0.0.0.0/0"]);
    assert_eq!(reach(&private.blue.i, (private.blue.vip(), 443)), Reach::Open);

    // Entries never widen beyond the network: an entry that names somebody outside lets nobody in from there.
    cli(&["allow", "set", "vpc:red", "0.0.0.0/0,198.51.100.10,10.2.0.10,10.7.0.10"]);
    private.route_to(&private.site.net.client, harness::topology::PUBLIC_V4.into(), &private.red);
    for (who, from) in [
        ("public", &private.site.net.client),
        ("another network", &private.blue.i),
        ("the office", &private.site.net.office),
    ] {
        let seen = reach(from, target);
        assert!(!matches!(seen, Reach::Open | Reach::Cut), "from {who}: {seen:?}");
    }
    assert_eq!(reach(&private.red.k, target), Reach::Open);
    // Nobody is somebody's decision to make.
    cli(&["allow", "set", "vpc:red", "--allow-empty"]);
    assert_eq!(reach(&private.red.i, target), Reach::Timeout);
}

/// PV-5: whoever is in the network is served, from the vswitch's zone and from any other.
#[test]
fn pv_5_every_zone_of_the_network_is_served() {
    let private = Private::bare();
    let service = private.serve("echo", &[]);
    private.attach("red", &private.red);
    for (zone, from) in [("i", &private.red.i), ("k", &private.red.k)] {
        let answer = call(from, (private.red.vip(), 80), "echo", "/seed", &service.token).run();
        assert_eq!(answer.expect(200).body, "True", "zone {zone}");
        let url = format!("https://{}/api/predict/echo/seed", private.red.vip());
        let answer = curl(from, &url).insecure().token(&service.token).run();
        assert_eq!(answer.expect(200).body, "True", "zone {zone}");
    }
}

/// PV-6: a deleted network's endpoint is silent to ping and TCP, and to what is forged; what was open is cut.
#[test]
fn pv_6_a_deleted_network_is_silent() {
    let private = Private::attached();
    let service = private.serve("echo", &[]);
    let target = SocketAddr::from((private.red.vip(), 443));
    private.red.pin_neighbours();
    let mut stream = call(&private.red.k, (private.red.vip(), 80), "echo", "/stream", &service.token)
        .with(&["--max-time", "300"])
        .stream();
    wait::until("the stream upstream", || (service.upstream.streams() == 1).then_some(()));
    let start = Instant::now();
    private.site.gateway.cli(&["vpc", "delete", "red"]).ok();
    wait::until("the instance's stream to end", || (service.upstream.streams() == 0).then_some(()));
    println!("in-flight closed {:?} after the start of the command", start.elapsed());
    assert!(!private.has_address("red0", private.red.vip().into()));
    private.site.gateway.cli(&["listener", "show", "vpc:red"]).refused();

    // The hosts send without asking who has the address; nothing at all comes back to them.
    let eye = Wire::open(&private.red.wire, "gate");
    for port in [80, 443] {
        assert_eq!(reach(&private.red.i, (private.red.vip(), port)), Reach::Timeout, "{port}");
    }
    assert!(!client::ping(&private.red.i, private.red.vip().into()));
    let back: Vec<_> = eye
        .drain()
        .into_iter()
        .filter(|seen| {
            !seen.outgoing
                && (seen.is_to(private.red.host(10).into()) || seen.is_to(private.red.host(20).into()))
        })
        .collect();
    assert!(back.is_empty(), "a deleted endpoint answered: {back:?}");
    // Forged: the kernel drops it before the host sees it, so that nobody can say "no such address".
    let witness = Witness::with(&private.site.net, &["red0"]);
    let ghost = |port: u16| SocketAddr::from((private.red.ghost(), port));
    let link = private.red.link();
    let mut echo = vec![8, 0, 0, 0, 0, 7, 0, 1];
    frame::seal_icmp(&mut echo);
    let ack = Tcp { flags: frame::ACK, ..Tcp::syn() }.segment(ghost(4001), target, &[]);
    witness.assert_dropped_on(
        "after the deletion",
        &private.red,
        &[
            frame::syn(&link, ghost(4000), target),
            link.around(ghost(4001).ip(), target.ip(), 6, &ack),
            link.around(private.red.ghost().into(), private.red.vip().into(), 1, &echo),
        ],
    );
    // What is for no port of the endpoint finds an address that nobody has; nothing says so.
    let hand = private.red.attacker();
    for frame in [
        frame::syn(&link, ghost(4002), (private.red.vip(), 22).into()),
        frame::udp(&link, ghost(4003), (private.red.vip(), 53).into(), b"?"),
    ] {
        hand.send(&frame);
    }
    let told = hand.wait_for(Duration::from_millis(300), |seen| {
        !seen.outgoing && seen.bytes.get(..6) == Some(harness::topology::GHOST_MAC.as_slice())
    });
    assert_eq!(told, None, "a deleted endpoint answered");
    // The client's end hangs: nobody told it anything; its instance was told.
    let mut rest = Vec::new();
    if let Some(pipe) = stream.child().stdout.as_mut() {
        let mut bytes = [0; 1 << 16];
        let read = pipe.read(&mut bytes).unwrap_or_default();
        rest.extend_from_slice(bytes.get(..read).unwrap_or_default());
    }
    assert!(String::from_utf8_lossy(&rest).contains("200 OK"), "the stream never began");

    // The other network, and the public endpoint, go on.
    assert_eq!(reach(&private.blue.i, (private.blue.vip(), 443)), Reach::Open);
    // And so does this one, when it is attached again.
    private.attach("red", &private.red);
    assert_eq!(reach(&private.red.i, target), Reach::Open);
    assert_eq!(private.site.list("vpc:red"), ["0.0.0.0/0"]);
}

/// PV-6 where the host forwards, and so would tell of an address that is gone: not a word either, whatever the port.
#[test]
fn pv_6_a_deleted_network_is_silent_where_the_host_forwards() {
    let mut private = Private::attached();
    let gateway = &private.site.net.gateway;
    gateway.within(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
    // The operator's own address there: the network stays a place that the host has a route to. Another length, else it
    // would go with the endpoint's.
    gateway.ip(&["addr", "add", &format!("{}/25", private.red.host(3)), "dev", "red0"]);
    let link = private.red.link();
    let (vip, ghost) = (private.red.vip(), private.red.ghost());
    let told = |private: &Private| {
        let hand = private.red.attacker();
        for port in 4000..4008 {
            hand.send(&frame::syn(&link, (ghost, port).into(), (vip, 22).into()));
            hand.send(&frame::udp(&link, (ghost, port).into(), (vip, 53).into(), b"?"));
        }
        // "Host unreachable" comes after three requests for the neighbour, a redirect at once.
        hand.wait_for(Duration::from_secs(4), |seen| {
            !seen.outgoing && seen.bytes.get(..6) == Some(harness::topology::GHOST_MAC.as_slice())
        })
    };
    let rules = |private: &Private| private.site.net.gateway.ip(&["rule", "show"]);

    private.site.gateway.cli(&["vpc", "delete", "red"]).ok();
    assert!(rules(&private).contains(&format!("{vip} iif red0 blackhole")), "{}", rules(&private));
    assert_eq!(told(&private), None, "a deleted endpoint's address was spoken of");
    // The rule is what does it, also while no daemon runs.
    private.site.gateway.stop();
    assert_eq!(told(&private), None, "without the daemon");
    private.site.net.gateway.ip(&["rule", "del", "priority", "103"]);
    assert!(told(&private).is_some(), "the host says nothing anyhow, and this test shows nothing");

    // The next daemon puts it back, and takes it away with the last of the address's silence.
    private.site.gateway.run();
    wait::until("the rule", || rules(&private).contains("blackhole").then_some(()));
    private.attach("red", &private.red);
    assert!(!rules(&private).contains("blackhole"), "{}", rules(&private));
    assert_eq!(reach(&private.red.i, (vip, 443)), Reach::Open);
}

/// PV-6, once more: silent through the daemon's end and the next start.
#[test]
fn pv_6_a_deleted_network_stays_silent_without_the_daemon() {
    let mut private = Private::attached();
    private.red.pin_neighbours();
    private.site.gateway.cli(&["vpc", "delete", "red"]).ok();
    let witness = Witness::with(&private.site.net, &["red0"]);
    let syn = |port: u16| {
        frame::syn(&private.red.link(), (private.red.ghost(), port).into(), (private.red.vip(), 443).into())
    };
    witness.assert_dropped_on("with the daemon", &private.red, &[syn(4000)]);
    private.site.gateway.stop();
    witness.assert_dropped_on("without the daemon", &private.red, &[syn(4001)]);
    private.site.gateway.run();
    thread::sleep(Duration::from_millis(100));
    witness.assert_dropped_on("after a restart", &private.red, &[syn(4002)]);
}

/// PV-7: a service of the private networks is not routed from the public listener, whatever the request says.
#[test]
fn pv_7_a_private_service_is_not_had_by_the_public_listener() {
    let private = Private::attached();
    let hidden = private.serve("hidden", &["--exposure", "vpc"]);
    let red_only = private.serve("redonly", &["--exposure", "vpc:red"]);
    private.site.allow("198.51.100.10");
    let public = &private.site.net.client;
    let vip = private.red.vip().to_string();
    for host in ["198.51.100.1", vip.as_str(), "hidden.example.org"] {
        let answer = call(public, (harness::topology::PUBLIC_V4, 80), "hidden", "/seed", &hidden.token)
            .header(&format!("Host: {host}"))
            .run();
        assert_eq!(answer.status, 404, "Host {host}: {}", answer.framed);
    }
    assert_eq!(hidden.upstream.requests(), 0, "a private service was called from the public listener");
    let inside = |from, segment: &harness::Segment, name, token| {
        call(from, (segment.vip(), 80), name, "/seed", token).run().status
    };
    assert_eq!(inside(&private.red.i, &private.red, "hidden", &hidden.token), 200);
    assert_eq!(inside(&private.blue.i, &private.blue, "hidden", &hidden.token), 200);
    assert_eq!(inside(&private.red.i, &private.red, "redonly", &red_only.token), 200);
    assert_eq!(inside(&private.blue.i, &private.blue, "redonly", &red_only.token), 404);
    assert_eq!(red_only.upstream.requests(), 1);
    // Its endpoints are the networks', not the public one.
    let endpoints = hidden.added["endpoints"].to_string();
    assert!(!endpoints.contains("198.51.100.1"), "{endpoints}");
}

/// PV-8: at first neither channel answers; each is opened by itself and closed by itself.
#[test]
fn pv_8_both_channels_are_off_at_first_and_independent() {
    let private = Private::bare();
    let silent = |target: SocketAddr, from| !matches!(reach(from, target), Reach::Open | Reach::Cut);
    let inside = SocketAddr::from((private.red.vip(), 443));
    let outside = &private.site.net.client;
    let listeners = private.site.gateway.cli(&["listener", "list"]).ok();
    assert_eq!(listeners["items"].as_array().map(Vec::len), Some(0), "{listeners}");
    assert!(silent(HTTPS_V4, outside) && silent(inside, &private.red.i));
    // The public one does not open the private one.
    private.site.add_public(&["--open"]);
    private.site.allow("198.51.100.10");
    assert_eq!(reach(outside, HTTPS_V4), Reach::Open);
    assert!(silent(inside, &private.red.i));
    // Nor closes it: the private one is there with the portal closed.
    private.site.gateway.cli(&["listener", "close", "public"]).ok();
    private.attach("red", &private.red);
    assert_eq!(reach(&private.red.i, inside), Reach::Open);
    assert_eq!(reach(outside, HTTPS_V4), Reach::Timeout);
    // And the other way round.
    private.site.gateway.cli(&["listener", "open", "public"]).ok();
    private.site.gateway.cli(&["listener", "close", "vpc:red"]).ok();
    assert_eq!(reach(&private.red.i, inside), Reach::Timeout);
    assert_eq!(reach(outside, HTTPS_V4), Reach::Open);
    private.site.gateway.cli(&["listener", "open", "vpc:red"]).ok();
    assert_eq!(reach(&private.red.i, inside), Reach::Open);
}
