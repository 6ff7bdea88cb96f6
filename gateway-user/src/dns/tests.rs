//! The answers, from bytes to bytes: each rule of the protocol by name, and whatever bytes somebody may send.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, RecordType},
};
use proptest::prelude::*;

use super::{
    answer::{Transport, respond, slip},
    view::View,
};
use crate::snapshot::dns::{DnsData, DnsView, DnsZone};

const SERIAL: u32 = 7;
const TTL: u32 = 60;

fn ip(last: u8) -> DnsData {
    DnsData::Address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)))
}

fn zone(origin: &str, records: &[(&str, Vec<DnsData>)]) -> DnsZone {
    DnsZone {
        origin: origin.to_owned(),
        wildcard: origin.starts_with("*."),
        name_server: "ns.gw.example".to_owned(),
        records: records.iter().map(|(name, data)| ((*name).to_owned(), data.clone())).collect(),
    }
}

/// A view as compile makes them, and one name with more addresses than a datagram holds.
fn view() -> View {
    let watched = |last| DnsData::Watched {
        interface: "eth1".to_owned(),
        address: Ipv4Addr::new(10, 1, 0, last).into(),
    };
    let many = (0..200).map(ip).collect();
    let gateway = zone(
        "gw.example",
        &[
            ("ns.gw.example", vec![ip(1)]),
            ("gw-default.eu.gw.example", vec![DnsData::Alias("nlb-default.eu.gw.example".to_owned())]),
            ("nlb-default.eu.gw.example", vec![ip(5), DnsData::Address("2001:db8::5".parse().unwrap())]),
            ("out.gw.example", vec![DnsData::Alias("elsewhere.example.net".to_owned())]),
            ("lost.gw.example", vec![DnsData::Alias("nowhere.gw.example".to_owned())]),
            ("loop.gw.example", vec![DnsData::Alias("loop.gw.example".to_owned())]),
            ("many.gw.example", many),
            (
                "wild0.gw.example",
                vec![DnsData::Interface { interface: "pub0".to_owned(), v4: true, v6: false }],
            ),
        ],
    );
    let zones = vec![
        zone("*.wild.example", &[("*.wild.example", vec![ip(9)])]),
        zone("api.example.org", &[("api.example.org", vec![ip(7)])]),
        zone("dsw.example.com", &[("dsw.example.com", vec![watched(1), watched(2)])]),
        gateway,
    ];
    let addresses = |interface: &str| {
        assert_eq!(interface, "pub0");
        vec!["198.51.100.1".parse().unwrap(), "2001:db8:100::1".parse().unwrap()]
    };
    View::load(&DnsView { zones, ..DnsView::default() }, SERIAL, TTL, &addresses)
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    message.add_query(Query::query(name, kind));
    message
}

fn send_by(message: &Message, transport: Transport, dead: &[&str]) -> Message {
    let is_dead = |_: &str, address: IpAddr| dead.iter().any(|one| one.parse() == Ok(address));
    let reply = respond(&view(), &is_dead, &message.to_vec().unwrap(), transport).unwrap();
    let answer = Message::from_vec(&reply.bytes).unwrap();
    assert_eq!((answer.id, answer.message_type), (message.id, MessageType::Response));
    assert_eq!(answer.recursion_desired, message.recursion_desired);
    assert!(!answer.recursion_available);
    answer
}

fn send(message: &Message) -> Message {
    send_by(message, Transport::Udp, &[])
}

fn ask(name: &str, kind: RecordType) -> Message {
    let message = query(name, kind);
    let answer = send(&message);
    assert_eq!(answer.queries, message.queries);
    answer
}

/// The data of a section, as one would write it.
fn data(records: &[hickory_proto::rr::Record]) -> Vec<String> {
    records.iter().map(|record| format!("{} {}", record.record_type(), record.data)).collect()
}

fn assert_denied(answer: &Message, code: ResponseCode, origin: &str) {
    assert_eq!(answer.response_code, code, "{answer}");
    assert!(answer.authoritative, "{answer}");
    let [soa] = &answer.authorities[..] else { panic!("{answer}") };
    assert_eq!(soa.name.to_ascii(), format!("{origin}."), "{answer}");
    let RData::SOA(data) = &soa.data else { panic!("{answer}") };
    assert_eq!((soa.ttl, data.minimum, data.serial), (TTL, TTL, SERIAL));
}

fn assert_refused(answer: &Message) {
    assert_eq!(answer.response_code, ResponseCode::Refused, "{answer}");
    assert!(!answer.authoritative && answer.answers.is_empty() && answer.authorities.is_empty(), "{answer}");
}

#[test]
fn a_chain_is_answered_whole_with_authority() {
    for (kind, last) in [(RecordType::A, "A 10.0.0.5"), (RecordType::AAAA, "AAAA 2001:db8::5")] {
        let answer = ask("gw-default.eu.gw.example", kind);
        assert_eq!(answer.response_code, ResponseCode::NoError);
        assert!(answer.authoritative && !answer.truncation);
        assert_eq!(data(&answer.answers), ["CNAME nlb-default.eu.gw.example.", last]);
        assert!(answer.answers.iter().all(|record| record.ttl == TTL));
    }
    let alias = ask("gw-default.eu.gw.example", RecordType::CNAME);
    assert_eq!(data(&alias.answers), ["CNAME nlb-default.eu.gw.example."]);
}

#[test]
fn a_chain_ends_where_it_leaves_the_zones_or_runs_in_circles() {
    assert_eq!(data(&ask("out.gw.example", RecordType::A).answers), ["CNAME elsewhere.example.net."]);
    // RFC 6604: the alias is there, its target is not.
    let lost = ask("lost.gw.example", RecordType::A);
    assert_denied(&lost, ResponseCode::NXDomain, "gw.example");
    assert_eq!(data(&lost.answers), ["CNAME nowhere.gw.example."]);
    assert!(ask("loop.gw.example", RecordType::A).answers.len() <= 8);
}

#[test]
fn the_apex_has_soa_and_name_server() {
    let soa = ask("gw.example", RecordType::SOA);
    assert_eq!(soa.answers.len(), 1);
    assert!(data(&soa.answers)[0].contains("ns.gw.example. hostmaster.gw.example. 7 "), "{soa}");
    let ns = ask("gw.example", RecordType::NS);
    assert_eq!(data(&ns.answers), ["NS ns.gw.example."]);
    assert_eq!(data(&ns.additionals), ["A 10.0.0.1"]);
}

#[test]
fn what_is_not_there_is_denied_and_what_is_empty_exists() {
    assert_denied(&ask("nope.gw.example", RecordType::A), ResponseCode::NXDomain, "gw.example");
    // `eu.gw.example` has nothing but names below it (RFC 8020 §3.1).
    assert_denied(&ask("eu.gw.example", RecordType::A), ResponseCode::NoError, "gw.example");
    assert_denied(&ask("ns.gw.example", RecordType::AAAA), ResponseCode::NoError, "gw.example");
    assert_denied(&ask("gw.example", RecordType::MX), ResponseCode::NoError, "gw.example");
    assert_denied(&ask("sub.api.example.org", RecordType::A), ResponseCode::NXDomain, "api.example.org");
}

#[test]
fn a_custom_domain_is_a_zone_and_the_names_around_it_are_not_ours() {
    let answer = ask("api.example.org", RecordType::A);
    assert_eq!(data(&answer.answers), ["A 10.0.0.7"]);
    assert!(data(&ask("api.example.org", RecordType::SOA).answers)[0].starts_with("SOA ns.gw.example."));
    for name in ["example.org", "www.example.org", "org", ".", "apiexample.org"] {
        assert_refused(&ask(name, RecordType::A));
    }
}

#[test]
fn a_wildcard_stands_for_one_label() {
    assert_eq!(data(&ask("a.wild.example", RecordType::A).answers), ["A 10.0.0.9"]);
    assert_denied(&ask("a.wild.example", RecordType::AAAA), ResponseCode::NoError, "a.wild.example");
    assert_denied(&ask("b.a.wild.example", RecordType::A), ResponseCode::NXDomain, "a.wild.example");
    assert_refused(&ask("wild.example", RecordType::A));
    assert_eq!(data(&ask("*.wild.example", RecordType::A).answers), ["A 10.0.0.9"]);
}

#[test]
fn pl_7_a_dead_address_is_withdrawn_and_the_last_one_is_not() {
    let ask = |dead: &[&str]| {
        data(&send_by(&query("dsw.example.com", RecordType::A), Transport::Udp, dead).answers)
    };
    assert_eq!(ask(&[]), ["A 10.1.0.1", "A 10.1.0.2"]);
    assert_eq!(ask(&["10.1.0.1"]), ["A 10.1.0.2"]);
    assert_eq!(ask(&["10.1.0.2"]), ["A 10.1.0.1"]);
    assert_eq!(ask(&["10.1.0.1", "10.1.0.2"]), ["A 10.1.0.1", "A 10.1.0.2"]);
}

#[test]
fn the_addresses_of_an_interface_are_filled_in() {
    assert_eq!(data(&ask("wild0.gw.example", RecordType::A).answers), ["A 198.51.100.1"]);
    assert_denied(&ask("wild0.gw.example", RecordType::AAAA), ResponseCode::NoError, "gw.example");
}

#[test]
fn the_letters_of_the_question_come_back_as_they_were() {
    let message = query("Gw-DEFAULT.eU.gw.ExamplE", RecordType::A);
    let answer = send(&message);
    assert!(answer.queries[0].name().eq_case(message.queries[0].name()));
    assert!(answer.answers[0].name.eq_case(message.queries[0].name()));
    assert_eq!(answer.answers.len(), 2);
}

#[test]
fn a_long_answer_is_truncated_over_udp_and_whole_over_tcp() {
    let message = query("many.gw.example", RecordType::A);
    let short = send(&message);
    assert!(short.truncation && short.answers.is_empty() && short.authoritative);
    let whole = send_by(&message, Transport::Tcp, &[]);
    assert!(!whole.truncation);
    assert_eq!(whole.answers.len(), 200);
    // An asker who takes more gets more, up to what passes every link.
    let mut large = message.clone();
    large.set_edns(Edns::new().set_max_payload(65_535).to_owned());
    let answer = send(&large);
    assert!(answer.truncation, "200 addresses are more than 1232 bytes");
    assert_eq!(answer.edns.unwrap().max_payload(), 1232);
}

#[test]
fn edns_is_answered_in_kind_and_other_versions_are_not_spoken() {
    let mut message = query("api.example.org", RecordType::A);
    message.set_edns(Edns::new().set_max_payload(100).set_dnssec_ok(true).to_owned());
    let answer = send(&message);
    let edns = answer.edns.as_ref().unwrap();
    assert_eq!((edns.version(), edns.flags().dnssec_ok), (0, true));
    assert_eq!(answer.answers.len(), 1);
    message.set_edns(Edns::new().set_version(1).to_owned());
    let answer = send(&message);
    // 16 is BADSIG as well, where a signature is meant (RFC 8945 §3); the decoder takes it for that.
    assert_eq!(u16::from(answer.response_code), u16::from(ResponseCode::BADVERS));
    assert_eq!(answer.edns.as_ref().unwrap().version(), 0);
    assert!(answer.answers.is_empty());
    assert!(ask("api.example.org", RecordType::A).edns.is_none());
    let twice = {
        let mut bytes = message.to_vec().unwrap();
        let option = bytes[bytes.len() - 11..].to_vec();
        bytes.extend(option);
        bytes[11] = 2;
        bytes
    };
    let reply = respond(&view(), &|_, _| false, &twice, Transport::Udp).unwrap();
    assert_eq!(reply.code, ResponseCode::FormErr, "two OPT records (RFC 6891 §6.1.1)");
}

#[test]
fn transfers_other_classes_and_other_operations_are_refused() {
    for kind in [RecordType::AXFR, RecordType::IXFR] {
        assert_refused(&ask("gw.example", kind));
        assert_refused(&send_by(&query("gw.example", kind), Transport::Tcp, &[]));
    }
    for class in [DNSClass::CH, DNSClass::HS, DNSClass::ANY] {
        let mut message = query("gw.example", RecordType::SOA);
        message.queries[0].set_query_class(class);
        assert_refused(&send(&message));
    }
    for code in [OpCode::Status, OpCode::Notify, OpCode::Update] {
        let mut message = query("gw.example", RecordType::SOA);
        message.metadata.op_code = code;
        let answer = send(&message);
        assert_eq!((answer.response_code, answer.op_code), (ResponseCode::NotImp, code));
    }
}

#[test]
fn one_question_is_what_a_query_has() {
    let mut none = query("gw.example", RecordType::SOA);
    let mut two = none.clone();
    two.add_query(none.queries[0].clone());
    none.queries.clear();
    for message in [none, two] {
        assert_eq!(send(&message).response_code, ResponseCode::FormErr);
    }
    // A number of questions that the message does not have.
    let mut bytes = query("gw.example", RecordType::SOA).to_vec().unwrap();
    bytes.truncate(14);
    let reply = respond(&view(), &|_, _| false, &bytes, Transport::Udp).unwrap();
    assert_eq!(reply.code, ResponseCode::FormErr);
    assert_eq!(reply.bytes.len(), 12);
}

#[test]
fn any_gets_one_kind_of_record() {
    assert_eq!(data(&ask("nlb-default.eu.gw.example", RecordType::ANY).answers), ["A 10.0.0.5"]);
    assert_eq!(ask("gw.example", RecordType::ANY).answers.len(), 1);
    assert_denied(&ask("eu.gw.example", RecordType::ANY), ResponseCode::NoError, "gw.example");
    assert_eq!(data(&ask("gw-default.eu.gw.example", RecordType::ANY).answers).len(), 1);
}

#[test]
fn answers_are_not_answered() {
    let mut message = query("gw.example", RecordType::SOA);
    message.metadata.message_type = MessageType::Response;
    assert!(respond(&view(), &|_, _| false, &message.to_vec().unwrap(), Transport::Udp).is_none());
    assert!(slip(&message.to_vec().unwrap()).is_none());
    for length in 0..12 {
        assert!(respond(&view(), &|_, _| false, &vec![0; length], Transport::Udp).is_none());
    }
}

#[test]
fn a_slipped_answer_sends_the_asker_to_tcp_and_is_no_longer_than_the_query() {
    let message = query("gw-default.eu.gw.example", RecordType::A);
    let bytes = message.to_vec().unwrap();
    let slipped = slip(&bytes).unwrap();
    assert!(slipped.len() <= bytes.len());
    let answer = Message::from_vec(&slipped).unwrap();
    assert!(answer.truncation && answer.answers.is_empty());
    assert_eq!((answer.id, &answer.queries), (message.id, &message.queries));
}

/// What holds of every answer to whatever bytes.
fn check(view: &View, bytes: &[u8]) {
    for transport in [Transport::Udp, Transport::Tcp] {
        let Some(reply) = respond(view, &|_, _| false, bytes, transport) else {
            assert!(bytes.len() < 12 || bytes[2] & 0x80 != 0, "no answer to a query");
            continue;
        };
        assert_eq!(reply.bytes[..2], bytes[..2], "the id");
        assert_ne!(reply.bytes[2] & 0x80, 0, "an answer");
        assert_eq!(reply.bytes[2] & 0x79, bytes[2] & 0x79, "operation and RD");
        assert_eq!(reply.bytes[3] & 0x80, 0, "no recursion");
        let answer = Message::from_vec(&reply.bytes).expect("a well-formed answer");
        if let Ok(query) = Message::from_vec(bytes)
            && query.queries.len() == 1
            && query.op_code == OpCode::Query
        {
            assert_eq!(answer.queries, query.queries);
            assert!(answer.queries[0].name().eq_case(query.queries[0].name()));
            assert_eq!(answer.edns.is_some(), query.edns.is_some());
            let limit = query.edns.as_ref().map_or(512, |edns| edns.max_payload().clamp(512, 1232));
            assert!(transport == Transport::Tcp || reply.bytes.len() <= usize::from(limit));
        }
        assert!(transport == Transport::Tcp || reply.bytes.len() <= 1232);
        assert!(reply.bytes.len() <= 65_535);
    }
    if let Some(slipped) = slip(bytes) {
        assert!(slipped.len() <= bytes.len().max(512));
    }
}

/// Names that are, or nearly are, in the view.
fn names() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "gw.example",
        "gw-default.eu.gw.example",
        "many.gw.example",
        "loop.gw.example",
        "eu.gw.example",
        "api.example.org",
        "x.wild.example",
        "dsw.example.com",
        "org",
        ".",
    ]);
    (known, "[a-zA-Z0-9*_-]{0,20}", any::<u64>()).prop_map(|(name, label, case)| {
        let name = if label.is_empty() || label.starts_with('-') {
            name.to_owned()
        } else {
            format!("{label}.{name}")
        };
        let flip = |(place, letter): (usize, char)| {
            if case >> (place % 64) & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
        };
        name.trim_end_matches('.').chars().enumerate().map(flip).collect::<String>() + "."
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_bytes_come_they_get_a_good_answer_or_none(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        check(&view(), &bytes);
    }

    /// Good queries with a few bytes changed, a piece missing or a tail: deeper into the parser than noise comes.
    #[test]
    fn a_damaged_query_gets_a_good_answer_or_none(
        name in names(),
        kind in any::<u16>(),
        edns in prop::option::of((any::<u16>(), any::<u8>(), any::<bool>())),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let Ok(parsed) = Name::from_ascii(&name) else { return Ok(()) };
        let mut message = Message::new(kind.rotate_left(3), MessageType::Query, OpCode::Query);
        message.add_query(Query::query(parsed, RecordType::from(kind)));
        if let Some((payload, version, signed)) = edns {
            message.set_edns(Edns::new().set_max_payload(payload).set_version(version % 3).set_dnssec_ok(signed).to_owned());
        }
        let mut bytes = message.to_vec().unwrap();
        let view = view();
        check(&view, &bytes);
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(tail);
        check(&view, &bytes);
    }

    /// A name that is denied has nothing below it (RFC 8020), and what exists is never denied.
    #[test]
    fn denial_covers_everything_below(name in names(), label in "[a-z0-9]{1,8}") {
        let view = view();
        let ask = |name: &str| {
            let reply = respond(&view, &|_, _| false, &query(name, RecordType::A).to_vec().unwrap(), Transport::Tcp);
            reply.unwrap()
        };
        let denied = |name: &str| {
            let reply = ask(name);
            let answer = Message::from_vec(&reply.bytes).unwrap();
            reply.code == ResponseCode::NXDomain && answer.answers.is_empty()
        };
        if Name::from_ascii(format!("{label}.{name}")).is_ok() && denied(&name) {
            let below = format!("{label}.{name}");
            prop_assert!(denied(&below));
        }
    }
}

#[test]
fn zones_that_dns_cannot_carry_are_left_out() {
    let long = "x".repeat(64);
    let zones =
        vec![zone(&long, &[]), zone("good.example", &[(&format!("{long}.good.example"), vec![ip(1)])])];
    let view = View::load(&DnsView { zones, ..DnsView::default() }, 1, 1, &|_| Vec::new());
    assert!(view.find(&Name::from_ascii("good.example.").unwrap()).is_some());
}
