//! Packets dressed up to get round the list. Every row is sent with the filter on, when the kernel must drop it, and
//! again without, when exactly the kernel's proofs must fail while the proxy still refuses the connection.

use harness::{
    Reach,
    proof::{Proof, Witness},
    reach,
    topology::PUBLIC_V4,
    xdp,
};

use super::{
    attempts::{FAMILY_V6, SHUT, attempts, site},
    site::{HTTPS_V4, HTTPS_V6},
};

#[test]
fn nothing_gets_round_the_list_and_the_kernel_drops_it() {
    let site = site();
    let witness = Witness::new(&site.net);
    for attempt in attempts() {
        let before = site.drops(attempt.listener, attempt.reason);
        witness.assert_dropped_in_kernel(attempt.what, attempt.side, &attempt.frames);
        let after = site.drops(attempt.listener, attempt.reason);
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

    for target in [HTTPS_V4, HTTPS_V6, (PUBLIC_V4, 80).into(), FAMILY_V6] {
        assert_eq!(reach(&site.net.outsider, target), Reach::Cut, "{target}");
    }
    assert_eq!(reach(&site.net.outsider, SHUT), Reach::Timeout, "a closed listener is silent in every tier");
    assert_eq!(reach(&site.net.client, HTTPS_V4), Reach::Open);
    let explained = site.gateway.cli(&["explain", "198.51.100.66", "198.51.100.1:443"]).ok();
    assert_eq!(
        (&explained["verdict"], &explained["tier"]),
        (&"drop".into(), &"accept".into()),
        "{explained}"
    );
}
