//! Pure: the addresses of a service, each with its share of the requests.

use std::{collections::HashSet, fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer};

use crate::{
    base::Refusal,
    resource::{clip, range, read::texts_or_tables},
};

/// Most instances of one service.
const MAX_INSTANCES: usize = 1024;
/// Largest weight: a consistent hash spends places on its ring by weight.
const MAX_WEIGHT: u32 = 256;

/// One address of a service: `HOST:PORT`, or `HOST:PORT=WEIGHT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    /// Host name in lower case or IP literal (IPv6 without brackets).
    pub host: String,
    pub port: u16,
    /// Share of the requests beside the others'; 1 where nothing is said.
    pub weight: u32,
}

/// Checks what can be checked of all instances of a service.
pub(in crate::resource) fn check(instances: &[Instance]) -> Result<(), Refusal> {
    if instances.is_empty() {
        return Err(Refusal::new("missing_field", "the service has no instance")
            .field("instances", "[]")
            .remedy("give at least one HOST:PORT"));
    }
    if instances.len() > MAX_INSTANCES {
        return Err(Refusal::new("limit", "too many instances for one service")
            .field("instances", instances.len())
            .limit(MAX_INSTANCES)
            .remedy("put a balancer or a DNS name in front of them"));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = instances.iter().find(|one| !seen.insert((&one.host, one.port))) {
        return Err(Refusal::new("duplicate", "the instance is given twice")
            .field("instances", twice)
            .remedy("give it once, with the sum of the weights"));
    }
    instances.iter().try_for_each(|one| {
        range::number("weight", one.weight, &(1..=MAX_WEIGHT), "leave out an instance that gets nothing")
    })
}

/// Reads instances: texts, or tables `{ address, weight }`, one or many.
pub(in crate::resource) fn instances<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Instance>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table {
        address: Instance,
        weight: Option<u32>,
    }
    texts_or_tables(deserializer, |Table { address, weight }| match weight {
        Some(weight) => Instance { weight, ..address },
        None => address,
    })
}

// === impl Instance ===

impl FromStr for Instance {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refused = |why: &str| {
            Refusal::new("invalid_instance", why)
                .field("instance", clip(text))
                .limit("HOST:PORT with a name, an IPv4 address or an IPv6 address in brackets; =WEIGHT may follow")
                .remedy("write it like 10.0.0.7:8000 or 10.0.0.7:8000=3")
        };
        let number = |text: &str| {
            Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse::<u32>().ok()
        };
        let (address, weight) = match text.split_once('=') {
            Some((address, weight)) => {
                (address, number(weight).ok_or_else(|| refused("the weight is not a number"))?)
            }
            None => (text, 1),
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(|| refused("an instance has a port"))?;
        let port = number(port)
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port > 0)
            .ok_or_else(|| refused("the port is not a number from 1 to 65535"))?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => match inner.parse::<IpAddr>() {
                Ok(IpAddr::V6(v6)) => v6.to_canonical().to_string(),
                Ok(IpAddr::V4(_)) | Err(_) => return Err(refused("the brackets hold no IPv6 address")),
            },
            None => match host.parse::<IpAddr>() {
                Ok(IpAddr::V4(v4)) => v4.to_string(),
                Ok(IpAddr::V6(_)) => {
                    return Err(refused("an IPv6 address stands in brackets")
                        .remedy(format_args!("use [{host}]:{port}")));
                }
                Err(_) => name(host).ok_or_else(|| refused("this is not a host name or an address"))?,
            },
        };
        match host.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
                Err(refused("nothing can be called at this address"))
            }
            Ok(_) | Err(_) => Ok(Self { host, port, weight }),
        }
    }
}

/// A host name of an instance; single labels and underscores (container names) are good here.
fn name(host: &str) -> Option<String> {
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let good =
        name.len() <= 253 && name.split('.').all(label) && !name.rsplit('.').next().is_some_and(number);
    good.then_some(name)
}

impl fmt::Display for Instance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)?;
        } else {
            write!(formatter, "{}:{}", self.host, self.port)?;
        }
        if self.weight == 1 { Ok(()) } else { write!(formatter, "={}", self.weight) }
    }
}

crate::resource::read::text_form!(Instance);
