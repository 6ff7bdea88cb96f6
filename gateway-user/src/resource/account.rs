//! Pure: an account: a tenant who owns private networks, and what it has granted.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{clip, read::text_form};
use crate::base::{Name, Refusal};

/// A tenant. The account `default` is the gateway's own and is always there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    pub name: Name,
    /// Its networks may be attached although the site's `cross_account` is off.
    #[serde(default)]
    pub cross_account: bool,
    /// What it has granted to this gateway.
    #[serde(default)]
    pub grants: BTreeSet<Grant>,
}

/// A permission that an account gives. A network of its own is attached only with all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grant {
    /// The gateway may serve its networks.
    Gateway,
    /// The gateway may stand in its networks with an endpoint.
    PrivateLink,
    /// The gateway may answer for names in its networks.
    PrivateZone,
}

impl Grant {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gateway, Self::PrivateLink, Self::PrivateZone];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::PrivateLink => "private_link",
            Self::PrivateZone => "private_zone",
        }
    }
}

impl FromStr for Grant {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::ALL.into_iter().find(|grant| grant.word() == text.replace('-', "_")).ok_or_else(|| {
            Refusal::new("invalid_grant", "this is not a grant")
                .field("grant", clip(text))
                .limit(Self::ALL.map(Self::word).join(", "))
                .remedy("write one of these")
        })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

text_form!(Grant);
