//! Pure: which exposures a listener is for, or a service or domain is visible on.

use std::{fmt, str::FromStr};

use super::{clip, name, read::text_form};
use crate::base::{Name, Refusal};

/// `all`, `public`, `vpc` (every attached private network) or `vpc:NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exposure {
    #[default]
    All,
    Public,
    Vpc,
    VpcNamed(Name),
}

impl FromStr for Exposure {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        match text {
            "all" => Ok(Self::All),
            "public" => Ok(Self::Public),
            "vpc" => Ok(Self::Vpc),
            _ => match text.strip_prefix("vpc:") {
                Some(vpc) => Ok(Self::VpcNamed(name("exposure", vpc)?)),
                None => Err(Refusal::new("invalid_exposure", "this is not an exposure")
                    .field("exposure", clip(text))
                    .limit("all, public, vpc or vpc:NAME")
                    .remedy("write one of these")),
            },
        }
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("all"),
            Self::Public => formatter.write_str("public"),
            Self::Vpc => formatter.write_str("vpc"),
            Self::VpcNamed(vpc) => write!(formatter, "vpc:{vpc}"),
        }
    }
}

text_form!(Exposure);
