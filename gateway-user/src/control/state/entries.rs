//! Pure: the entries of an allowlist: few, with a counter each, or many, as one value that is shared.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use aws_lc_rs::digest::{SHA256, digest};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Entry;
use crate::{resource::allowlist::MAX_COUNTED, snapshot::filter::LargeList};

/// The entries of an allowlist, sorted by CIDR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entries {
    /// At most [`MAX_COUNTED`], each with the id of its counters.
    Counted(Vec<Entry>),
    /// More. Counted as a whole.
    Large(Arc<Large>),
}

/// A large list under the digest of its content. It is never changed: an edit makes another one.
#[derive(Debug)]
pub struct Large {
    list: Arc<LargeList>,
    digest: String,
}

// === impl Entries ===

impl Default for Entries {
    fn default() -> Self {
        Self::Counted(Vec::new())
    }
}

impl Entries {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Counted(entries) => entries.len(),
            Self::Large(large) => large.list.len(),
        }
    }

    /// Whether there is no entry: nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The CIDRs, sorted.
    pub fn cidrs(&self) -> impl Iterator<Item = IpNet> + '_ {
        let (counted, large) = match self {
            Self::Counted(entries) => (entries.as_slice(), &[][..]),
            Self::Large(large) => (&[][..], large.list.cidrs()),
        };
        counted.iter().map(|entry| entry.cidr).chain(large.iter().copied())
    }

    /// Whether exactly this CIDR is an entry.
    #[must_use]
    pub fn contains(&self, cidr: &IpNet) -> bool {
        match self {
            Self::Counted(entries) => entries.iter().any(|entry| entry.cidr == *cidr),
            Self::Large(large) => large.list.cidrs().binary_search(cidr).is_ok(),
        }
    }

    /// The entries that have counters of their own.
    #[must_use]
    pub fn counted(&self) -> &[Entry] {
        match self {
            Self::Counted(entries) => entries,
            Self::Large(_) => &[],
        }
    }

    /// The list, if it is a large one.
    #[must_use]
    pub fn large(&self) -> Option<&Arc<Large>> {
        match self {
            Self::Counted(_) => None,
            Self::Large(large) => Some(large),
        }
    }
}

// === impl Large ===

/// By content, which the digest stands for.
impl PartialEq for Large {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Large {}

impl Large {
    /// The list of these CIDRs.
    #[must_use]
    pub fn new(cidrs: Vec<IpNet>) -> Self {
        debug_assert!(cidrs.len() > MAX_COUNTED, "a list of few entries has counters");
        let list = Arc::new(LargeList::new(cidrs));
        let digest = name(&bytes(&list));
        Self { list, digest }
    }

    /// What the data path gets.
    #[must_use]
    pub const fn list(&self) -> &Arc<LargeList> {
        &self.list
    }

    /// The name of its content: SHA-256 in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Its stored form: the number of IPv4 entries, then of each entry address and length.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        bytes(&self.list)
    }

    /// Reads what [`Self::bytes`] wrote under the name `digest`; `None`: the bytes are not that list.
    #[must_use]
    pub fn read(digest: &str, bytes: &[u8]) -> Option<Self> {
        if name(bytes) != digest {
            return None;
        }
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let (v4, v6) =
            rest.split_at_checked(usize::try_from(u32::from_be_bytes(*count)).ok()?.checked_mul(5)?)?;
        let mut cidrs = Vec::with_capacity(v4.len() / 5 + v6.len() / 17);
        for entry in v4.chunks_exact(5) {
            let (address, length) = entry.split_first_chunk::<4>()?;
            cidrs.push(IpNet::V4(Ipv4Net::new(Ipv4Addr::from(*address), *length.first()?).ok()?));
        }
        for entry in v6.chunks_exact(17) {
            let (address, length) = entry.split_first_chunk::<16>()?;
            cidrs.push(IpNet::V6(Ipv6Net::new(Ipv6Addr::from(*address), *length.first()?).ok()?));
        }
        Some(Self { list: Arc::new(LargeList::new(cidrs)), digest: digest.to_owned() })
    }
}

fn bytes(list: &LargeList) -> Vec<u8> {
    let v4 = list.cidrs().partition_point(|cidr| matches!(cidr, IpNet::V4(_)));
    let mut out = Vec::with_capacity(4 + v4 * 5 + (list.len() - v4) * 17);
    // There are at most a million.
    out.extend(u32::try_from(v4).unwrap_or(u32::MAX).to_be_bytes());
    for cidr in list.cidrs() {
        match cidr.addr() {
            IpAddr::V4(address) => out.extend(address.octets()),
            IpAddr::V6(address) => out.extend(address.octets()),
        }
        out.push(cidr.prefix_len());
    }
    out
}

fn name(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::Large;

    #[test]
    fn a_large_list_reads_back_and_damage_does_not() {
        let cidrs = (0..400_u32).map(|i| {
            let text = if i % 3 == 0 {
                format!("2001:db8:{i:x}::/48")
            } else {
                format!("10.{}.{}.0/24", i / 200, i % 200)
            };
            text.parse().unwrap()
        });
        let large = Large::new(cidrs.collect());
        let mut bytes = large.bytes();
        let read = Large::read(large.digest(), &bytes).unwrap();
        assert_eq!((read.list().cidrs(), read.digest()), (large.list().cidrs(), large.digest()));
        bytes[7] ^= 1;
        assert!(Large::read(large.digest(), &bytes).is_none());
        assert!(Large::read(large.digest(), &[]).is_none());
    }
}
