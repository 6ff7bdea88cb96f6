//! Packets dressed up to get round the list. Every row is sent with the filter on, when the kernel must drop it, and
//! again without, when exactly the kernel's proofs must fail while the proxy still refuses the connection.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
};

use harness::{
    Reach,
    frame::{self, DOT1AD, DOT1Q, Ipv4, Link, Tcp, extension},
    proof::{Proof, Side, Witness},
    reach,
    topology::{GHOST_V4, GHOST_V6, LAN_MAC, PUBLIC_V4, PUBLIC_V6},
    xdp,
};

use super::site::{HTTPS_V4, HTTPS_V6, Site};

/// One way to get round the list.
struct Attempt {
    what: &'static str,
    side: Side,
    frames: Vec<Vec<u8>>,
    /// The name under which the drop is counted.
    reason: &'static str,
    /// Whether the host answers it when nothing filters: it is a whole SYN that the stack understands.
    answered: bool,
}

/// A source port of its own for every frame: the host answers a repeated SYN only twice a second.
static PORT: AtomicU16 = AtomicU16::new(4000);

fn source(ghost: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(ghost.into(), PORT.fetch_add(1, Ordering::Relaxed))
}

fn attempt(what: &'static str, reason: &'static str, answered: bool, frames: Vec<Vec<u8>>) -> Attempt {
    Attempt { what, side: Side::Public, frames, reason, answered }
}

/// A SYN to the listener in an IPv4 packet with these option words.
fn optioned(words: u8) -> Vec<u8> {
    let segment = Tcp::syn().segment(source(GHOST_V4), HTTPS_V4, &[]);
    let header = Ipv4 { source: GHOST_V4, destination: PUBLIC_V4, option_words: words, ..Ipv4::new() };
    Link::default().v4(&header.packet(&segment))
}

/// A SYN to the listener behind these IPv6 extension headers.
fn chained(link: &Link, chain: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let segment = Tcp::syn().segment(source(GHOST_V6), HTTPS_V6, &[]);
    link.v6(&frame::ipv6(GHOST_V6, PUBLIC_V6, chain, 6, &segment))
}

/// A SYN with data, cut into two IPv4 fragments, the first of `first` bytes.
fn fragments_v4(first: usize) -> Vec<Vec<u8>> {
    let segment = Tcp::syn().segment(source(GHOST_V4), HTTPS_V4, &[0; 44]);
    let (head, tail) = segment.split_at(first);
    let header = Ipv4 { source: GHOST_V4, destination: PUBLIC_V4, ..Ipv4::new() };
    let offset = u16::try_from(first / 8).expect("a small offset");
    vec![
        Link::default().v4(&Ipv4 { fragment: 0x2000, ..header.clone() }.packet(head)),
        Link::default().v4(&Ipv4 { fragment: offset, ..header }.packet(tail)),
    ]
}

fn fragments_v6() -> Vec<Vec<u8>> {
    let segment = Tcp::syn().segment(source(GHOST_V6), HTTPS_V6, &[0; 44]);
    let (head, tail) = segment.split_at(32);
    let part = |offset, more, payload: &[u8]| {
        let chain = [extension::fragment(offset, more, 77)];
        Link::default().v6(&frame::ipv6(GHOST_V6, PUBLIC_V6, &chain, 6, payload))
    };
    vec![part(0, true, head), part(4, false, tail)]
}

fn attempts() -> Vec<Attempt> {
    let plain = Link::default();
    // The host takes a frame with VLAN id 0 ("priority tag") as untagged: the tags that really lead inside.
    let priority = |tags: &[(u16, u16)]| Link::tagged(tags);
    let lan = Link { destination: LAN_MAC, ..Link::default() };
    let options = extension::options;
    let mut rows = vec![
        attempt("plain v4", "not_allowed", true, vec![frame::syn(&plain, source(GHOST_V4), HTTPS_V4)]),
        attempt("plain v6", "not_allowed", true, vec![frame::syn(&plain, source(GHOST_V6), HTTPS_V6)]),
        attempt(
            "plain v4 to the HTTP port",
            "not_allowed",
            true,
            vec![frame::syn(&plain, source(GHOST_V4), (PUBLIC_V4, 80).into())],
        ),
        attempt(
            "802.1Q priority tag, v4",
            "not_allowed",
            true,
            vec![frame::syn(&priority(&[(DOT1Q, 0)]), source(GHOST_V4), HTTPS_V4)],
        ),
        attempt(
            "802.1Q priority tag, v6",
            "not_allowed",
            true,
            vec![frame::syn(&priority(&[(DOT1Q, 0)]), source(GHOST_V6), HTTPS_V6)],
        ),
        attempt(
            "802.1Q tag",
            "not_allowed",
            false,
            vec![frame::syn(&priority(&[(DOT1Q, 10)]), source(GHOST_V4), HTTPS_V4)],
        ),
        attempt(
            "802.1ad tag",
            "not_allowed",
            false,
            vec![frame::syn(&priority(&[(DOT1AD, 10)]), source(GHOST_V6), HTTPS_V6)],
        ),
        attempt(
            "two priority tags, v4",
            "not_allowed",
            true,
            vec![frame::syn(&priority(&[(DOT1AD, 0), (DOT1Q, 0)]), source(GHOST_V4), HTTPS_V4)],
        ),
        attempt(
            "two tags, v6",
            "not_allowed",
            false,
            vec![frame::syn(&priority(&[(DOT1Q, 10), (DOT1Q, 20)]), source(GHOST_V6), HTTPS_V6)],
        ),
        attempt(
            "three tags",
            "vlan_depth",
            false,
            vec![frame::syn(&priority(&[(DOT1AD, 1), (DOT1Q, 2), (DOT1Q, 3)]), source(GHOST_V4), HTTPS_V4)],
        ),
        attempt("one word of IPv4 options", "not_allowed", true, vec![optioned(1)]),
        attempt("ten words of IPv4 options", "not_allowed", true, vec![optioned(10)]),
        attempt("hop-by-hop options", "not_allowed", true, vec![chained(&plain, &[options(0)])]),
        attempt(
            "destination options",
            "not_allowed",
            true,
            vec![chained(&plain, &[options(60), options(60)])],
        ),
        attempt(
            "an atomic fragment",
            "not_allowed",
            true,
            vec![chained(&plain, &[extension::fragment(0, false, 5)])],
        ),
        attempt(
            "nine extension headers",
            "ext_chain",
            true,
            vec![chained(
                &plain,
                &[
                    options(60),
                    options(60),
                    options(60),
                    options(60),
                    options(60),
                    options(60),
                    options(60),
                    options(60),
                    options(60),
                ],
            )],
        ),
        attempt(
            "extension headers behind a tag",
            "not_allowed",
            true,
            vec![chained(&priority(&[(DOT1Q, 0)]), &[options(60)])],
        ),
        attempt("v4 fragments", "fragment", true, fragments_v4(32)),
        attempt("v4 fragments, the first without flags", "fragment", true, fragments_v4(8)),
        attempt("v6 fragments", "fragment", true, fragments_v6()),
    ];
    for (what, source, target) in [
        ("v4 by the other interface", source(GHOST_V4), HTTPS_V4),
        ("v6 by the other interface", source(GHOST_V6), HTTPS_V6),
    ] {
        rows.push(Attempt {
            what,
            side: Side::Lan,
            frames: vec![frame::syn(&lan, source, target)],
            reason: "wrong_interface",
            answered: false,
        });
    }
    rows
}

/// A listener on each side, so that both interfaces are filtered.
fn site() -> Site {
    let site = Site::open();
    let words = ["listener", "add", "inside", "--exposure", "public", "--interface", "lan0"];
    let more = ["--address", "10.7.0.1", "--address", "2001:db8:7::1", "--open"];
    site.gateway.cli(&[&words[..], &more].concat()).ok();
    site
}

#[test]
fn nothing_gets_round_the_list_and_the_kernel_drops_it() {
    let site = site();
    let witness = Witness::new(&site.net);
    for attempt in attempts() {
        let before = site.drops("public", attempt.reason);
        witness.assert_dropped_in_kernel(attempt.what, attempt.side, &attempt.frames);
        let after = site.drops("public", attempt.reason);
        assert!(after > before, "{}: no drop counted as {}", attempt.what, attempt.reason);
    }
    assert_eq!(witness.behind().packets("ghost_ip"), 0);
}

/// The negative control: without the filter the same rows reach the host, so the witnesses above are not blind; and
/// the proxy's own check still refuses whoever is not on the list.
#[test]
fn without_the_filter_the_same_packets_arrive_and_the_proxy_refuses() {
    let mut site = site();
    site.allow("198.51.100.10");
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open);
    site.gateway.stop();
    assert!(xdp::attached(&site.net.gateway, "pub0").is_some(), "the filter outlives its daemon");
    site.gateway.detach().success();
    for interface in ["pub0", "lan0"] {
        assert_eq!(xdp::attached(&site.net.gateway, interface), None, "{interface}");
    }
    site.gateway.set_config("filter = \"off\"\n");
    site.gateway.run();
    let status = site.gateway.cli(&["status"]).ok();
    assert!(
        status["filter"].as_array().is_some_and(|all| all.iter().all(|one| one["mode"] == "off")),
        "{status}"
    );

    let witness = Witness::new(&site.net);
    // A repeated SYN-ACK for one row would look like an answer to the next.
    site.net.gateway.check("sysctl", &["-q", "-w", "net.ipv4.tcp_synack_retries=0"]);
    for attempt in attempts() {
        let proof = witness.send(attempt.side, &attempt.frames);
        let expected = Proof {
            link_native: false,
            program_ran: false,
            not_captured: false,
            not_counted: false,
            // A SYN that the stack does not take for its own gets no answer from anybody.
            no_answer: !attempt.answered,
        };
        assert_eq!(proof, expected, "{}", attempt.what);
    }

    for target in [HTTPS_V4, HTTPS_V6, (PUBLIC_V4, 80).into()] {
        assert_eq!(reach(&site.net.outsider, target), Reach::Cut, "{target}");
    }
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open);
    let explained = site.gateway.cli(&["explain", "198.51.100.66", "198.51.100.1:443"]).ok();
    assert_eq!(
        (&explained["verdict"], &explained["tier"]),
        (&"drop".into(), &"accept".into()),
        "{explained}"
    );
}
