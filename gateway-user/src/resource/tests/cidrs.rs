//! CIDR lists: exactly the canonical forms, nothing widened or corrected in silence.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::super::allowlist::{Allowlist, cidr};

#[test]
fn separators_mix_and_duplicates_fold() {
    let list =
        Allowlist::parse(" 192.0.2.0/24,198.51.100.7/32\n203.0.113.0/25\r\n\t198.51.100.7 ,,\n").unwrap();
    let texts: Vec<String> = list.iter().map(|one| one.to_string()).collect();
    assert_eq!(texts, ["192.0.2.0/24", "198.51.100.7/32", "203.0.113.0/25"]);
    assert!(Allowlist::parse(" \n,").unwrap().is_empty());
    assert_eq!(
        Allowlist::parse("2001:db8::1").unwrap().iter().next().unwrap().to_string(),
        "2001:db8::1/128"
    );
    assert_eq!(Allowlist::parse("::/0 0.0.0.0/0").unwrap().len(), 2);
}

#[test]
fn each_refusal_names_value_and_remedy() {
    for (text, code, remedy) in [
        ("10.1.2.3/8", "host_bits", "10.0.0.0/8"),
        ("2001:db8::1/32", "host_bits", "2001:db8::/32"),
        ("::ffff:192.0.2.0/120", "mapped_cidr", "192.0.2.0/24"),
        ("::ffff:192.0.2.9", "mapped_cidr", "192.0.2.9/32"),
        ("::ffff:0:0/96", "mapped_cidr", "0.0.0.0/0"),
        ("192.0.2.0/33", "invalid_mask", ""),
        ("192.0.2.0/024", "invalid_mask", ""),
        ("192.0.2.0/+24", "invalid_mask", ""),
        ("192.0.2.0/", "invalid_mask", ""),
        ("192.0.2.0/255.255.255.0", "invalid_mask", "prefix length"),
        ("2001:db8::/129", "invalid_mask", ""),
        ("192.0.2.0/24/24", "invalid_mask", ""),
        ("192.0.2", "invalid_cidr", ""),
        ("010.0.0.1", "invalid_cidr", ""),
        ("fe80::1%eth0", "invalid_cidr", ""),
        ("[2001:db8::1]", "invalid_cidr", ""),
        ("example.org", "invalid_cidr", ""),
        ("192.0.2.0-192.0.2.9", "invalid_cidr", ""),
    ] {
        let refusal = cidr(text).unwrap_err();
        assert_eq!((refusal.code.as_str(), refusal.value.as_deref()), (code, Some(text)));
        assert!(refusal.remedy.unwrap_or_default().contains(remedy), "{text}");
    }
    let refusal = Allowlist::parse("10.0.0.0/8, 10.0.0.1/8").unwrap_err();
    assert!(refusal.message.starts_with("entry 2: "), "{refusal}");
    let shown = Allowlist::parse(&"x".repeat(100_000)).unwrap_err();
    assert!(shown.to_string().len() < 500);
}

fn any_net() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<u32>(), 0..=32_u8).prop_map(|(bits, length)| (IpAddr::V4(Ipv4Addr::from(bits)), length));
    let v6 =
        (any::<u128>(), 0..=128_u8).prop_map(|(bits, length)| (IpAddr::V6(Ipv6Addr::from(bits)), length));
    prop_oneof![v4, v6].prop_map(|(ip, length)| IpNet::new(ip, length).unwrap().trunc())
}

proptest! {
    #[test]
    fn a_canonical_list_is_read_back_in_any_separation(
        nets in proptest::collection::vec(any_net(), 0..40),
        separators in proptest::collection::vec("[,\n\r\t ]{1,3}", 40),
    ) {
        let mapped = |net: &IpNet| matches!(net, IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.network().to_ipv4_mapped().is_some());
        prop_assume!(!nets.iter().any(mapped));
        let text: String = nets.iter().zip(&separators).map(|(net, separator)| format!("{net}{separator}")).collect();
        let list = Allowlist::parse(&text).unwrap();
        prop_assert_eq!(&list, &Allowlist::from_cidrs(nets.iter().copied()));
        // Every entry admits exactly what was written.
        prop_assert!(nets.iter().all(|net| list.contains(net)));
        prop_assert!(list.iter().all(|net| nets.contains(&net)));
        let json = serde_json::to_string(&list).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Allowlist>(&json).unwrap(), &list);
    }

    #[test]
    fn host_bits_are_refused_with_the_form_that_is_then_taken(bits: u32, length in 0..=31_u8) {
        let net = IpNet::new(IpAddr::V4(Ipv4Addr::from(bits)), length).unwrap();
        prop_assume!(net.trunc() != net);
        let refusal = cidr(&net.to_string()).unwrap_err();
        let corrected = net.trunc().to_string();
        prop_assert!(refusal.remedy.unwrap().contains(&corrected));
        prop_assert_eq!(cidr(&corrected).unwrap(), net.trunc());
    }

    #[test]
    fn what_is_taken_is_canonical(text in "[0-9a-f:./, ]{0,60}") {
        if let Ok(list) = Allowlist::parse(&text) {
            for net in list.iter() {
                prop_assert_eq!(net.trunc(), net);
            }
        }
    }
}
