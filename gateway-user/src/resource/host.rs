//! Pure: host names of domains and routes.

use std::{borrow::Borrow, fmt, net::IpAddr, str::FromStr};

use super::{clip, read::text_form};
use crate::base::Refusal;

/// A host name as RFC 1123 §2.1 allows, in lower case, without a trailing dot, at most one wildcard as first label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

// === impl Host ===

impl Host {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the first label is `*`.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// Whether a certificate with this DNS name serves the host (RFC 9525 §6.3: a wildcard stands for one whole label).
    #[must_use]
    pub fn is_covered_by(&self, certified: &str) -> bool {
        if self.0 == certified {
            return true;
        }
        match (certified.strip_prefix("*."), self.0.split_once('.')) {
            (Some(parent), Some((label, rest))) => label != "*" && parent == rest,
            (None, _) | (_, None) => false,
        }
    }
}

impl Borrow<str> for Host {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for Host {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refused = |why: &str| {
            Refusal::new("invalid_host", why)
                .field("host", clip(text))
                .limit("a host name as RFC 1123 has it, like api.example.org or *.example.org")
                .remedy("correct the name")
        };
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.parse::<IpAddr>().is_ok() || text.starts_with('[') {
            return Err(refused("an IP address is not a host name")
                .remedy("services answer at the listener's address without a domain"));
        }
        if name.contains(':') {
            return Err(refused("a host name has no port").remedy("leave the port out"));
        }
        if name.is_empty() || name.len() > 253 {
            return Err(refused("the host name is empty or too long").limit("1 to 253 characters"));
        }
        if !name.is_ascii() {
            return Err(refused("a host name has ASCII characters only")
                .remedy("write an international name in its `xn--` form"));
        }
        let wild = name.strip_prefix("*.");
        let labels = wild.unwrap_or(&name);
        if labels.contains('*') || name == "*" {
            return Err(
                refused("`*` stands for the whole first label only").remedy("write it as `*.example.org`")
            );
        }
        if wild.is_some() && !labels.contains('.') {
            return Err(refused("a wildcard over a top-level domain is refused")
                .remedy("write it as `*.example.org`"));
        }
        for label in labels.split('.') {
            let good = (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if !good {
                return Err(refused("this is not a host name (RFC 1123)")
                    .limit("labels of 1 to 63 letters, digits and inner hyphens, separated by dots")
                    .remedy(format_args!("correct the label `{}`", clip(label))));
            }
        }
        // RFC 1123 §2.1: a name whose last label is all digits would read as an IPv4 address.
        if labels.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(refused("the last label of a host name is not a number"));
        }
        Ok(Self(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

text_form!(Host);
