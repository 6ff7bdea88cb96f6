//! What the program tells the daemon (counters, sampled events), and which generation it judges by.

use gateway_common::{
    counters::SAMPLE_FLOOD,
    decide::Verdict,
    reason::{Action, Reason},
};

use crate::{
    packet::{Frame, SYN, Upper},
    policy::{WAN, listener, tables},
    rig::{ENTRY_POINTS, Rig},
};

const HOST: &str = "198.51.100.1";
const LISTED: &str = "192.0.2.1";
const STRANGER: &str = "203.0.113.9";

#[test]
fn without_a_policy_everything_passes() {
    let mut rig = Rig::load(WAN);
    for name in ENTRY_POINTS {
        for frame in [Frame::between(STRANGER, HOST), Frame { options: 3, ..Frame::between(STRANGER, HOST) }]
        {
            let observed = rig.observe(name, &frame.bytes(), &[]);
            assert_eq!((observed.action, observed.verdict), (Action::Pass, Verdict::NOT_LISTENER));
        }
    }
}

#[test]
fn a_port_whose_slot_is_missing_drops() {
    let mut rig = Rig::load(WAN);
    rig.publish_word(443, 0x00ff_ffff);
    for name in ENTRY_POINTS {
        for options in [0, 3] {
            let frame = Frame { options, ..Frame::between(STRANGER, HOST) };
            let observed = rig.observe(name, &frame.bytes(), &[]);
            assert_eq!((observed.action, observed.verdict.reason), (Action::Drop, Reason::TableMissing));
            let other = Frame { upper: Upper::Tcp { source_port: 1, port: 22, flags: SYN }, ..frame };
            assert_eq!(rig.run(name, &other.bytes()), Action::Pass);
        }
    }
}

#[test]
fn each_packet_is_judged_by_the_generation_that_was_published_last() {
    let mut rig = Rig::load(WAN);
    let frame = Frame::between(LISTED, HOST).bytes();
    for generation in 1..=40 {
        // Chains and hashed ports, more and fewer listeners, in turns.
        let crowd = [0, 3, 9][generation as usize % 3];
        let mut listeners = (0..crowd)
            .map(|n| listener(n + 10, "wan", &[&format!("198.51.100.{}", n + 2)], &[]))
            .collect::<Vec<_>>();
        let id = 1 + generation as u16 % 5;
        let listed = generation % 2 == 0;
        listeners.push(listener(id, "wan", &[HOST], if listed { &["192.0.2.0/24"] } else { &[] }));
        rig.publish(&tables(generation, listeners));
        let expected = if listed { (Reason::Allowed, Some(0)) } else { (Reason::NotAllowed, None) };
        for name in ENTRY_POINTS {
            let verdict = rig.observe(name, &frame, &[1, 2, 3, 4, 5]).verdict;
            assert_eq!((verdict.reason, verdict.entry()), expected, "generation {generation}");
            assert_eq!(verdict.listener, u32::from(id));
        }
    }
}

#[test]
fn a_drop_is_sent_as_an_event_that_says_what_was_dropped() {
    let mut rig = Rig::load(WAN);
    rig.publish(&tables(77, vec![listener(3, "wan", &["*"], &["192.0.2.0/24"])]));
    let frames = [
        (Frame::between(STRANGER, HOST), Reason::NotAllowed, 40000, 443, 0, 4),
        (
            Frame { tags: vec![(0x8100, 9)], options: 2, ..Frame::between(STRANGER, HOST) },
            Reason::NotAllowed,
            40000,
            443,
            9,
            4,
        ),
        (Frame { fragment: 0x2000, ..Frame::between(LISTED, HOST) }, Reason::Fragment, 40000, 443, 0, 4),
        (Frame { cut: Some(40), ..Frame::between(LISTED, HOST) }, Reason::Truncated, 0, 0, 0, 4),
        (Frame::between("2001:db8::9", "2001:db8::1"), Reason::NotAllowed, 40000, 443, 0, 6),
    ];
    for name in ENTRY_POINTS {
        for (frame, reason, source_port, port, vlan, family) in &frames {
            assert_eq!(rig.run(name, &frame.bytes()), Action::Drop);
            let [event] = rig.events().try_into().expect("one event");
            assert_eq!(event.source, gateway_user::snapshot::filter::address::words(frame.source).1);
            assert_eq!(
                event.destination,
                gateway_user::snapshot::filter::address::words(frame.destination).1
            );
            assert_eq!((event.generation, event.ifindex, event.listener), (77, WAN, 3));
            assert_eq!(event.length as usize, frame.bytes().len());
            assert_eq!((event.source_port, event.destination_port), (*source_port, *port));
            assert_eq!((event.vlan, event.family, event.reason), (*vlan, *family, *reason as u8));
        }
        assert_eq!(rig.run(name, &Frame::between(LISTED, HOST).bytes()), Action::Pass);
        assert!(rig.events().is_empty(), "what passes is counted, not sent");
    }
}

#[test]
fn a_mask_makes_a_sample_of_the_drops() {
    let mut rig = Rig::load(WAN);
    rig.publish(&tables(1, vec![listener(3, "wan", &[HOST], &[])]));
    let frame = Frame::between(STRANGER, HOST).bytes();
    for (mask, packets, events) in [(0, 64, 64), (3, 64, 16), (63, 128, 2)] {
        rig.sample(mask);
        let drops = (0..packets).filter(|_| rig.run("gateway", &frame) == Action::Drop).count();
        assert_eq!(drops, packets);
        // Each CPU numbers its own packets.
        let cpus = aya::util::nr_cpus().unwrap();
        let sent = rig.events().len();
        assert!(sent.abs_diff(events) <= cpus, "{sent} of {packets} with mask {mask}");
    }
}

#[test]
fn a_full_ring_buffer_is_counted_and_shrinks_the_sample() {
    let mut rig = Rig::load(WAN);
    rig.publish(&tables(1, vec![listener(3, "wan", &[HOST], &[])]));
    let frame = Frame::between(STRANGER, HOST).bytes();
    assert_eq!(rig.sampled(), (0, 0));
    // A record takes 64 bytes and a header of 8.
    let room = 256 * 1024 / 72;
    for _ in 0..room + 100 {
        assert_eq!(rig.run("gateway", &frame), Action::Drop);
    }
    let (mask, lost) = rig.sampled();
    assert_eq!(mask, SAMPLE_FLOOD);
    assert!((1..10).contains(&lost), "{lost} events were lost");
    assert!(rig.events().len().abs_diff(room) < 10);
    // Every packet was counted all the same.
    assert_eq!(rig.totals(&[3]), room as u64 + 100);
}
