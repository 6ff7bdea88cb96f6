//! Pure: a private network as operators write it.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    Address, Allowlist, Exposure, Limits, Listener, clip,
    gateway::default_name,
    listener::{default_http, default_https, forwarders, interface, ports},
    patch::Patched,
    port,
    read::carry,
};
use crate::base::{Name, Refusal};

/// Longest name of a vswitch.
const MAX_VSWITCH: usize = 128;

/// A private network that is attached to a gateway by an interface, with its private endpoint. Its listener is
/// `vpc:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vpc {
    pub name: Name,
    #[serde(default = "default_name")]
    pub gateway: Name,
    /// Who owns the network.
    #[serde(default = "default_name")]
    pub account: Name,
    /// Name of the interface that its packets come in through.
    pub interface: String,
    /// The private endpoint's address and its subnet: `10.0.0.10/24`.
    #[serde(with = "endpoint")]
    pub address: IpNet,
    /// The zone of the vswitch.
    pub zone: Name,
    /// The vswitch; `vsw-NAME` where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vswitch: Option<String>,
    /// The region of the network; the site's own where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Name>,
    /// An address of a remote network that answers echo while the network can be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<IpAddr>,
    /// Clients outside every private network may ask for its names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub authoritative_dns: bool,
    /// Plain HTTP port; `false` for none.
    #[serde(default = "default_http", with = "port")]
    pub http: Option<u16>,
    /// HTTPS port; `false` for none.
    #[serde(default = "default_https", with = "port")]
    pub https: Option<u16>,
    /// A closed endpoint refuses everybody.
    #[serde(default = "default_open")]
    pub open: bool,
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// As a listener's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proxy_protocol: bool,
    /// As a listener's.
    #[serde(default, skip_serializing_if = "Allowlist::is_empty")]
    pub trusted_forwarders: Allowlist,
    /// CIDRs that may reach the endpoint; where none are given, everybody within the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Allowlist>,
}

const fn default_open() -> bool {
    true
}

// === impl Vpc ===

impl Patched for Vpc {
    const FIXED: &'static [(&'static str, &'static str)] = &[
        ("name", "a network cannot be renamed; add a new one and delete the old one"),
        ("gateway", "add a new network and delete the old one"),
        ("allow", "`gateway allow` changes the allowlist of listener vpc:NAME"),
    ];
}

impl Vpc {
    /// Checks what can be checked of a private network alone.
    ///
    /// # Errors
    /// Names the field that is refused.
    pub fn validate(&self) -> Result<(), Refusal> {
        self.limits.validate()?;
        forwarders(&self.trusted_forwarders)?;
        interface(&self.interface)?;
        ports(self.http, self.https)?;
        if let Some(vswitch) = &self.vswitch {
            check_vswitch(vswitch)?;
        }
        match self.probe {
            Some(probe) if probe.is_ipv4() != self.address.addr().is_ipv4() => {
                Err(Refusal::new("invalid_probe", "the probe is not of the endpoint's family")
                    .field("probe", probe)
                    .remedy("give an address of the same family"))
            }
            Some(probe) if probe == self.address.addr() || probe.is_unspecified() || probe.is_multicast() => {
                Err(Refusal::new("invalid_probe", "the probe is not an address of a host of the network")
                    .field("probe", probe)
                    .remedy("give an address that answers echo within the network"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Name of its listener.
    #[must_use]
    pub fn listener_name(&self) -> Name {
        Name::of_vpc_listener(&self.name)
    }

    /// The vswitch, given or by default.
    #[must_use]
    pub fn vswitch(&self) -> String {
        self.vswitch.clone().unwrap_or_else(|| format!("vsw-{}", self.name))
    }

    /// The allowlist, given or by default: everybody of the endpoint's family.
    #[must_use]
    pub fn allow(&self) -> Allowlist {
        self.allow.clone().unwrap_or_else(|| match self.address {
            IpNet::V4(_) => Allowlist::from_cidrs([IpNet::V4(Ipv4Net::default())]),
            IpNet::V6(_) => Allowlist::from_cidrs([IpNet::V6(Ipv6Net::default())]),
        })
    }

    /// The network without what its listener's record has: its switch, limits, proxies and entries are not kept twice.
    #[must_use]
    pub fn bare(self) -> Self {
        Self {
            open: true,
            limits: Limits::default(),
            proxy_protocol: false,
            trusted_forwarders: Allowlist::default(),
            allow: None,
            ..self
        }
    }

    /// The network with what its listener has, except the entries.
    #[must_use]
    pub fn with(&self, listener: &Listener) -> Self {
        Self {
            open: listener.open,
            limits: listener.limits,
            proxy_protocol: listener.proxy_protocol,
            trusted_forwarders: listener.trusted_forwarders.clone(),
            ..self.clone()
        }
    }

    /// Its listener, without the allowlist.
    #[must_use]
    pub fn listener(&self) -> Listener {
        Listener {
            name: self.listener_name(),
            gateway: self.gateway.clone(),
            exposure: Exposure::VpcNamed(self.name.clone()),
            interface: self.interface.clone(),
            addresses: vec![Address::Ip(self.address.addr())],
            http: self.http,
            https: self.https,
            open: self.open,
            // The gateway puts the address on the interface itself.
            wait_address: true,
            limits: self.limits,
            proxy_protocol: self.proxy_protocol,
            trusted_forwarders: self.trusted_forwarders.clone(),
            allow: Allowlist::default(),
        }
    }
}

/// Checks the identifier of a vswitch.
pub(super) fn check_vswitch(vswitch: &str) -> Result<(), Refusal> {
    let good = !vswitch.is_empty()
        && vswitch.len() <= MAX_VSWITCH
        && vswitch.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if good {
        return Ok(());
    }
    Err(Refusal::new("invalid_vswitch", "this is not the name of a vswitch")
        .field("vswitch", clip(vswitch))
        .limit("1 to 128 letters, digits, `-`, `_` and `.`")
        .remedy("give the vswitch's identifier"))
}

/// Reads `VIP/LEN`.
///
/// # Errors
/// It is not an address with the length of its subnet's prefix, or not the address of a host.
pub fn vip(text: &str) -> Result<IpNet, Refusal> {
    let refused = |code: &str, why: &str| Refusal::new(code, why).field("address", clip(text));
    let shape = "give the endpoint's address with its subnet's prefix length, like 10.0.0.10/24";
    if !text.contains('/') {
        return Err(refused("invalid_address", "the prefix length of the subnet is missing").remedy(shape));
    }
    let net: IpNet =
        text.parse().map_err(|_| refused("invalid_address", "this is not ADDRESS/LENGTH").remedy(shape))?;
    let ip = net.addr();
    // The rules of a listener's address hold here, too.
    let Address::Ip(_) = ip.to_string().parse::<Address>()? else {
        return Err(refused("invalid_address", "an endpoint is one address").remedy(shape));
    };
    if ip.is_unspecified() || net.prefix_len() == 0 {
        return Err(refused("invalid_address", "an endpoint is one address of a subnet").remedy(shape));
    }
    if let IpNet::V4(v4) = net
        && v4.prefix_len() < 31
        && (ip == v4.network() || ip == v4.broadcast())
    {
        return Err(refused("invalid_address", "this address names the subnet, not a host of it")
            .remedy(format_args!("give a host's address, like {}/{}", first_host(v4), v4.prefix_len())));
    }
    Ok(net)
}

fn first_host(net: Ipv4Net) -> std::net::Ipv4Addr {
    net.hosts().next().unwrap_or(net.network())
}

/// The serde form of `VIP/LEN`.
pub(super) mod endpoint {
    use super::{Deserialize, Deserializer, IpNet, Serializer, carry, vip};

    pub(in crate::resource) fn serialize<S: Serializer>(
        net: &IpNet,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(net)
    }

    pub(in crate::resource) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<IpNet, D::Error> {
        let text = String::deserialize(deserializer)?;
        vip(&text).map_err(|refusal| serde::de::Error::custom(carry(&refusal)))
    }
}
