//! The harness's own eyes: a witness that sees nothing would prove every drop.

use std::net::SocketAddr;

use harness::{
    Net, Reach, Upstream, client, frame,
    frame::{DOT1Q, Link},
    proof::{Proof, Side, Witness},
    topology::{CLIENT_V4, GHOST_V4, GHOST_V6, LAN_MAC, PUBLIC_V4, PUBLIC_V6, UPSTREAM_V4},
    xdp,
};

#[test]
fn without_a_filter_every_witness_sees_the_frames() {
    let net = Net::new();
    let witness = Witness::new(&net);
    let everything = Proof {
        link_native: false,
        program_ran: false,
        not_captured: false,
        not_counted: false,
        no_answer: false,
    };
    // A port without a listener answers with RST, which is an answer too.
    for (source, target) in [
        (SocketAddr::from((GHOST_V4, 4000)), SocketAddr::from((PUBLIC_V4, 443))),
        (SocketAddr::from((GHOST_V6, 4000)), SocketAddr::from((PUBLIC_V6, 443))),
    ] {
        let syn = frame::syn(&Link::default(), source, target);
        assert_eq!(witness.send(Side::Public, &[syn]), everything, "{target}");
    }
    let tagged = frame::syn(&Link::tagged(&[(DOT1Q, 10)]), (GHOST_V4, 4001).into(), (PUBLIC_V4, 443).into());
    witness.assert_passed("a tag", Side::Public, &[tagged]);
    let lan = Link { destination: LAN_MAC, ..Link::default() };
    let syn = frame::syn(&lan, (GHOST_V4, 4002).into(), (PUBLIC_V4, 443).into());
    witness.assert_passed("the other interface", Side::Lan, &[syn]);
    assert!(witness.behind().packets("ghost_ip") >= 2);
}

#[test]
fn clients_and_upstreams_meet() {
    let net = Net::new();
    let upstream = Upstream::start(&net.upstream, UPSTREAM_V4.into(), 0, "one");
    let url = format!("http://{}", upstream.instance());
    let answer = harness::curl(&net.gateway, &format!("{url}/seed")).run();
    assert_eq!(answer.expect(200).body, "True");
    let answer = harness::curl(&net.gateway, &format!("{url}/chunked")).run();
    assert_eq!(answer.expect(200).body, "onetwothree");
    let answer = harness::curl(&net.gateway, &format!("{url}/x?y=1")).with(&["-d", "abc"]).run();
    assert_eq!(answer.json()["body"], 3);
    assert_eq!(upstream.requests(), 3);
    assert_eq!(harness::reach(&net.client, (PUBLIC_V4, 443)), Reach::Refused);
    assert!(client::ping(&net.client, PUBLIC_V6.into()));
    assert_eq!(harness::client::reach_from(&net.client, CLIENT_V4.into(), (PUBLIC_V4, 1)), Reach::Refused);
}

#[test]
fn a_native_program_is_recognised_and_its_runs_are_counted() {
    let net = Net::new();
    let scratch = harness::scratch::Scratch::new();
    xdp::attach_foreign(&net.gateway, "pub0", &scratch.join("bpf/foreign"));
    let witness = Witness::new(&net);
    let syn = frame::syn(&Link::default(), (GHOST_V4, 4000).into(), (PUBLIC_V4, 443).into());
    let proof = witness.send(Side::Public, &[syn]);
    assert!(proof.link_native && proof.program_ran && !proof.not_captured, "{proof:?}");
    xdp::detach_foreign(&net.gateway, "pub0");
    assert_eq!(xdp::attached(&net.gateway, "pub0"), None);
}
