//! Headers by the row, cut at every byte, and by chance.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::{Declared, Header, LONGEST, Parsed, Reason, crc32c::crc32c, parse, v2::SIGNATURE};

/// A block of version 2 with this command, family and payload.
pub(super) fn block(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    bytes.extend(value);
    bytes
}

/// The header with its checksum in a TLV at the end, as HAProxy's `set-proxy-v2-tlv-fmt` and `crc32c` make it.
fn with_checksum(command: u8, family: u8, addresses: &[u8], more: &[u8]) -> Vec<u8> {
    let payload = [addresses, more, &tlv(3, &[0; 4])].concat();
    let mut bytes = block(command, family, &payload);
    let sum = crc32c([&bytes[..]]).to_be_bytes();
    let place = bytes.len() - 4;
    bytes[place..].copy_from_slice(&sum);
    bytes
}

const FOUR: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];

fn six() -> Vec<u8> {
    let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    [&address("2001:db8::7")[..], &address("2001:db8::1"), &[0xdc, 0x04, 0x01, 0xbb]].concat()
}

fn declared(source: &str, destination: &str) -> Option<Declared> {
    let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
    Some(Declared { source: parse(source), destination: parse(destination) })
}

/// Checks a header, whole, cut at every byte, and with a request behind it.
fn accepts(bytes: &[u8], expected: Option<Declared>) {
    let done = Parsed::Done(Header { declared: expected, consumed: bytes.len() });
    assert_eq!(parse(bytes), done, "{}", bytes.escape_ascii());
    let followed = [bytes, b"GET / HTTP/1.1\r\n\r\n"].concat();
    assert_eq!(parse(&followed), done, "followed by a request: {}", bytes.escape_ascii());
    for end in 0..bytes.len() {
        assert_eq!(parse(&bytes[..end]), Parsed::NeedMore, "{}", bytes[..end].escape_ascii());
    }
}

#[test]
fn lines_of_version_1() {
    for (line, expected) in [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", declared("192.0.2.7:56324", "198.51.100.1:443")),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n",
            declared("255.255.255.255:65535", "255.255.255.255:0"),
        ),
        (
            "PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n",
            declared("[2001:db8::7]:56324", "[2001:db8::1]:443"),
        ),
        ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", declared("[::ffff:192.0.2.7]:1", "[::1]:2")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
        // The longest that there is: 107 bytes.
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            None,
        ),
    ] {
        accepts(line.as_bytes(), expected);
    }
}

#[test]
fn what_is_no_line_of_version_1_is_refused() {
    for (line, reason) in [
        ("GET / HTTP/1.1\r\n", Reason::Signature),
        ("PROXI", Reason::Signature),
        ("proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n", Reason::Signature),
        ("PROXY\r\n", Reason::Signature),
        ("PROXY \r\n", Reason::Words),
        ("PROXY TCP4\r\n", Reason::Words),
        ("PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n", Reason::Words),
        ("PROXY UNKNOWNS\r\n", Reason::Words),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n", Reason::Words),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n", Reason::Words),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n", Reason::Words),
        ("PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n", Reason::Words),
        ("PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n", Reason::Words),
        ("PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n", Reason::Words),
        ("PROXY TCP4 ::1 ::1 1 2\r\n", Reason::Words),
        ("PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n", Reason::Words),
        ("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", Reason::Words),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n", Reason::Words),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n", Reason::Words),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n", Reason::Words),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n", Reason::Words),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 1 2\rGET", Reason::Words),
        (&format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)), Reason::TooLong),
        (&format!("PROXY UNKNOWN {}\r", "x".repeat(92)), Reason::TooLong),
        (&"PROXY UNKNOWN ".repeat(8), Reason::TooLong),
    ] {
        assert_eq!(parse(line.as_bytes()), Parsed::Refused(reason), "{line}");
    }
    assert_eq!(parse(b"PROXY UNKNOWN \xff\r\n"), Parsed::Refused(Reason::Words));
}

#[test]
fn blocks_of_version_2() {
    let four = declared("192.0.2.7:56324", "198.51.100.1:443");
    let long = declared("[2001:db8::7]:56324", "[2001:db8::1]:443");
    accepts(&block(0x21, 0x11, &FOUR), four);
    accepts(&block(0x21, 0x21, &six()), long);
    // ALPN, an authority, padding, and one that nobody knows.
    let tlvs = [tlv(1, b"h2"), tlv(2, b"a.example"), tlv(4, &[0; 9]), tlv(0xea, b"x"), tlv(4, b"")].concat();
    accepts(&block(0x21, 0x11, &[&FOUR[..], &tlvs].concat()), four);
    accepts(&block(0x21, 0x21, &[six(), tlvs.clone()].concat()), long);
    accepts(&with_checksum(0x21, 0x11, &FOUR, &tlvs), four);
    accepts(&with_checksum(0x21, 0x21, &six(), &tlvs), long);
    // The balancer itself: whatever it says of addresses does not count.
    for payload in [&[][..], &FOUR, b"anything"] {
        accepts(&block(0x20, 0x00, payload), None);
        accepts(&block(0x20, 0x11, payload), None);
    }
    // A client without an address, or one on a Unix socket.
    accepts(&block(0x21, 0x00, b"ignored"), None);
    accepts(&block(0x21, 0x31, &[b'/'; 216]), None);
    // The longest.
    let rest = LONGEST - 16 - 12 - 3;
    accepts(&block(0x21, 0x11, &[&FOUR[..], &tlv(4, &vec![0; rest])].concat()), four);
}

#[test]
fn what_is_no_block_of_version_2_is_refused() {
    let mut wrong = with_checksum(0x21, 0x11, &FOUR, &[]);
    wrong[17] ^= 1;
    let long = [&FOUR[..], &tlv(4, &vec![0; LONGEST])].concat();
    for (bytes, reason) in [
        (block(0x11, 0x11, &FOUR), Reason::Command),
        (block(0x22, 0x11, &FOUR), Reason::Command),
        (block(0x21, 0x12, &FOUR), Reason::Family),
        (block(0x21, 0x22, &six()), Reason::Family),
        (block(0x21, 0x32, &[0; 216]), Reason::Family),
        (block(0x21, 0x41, &six()), Reason::Family),
        (block(0x21, 0x11, &FOUR[..11]), Reason::Length),
        (block(0x21, 0x21, &FOUR), Reason::Length),
        (block(0x21, 0x31, &[0; 215]), Reason::Length),
        (block(0x21, 0x11, &[&FOUR[..], &[4, 0]].concat()), Reason::Length),
        (block(0x21, 0x11, &[&FOUR[..], &[4, 0, 2, 0]].concat()), Reason::Length),
        (block(0x21, 0x11, &[&FOUR[..], &tlv(3, b"123")].concat()), Reason::Length),
        (block(0x21, 0x11, &long), Reason::TooLong),
        (wrong, Reason::Checksum),
        (b"\r\n\r\n\0\r\nQUIX".to_vec(), Reason::Signature),
    ] {
        assert_eq!(parse(&bytes), Parsed::Refused(reason), "{}", bytes.escape_ascii());
    }
    // It is refused at the first byte that is wrong, not when the rest has come.
    assert_eq!(parse(&block(0x22, 0x11, &FOUR)[..13]), Parsed::Refused(Reason::Command));
    assert_eq!(parse(&block(0x21, 0x12, &FOUR)[..16]), Parsed::Refused(Reason::Family));
    assert_eq!(parse(&block(0x21, 0x11, &FOUR[..11])[..16]), Parsed::Refused(Reason::Length));
}

/// Bytes that look like headers, mostly.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let line = "PROXY (TCP4|TCP6|UNKNOWN)( [0-9a-f.:]{1,20}){0,4}\r?\n?.{0,40}".prop_map(String::into_bytes);
    let tail = proptest::collection::vec(any::<u8>(), 0..300);
    let block = (0x20u8..0x23, prop_oneof![Just(0u8), Just(0x11), Just(0x21), Just(0x31), any::<u8>()], tail)
        .prop_map(|(command, family, payload)| block(command, family, &payload));
    let whole = prop_oneof![line, block, proptest::collection::vec(any::<u8>(), 0..64)];
    (whole, any::<prop::sample::Index>(), any::<u8>(), any::<bool>()).prop_map(
        |(mut bytes, place, byte, change)| {
            if change && !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes
        },
    )
}

proptest! {
    /// What was decided stays decided, whatever follows, and nothing is taken that was not there.
    #[test]
    fn a_decision_does_not_depend_on_how_the_bytes_arrive(bytes in bytes()) {
        let mut first = None;
        for end in 0..=bytes.len() {
            let parsed = parse(&bytes[..end]);
            match (first, parsed) {
                (None, Parsed::NeedMore) => {}
                (None, decided) => {
                    if let Parsed::Done(header) = decided {
                        prop_assert_eq!(header.consumed, end, "it could have been told before, or takes too much");
                    }
                    first = Some(decided);
                }
                (Some(decided), later) => prop_assert_eq!(decided, later),
            }
        }
        prop_assert!(first.is_some() || bytes.len() < LONGEST);
    }
}
