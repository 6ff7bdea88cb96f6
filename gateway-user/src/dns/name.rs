//! Pure: names as keys of tables: wire form in lower case, so that the suffixes of a name are slices of its key.

use hickory_proto::rr::Name;

/// The key of a name: each label behind its length, a zero at the end. Compared bytewise, equal whatever the case is
/// (RFC 4343).
pub(super) fn key(name: &Name) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 1);
    for label in name.iter() {
        // A label has at most 63 bytes (RFC 1035 §2.3.4), which the decoder and the parser of names have checked.
        key.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        key.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    key.push(0);
    key
}

/// The key without its first label; `None` for the root.
pub(super) fn parent(key: &[u8]) -> Option<&[u8]> {
    match key.first() {
        None | Some(0) => None,
        Some(length) => key.get(usize::from(*length) + 1..),
    }
}

/// A name of the plan; `None` for one that DNS cannot carry, which then has no records.
pub(super) fn parse(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::{key, parent, parse};

    #[test]
    fn keys_ignore_case_and_their_suffixes_are_the_parents_keys() {
        let (one, other) = (parse("Api.Example.ORG").unwrap(), parse("api.example.org").unwrap());
        assert_eq!(key(&one), key(&other));
        assert_eq!(parent(&key(&one)), Some(&key(&parse("example.org").unwrap())[..]));
        assert_eq!(parent(&[0]), None);
        assert_eq!(parent(&[]), None);
    }

    #[test]
    fn names_that_dns_cannot_carry_are_no_names() {
        assert!(parse(&format!("{}.org", "x".repeat(64))).is_none());
        assert!(parse(&vec!["x".repeat(60); 5].join(".")).is_none());
    }
}
