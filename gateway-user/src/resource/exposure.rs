//! Pure: which exposures a listener is for, or a service or domain is visible on.

use std::{fmt, str::FromStr};

use super::{clip, name, read::text_form};
use crate::base::{Name, Refusal};

/// `all`, `public`, `vpc` (every attached private network), `vpc:NAME`, `endpoint` (endpoints of platform services only)
/// or `endpoint:NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exposure {
    #[default]
    All,
    Public,
    Vpc,
    VpcNamed(Name),
    Endpoint,
    EndpointNamed(Name),
}

impl FromStr for Exposure {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        match text {
            "all" => Ok(Self::All),
            "public" => Ok(Self::Public),
            "vpc" => Ok(Self::Vpc),
            "endpoint" => Ok(Self::Endpoint),
            _ => match text.split_once(':') {
                Some(("vpc", vpc)) => Ok(Self::VpcNamed(name("exposure", vpc)?)),
                Some(("endpoint", endpoint)) => Ok(Self::EndpointNamed(name("exposure", endpoint)?)),
                Some(_) | None => Err(Refusal::new("invalid_exposure", "this is not an exposure")
                    .field("exposure", clip(text))
                    .limit("all, public, vpc, vpc:NAME, endpoint or endpoint:NAME")
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
            Self::Endpoint => formatter.write_str("endpoint"),
            Self::EndpointNamed(endpoint) => write!(formatter, "endpoint:{endpoint}"),
        }
    }
}

text_form!(Exposure);
