//! Pure: the addresses a listener is reached at.

use std::{fmt, net::IpAddr, str::FromStr};

use super::{clip, read::text_form};
use crate::base::Refusal;

/// An address of a listener: `*` or one IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// `*`: every address of the interface, both families.
    Any,
    Ip(IpAddr),
}

impl FromStr for Address {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let refusal = |why: &str| Refusal::new("invalid_address", why).field("address", clip(text));
        let ip: IpAddr = text.parse().map_err(|_| {
            refusal("this is not an IP address")
                .remedy("give an IPv4 or IPv6 address of the interface, or `*`")
        })?;
        match ip {
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
                Err(refusal("an IPv4-mapped IPv6 address is never bound")
                    .remedy(format_args!("use {}", v6.to_canonical())))
            }
            _ if ip.is_multicast() => Err(refusal("a TCP listener cannot have a multicast address")
                .remedy("give a unicast address of the interface")),
            IpAddr::V4(v4) if v4.is_broadcast() => {
                Err(refusal("a TCP listener cannot have a broadcast address")
                    .remedy("give a unicast address of the interface"))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => Ok(Self::Ip(ip)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("*"),
            Self::Ip(ip) => ip.fmt(formatter),
        }
    }
}

text_form!(Address);
