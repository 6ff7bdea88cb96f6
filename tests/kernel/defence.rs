//! What follows a verdict: a monitored listener lets pass and counts, bans and budgets drop what the list admits.

use gateway_common::{
    decide::Verdict,
    defence::{BURST, GUARD_BANS, GUARD_BUDGETS, Source},
    packet::Packet,
    parse::parse,
    reason::{Action, Reason},
};
use gateway_user::snapshot::filter::{Echo, FilterListener, ListenerOptions};

use crate::{
    packet::{ACK, Frame, SYN, Upper},
    policy::{WAN, listener, tables},
    rig::{ENTRY_POINTS, Observed, Rig},
};

const HOST: [&str; 2] = ["198.51.100.1", "2001:db8:1::1"];
const LISTED: [&str; 2] = ["192.0.2.1", "2001:db8:2::1"];
const STRANGER: [&str; 2] = ["203.0.113.9", "2001:db8:3::9"];
const LIST: [&str; 2] = ["192.0.2.0/24", "2001:db8:2::/48"];
/// The end of a ban that does not end in a test.
const LATER: u64 = u64::MAX;

fn segment(source: &str, destination: &str, flags: u8) -> Frame {
    Frame {
        upper: Upper::Tcp { source_port: 40000, port: 443, flags },
        ..Frame::between(source, destination)
    }
}

/// The same segment plain, and in forms that the short way does not know.
fn wrapped(frame: &Frame) -> [Vec<u8>; 2] {
    let options = if frame.destination.is_ipv4() { 3 } else { 0 };
    [frame.bytes(), Frame { tags: vec![(0x8100, 5)], options, ..frame.clone() }.bytes()]
}

fn source(frame: &Frame) -> Source {
    Source::of(&parse(&frame.bytes()[..]).unwrap_or(Packet::OTHER), 0)
}

#[track_caller]
fn expect(rig: &mut Rig, name: &str, bytes: &[u8], reason: Reason, entry: Option<u8>) {
    let verdict = Verdict { reason, listener: 3, entry: entry.unwrap_or(Verdict::NO_ENTRY) };
    let expected = Observed { action: reason.action(), verdict };
    assert_eq!(rig.observe(name, bytes, &[3]), expected, "{name}: {bytes:02x?}");
}

#[test]
fn a_monitored_listener_passes_what_its_list_would_drop_and_nothing_else() {
    let monitored = |open, echo, entries: &[&str]| FilterListener {
        open,
        echo,
        options: ListenerOptions { monitor: true, ..ListenerOptions::default() },
        ..listener(3, "wan", &HOST, entries)
    };
    let mut rig = Rig::load(WAN);
    let mut generation = 0;
    for (open, echo, entries, reason) in [
        (true, Echo::Everybody, &LIST[..], Reason::Monitored),
        (true, Echo::Everybody, &[], Reason::Monitored),
        (true, Echo::Allowlist, &LIST, Reason::Monitored),
        (false, Echo::Everybody, &LIST, Reason::Closed),
        (true, Echo::Silent, &LIST, Reason::Silent),
    ] {
        generation += 1;
        rig.publish(&tables(generation, vec![monitored(open, echo, entries)]));
        for name in ENTRY_POINTS {
            for (family, host) in HOST.iter().enumerate() {
                let stranger = segment(STRANGER[family], host, SYN);
                for bytes in wrapped(&stranger) {
                    expect(&mut rig, name, &bytes, reason, None);
                }
                let kind = if family == 0 { 8 } else { 128 };
                let ping = Frame { upper: Upper::Icmp { kind }, ..stranger.clone() };
                let answered = match echo {
                    Echo::Everybody => Reason::Echo,
                    Echo::Allowlist => Reason::Monitored,
                    Echo::Silent => Reason::Silent,
                };
                expect(&mut rig, name, &ping.bytes(), answered, None);
                let listed = segment(LISTED[family], host, SYN);
                let is_listed = reason == Reason::Monitored && !entries.is_empty();
                let (known, entry) =
                    if is_listed { (Reason::Allowed, Some(family as u8)) } else { (reason, None) };
                expect(&mut rig, name, &listed.bytes(), known, entry);
            }
            // What the parser drops is not the allowlist's.
            let fragment = Frame { fragment: 0x2000, ..segment(STRANGER[0], HOST[0], SYN) };
            expect(&mut rig, name, &fragment.bytes(), Reason::Fragment, None);
        }
    }
}

#[test]
fn a_ban_drops_an_allowed_source_until_it_ends_and_nobody_else() {
    let mut rig = Rig::load(WAN);
    rig.publish(&tables(1, vec![listener(3, "wan", &HOST, &LIST)]));
    for (family, host) in HOST.iter().enumerate() {
        let banned = segment(LISTED[family], host, ACK);
        rig.ban(source(&banned), LATER, true);
        // An IPv6 source is its /64.
        let near = ["192.0.2.2", "2001:db8:2::ffff:1"][family];
        let far = ["192.0.2.3", "2001:db8:2:1::1"][family];
        let entry = Some(family as u8);
        for name in ENTRY_POINTS {
            rig.arm(0);
            expect(&mut rig, name, &banned.bytes(), Reason::Allowed, entry);
            rig.arm(GUARD_BANS);
            for flags in [SYN, ACK] {
                for bytes in wrapped(&segment(LISTED[family], host, flags)) {
                    expect(&mut rig, name, &bytes, Reason::Banned, None);
                }
            }
            let neighbour = segment(near, host, SYN).bytes();
            let (reason, entry) = if family == 0 { (Reason::Allowed, entry) } else { (Reason::Banned, None) };
            expect(&mut rig, name, &neighbour, reason, entry);
            expect(&mut rig, name, &segment(far, host, SYN).bytes(), Reason::Allowed, Some(family as u8));
            // A stranger is a stranger, also a banned one.
            let stranger = segment(STRANGER[family], host, SYN);
            rig.ban(source(&stranger), LATER, true);
            expect(&mut rig, name, &stranger.bytes(), Reason::NotAllowed, None);
            // Explaining asks the policy, not what happens to be.
            assert_eq!(rig.explain(&banned.bytes()).reason, Reason::Allowed);
        }
        // Observed, and over.
        for (until, enforced) in [(LATER, false), (1, true)] {
            rig.ban(source(&banned), until, enforced);
            for name in ENTRY_POINTS {
                expect(&mut rig, name, &banned.bytes(), Reason::Allowed, entry);
            }
        }
    }
}

#[test]
fn a_budget_bites_only_sources_over_their_share() {
    // A rate that nothing comes back from within a test.
    let (rate, share) = (BURST / 8, BURST / 2);
    for name in ENTRY_POINTS {
        let mut rig = Rig::load(WAN);
        rig.publish(&tables(
            1,
            vec![listener(3, "wan", &HOST, &LIST), listener(4, "lan", &["10.0.0.1"], &[])],
        ));
        rig.arm(GUARD_BUDGETS);
        rig.budget(3, rate, share);
        let passed = |source: &str, flags: u8, count: usize| {
            let frame = segment(source, HOST[usize::from(source.contains(':'))], flags).bytes();
            (0..count).filter(|_| rig.run(name, &frame) == Action::Pass).count()
        };
        // The greedy one gets what the listener has (a burst of 8 and one), then its share only.
        let greedy = passed(LISTED[0], SYN, 200);
        assert!((9..=20).contains(&greedy), "{name}: {greedy} passed");
        // Nobody pays for it: each has its share, a burst of 2 and one.
        for other in ["192.0.2.7", "192.0.2.8", LISTED[1]] {
            let modest = passed(other, SYN, 3);
            assert_eq!(modest, 3, "{name}: {other}");
        }
        // What is no new connection is nobody's budget.
        assert_eq!(passed(LISTED[0], ACK, 50), 50, "{name}");
        assert_eq!(passed(STRANGER[0], SYN, 3), 0, "{name}");
        let verdict = Verdict { reason: Reason::SynBudget, listener: 3, entry: Verdict::NO_ENTRY };
        assert!(rig.counted(verdict).0 >= 180, "{name}: {:?}", rig.counted(verdict));

        // A share alone is a limit for each, and no budget is none.
        rig.budget(3, 0, share);
        let frame = segment("192.0.2.77", HOST[0], SYN).bytes();
        let limited = (0..50).filter(|_| rig.run(name, &frame) == Action::Pass).count();
        assert!((3..=6).contains(&limited), "{name}: {limited} passed");
        rig.budget(3, 0, 0);
        assert_eq!((0..50).filter(|_| rig.run(name, &frame) == Action::Pass).count(), 50, "{name}");
    }
}
