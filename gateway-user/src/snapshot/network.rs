//! Pure: private networks as the data path reads them, and the addresses that the gateway itself puts on interfaces.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::base::Name;

/// A private network that is attached to a gateway. Its listener is `vpc:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    pub gateway: Name,
    pub name: Name,
    /// Who owns the network.
    pub account: Name,
    /// Where its packets come in.
    pub interface: String,
    /// The private endpoint, with the length of its subnet's prefix.
    pub address: IpNet,
    pub zone: Name,
    /// The site that the network belongs to.
    pub region: Name,
    /// It belongs to another site than this gateway: its traffic is metered apart.
    pub remote: bool,
    /// An address of a remote network that answers echo while the network can be reached.
    pub probe: Option<IpAddr>,
    /// Clients outside every private network may ask for its names.
    pub authoritative_dns: bool,
}

/// An address that the gateway adds to an interface, and removes when nothing needs it any more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnedAddress {
    pub interface: String,
    pub address: IpNet,
}

/// An endpoint of a platform service in a private network. Its listener is `endpoint:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub gateway: Name,
    pub name: Name,
    /// The network that it stands in: the only one that it can be reached from.
    pub vpc: Name,
    pub region: Name,
    /// The endpoint service, and the name that its template makes of the region.
    pub endpoint_service: Name,
    pub service_name: String,
    /// The name that clients of the network use, lower case without a trailing dot.
    pub fqdn: String,
    /// The service that answers.
    pub service: Name,
    pub certificate: Option<Name>,
    /// One address per zone.
    pub subnets: Vec<EndpointSubnet>,
}

/// An endpoint's address in one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSubnet {
    pub zone: Name,
    pub interface: String,
    pub address: IpNet,
}

/// How traffic reaches the gateway, for metering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// From the Internet.
    #[default]
    Public,
    /// From a private network of this region.
    Private,
    /// From a private network of another region.
    Remote,
}

impl Channel {
    /// The word for it in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Remote => "remote",
        }
    }
}

impl Vpc {
    /// How its traffic is metered.
    #[must_use]
    pub const fn channel(&self) -> Channel {
        if self.remote { Channel::Remote } else { Channel::Private }
    }
}
