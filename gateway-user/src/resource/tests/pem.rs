//! Certificates: chain order, keys, validity, garbage.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair};

use super::super::certificate::{Chain, Key, KeyPem};
use crate::base::Refusal;

struct Leaf {
    pem: String,
    key: String,
}

fn authority(name: &str, issuer: Option<&CertifiedIssuer<'_, KeyPair>>) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    match issuer {
        None => CertifiedIssuer::self_signed(params, key).unwrap(),
        Some(issuer) => CertifiedIssuer::signed_by(params, key, issuer).unwrap(),
    }
}

fn leaf(issuer: &Issuer<'_, KeyPair>, names: &[&str], years: std::ops::Range<i32>) -> Leaf {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
    let key = KeyPair::generate().unwrap();
    let pem = params.signed_by(&key, issuer).unwrap().pem();
    Leaf { pem, key: key.serialize_pem() }
}

/// 2026-01-01.
const NOW: i64 = 1_767_225_600;

fn check(chain: &str, key: &str) -> Result<Chain, Refusal> {
    let chain = Chain::parse(chain)?;
    Key::parse(&KeyPem(key.to_owned()))?.matches(&chain)?;
    chain.current(NOW)?;
    Ok(chain)
}

#[test]
fn a_chain_is_taken_in_order_only() {
    let root = authority("root", None);
    let middle = authority("middle", Some(&root));
    let leaf = leaf(&middle, &["A.example.org", "*.b.org"], 2020..2040);
    let good = check(&format!("{}{}", leaf.pem, middle.pem()), &leaf.key).unwrap();
    assert_eq!(good.names, ["a.example.org", "*.b.org"]);
    assert_eq!(good.der.len(), 2);
    check(&format!("{}{}{}", leaf.pem, middle.pem(), root.pem()), &leaf.key).unwrap();
    check(&leaf.pem, &leaf.key).unwrap();

    let refused = |chain: String| check(&chain, &leaf.key).unwrap_err().code;
    assert_eq!(refused(format!("{}{}", middle.pem(), leaf.pem)), "wrong_order");
    assert_eq!(refused(format!("{}{}{}", leaf.pem, root.pem(), middle.pem())), "wrong_order");
    assert_eq!(refused(format!("{}{}", root.pem(), middle.pem())), "wrong_order");
    assert_eq!(refused(format!("{}{}", leaf.pem, root.pem())), "broken_chain");
    // An issuer of the same name that did not sign it.
    let impostor = authority("middle", Some(&root));
    assert_eq!(refused(format!("{}{}", leaf.pem, impostor.pem())), "broken_chain");
}

#[test]
fn keys_must_be_the_leafs_and_readable() {
    let root = authority("root", None);
    let (one, other) = (leaf(&root, &["a.org"], 2020..2040), leaf(&root, &["a.org"], 2020..2040));
    let refusal = check(&one.pem, &other.key).unwrap_err();
    assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), ("key_mismatch", Some("key")));
    let garbage = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for key in ["", "nonsense", garbage, &one.pem] {
        let refusal = check(&one.pem, key).unwrap_err();
        assert_eq!(refusal.code, "invalid_key", "{key}");
    }
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert!(check(&one.pem, locked).unwrap_err().remedy.unwrap().contains("decrypt"));
    // Written and read again it is the same key.
    let key = Key::parse(&KeyPem(one.key.clone())).unwrap();
    assert_eq!(Key::parse(&key.pem()).unwrap(), key);
    assert!(!format!("{key:?} {:?}", key.pem()).contains("BEGIN"));
}

#[test]
fn time_garbage_and_sizes_are_named() {
    let root = authority("root", None);
    let expired = leaf(&root, &["a.org"], 2020..2025);
    assert_eq!(check(&expired.pem, &expired.key).unwrap_err().code, "certificate_expired");
    let early = leaf(&root, &["a.org"], 2030..2040);
    assert_eq!(check(&early.pem, &early.key).unwrap_err().code, "certificate_not_yet_valid");
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let torn = &early.pem[..early.pem.len() / 2];
    for chain in ["", "nonsense", garbage, torn, &early.key] {
        let refusal = Chain::parse(chain).unwrap_err();
        assert_eq!(refusal.code, "invalid_certificate", "{chain}");
        assert!(refusal.field.is_some() && refusal.remedy.is_some());
    }
    let refusal = Chain::parse(&early.pem.repeat(11)).unwrap_err();
    assert_eq!((refusal.code.as_str(), refusal.limit.as_deref()), ("limit", Some("10")));
    assert_eq!(Chain::parse(&"x".repeat(300_000)).unwrap_err().code, "limit");
}
