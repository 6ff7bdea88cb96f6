//! Bans of sources that the allowlist admits and that misbehave: who is one, for how long, and who was one.
//!
//! Reading order: here, what a ban is → `ledger`, pure: which offences make one → [`Desk`], which keeps the ledger, the
//! enforcer and the audit together on the control thread → [`Reports`], how the proxy's workers tell of offences and
//! learn of bans.
//!
//! What must hold: an offence comes from a connection whose handshake was completed, so a forged source address gets
//! nobody banned; a ban ends by itself; a source that is served well, and a trusted proxy, is never banned by the
//! gateway itself.

mod desk;
mod ledger;
mod recent;
mod reports;

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use crate::base::Refusal;

pub use desk::{Desk, Event, Order, Overview, Settings};
pub use ledger::{Mode, Verdict};
pub use reports::{Inbox, Offence, Reports, reports};

/// Sources that can be banned at a time; the kernel's table has as many rows.
pub const MAX_BANS: usize = 4096;
/// Longest ban by hand.
pub const MAX_MANUAL: Duration = Duration::from_secs(24 * 3600);
/// Bytes of a note that are kept.
pub const MAX_NOTE: usize = 96;

/// A source as bans know it: an IPv4 address, or the /64 of an IPv6 address, because whoever has one of its addresses
/// has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

/// Why a source is banned. The numbers stand in the kernel's table: add at the end, never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u32)]
pub enum Cause {
    /// Somebody said so.
    Manual = 0,
    /// Wrong or missing tokens, again and again.
    Unauthorized = 1,
    /// TCP connections that never become TLS or HTTP.
    Handshake = 2,
    /// Limits of its own that it exceeded again and again: body sizes, its connection cap.
    Limit = 3,
}

/// One ban. Times are since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ban {
    pub source: Source,
    pub cause: Cause,
    #[serde(serialize_with = "seconds")]
    pub since: Duration,
    #[serde(serialize_with = "seconds")]
    pub until: Duration,
    /// False: it is only observed what would be.
    pub enforced: bool,
    /// How often the source was banned before, of late.
    pub repeats: u32,
    /// User id of who banned it; absent for the gateway itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<u32>,
    pub note: String,
}

/// Who drops the packets of banned sources.
pub trait Enforcer {
    /// The bans that an earlier daemon left.
    fn bans(&self) -> Vec<Ban>;

    /// Puts a ban in force, or changes it.
    ///
    /// # Errors
    /// It is not in force.
    fn ban(&mut self, ban: &Ban) -> Result<(), Refusal>;

    /// Ends a ban; one that is not there has ended already.
    ///
    /// # Errors
    /// It is still in force.
    fn lift(&mut self, source: Source) -> Result<(), Refusal>;
}

/// What the API shows and changes.
pub trait Bans {
    /// Everything there is to say.
    fn overview(&self) -> Overview;

    /// Bans a source by hand.
    ///
    /// # Errors
    /// See [`Desk::ban`].
    fn ban(&self, order: Order, dry_run: bool) -> Result<Ban, Refusal>;

    /// Ends a ban by hand.
    ///
    /// # Errors
    /// See [`Desk::lift`].
    fn lift(&self, source: Source, actor: Option<u32>, dry_run: bool) -> Result<Ban, Refusal>;
}

fn seconds<S: Serializer>(at: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(at.as_secs())
}

// === impl Source ===

impl Source {
    /// The source that `address` is.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        })
    }

    /// The first of its addresses.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.0
    }

    /// All of its addresses.
    #[must_use]
    pub fn net(self) -> IpNet {
        let length = if self.0.is_ipv4() { 32 } else { 64 };
        IpNet::new_assert(self.0, length)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(formatter),
            IpAddr::V6(address) => write!(formatter, "{address}/64"),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Source {
    type Err = Refusal;

    /// An address, or the whole net that a source is: a /32 or a /64.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refused = || {
            Refusal::new("invalid_source", "this is not a source that can be banned")
                .field("source", text.chars().take(64).collect::<String>())
                .limit("an address, an IPv4 /32 or an IPv6 /64")
                .remedy("take a wider net off the allowlist instead: `gateway allow remove`")
        };
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::of(address));
        }
        let net: IpNet = text.parse().map_err(|_| refused())?;
        let whole = match net {
            IpNet::V4(net) => net.prefix_len() == 32,
            IpNet::V6(net) => net.prefix_len() >= 64,
        };
        if whole { Ok(Self::of(net.network())) } else { Err(refused()) }
    }
}

// === impl Cause ===

impl Cause {
    /// Every cause, in the order of its number.
    pub const ALL: [Self; 4] = [Self::Manual, Self::Unauthorized, Self::Handshake, Self::Limit];

    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Unauthorized => "unauthorized",
            Self::Handshake => "handshake",
            Self::Limit => "limit",
        }
    }

    /// The cause with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| *cause as u32 == number)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, Source};

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_half() {
        for (text, shown, net) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.1/32"),
            ("192.0.2.1/32", "192.0.2.1", "192.0.2.1/32"),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1/32"),
            ("2001:db8::1:2:3:4", "2001:db8::/64", "2001:db8::/64"),
            ("2001:db8::/64", "2001:db8::/64", "2001:db8::/64"),
        ] {
            let source: Source = text.parse().unwrap();
            assert_eq!((source.to_string().as_str(), source.net()), (shown, net.parse().unwrap()), "{text}");
        }
        for text in ["192.0.2.0/24", "2001:db8::/48", "nobody", ""] {
            assert_eq!(text.parse::<Source>().unwrap_err().code, "invalid_source", "{text}");
        }
    }

    #[test]
    fn causes_have_their_numbers() {
        for (number, cause) in (0..).zip(Cause::ALL) {
            assert_eq!((cause as u32, Cause::from_number(number)), (number, Some(cause)));
        }
        assert_eq!(Cause::from_number(4), None);
    }
}
