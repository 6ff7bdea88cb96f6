//! Pure: the site that this gateway stands in.

use super::Name;

/// What is set once for the whole site, in the settings file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The site's own region; `None` where the settings name none, and then every network is of this region.
    pub region: Option<Name>,
    /// Zones that private networks may name; empty: any.
    pub zones: Vec<Name>,
    /// Networks of other accounts may be attached, with their owner's grants.
    pub cross_account: bool,
    /// The domain below which the gateway's own names live, lower case without a trailing dot.
    pub dns_zone: Option<String>,
}
