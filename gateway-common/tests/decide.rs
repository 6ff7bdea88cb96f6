//! The decision's rules, row by row, over tables made by hand. How tables are made of a policy is tested where that is
//! done, and that the program decides alike, in the suite `kernel`.

use std::collections::BTreeMap;

use gateway_common::{
    counters::verdict_index,
    decide::{Outcome, Slots, Tables, Verdict, decide, decide_segment},
    list::NO_LIST,
    packet::{Family, Kind, Packet},
    reason::Reason,
    table::{
        ENTRY_DRAINING, EndpointKey, Entry4, HASHED, SLOT_ECHO_ALL, SLOT_OPEN, SLOT_SILENT, Slot, place,
    },
};

const WAN: u32 = 7;
const LAN: u32 = 8;

const fn v4(octets: [u8; 4]) -> u32 {
    u32::from_ne_bytes(octets)
}

const HOST: u32 = v4([198, 51, 100, 1]);
const LISTED: u32 = v4([192, 0, 2, 1]);
const STRANGER: u32 = v4([203, 0, 113, 9]);

/// Tables as a test writes them down.
#[derive(Default)]
struct Written {
    ports: Option<BTreeMap<u16, u32>>,
    slots: Vec<Slot>,
    endpoints: BTreeMap<EndpointKey, u32>,
}

impl Slots for Written {
    fn slot(&self, number: u32) -> Option<&Slot> {
        self.slots.get(number as usize)
    }

    fn listed4(&self, list: u32, source: u32) -> u32 {
        // List 1 has 192.0.2.0/24, and any other is missing.
        if list == 1 { u32::from(source >> 8 == 0xc0_0002) } else { NO_LIST }
    }

    fn listed6(&self, _list: u32, _source: [u64; 2]) -> u32 {
        NO_LIST
    }
}

impl Tables for Written {
    fn port(&self, port: u16) -> Option<u32> {
        Some(self.ports.as_ref()?.get(&port).copied().unwrap_or(0))
    }

    fn endpoint(&self, key: &EndpointKey) -> Option<u32> {
        self.endpoints.get(key).copied()
    }

    fn generation(&self) -> u32 {
        1
    }
}

/// An open slot at [`HOST`] of [`WAN`] that allows 192.0.2.0/24.
fn slot() -> Slot {
    let mut slot = Slot {
        flags: SLOT_OPEN,
        addr4: HOST,
        mask4: u32::MAX,
        place: place(WAN, 0),
        listener: 3,
        refused: verdict_index(3, Reason::NotAllowed),
        count4: 1,
        buckets4: [u64::MAX; 4],
        ..Slot::EMPTY
    };
    slot.entries4[0] = Entry4 { net: v4([192, 0, 2, 0]), mask: v4([255, 255, 255, 0]) };
    slot.ids4[0] = 11;
    slot
}

/// `slots` in line on port 443, numbered from 1.
fn chain(slots: &[Slot]) -> Written {
    let count = slots.len() as u32;
    let linked =
        (2..).zip(slots).map(|(next, slot)| Slot { next: if next > count { 0 } else { next }, ..*slot });
    Written {
        ports: Some(BTreeMap::from([(443, 1)])),
        slots: [Slot::EMPTY].into_iter().chain(linked).collect(),
        endpoints: BTreeMap::new(),
    }
}

fn packet(source: u32, kind: Kind) -> Packet {
    Packet {
        source: [source, 0, 0, 0],
        destination: [HOST, 0, 0, 0],
        port: 443,
        syn: true,
        kind,
        ..Packet::OTHER
    }
}

/// Takes the verdict as it is; `None`: the general way has to look.
struct Taken;

impl Outcome for Taken {
    type Done = Option<Verdict>;

    fn refused(self, slot: &Slot) -> Option<Verdict> {
        Some(Verdict::refused(slot))
    }

    fn judged(self, verdict: Verdict) -> Option<Verdict> {
        Some(verdict)
    }

    fn general(self) -> Option<Verdict> {
        None
    }
}

fn verdict(tables: &Written, packet: &Packet) -> (Reason, u32, Option<u8>) {
    let verdict = decide(tables, WAN, packet);
    if packet.kind == Kind::Tcp && packet.tags == 0 && packet.family == Family::V4 {
        // The short way decides alike, or leaves it to the general one.
        let word = tables.port(packet.port).unwrap_or(0);
        if word != 0 {
            let short = decide_segment(
                tables,
                WAN,
                word,
                packet.destination[0],
                || packet.source[0],
                || packet.syn,
                Taken,
            );
            assert!(short.is_none_or(|short| short == verdict), "{short:?}");
        }
    }
    assert_eq!(Verdict::from_word(verdict.word()), verdict);
    (verdict.reason, verdict.listener, verdict.entry())
}

#[test]
fn a_segment_is_judged_by_the_list() {
    let tables = chain(&[slot()]);
    assert_eq!(verdict(&tables, &packet(LISTED, Kind::Tcp)), (Reason::Allowed, 3, Some(11)));
    assert_eq!(verdict(&tables, &packet(STRANGER, Kind::Tcp)), (Reason::NotAllowed, 3, None));
    let other = Packet { port: 22, ..packet(STRANGER, Kind::Tcp) };
    assert_eq!(verdict(&tables, &other), (Reason::NotListener, 0, None));
    let elsewhere = Packet { destination: [HOST + 1, 0, 0, 0], ..packet(STRANGER, Kind::Tcp) };
    assert_eq!(verdict(&tables, &elsewhere), (Reason::NotListener, 0, None));
    let other_family = Packet { family: Family::V6, ..packet(LISTED, Kind::Tcp) };
    assert_eq!(verdict(&tables, &other_family), (Reason::NotListener, 0, None));
}

#[test]
fn an_empty_bucket_is_an_answer_and_a_full_one_is_not() {
    let empty = chain(&[Slot { buckets4: [0; 4], ..slot() }]);
    assert_eq!(verdict(&empty, &packet(LISTED, Kind::Tcp)), (Reason::NotAllowed, 3, None));
    // Shift 8: the third byte, here 2 and 113, names the bucket.
    let one = chain(&[Slot { shift4: 8, buckets4: [1 << 2, 0, 0, 0], ..slot() }]);
    assert_eq!(verdict(&one, &packet(LISTED, Kind::Tcp)), (Reason::Allowed, 3, Some(11)));
    let neighbour = v4([10, 0, 2, 1]);
    assert_eq!(verdict(&one, &packet(neighbour, Kind::Tcp)), (Reason::NotAllowed, 3, None));
}

#[test]
fn state_comes_before_the_list() {
    for (flags, reason) in [
        (0, Reason::Closed),
        (SLOT_ECHO_ALL, Reason::Closed),
        (SLOT_OPEN | SLOT_SILENT, Reason::Silent),
        (SLOT_SILENT, Reason::Silent),
    ] {
        let tables = chain(&[Slot { flags, ..slot() }]);
        assert_eq!(verdict(&tables, &packet(LISTED, Kind::Tcp)), (reason, 3, None), "{flags:#x}");
    }
}

#[test]
fn a_large_list_allows_what_no_entry_does_and_its_absence_drops() {
    fn list(number: u32) -> Written {
        let mut bare = slot();
        bare.entries4[0] = Entry4::NONE;
        bare.list4 = number;
        chain(&[bare])
    }
    assert_eq!(verdict(&list(0), &packet(LISTED, Kind::Tcp)), (Reason::NotAllowed, 3, None));
    assert_eq!(verdict(&list(1), &packet(LISTED, Kind::Tcp)), (Reason::Allowed, 3, Some(31)));
    assert_eq!(verdict(&list(1), &packet(STRANGER, Kind::Tcp)), (Reason::NotAllowed, 3, None));
    assert_eq!(verdict(&list(2), &packet(LISTED, Kind::Tcp)), (Reason::ListMissing, 3, None));
    // An entry goes first, but a draining one last.
    let mut both = slot();
    both.list4 = 1;
    assert_eq!(verdict(&chain(&[both]), &packet(LISTED, Kind::Tcp)).2, Some(11));
    let mut draining = both;
    draining.ids4[0] |= ENTRY_DRAINING;
    assert_eq!(verdict(&chain(&[draining]), &packet(LISTED, Kind::Tcp)), (Reason::Allowed, 3, Some(31)));
}

#[test]
fn a_draining_entry_keeps_flows() {
    let mut draining = slot();
    draining.ids4[0] |= ENTRY_DRAINING;
    let tables = chain(&[draining]);
    let new = packet(LISTED, Kind::Tcp);
    assert_eq!(verdict(&tables, &new), (Reason::DrainingNew, 3, Some(11)));
    assert_eq!(verdict(&tables, &Packet { syn: false, ..new }), (Reason::Draining, 3, Some(11)));
}

#[test]
fn the_first_endpoint_of_the_chain_that_is_here_counts() {
    let any = Slot { addr4: 0, mask4: 0, listener: 4, ..slot() };
    let lan = Slot { place: place(LAN, 0), listener: 5, ..slot() };
    let tagged = Slot { place: place(WAN, 9), listener: 6, ..slot() };
    let here = packet(LISTED, Kind::Tcp);
    assert_eq!(verdict(&chain(&[slot(), any]), &here).1, 3);
    // Another interface's endpoint is remembered, but a wildcard of this one takes the packet.
    assert_eq!(verdict(&chain(&[lan, any]), &here), (Reason::Allowed, 4, Some(11)));
    assert_eq!(verdict(&chain(&[lan]), &here), (Reason::WrongInterface, 5, None));
    assert_eq!(verdict(&chain(&[lan, tagged]), &here), (Reason::WrongInterface, 5, None));
    assert_eq!(
        verdict(&chain(&[Slot { place: place(LAN, 0), ..any }]), &here),
        (Reason::NotListener, 0, None)
    );
    let on_vlan = Packet { vlan: 9, tags: 1, ..here };
    assert_eq!(verdict(&chain(&[tagged, slot()]), &on_vlan).1, 6);
    assert_eq!(verdict(&chain(&[tagged, slot()]), &here).1, 3);
    assert_eq!(verdict(&chain(&[tagged]), &here), (Reason::WrongInterface, 6, None));
}

#[test]
fn what_is_no_segment_towards_a_listener_is_dropped_by_its_own_reason() {
    let mut tables = chain(&[slot()]);
    let address = [HOST, 0, 0, 0];
    for (interface, number) in [(WAN, 1), (0, 1)] {
        tables.endpoints.insert(EndpointKey::new(1, interface, 0, Family::V4, address, 0), number);
    }
    for (kind, reason) in [
        (Kind::TcpFragment, Reason::Fragment),
        (Kind::LaterFragment, Reason::Fragment),
        (Kind::Truncated, Reason::Truncated),
        (Kind::ExtChain, Reason::ExtChain),
    ] {
        assert_eq!(verdict(&tables, &packet(LISTED, kind)), (reason, 3, None), "{kind:?}");
    }
    assert_eq!(verdict(&tables, &packet(LISTED, Kind::Echo)), (Reason::Echo, 3, Some(11)));
    assert_eq!(verdict(&tables, &packet(STRANGER, Kind::Echo)), (Reason::NotAllowed, 3, None));
    assert_eq!(verdict(&tables, &packet(STRANGER, Kind::Other)), (Reason::NotListener, 0, None));
    assert_eq!(verdict(&tables, &packet(STRANGER, Kind::VlanDepth)), (Reason::VlanDepth, 0, None));
    let deep = Packet { tags: 3, ..packet(LISTED, Kind::Tcp) };
    assert_eq!(verdict(&tables, &deep), (Reason::VlanDepth, 3, None));
    tables.slots[1].flags |= SLOT_ECHO_ALL;
    assert_eq!(verdict(&tables, &packet(STRANGER, Kind::Echo)), (Reason::Echo, 3, None));
    tables.slots[1].flags |= SLOT_SILENT;
    assert_eq!(verdict(&tables, &packet(LISTED, Kind::Echo)), (Reason::Silent, 3, None));
}

#[test]
fn a_hashed_port_is_looked_up_exact_first_and_with_the_tag_first() {
    let keys = [
        (WAN, 9, HOST),
        (WAN, 0, HOST),
        (WAN, 9, 0),
        (WAN, 0, 0),
        // The marker: somebody's, somewhere.
        (0, 0, HOST),
    ];
    for first in 0..keys.len() {
        let mut tables = Written { ports: Some(BTreeMap::from([(443, HASHED)])), ..Written::default() };
        tables.slots.push(Slot::EMPTY);
        for (number, (interface, vlan, address)) in (1..).zip(keys).skip(first) {
            let key = EndpointKey::new(1, interface, vlan, Family::V4, [address, 0, 0, 0], 443);
            tables.endpoints.insert(key, number);
        }
        for number in 1..=5 {
            tables.slots.push(Slot { listener: number, ..slot() });
        }
        let packet = Packet { vlan: 9, tags: 1, ..packet(LISTED, Kind::Tcp) };
        let (reason, listener, _) = verdict(&tables, &packet);
        assert_eq!(listener, first as u32 + 1);
        assert_eq!(reason, if first == 4 { Reason::WrongInterface } else { Reason::Allowed });
    }
}

#[test]
fn incomplete_tables_drop_and_no_tables_pass() {
    assert_eq!(verdict(&Written::default(), &packet(LISTED, Kind::Tcp)), (Reason::NotListener, 0, None));
    let ports = Some(BTreeMap::from([(443, 5)]));
    let tables = Written { ports, ..Written::default() };
    assert_eq!(verdict(&tables, &packet(LISTED, Kind::Tcp)), (Reason::TableMissing, 0, None));
    let mut tables = Written { ports: Some(BTreeMap::from([(443, HASHED)])), ..Written::default() };
    tables.endpoints.insert(EndpointKey::new(1, 0, 0, Family::V4, [HOST, 0, 0, 0], 443), 5);
    assert_eq!(verdict(&tables, &packet(LISTED, Kind::Tcp)), (Reason::TableMissing, 0, None));
}
