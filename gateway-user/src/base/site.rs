//! Pure: the site that this gateway stands in.

use std::net::SocketAddr;

use super::Name;

/// Seconds that an answer of the name server may be kept, unless the settings say otherwise.
pub const DNS_TTL: u32 = 60;

/// What is set once for the whole site, in the settings file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The site's own region; `None` where the settings name none, and then every network is of this region.
    pub region: Option<Name>,
    /// Zones that private networks may name; empty: any.
    pub zones: Vec<Name>,
    /// Networks of other accounts may be attached, with their owner's grants.
    pub cross_account: bool,
    /// The domain below which the gateway's own names live, lower case without a trailing dot.
    pub dns_zone: Option<String>,
    /// Where the name server answers those who are in no private network.
    pub dns: Vec<SocketAddr>,
    /// Seconds that an answer of the name server may be kept.
    pub dns_ttl: u32,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            region: None,
            zones: Vec::new(),
            cross_account: false,
            dns_zone: None,
            dns: Vec::new(),
            dns_ttl: DNS_TTL,
        }
    }
}
