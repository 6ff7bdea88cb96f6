//! Pure: a listener as operators write it.

use serde::{Deserialize, Serialize};

use super::{
    Address, Allowlist, Exposure, Limits, clip, gateway::default_name, patch::Patched, port,
    read::one_or_many,
};
use crate::base::{Name, Refusal};

/// Most addresses of one listener.
pub const MAX_ADDRESSES: usize = 16;
/// Most entries of a listener's trusted forwarders: they are compared one by one, for each connection.
pub const MAX_FORWARDERS: usize = 64;

/// An entry of a gateway: where it is reached and who may reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    pub name: Name,
    #[serde(default = "default_name")]
    pub gateway: Name,
    pub exposure: Exposure,
    /// Name of the network interface.
    pub interface: String,
    #[serde(alias = "address", deserialize_with = "one_or_many")]
    pub addresses: Vec<Address>,
    /// Plain HTTP port; `false` for none.
    #[serde(default = "default_http", with = "port")]
    pub http: Option<u16>,
    /// HTTPS port; `false` for none.
    #[serde(default = "default_https", with = "port")]
    pub https: Option<u16>,
    /// A closed listener refuses everybody.
    #[serde(default)]
    pub open: bool,
    /// Bind later if the interface does not have the address yet.
    #[serde(default)]
    pub wait_address: bool,
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Every connection begins with a PROXY protocol header, and one that does not is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proxy_protocol: bool,
    /// Peers whose `Forwarded` and `X-Forwarded-*` are believed.
    #[serde(default, skip_serializing_if = "Allowlist::is_empty")]
    pub trusted_forwarders: Allowlist,
    /// CIDRs that may reach the listener; empty means nobody.
    #[serde(default)]
    pub allow: Allowlist,
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an Option field")]
pub(super) const fn default_http() -> Option<u16> {
    Some(80)
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an Option field")]
pub(super) const fn default_https() -> Option<u16> {
    Some(443)
}

// === impl Listener ===

impl Patched for Listener {
    const FIXED: &'static [(&'static str, &'static str)] = &[
        ("name", "a listener cannot be renamed; add a new one and delete the old one"),
        ("gateway", "add a new listener and delete the old one"),
        ("exposure", "add a new listener and delete the old one"),
        ("allow", "`gateway allow` changes the allowlist"),
    ];
    const ALIASES: &'static [(&'static str, &'static str)] = &[("address", "addresses")];
}

impl Listener {
    /// Checks what can be checked of a listener alone.
    ///
    /// # Errors
    /// Names the field that is refused.
    pub fn validate(&self) -> Result<(), Refusal> {
        match &self.exposure {
            Exposure::Public => {}
            Exposure::All
            | Exposure::Vpc
            | Exposure::VpcNamed(_)
            | Exposure::Endpoint
            | Exposure::EndpointNamed(_) => {
                return Err(Refusal::new("invalid_exposure", "a listener of its own is public")
                    .field("exposure", &self.exposure)
                    .limit("public")
                    .remedy("use exposure public"));
            }
        }
        self.validate_own()?;
        interface(&self.interface)?;
        if self.addresses.is_empty() {
            return Err(Refusal::new(
                "missing_field",
                format_args!("listener `{}` has no address", self.name),
            )
            .field("addresses", "[]")
            .remedy("give at least one address of the interface, or `*`"));
        }
        if self.addresses.len() > MAX_ADDRESSES {
            return Err(Refusal::new("limit", "too many addresses for one listener")
                .field("addresses", self.addresses.len())
                .limit(MAX_ADDRESSES)
                .remedy("use `*` or a second listener"));
        }
        for (index, address) in self.addresses.iter().enumerate() {
            if self.addresses.iter().take(index).any(|earlier| earlier == address) {
                return Err(Refusal::new("duplicate", "the address is given twice")
                    .field("addresses", address)
                    .remedy("give it once"));
            }
        }
        ports(self.http, self.https)
    }

    /// Checks what also the listeners of private networks and endpoints have of their own.
    ///
    /// # Errors
    /// Names the field that is refused.
    pub fn validate_own(&self) -> Result<(), Refusal> {
        self.limits.validate()?;
        forwarders(&self.trusted_forwarders)
    }

    /// The ports of the listener.
    pub fn ports(&self) -> impl Iterator<Item = u16> + '_ {
        self.http.into_iter().chain(self.https)
    }
}

/// Checks the trusted forwarders of a listener or of a private network.
pub(super) fn forwarders(list: &Allowlist) -> Result<(), Refusal> {
    if list.len() <= MAX_FORWARDERS {
        return Ok(());
    }
    Err(Refusal::new("limit", "too many trusted forwarders")
        .field("trusted_forwarders", list.len())
        .limit(MAX_FORWARDERS)
        .remedy("join neighbouring ones into shorter prefixes"))
}

/// Checks the ports of a listener or of a private endpoint.
pub(super) fn ports(http: Option<u16>, https: Option<u16>) -> Result<(), Refusal> {
    for (field, port) in [("http", http), ("https", https)] {
        if port == Some(0) {
            return Err(Refusal::new("invalid_port", "port 0 is not a port")
                .field(field, 0)
                .limit("1 to 65535")
                .remedy(format_args!("give a port, or `--no-{field}`")));
        }
    }
    match (http, https) {
        (None, None) => Err(Refusal::new("missing_field", "a listener needs a port")
            .field("https", "false")
            .remedy("keep http or https")),
        (Some(http), Some(https)) if http == https => {
            Err(Refusal::new("conflict", "http and https cannot share a port")
                .field("https", https)
                .remedy("give them different ports"))
        }
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

/// Checks the form of an interface's name (`dev_valid_name` of the kernel: 1 to 15 bytes, no `/`, `:` or space). Nor may it
/// have what would end or widen a name in a firewall's rules, where it is exported to.
pub(super) fn interface(name: &str) -> Result<(), Refusal> {
    let good = !name.is_empty()
        && name.len() <= 15
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:\"\\*".contains(&byte));
    if good {
        return Ok(());
    }
    Err(Refusal::new("invalid_interface", "this is not the name of a network interface")
        .field("interface", clip(name))
        .limit("1 to 15 characters without `/`, `:`, `\"`, `\\`, `*` and spaces")
        .remedy("`ip link` lists the interfaces"))
}
