//! Pure: an endpoint of a platform service in a private network, as operators write it.

use std::{collections::BTreeSet, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Address, Allowlist, Exposure, Limits, Listener, clip,
    gateway::default_name,
    listener::{default_http, default_https, interface, ports},
    name, port,
    read::texts_or_tables,
    token::Fingerprint,
    vpc::{self, vip},
};
use crate::base::{Name, Refusal};

/// Most zones of one endpoint.
pub const MAX_SUBNETS: usize = 8;
/// Longest client token.
const MAX_TOKEN: usize = 64;

/// The only kind of endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointKind {
    /// It has addresses of the network's own subnets.
    #[default]
    Interface,
}

/// Address families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpVersion {
    #[default]
    Ipv4,
    /// Refused: this profile has endpoints of IPv4 only.
    Ipv6,
    /// Refused, too.
    Dualstack,
}

/// A private way to a platform service: addresses in the subnets of one private network, and who may reach them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    pub name: Name,
    #[serde(default = "default_name")]
    pub gateway: Name,
    #[serde(default)]
    pub kind: EndpointKind,
    #[serde(default)]
    pub ip_version: IpVersion,
    /// Name of an endpoint service.
    pub service: Name,
    /// Region of the service; the network's where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Name>,
    pub vpc: Name,
    /// `{ zone = "a", address = "10.0.0.20/24" }` or `"a=10.0.0.20/24"`, one per zone.
    #[serde(alias = "subnet", deserialize_with = "subnets")]
    pub subnets: Vec<Subnet>,
    /// CIDRs of the network that may reach the endpoint; empty means nobody.
    #[serde(default, alias = "allow")]
    pub security_group: Allowlist,
    /// A closed endpoint refuses everybody.
    #[serde(default = "default_open")]
    pub open: bool,
    /// Plain HTTP port; `false` for none.
    #[serde(default = "default_http", with = "port")]
    pub http: Option<u16>,
    /// HTTPS port; `false` for none.
    #[serde(default = "default_https", with = "port")]
    pub https: Option<u16>,
    /// Makes a repeated creation one: the same token and parameters mean the same endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

const fn default_open() -> bool {
    true
}

/// An endpoint's address in one zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    pub zone: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vswitch: Option<String>,
    /// The address with the length of its subnet's prefix.
    #[serde(with = "vpc::endpoint")]
    pub address: IpNet,
    /// Where the zone's packets come in; the network's interface where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

// === impl Endpoint ===

impl Endpoint {
    /// Checks what can be checked of an endpoint alone.
    ///
    /// # Errors
    /// Names the field that is refused.
    pub fn validate(&self) -> Result<(), Refusal> {
        if self.ip_version != IpVersion::Ipv4 {
            return Err(Endpoint::ipv4_only()
                .field("ip_version", if self.ip_version == IpVersion::Ipv6 { "ipv6" } else { "dualstack" }));
        }
        ports(self.http, self.https)?;
        if self.subnets.is_empty() {
            return Err(Refusal::new(
                "missing_field",
                format_args!("endpoint `{}` has no subnet", self.name),
            )
            .field("subnets", "[]")
            .remedy("give `ZONE=ADDRESS/LENGTH`, in two zones or more so that one may fail"));
        }
        if self.subnets.len() > MAX_SUBNETS {
            return Err(Refusal::new("limit", "too many subnets for one endpoint")
                .field("subnets", self.subnets.len())
                .limit(MAX_SUBNETS)
                .remedy("one address in each of a few zones is enough"));
        }
        let (mut zones, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for subnet in &self.subnets {
            subnet.validate()?;
            if !zones.insert(&subnet.zone) {
                return Err(Refusal::new(
                    "duplicate",
                    format_args!("zone `{}` has two subnets", subnet.zone),
                )
                .field("subnets", &subnet.zone)
                .limit("one subnet per zone")
                .remedy("keep one of them"));
            }
            if !addresses.insert(subnet.address.addr()) {
                return Err(Refusal::new("duplicate", "two zones have the same address")
                    .field("subnets", subnet.address.addr())
                    .remedy("give each zone an address of its own"));
            }
        }
        for cidr in self.security_group.iter() {
            if cidr.addr().is_ipv6() {
                return Err(Endpoint::ipv4_only().field("security_group", cidr));
            }
        }
        match &self.client_token {
            Some(token)
                if token.is_empty()
                    || token.len() > MAX_TOKEN
                    || !token.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                Err(Refusal::new("invalid_client_token", "this is not a client token")
                    .field("client_token", clip(token))
                    .limit(format_args!("1 to {MAX_TOKEN} printable ASCII characters without spaces"))
                    .remedy("use a random text, a UUID for example"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The refusal of every IPv6 address.
    #[must_use]
    pub fn ipv4_only() -> Refusal {
        Refusal::new("ipv4_only", "endpoints of this profile are IPv4 only")
            .limit("ipv4")
            .remedy("give IPv4 addresses; `vpc` and `listener` take IPv6")
    }

    /// A fingerprint of everything that was asked for, to know a repeated creation by.
    #[must_use]
    pub fn request(&self) -> Fingerprint {
        // Serialising plain fields into memory cannot fail; an empty text would only refuse a repetition.
        Fingerprint::of(b"endpoint", &serde_json::to_vec(self).unwrap_or_default())
    }

    /// The interfaces that it stands on, each with its first zone and its addresses.
    fn interfaces(&self) -> Vec<(&str, &Name, Vec<IpAddr>)> {
        let mut out: Vec<(&str, &Name, Vec<IpAddr>)> = Vec::new();
        for subnet in &self.subnets {
            let interface = subnet.interface.as_deref().unwrap_or_default();
            let address = subnet.address.addr();
            match out.iter_mut().find(|(held, _, _)| *held == interface) {
                Some((_, _, addresses)) => addresses.push(address),
                None => out.push((interface, &subnet.zone, vec![address])),
            }
        }
        out
    }

    /// Its listeners, one per interface, without the allowlist. The first is `endpoint:NAME`, each further one
    /// `endpoint:NAME:ZONE`. The interfaces have to be filled in by then.
    #[must_use]
    pub fn listeners(&self) -> Vec<Listener> {
        let listener =
            |(place, (interface, zone, addresses)): (usize, (&str, &Name, Vec<IpAddr>))| Listener {
                name: Name::of_endpoint_listener(&self.name, (place > 0).then_some(zone)),
                gateway: self.gateway.clone(),
                exposure: Exposure::EndpointNamed(self.name.clone()),
                interface: interface.to_owned(),
                addresses: addresses.into_iter().map(Address::Ip).collect(),
                http: self.http,
                https: self.https,
                open: self.open,
                // The gateway puts the addresses on the interface itself.
                wait_address: true,
                limits: Limits::default(),
                proxy_protocol: false,
                trusted_forwarders: Allowlist::default(),
                allow: Allowlist::default(),
            };
        self.interfaces().into_iter().enumerate().map(listener).collect()
    }
}

// === impl Subnet ===

impl Subnet {
    fn validate(&self) -> Result<(), Refusal> {
        if self.address.addr().is_ipv6() {
            return Err(Endpoint::ipv4_only().field("subnets", self.address));
        }
        if self.address.addr().is_loopback() {
            return Err(Refusal::new("invalid_address", "a loopback address is not of a network")
                .field("subnets", self.address)
                .remedy("give an address of the zone's subnet"));
        }
        if let Some(vswitch) = &self.vswitch {
            vpc::check_vswitch(vswitch)?;
        }
        self.interface.as_deref().map_or(Ok(()), interface)
    }
}

impl FromStr for Subnet {
    type Err = Refusal;

    /// Reads `ZONE[:VSWITCH]=ADDRESS/LENGTH[@INTERFACE]`.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let Some((zone, rest)) = text.split_once('=') else {
            return Err(Refusal::new("invalid_subnet", "this is not ZONE=ADDRESS/LENGTH")
                .field("subnets", clip(text))
                .limit("ZONE[:VSWITCH]=ADDRESS/LENGTH[@INTERFACE]")
                .remedy("write it like a=10.0.0.20/24, or a=10.0.0.20/24@eth1 on an interface of its own"));
        };
        let (address, interface) = match rest.split_once('@') {
            Some((address, interface)) => (address, Some(interface.to_owned())),
            None => (rest, None),
        };
        let (zone, vswitch) = match zone.split_once(':') {
            Some((zone, vswitch)) => (zone, Some(vswitch.to_owned())),
            None => (zone, None),
        };
        Ok(Self { zone: name("zone", zone)?, vswitch, address: vip(address)?, interface })
    }
}

fn subnets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Subnet>, D::Error> {
    texts_or_tables(deserializer, |table: Subnet| table)
}
