//! Chains by the row and by chance.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;

use super::{Hop, OURS, Told, read, replaces};
use crate::proxy::http::head::{Fields, List};

const SPEAKER: [u8; 4] = [10, 0, 0, 1];

fn hop() -> Hop<'static> {
    Hop { address: SPEAKER.into(), text: "10.0.0.1", https: false, port: 8080, version: "1.1" }
}

fn forwarders() -> Vec<IpNet> {
    ["10.0.0.0/8", "2001:db8:1::/48"].map(|net| net.parse().unwrap()).to_vec()
}

/// The fields that the instance gets, and the client.
fn written<F: Fields>(fields: &F, forwarders: &[IpNet]) -> (Vec<(&'static str, String)>, Option<IpAddr>) {
    let told = read(fields, hop().address, forwarders);
    let (mut out, mut lines, name) = (Vec::new(), Vec::new(), std::cell::Cell::new(""));
    let end = |out: &mut Vec<u8>| lines.push((name.get(), String::from_utf8(std::mem::take(out)).unwrap()));
    told.write(&hop(), b"in.example:8080", &mut out, |_, next| name.set(next), end);
    (lines, told.client())
}

fn line<'a>(lines: &'a [(&'static str, String)], name: &str) -> &'a str {
    lines.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}

#[test]
fn what_strangers_say_is_replaced() {
    let fields = List(&[
        ("x-forwarded-for", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-port", "1"),
    ]);
    let strangers: Vec<IpNet> = vec!["192.0.2.0/24".parse().unwrap()];
    for forwarders in [&[][..], &strangers] {
        let (lines, client) = written(&fields, forwarders);
        assert_eq!(client, None);
        let expected = [
            ("forwarded", "for=10.0.0.1;host=\"in.example:8080\";proto=http"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "in.example:8080"),
            ("x-forwarded-port", "8080"),
            ("via", "1.1 gateway"),
        ];
        assert_eq!(lines, expected.map(|(name, value)| (name, value.to_owned())));
    }
}

#[test]
fn the_chain_of_a_forwarder_goes_on() {
    let own = "for=10.0.0.1;host=\"in.example:8080\";proto=http";
    for (given, client, xff, forwarded) in [
        // Bare, with ports, with brackets; spaces and empty elements do not matter.
        (&[("x-forwarded-for", "192.0.2.9")][..], "192.0.2.9", "192.0.2.9", "for=192.0.2.9"),
        (&[("x-forwarded-for", "192.0.2.9:4711")], "192.0.2.9", "192.0.2.9", "for=192.0.2.9"),
        (
            &[("x-forwarded-for", "2001:db8::9 ,, [2001:db8::8]:1,[2001:db8::7]")],
            "2001:db8::7",
            "2001:db8::9, 2001:db8::8, 2001:db8::7",
            "for=\"[2001:db8::9]\", for=\"[2001:db8::8]\", for=\"[2001:db8::7]\"",
        ),
        // The right-most that is no forwarder; what stands left of it is its own say-so.
        (
            &[("x-forwarded-for", "6.6.6.6, 192.0.2.9, 10.2.2.2"), ("x-forwarded-for", "2001:db8:1::5")],
            "192.0.2.9",
            "6.6.6.6, 192.0.2.9, 10.2.2.2, 2001:db8:1::5",
            "for=6.6.6.6, for=192.0.2.9, for=10.2.2.2, for=\"[2001:db8:1::5]\"",
        ),
        // Only forwarders: the first of them asked itself.
        (
            &[("x-forwarded-for", "10.3.3.3, 10.2.2.2")],
            "10.3.3.3",
            "10.3.3.3, 10.2.2.2",
            "for=10.3.3.3, for=10.2.2.2",
        ),
        // Who hides its client is as far as we can look.
        (
            &[("x-forwarded-for", "6.6.6.6, unknown, 10.2.2.2")],
            "10.2.2.2",
            "6.6.6.6, unknown, 10.2.2.2",
            "for=6.6.6.6, for=unknown, for=10.2.2.2",
        ),
        // Mapped addresses are the ones that they map.
        (&[("x-forwarded-for", "::ffff:192.0.2.9")], "192.0.2.9", "192.0.2.9", "for=192.0.2.9"),
        // RFC 7239: passed on as it is, with what we do not know.
        (
            &[(
                "forwarded",
                "for=\"[2001:db8::9]:4711\";by=_edge;ext=\"a,b;\\\"c\" , For=192.0.2.9;Proto=https",
            )],
            "192.0.2.9",
            "2001:db8::9, 192.0.2.9",
            "for=\"[2001:db8::9]:4711\";by=_edge;ext=\"a,b;\\\"c\" , For=192.0.2.9;Proto=https",
        ),
        (
            &[("forwarded", "for=_hidden, proto=http"), ("forwarded", "for=10.2.2.2")],
            "10.2.2.2",
            "unknown, unknown, 10.2.2.2",
            "for=_hidden, proto=http, for=10.2.2.2",
        ),
        // Both, and they agree.
        (
            &[
                ("x-forwarded-for", "192.0.2.9, 10.2.2.2"),
                ("forwarded", "for=192.0.2.9;by=_a, for=\"10.2.2.2:80\""),
            ],
            "192.0.2.9",
            "192.0.2.9, 10.2.2.2",
            "for=192.0.2.9;by=_a, for=\"10.2.2.2:80\"",
        ),
    ] {
        let (lines, found) = written(&List(given), &forwarders());
        assert_eq!(found, Some(client.parse().unwrap()), "{given:?}");
        assert_eq!(line(&lines, "x-real-ip"), client, "{given:?}");
        assert_eq!(line(&lines, "x-forwarded-for"), format!("{xff}, 10.0.0.1"), "{given:?}");
        assert_eq!(line(&lines, "forwarded"), format!("{forwarded}, {own}"), "{given:?}");
    }
}

#[test]
fn scheme_host_and_port_are_the_clients() {
    let show = |given: &[(&str, &str)]| {
        let (lines, _) = written(&List(given), &forwarders());
        let [proto, host, port] = ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"]
            .map(|name| line(&lines, name).to_owned());
        (proto, host, port, line(&lines, "forwarded").to_owned())
    };
    let of = |proto: &str, host: &str, port: &str, forwarded: &str| {
        let own = "for=10.0.0.1;host=\"in.example:8080\";proto=http";
        (proto.to_owned(), host.to_owned(), port.to_owned(), format!("{forwarded}{own}"))
    };
    let all =
        [("x-forwarded-proto", "HTTPS"), ("x-forwarded-host", "out.example"), ("x-forwarded-port", "8443")];
    assert_eq!(show(&all), of("https", "out.example", "8443", ""));
    // Told where the client is, in the chain that we make of it.
    let chain = [("x-forwarded-for", "6.6.6.6, 192.0.2.9, 10.2.2.2"), all[0], all[1]];
    let forwarded = "for=6.6.6.6, for=192.0.2.9;host=out.example;proto=https, for=10.2.2.2, ";
    assert_eq!(show(&chain), of("https", "out.example", "443", forwarded));
    // The client's own element tells, not those of strangers or of forwarders on the way.
    let line = "for=6.6.6.6;proto=ws;host=evil, for=192.0.2.9;proto=https;host=\"out.example:8443\", for=10.2.2.2;proto=http";
    assert_eq!(show(&[("forwarded", line)]), of("https", "out.example:8443", "443", &format!("{line}, ")));
    assert_eq!(show(&[]), of("http", "in.example:8080", "8080", ""));
}

#[test]
fn what_is_malformed_is_dropped_whole() {
    let (nothing, _) = written(&List(&[]), &[]);
    for given in [
        &[("x-forwarded-for", "192.0.2.9, nonsense")][..],
        &[("x-forwarded-for", "192.0.2.256")],
        &[("x-forwarded-for", "192.0.2.9:port")],
        &[("x-forwarded-for", "192.0.2.9:1234567")],
        &[("x-forwarded-for", "[2001:db8::1")],
        &[("x-forwarded-for", "fe80::1%eth0")],
        &[("x-forwarded-for", "_")],
        &[("forwarded", "for=2001:db8::1")],
        &[("forwarded", "for=192.0.2.9;for=192.0.2.8")],
        &[("forwarded", "for=192.0.2.9;proto=https;proto=http")],
        &[("forwarded", "for=")],
        &[("forwarded", "for")],
        &[("forwarded", "=a")],
        &[("forwarded", "for =192.0.2.9")],
        &[("forwarded", "for=\"192.0.2.9")],
        &[("forwarded", "for=\"192.0.2.9\\")],
        &[("forwarded", "for=192.0.2.9 by=x")],
        &[("forwarded", "for=192.0.2.9;proto=gopher")],
        &[("forwarded", "for=192.0.2.9;host=\"a b\"")],
        &[("forwarded", ",;,")],
        // Two that disagree: one of them is the client's own.
        &[("x-forwarded-for", "192.0.2.9"), ("forwarded", "for=192.0.2.8")],
        &[("x-forwarded-for", "192.0.2.9"), ("forwarded", "for=192.0.2.9, for=10.2.2.2")],
        &[("x-forwarded-for", "192.0.2.9"), ("x-forwarded-proto", "https, http")],
        &[("x-forwarded-for", "192.0.2.9"), ("x-forwarded-proto", "https"), ("x-forwarded-proto", "https")],
        &[("x-forwarded-for", "192.0.2.9"), ("x-forwarded-host", "a b")],
        &[("x-forwarded-for", "192.0.2.9"), ("x-forwarded-port", "65536")],
        &[("x-forwarded-for", "192.0.2.9"), ("x-forwarded-port", "")],
        &[("x-forwarded-for", &"192.0.2.9,".repeat(33))],
    ] {
        let (lines, client) = written(&List(given), &forwarders());
        assert_eq!((&lines, client), (&nothing, None), "{given:?}");
    }
}

#[test]
fn names_are_known_in_every_spelling() {
    for name in OURS {
        for spelling in [name.to_owned(), name.to_uppercase(), name.replace('-', "_")] {
            assert!(
                replaces(spelling.as_bytes(), false) && replaces(spelling.as_bytes(), true),
                "{spelling}"
            );
        }
    }
    for name in ["X-Forwarded-Prefix", "x_forwarded_client_cert"] {
        assert!(replaces(name.as_bytes(), false) && !replaces(name.as_bytes(), true), "{name}");
    }
    for name in ["", "x", "via", "from", "x-forwarded", "forwarded-for", "x-real-ip2", "x-request-id"] {
        assert!(!replaces(name.as_bytes(), false), "{name}");
    }
}

proptest! {
    /// Whatever is told, the fields are valid, each stands once, and the last node of each chain is who spoke to us.
    #[test]
    fn nothing_that_is_told_breaks_the_fields(
        lists in proptest::collection::vec(
            (
                prop_oneof![Just("forwarded"), Just("x-forwarded-for"), Just("x-forwarded-host"), Just("x-forwarded-proto")],
                prop_oneof!["(for=[0-9.]{1,12}|proto=https?|host=\"[a-z.:\\\\\"]{0,9}\"|[;, ]){0,8}", "[ -~]{0,40}", "[0-9.:a-f, \\[\\]]{0,40}"],
            ),
            0..4,
        )
    ) {
        let given: Vec<(&str, &str)> = lists.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (lines, client) = written(&List(&given), &forwarders());
        let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
        prop_assert_eq!(names.len(), super::FIELDS);
        prop_assert!(OURS.iter().all(|name| names.iter().filter(|other| other == &name).count() == 1));
        for (name, value) in &lines {
            prop_assert!(http::HeaderValue::from_str(value).is_ok(), "{}: {}", name, value);
        }
        prop_assert!(line(&lines, "x-forwarded-for").ends_with("10.0.0.1"));
        // What we wrote is what the next gateway reads: the same client, by the same rules.
        let again: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let again = List(&again);
        let read = read(&again, hop().address, &forwarders());
        prop_assert!(matches!(read, Told::Chain(_)), "{:?}", again.0);
        prop_assert_eq!(read.client(), client.or(Some(hop().address)));
    }
}
