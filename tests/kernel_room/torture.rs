//! Ten thousand generations under a flood from both cores: no packet of a source that all of them allow is lost by the
//! filter, and none that all of them deny passes.
//!
//! The witnesses are the kernel's, not the filter's own counters: on the cable of the allowed source, the driver's count
//! of frames that XDP dropped must not move at all; behind the other cable, nftables counts what came past.

use std::{fs, time::Instant};

use gateway_user::{
    observe::filter::FilterSource as _,
    snapshot::filter::{FilterListener, ListenAddress},
};
use harness::{
    Net,
    behind::Behind,
    flood::Flood,
    frame::{self, Link},
    scratch::Scratch,
    topology::{GHOST_MAC, GHOST_V4, LAN, LAN_MAC, LAN_V4, NIC, OFFICE_V4, PUBLIC, PUBLIC_V4},
    wire::Wire,
};

use crate::policy::{listener, open, publish};

const GENERATIONS: u64 = 10_000;
/// Generations between two looks at the counters; a flood ends by itself after a minute.
const STRETCH: u64 = 1_000;
/// Frames per second of each flood: as many as one core of a busy machine makes beside its other work.
const RATE: u64 = 60_000;

const OFFICE: &str = "10.7.0.10/32";
/// On the list of every other generation.
const TURNCOAT: &str = "198.51.100.77/32";

/// In the byte order of the network one more than 443.
const NEIGHBOUR: u16 = (443_u16.to_be() + 1).to_be();

/// Grace periods end at once while it lives: a swap waits for one, and ten thousand would take minutes.
struct Expedited(String);

const EXPEDITED: &str = "/sys/kernel/rcu_expedited";

impl Expedited {
    fn new() -> Self {
        let before = fs::read_to_string(EXPEDITED).unwrap();
        fs::write(EXPEDITED, "1").unwrap();
        Self(before)
    }
}

impl Drop for Expedited {
    fn drop(&mut self) {
        let _ = fs::write(EXPEDITED, self.0.trim());
    }
}

/// What each generation says: the office may always come in at the second interface, the turncoat at the first one
/// every other time, and the ghost nowhere.
fn policy(generation: u64) -> Vec<FilterListener> {
    let public: &[&str] = if generation.is_multiple_of(2) { &[TURNCOAT] } else { &["203.0.113.0/24"] };
    // What else is on the list changes, too, and with it the place of the one that counts.
    let office: &[&str] = match generation % 3 {
        0 => &[OFFICE],
        1 => &["10.0.0.0/8", "192.0.2.0/24"],
        _ => &["10.7.0.0/24", OFFICE, "203.0.113.7/32"],
    };
    let second =
        FilterListener { addresses: vec![ListenAddress::Ip(LAN_V4.into())], ..listener(2, LAN, office) };
    // A port whose mark stands in the same word as 443's comes and goes.
    let ports = if generation.is_multiple_of(2) { vec![443] } else { vec![443, NEIGHBOUR] };
    vec![FilterListener { ports, ..listener(1, PUBLIC, public) }, second]
}

/// Frames that XDP took and dropped on `interface`.
fn xdp(net: &Net, interface: &str) -> (u64, u64) {
    let text = net.gateway.check("ethtool", &["-S", interface]);
    let sum = |name: &str| {
        let values = text.lines().filter_map(|line| line.trim().split_once(": "));
        let values = values.filter(|(key, _)| key.starts_with("rx_queue_") && key.ends_with(name));
        values.map(|(_, value)| value.trim().parse::<u64>().unwrap()).sum()
    };
    (sum("_xdp_packets"), sum("_xdp_drops"))
}

/// SYNs that are not the kernel's, so nothing answers them but resets that nobody waits for.
fn floods(net: &Net) -> [Flood; 2] {
    let office = Link { destination: LAN_MAC, ..Link::default() };
    let allowed = |port| frame::syn(&office, (OFFICE_V4, port).into(), (LAN_V4, 443).into());
    let public = Link { source: GHOST_MAC, ..Link::default() };
    let turncoat: std::net::Ipv4Addr = "198.51.100.77".parse().unwrap();
    // Three of four are the ghost's.
    let denied = |port: u16| {
        let source = if port.is_multiple_of(4) { turncoat } else { GHOST_V4 };
        frame::syn(&public, (source, port).into(), (PUBLIC_V4, 443).into())
    };
    [
        Flood::start(Wire::open(&net.office, NIC), (1024..2048).map(allowed).collect(), RATE),
        Flood::start(net.attacker(), (1024..2048).map(denied).collect(), RATE),
    ]
}

#[test]
fn ten_thousand_generations_under_a_flood_lose_nobody_and_admit_nobody() {
    let (net, scratch) = (Net::new(), Scratch::new());
    let _expedited = Expedited::new();
    net.gateway.within(|| {
        let mut filter = open(&scratch, "a");
        publish(&mut filter, 1, policy(1));
        let behind = Behind::install(&net.gateway);
        let ((taken_before, lost_before), begun) = (xdp(&net, LAN), Instant::now());
        let mut sent = [0, 0];
        let mut generation = 1;
        while generation < GENERATIONS {
            let floods = floods(&net);
            for _ in 0..STRETCH {
                generation += 1;
                publish(&mut filter, generation, policy(generation));
            }
            for (sent, flood) in sent.iter_mut().zip(floods) {
                *sent += flood.stop();
            }
            assert_eq!(xdp(&net, LAN).1, lost_before, "an allowed packet was dropped before {generation}");
            assert_eq!(behind.packets("ghost_ip"), 0, "a denied packet passed before {generation}");
        }
        let (taken, lost) = xdp(&net, LAN);
        let taken = taken - taken_before;
        println!(
            "{GENERATIONS} generations in {:.1} s; of {} allowed frames sent {taken} reached the program and {} were dropped by it; \
             of {} others, three of four denied, none of the denied passed",
            begun.elapsed().as_secs_f64(),
            sent[0],
            lost - lost_before,
            sent[1]
        );
        assert!(taken > GENERATIONS && sent[1] > GENERATIONS, "that was no flood: {taken}, {sent:?}");
        // Both generations were in force under it: the turncoat was let in and kept out, thousands of times.
        let report = filter.report();
        let public = report.listeners.iter().find(|counts| counts.id == 1).unwrap();
        for reason in ["allowed", "not_allowed"] {
            let counted = public.reasons.iter().find(|counted| counted.reason == reason).unwrap();
            assert!(counted.count.packets > 1_000, "{counted:?}");
        }
    });
}
