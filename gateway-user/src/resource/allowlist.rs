//! Pure: lists of CIDRs, parsed strictly: nothing is widened or corrected in silence.

use std::{collections::HashSet, net::IpAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{clip, read::carry};
use crate::base::Refusal;

/// Entries of a public listener's allowlist, counted as distinct canonical CIDRs after the change (DESIGN §6).
pub const MAX_PUBLIC: usize = 15;
/// Entries of a private network's allowlist.
pub const MAX_PRIVATE: usize = 1_000_000;
/// Most entries of a list whose entries are counted one by one; a longer list is counted as a whole.
pub const MAX_COUNTED: usize = 15;
/// Entries that may be draining at a time.
pub const MAX_DRAINING: usize = 15;

/// Distinct canonical CIDRs in the order in which they were first given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowlist(Vec<IpNet>);

// === impl Allowlist ===

impl Allowlist {
    /// Reads a list whose entries are separated by commas, spaces or newlines.
    ///
    /// # Errors
    /// The first entry that is not a canonical CIDR, by its place in the list.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        Self::collect(text.split(|char: char| char == ',' || char.is_ascii_whitespace()))
    }

    /// The list of these entries; a repeated one is kept once.
    #[must_use]
    pub fn from_cidrs(cidrs: impl IntoIterator<Item = IpNet>) -> Self {
        let mut seen = HashSet::new();
        Self(cidrs.into_iter().filter(|cidr| seen.insert(*cidr)).collect())
    }

    /// The list of entries that are sorted and distinct.
    #[must_use]
    pub const fn from_sorted(cidrs: Vec<IpNet>) -> Self {
        Self(cidrs)
    }

    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.0.iter().copied()
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry: nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether exactly this CIDR is an entry.
    #[must_use]
    pub fn contains(&self, cidr: &IpNet) -> bool {
        self.0.contains(cidr)
    }

    fn collect<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Self, Refusal> {
        let mut seen = HashSet::new();
        let mut list = Vec::new();
        for (place, text) in texts.filter(|text| !text.is_empty()).enumerate() {
            let entry = cidr(text).map_err(|mut refusal| {
                if place > 0 {
                    refusal.message = format!("entry {}: {}", place + 1, refusal.message);
                }
                refusal
            })?;
            if seen.insert(entry) {
                list.push(entry);
            }
        }
        Ok(Self(list))
    }
}

impl Serialize for Allowlist {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

impl<'de> Deserialize<'de> for Allowlist {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            List(Vec<String>),
        }
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Self::parse(&text),
            Form::List(texts) => Self::collect(
                texts
                    .iter()
                    .flat_map(|text| text.split(|char: char| char == ',' || char.is_ascii_whitespace())),
            ),
        }
        .map_err(|refusal| serde::de::Error::custom(carry(&refusal)))
    }
}

/// One CIDR. A bare address is a /32 or /128.
///
/// # Errors
/// Not an address, a bad mask, host bits that are set (the refusal names the corrected form), or an IPv4-mapped prefix.
pub fn cidr(text: &str) -> Result<IpNet, Refusal> {
    let refused = |code: &str, why: &str| Refusal::new(code, why).field("cidr", clip(text));
    let (address, mask) = match text.split_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (text, None),
    };
    let ip: IpAddr = address.parse().map_err(|_| {
        refused("invalid_cidr", "this is not a CIDR")
            .remedy("give an entry like 192.0.2.0/24, 2001:db8::/32 or 198.51.100.7")
    })?;
    let widest = if ip.is_ipv4() { 32 } else { 128 };
    let length = match mask {
        None => widest,
        // Digits only: `u8::from_str` takes `+8`, and `08` is octal to some tools.
        Some(mask) => Some(mask)
            .filter(|mask| mask.bytes().all(|byte| byte.is_ascii_digit()))
            .filter(|mask| *mask == "0" || !mask.starts_with('0'))
            .and_then(|mask| mask.parse().ok())
            .filter(|length| *length <= widest)
            .ok_or_else(|| {
                refused("invalid_mask", "the prefix length is not a number that this family has")
                    .limit(format_args!("/0 to /{widest}"))
                    .remedy("give the mask as a prefix length, like 192.0.2.0/24")
            })?,
    };
    let net = net(ip, length).ok_or_else(|| {
        refused("invalid_mask", "the prefix length is too long").limit(widest).remedy("shorten it")
    })?;
    if let IpNet::V6(v6) = net
        && length >= 96
        && v6.network().to_ipv4_mapped().is_some()
    {
        let v4 = net.network().to_canonical();
        return Err(refused(
            "mapped_cidr",
            "IPv4-mapped IPv6 addresses never arrive: sockets take one family each",
        )
        .remedy(format_args!("use {v4}/{}", length - 96)));
    }
    if net.trunc() != net {
        return Err(refused("host_bits", format!("bits are set behind the prefix of /{length}").as_str())
            .remedy(format_args!("use {} for the network or {ip} for the one address", net.trunc())));
    }
    Ok(net)
}

fn net(ip: IpAddr, length: u8) -> Option<IpNet> {
    match ip {
        IpAddr::V4(v4) => Ipv4Net::new(v4, length).ok().map(IpNet::V4),
        IpAddr::V6(v6) => Ipv6Net::new(v6, length).ok().map(IpNet::V6),
    }
}
