//! Pure: a route as operators write it.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Host, clip,
    gateway::default_name,
    name,
    patch::Patched,
    range,
    read::{carry, texts_or_tables},
};
use crate::base::{Name, Refusal};

/// Most services of one route.
pub const MAX_SERVICES: usize = 64;
/// Largest weight.
pub const MAX_WEIGHT: u32 = 1_000_000;
/// Longest path prefix in bytes.
pub const MAX_PATH: usize = 1024;
/// Most header matches of one route.
pub const MAX_HEADERS: usize = 16;

/// A match and the services it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub name: Name,
    #[serde(default = "default_name")]
    pub gateway: Name,
    /// Without one: every host that the listener answers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// Matches whole path segments.
    #[serde(default = "root")]
    pub path_prefix: String,
    /// Empty: every method.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Headers that must be present with exactly this value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Remove the prefix before the request goes upstream.
    #[serde(default)]
    pub strip_prefix: bool,
    /// `{ service = "chat", weight = 3 }` or `"chat=3"`.
    #[serde(alias = "service", deserialize_with = "weighted")]
    pub services: Vec<WeightedService>,
    /// A service that gets copies of requests, and whose answers nobody sees: `{ service = "next", percent = 10 }` or
    /// `"next=10"`.
    #[serde(default, deserialize_with = "mirror", skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
    /// Requests with methods that are not idempotent may be sent again, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retry_unsafe: bool,
}

/// One weighted target of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightedService {
    pub service: Name,
    #[serde(default = "one")]
    pub weight: u32,
}

/// Where copies of requests go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    pub service: Name,
    /// Share of the requests, 0 to 100.
    #[serde(default = "all")]
    pub percent: u8,
}

// === impl Route ===

impl Patched for Route {
    const FIXED: &'static [(&'static str, &'static str)] = &[
        ("name", "a route cannot be renamed; add a new one and delete the old one"),
        ("gateway", "add a new route and delete the old one"),
    ];
    const ALIASES: &'static [(&'static str, &'static str)] = &[("service", "services")];
}

impl Route {
    /// Puts methods in upper and header names in lower case.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        for method in &mut self.methods {
            method.make_ascii_uppercase();
        }
        self.headers =
            self.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        self
    }

    /// Whether requests go to this service.
    #[must_use]
    pub fn leads_to(&self, service: &Name) -> bool {
        self.services.iter().any(|target| target.service == *service)
    }

    /// Whether copies go to this service.
    #[must_use]
    pub fn mirrors_to(&self, service: &Name) -> bool {
        self.mirror.as_ref().is_some_and(|mirror| mirror.service == *service)
    }

    /// Checks what can be checked of a route alone.
    ///
    /// # Errors
    /// Names the field that is refused.
    pub fn validate(&self) -> Result<(), Refusal> {
        path(&self.path_prefix)?;
        for (index, method) in self.methods.iter().enumerate() {
            if method.len() > 32 || !is_token(method) {
                return Err(Refusal::new("invalid_method", "this is not an HTTP method")
                    .field("methods", clip(method))
                    .limit("1 to 32 token characters (RFC 9110 §9.1)")
                    .remedy("write it like POST"));
            }
            if self.methods.iter().take(index).any(|earlier| earlier == method) {
                return Err(Refusal::new("duplicate", "the method is given twice")
                    .field("methods", method)
                    .remedy("give it once"));
            }
        }
        if self.headers.len() > MAX_HEADERS {
            return Err(Refusal::new("limit", "too many headers to match")
                .field("headers", self.headers.len())
                .limit(MAX_HEADERS)
                .remedy("match fewer of them"));
        }
        for (name, value) in &self.headers {
            if name.len() > 128 || !is_token(name) {
                return Err(Refusal::new("invalid_header", "this is not a header name")
                    .field("headers", clip(name))
                    .limit("1 to 128 token characters (RFC 9110 §5.1)")
                    .remedy("write it like x-model"));
            }
            let good = value.len() <= 1024
                && value.trim() == value
                && value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            if !good {
                return Err(Refusal::new("invalid_header", "this value cannot stand in a header")
                    .field(format_args!("headers.{name}"), clip(value))
                    .limit("visible ASCII characters and inner spaces, at most 1024")
                    .remedy("leave the others out"));
            }
        }
        if let Some(mirror) = &self.mirror {
            range::number("mirror.percent", mirror.percent, &(0..=100), "give a share of the requests")?;
        }
        self.validate_services()
    }

    fn validate_services(&self) -> Result<(), Refusal> {
        if self.services.is_empty() || self.services.iter().all(|target| target.weight == 0) {
            return Err(Refusal::new(
                "missing_field",
                format_args!("route `{}` leads to no service", self.name),
            )
            .field("services", format_args!("{} with weight 0", self.services.len()))
            .remedy("give at least one service with a positive weight"));
        }
        if self.services.len() > MAX_SERVICES {
            return Err(Refusal::new("limit", "too many services for one route")
                .field("services", self.services.len())
                .limit(MAX_SERVICES)
                .remedy("lead to fewer of them"));
        }
        for (index, target) in self.services.iter().enumerate() {
            if target.weight > MAX_WEIGHT {
                return Err(Refusal::new("limit", "the weight is too large")
                    .field("weight", target.weight)
                    .limit(MAX_WEIGHT)
                    .remedy("divide all weights by the same number"));
            }
            if self.services.iter().take(index).any(|earlier| earlier.service == target.service) {
                return Err(Refusal::new("duplicate", "the service is given twice")
                    .field("services", &target.service)
                    .remedy("give it once, with the sum of the weights"));
            }
        }
        Ok(())
    }
}

// === impl WeightedService ===

impl FromStr for WeightedService {
    type Err = Refusal;

    /// Reads `NAME` or `NAME=WEIGHT`.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let (service, weight) = text.split_once('=').unwrap_or((text, "1"));
        let weight = digits(weight).ok_or_else(|| {
            Refusal::new("invalid_weight", "the weight is not a number")
                .field("service", clip(text))
                .limit(format_args!("NAME or NAME=WEIGHT, 0 to {MAX_WEIGHT}"))
                .remedy("write it like chat=3")
        })?;
        Ok(Self { service: name("service", service)?, weight })
    }
}

impl fmt::Display for WeightedService {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", self.service, self.weight)
    }
}

// === impl Mirror ===

impl FromStr for Mirror {
    type Err = Refusal;

    /// Reads `NAME` or `NAME=PERCENT`.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let (service, percent) = text.split_once('=').unwrap_or((text, "100"));
        let percent = digits(percent).ok_or_else(|| {
            Refusal::new("invalid_percent", "the share is not a number")
                .field("mirror", clip(text))
                .limit("NAME or NAME=PERCENT, 0 to 100")
                .remedy("write it like next=10")
        })?;
        Ok(Self { service: name("mirror", service)?, percent })
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", self.service, self.percent)
    }
}

/// A number in digits alone: `FromStr` takes `+8`, too.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// A prefix is compared with the request's path as it is sent, so it has only what a path can have (RFC 3986 §3.3), and
/// nothing (dot segments, doubled slashes) that makes two spellings of one place.
fn path(prefix: &str) -> Result<(), Refusal> {
    let refused = |why: &str| Refusal::new("invalid_path", why).field("path_prefix", clip(prefix));
    if !prefix.starts_with('/') {
        return Err(refused("a path prefix begins with `/`").remedy(format_args!("use /{}", clip(prefix))));
    }
    if prefix.len() > MAX_PATH {
        return Err(refused("the path prefix is too long").limit(MAX_PATH).remedy("shorten it"));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&byte);
    if !prefix.bytes().all(allowed) {
        return Err(refused("the path prefix has characters that a path cannot have")
            .remedy("percent-encode them; leave the query out"));
    }
    if prefix.contains("//") || prefix.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(
            refused("dot segments and doubled slashes never match").remedy("write the path without them")
        );
    }
    Ok(())
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn root() -> String {
    "/".to_owned()
}

const fn one() -> u32 {
    1
}

const fn all() -> u8 {
    100
}

fn weighted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<WeightedService>, D::Error> {
    texts_or_tables(deserializer, |table: WeightedService| table)
}

fn mirror<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Mirror>, D::Error> {
    let mut mirrors = texts_or_tables(deserializer, |table: Mirror| table)?;
    match (mirrors.pop(), mirrors.last()) {
        (one, None) => Ok(one),
        (_, Some(other)) => {
            let refusal = Refusal::new("limit", "a route has one mirror")
                .field("mirror", other)
                .limit(1)
                .remedy("keep one of them");
            Err(serde::de::Error::custom(carry(&refusal)))
        }
    }
}
